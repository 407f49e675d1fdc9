//! What everyone but the writer sees of the database.

use crate::chain::{
    self, FinalizedBundle, decode_auxpow, decode_bundle, decode_certificate, decode_waiting, read_block, read_pointers,
};
use crate::database::{Shared, number_of, root_of};
use crate::{Column, Damage, StoreError, history};
use alys_chain::{Checkpoint, Pointers, RestoredBlock};
use alys_primitives::{AuxPowRecord, Height, Notarization, Root};
use rocksdb::ReadOptions;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

/// Reads committed records from any thread. Cheap to clone. Every record is checked before it is returned: damage is an
/// error, never data.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What has no owner any more once the database is closed and its folder is free: when the writer and every reader are
    /// gone. It keeps nothing open itself.
    pub fn open_mark(&self) -> Weak<()> {
        self.shared.open_mark()
    }

    /// A block of any branch, with the fees that its transactions paid.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if what is stored is not the block with this root; the disk's errors. So for all below.
    pub fn block(&self, root: Root) -> Result<Option<RestoredBlock>, StoreError> {
        read_block(&self.shared, root, &ReadOptions::default())
    }

    /// Whether a block is stored, without reading it.
    ///
    /// # Errors
    /// The disk's.
    pub fn has_block(&self, root: Root) -> Result<bool, StoreError> {
        self.shared.has(Column::Blocks, root.as_slice())
    }

    /// Root of the block at a height of the head's chain.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn canonical_root(&self, height: Height) -> Result<Option<Root>, StoreError> {
        self.canonical_root_opt(height, &ReadOptions::default())
    }

    /// The block at a height of the head's chain.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn block_at(&self, height: Height) -> Result<Option<RestoredBlock>, StoreError> {
        self.shared.at_once(|options| {
            let Some(root) = self.canonical_root_opt(height, options)? else { return Ok(None) };
            let damaged = |damage| StoreError::Corrupt {
                column: Column::Canonical,
                key: height.0.to_be_bytes().to_vec(),
                damage,
            };
            let block = read_block(&self.shared, root, options)?.ok_or_else(|| damaged(Damage::Dangling(root)))?;
            if block.block.header.height != height {
                return Err(damaged(Damage::Height(block.block.header.height.0)));
            }
            Ok(Some(block))
        })
    }

    /// Roots of the head's chain from a height on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn canonical_roots(&self, from: Height, limit: usize) -> Result<Vec<(Height, Root)>, StoreError> {
        let mut roots = Vec::new();
        self.shared.scan(Column::Canonical, &from.0.to_be_bytes(), |key, value| {
            if roots.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            roots.push((Height(number_of(Column::Canonical, key)?), root_of(Column::Canonical, key, value)?));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(roots)
    }

    /// Roots of the stored blocks of a height, of every branch.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn roots_at(&self, height: Height) -> Result<Vec<Root>, StoreError> {
        let mut roots = Vec::new();
        self.shared.scan(Column::BlocksByHeight, &height.0.to_be_bytes(), |key, _| {
            let (found, root) = chain::split_height_key(key)?;
            if found != height {
                return Ok(ControlFlow::Break(()));
            }
            roots.push(root);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(roots)
    }

    /// The certificate of a block.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn certificate(&self, root: Root) -> Result<Option<Notarization>, StoreError> {
        let value = self.shared.get(Column::Certificates, root.as_slice())?;
        value.map(|value| decode_certificate(root, &value)).transpose()
    }

    /// The finalized bundle that holds a height.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn bundle_at(&self, height: Height) -> Result<Option<FinalizedBundle>, StoreError> {
        let Some((key, value)) = self.shared.last_until(Column::Bundles, &height.0.to_be_bytes())? else {
            return Ok(None);
        };
        let bundle = decode_bundle(&key, &value)?;
        Ok((bundle.to >= height).then_some(bundle))
    }

    /// Queued work by the hash of its bundle.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn auxpow(&self, hash: Root) -> Result<Option<AuxPowRecord>, StoreError> {
        let value = self.shared.get(Column::AuxPowQueue, hash.as_slice())?;
        value.map(|value| decode_auxpow(hash, &value).map(|(_, record)| record)).transpose()
    }

    /// All queued work with the hashes of the bundles, in the order in which it was queued.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn auxpow_queue(&self) -> Result<Vec<(Root, AuxPowRecord)>, StoreError> {
        let mut queue = Vec::new();
        self.shared.scan::<()>(Column::AuxPowQueue, &[], |key, value| {
            let hash = key_root(Column::AuxPowQueue, key)?;
            let (place, record) = decode_auxpow(hash, value)?;
            queue.push((place, hash, record));
            Ok(ControlFlow::Continue(()))
        })?;
        queue.sort_by_key(|(place, _, _)| *place);
        Ok(queue.into_iter().map(|(_, hash, record)| (hash, record)).collect())
    }

    /// The pointers as last committed.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn pointers(&self) -> Result<Option<Pointers>, StoreError> {
        read_pointers(&self.shared, &ReadOptions::default())
    }

    /// The chain's state root as last committed.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn state_root(&self) -> Result<Option<Root>, StoreError> {
        chain::read_state_root(&self.shared)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// As [`Reader::block`].
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        chain::read_checkpoint(&self.shared)
    }

    /// Reads and checks every record of every column.
    ///
    /// # Errors
    /// The first damage that is found.
    pub fn verify(&self) -> Result<Verification, StoreError> {
        let mut seen = Verification::default();
        for column in Column::ALL {
            self.shared.scan::<()>(column, &[], |key, value| {
                self.verify_record(column, key, value)?;
                seen.records += 1;
                seen.bytes += u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(seen)
    }

    fn verify_record(&self, column: Column, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let dangling = |root| StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Dangling(root) };
        match column {
            Column::Blocks => {
                chain::decode_block(key_root(column, key)?, value)?;
            }
            Column::Burns => {
                let root = key_root(column, key)?;
                chain::decode_burns(root, value)?;
                if !self.has_block(root)? {
                    return Err(dangling(root));
                }
            }
            Column::BlocksByHeight => {
                let (_, root) = chain::split_height_key(key)?;
                if !self.has_block(root)? {
                    return Err(dangling(root));
                }
            }
            Column::Canonical => {
                number_of(column, key)?;
                root_of(column, key, value)?;
            }
            Column::Certificates => {
                decode_certificate(key_root(column, key)?, value)?;
            }
            Column::AuxPowQueue => {
                decode_auxpow(key_root(column, key)?, value)?;
            }
            Column::Waiting => {
                decode_waiting(key, value)?;
            }
            Column::Bundles => {
                decode_bundle(key, value)?;
            }
            Column::LightRecords => {
                history::decode_light(key, value)?;
            }
            Column::Checkpoints => {
                chain::decode_checkpoint(key, value)?;
            }
            Column::Log => {
                number_of(column, key)?;
                root_of(column, key, value)?;
            }
            // The scan has checked the seal; what is inside belongs to others.
            Column::Meta | Column::ActorCheckpoints | Column::ActorJournal => {}
        }
        Ok(())
    }

    fn canonical_root_opt(&self, height: Height, options: &ReadOptions) -> Result<Option<Root>, StoreError> {
        let key = height.0.to_be_bytes();
        let value = self.shared.get_opt(Column::Canonical, &key, options)?;
        value.map(|value| root_of(Column::Canonical, &key, &value)).transpose()
    }
}

/// What [`Reader::verify`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Number of records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

fn key_root(column: Column, key: &[u8]) -> Result<Root, StoreError> {
    Root::try_from(key).map_err(|_| StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Key })
}
