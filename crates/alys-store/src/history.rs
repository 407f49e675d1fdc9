//! What a node learned of the time before its first block: records of bundles, and later the blocks themselves.

use crate::database::{Changes, number_of};
use crate::{Column, Damage, Database, FinalizedBundle, Reader, StoreError};
use alys_chain::{ChainWrite, RestoredBlock};
use alys_primitives::ssz::{Decode as _, Encode as _};
use alys_primitives::{Height, LightRecord};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Database {
    /// Keeps records of final bundles: atomic and synced when it returns.
    ///
    /// # Errors
    /// As [`Database::apply`].
    pub fn keep_light_records(&mut self, records: &[LightRecord]) -> Result<(), StoreError> {
        let shared = Arc::clone(self.shared());
        let mut changes = Changes::new(&shared);
        for record in records {
            changes.put(Column::LightRecords, &record.start.height.0.to_be_bytes(), &record.as_ssz_bytes());
        }
        self.commit_beside(changes)
    }

    /// Keeps final blocks from before the oldest one that is here, with the certificates in them, and bundles that are known
    /// by them: atomic and synced when it returns. The chain itself does not move.
    ///
    /// # Errors
    /// As [`Database::apply`].
    pub fn keep_older(&mut self, blocks: Vec<RestoredBlock>) -> Result<(), StoreError> {
        let mut writes = Vec::with_capacity(blocks.len().saturating_mul(3));
        for RestoredBlock { block, fees, burns } in blocks {
            let (root, height) = (block.root(), block.header.height);
            writes.extend(block.parent_notarization.first().cloned().map(ChainWrite::Certificate));
            writes.push(ChainWrite::Canonical { height, root });
            writes.push(ChainWrite::Block { root, block: block.into(), fees, burns });
        }
        let shared = Arc::clone(self.shared());
        let changes = self.changes_of(&shared, &writes)?;
        self.commit_beside(changes)
    }

    /// Notes final bundles whose blocks came later than their records.
    ///
    /// # Errors
    /// As [`Database::apply`].
    pub fn keep_bundles(&mut self, bundles: &[FinalizedBundle]) -> Result<(), StoreError> {
        let writes: Vec<ChainWrite> = bundles
            .iter()
            .map(|FinalizedBundle { bundle, carrier, from, to }| ChainWrite::Finalized {
                bundle: *bundle,
                carrier: *carrier,
                from: *from,
                to: *to,
            })
            .collect();
        let shared = Arc::clone(self.shared());
        let changes = self.changes_of(&shared, &writes)?;
        self.commit_beside(changes)
    }
}

impl Reader {
    /// The record of the bundle that begins at a height, if it was learned before its blocks.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn light_record(&self, from: Height) -> Result<Option<LightRecord>, StoreError> {
        let key = from.0.to_be_bytes();
        self.shared().get(Column::LightRecords, &key)?.map(|value| decode_light(&key, &value)).transpose()
    }

    /// Visits the records that were learned before their blocks, oldest first, from a height on, until the visitor breaks.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn light_records<B>(
        &self,
        from: Height,
        mut visit: impl FnMut(LightRecord) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        self.shared()
            .scan(Column::LightRecords, &from.0.to_be_bytes(), |key, value| Ok(visit(decode_light(key, value)?)))
    }

    /// The final bundle that begins at a height.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn bundle_from(&self, from: Height) -> Result<Option<FinalizedBundle>, StoreError> {
        Ok(self.bundle_at(from)?.filter(|bundle| bundle.from == from))
    }
}

pub(crate) fn decode_light(key: &[u8], value: &[u8]) -> Result<LightRecord, StoreError> {
    let damaged = |damage| StoreError::Corrupt { column: Column::LightRecords, key: key.to_vec(), damage };
    let height = number_of(Column::LightRecords, key)?;
    let record = LightRecord::from_ssz_bytes(value).map_err(|error| damaged(Damage::Ssz(error)))?;
    if record.start.height.0 != height {
        return Err(damaged(Damage::Height(record.start.height.0)));
    }
    Ok(record)
}
