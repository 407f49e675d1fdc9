//! Reading everything, to find damage before it is met by chance.

use super::{ExportError, RecordKind};
use crate::EvmReader;
use crate::db::{Cf, DbError, HeadState, StateRead as _, Table, account_trie_key};
use alloy_primitives::keccak256;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

/// What [`EvmReader::verify`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvmVerification {
    /// Canonical blocks, linked to each other.
    pub blocks: u64,
    /// Accounts, slots and codes of the head's state.
    pub records: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl EvmReader {
    /// Reads every canonical block and the head's whole state: each block must be on the one before it, code must have its
    /// hash, the trie's root must be the head's. Whether the trie is that of the flat state is not computed.
    ///
    /// # Errors
    /// The first damage that is found, as [`DbError::Corrupt`], or RocksDB's.
    pub fn verify(&self) -> Result<EvmVerification, DbError> {
        let corrupt = |what| Err(DbError::Corrupt { what });
        let db = self.db();
        let mut seen = EvmVerification::default();
        let head = self.heads().latest;
        let mut parent = None;
        let cf = db.cf(Cf::Canonical)?;
        for entry in db.rocks().iterator_cf(cf, rocksdb::IteratorMode::Start) {
            let (key, value) = entry?;
            let number = <[u8; 8]>::try_from(&*key).ok().map(u64::from_be_bytes);
            let hash = crate::db::decode_hash(&value)?;
            let Some(block) = db.block(hash)? else { return corrupt("a canonical block") };
            if number != Some(block.header.number) || block.header.hash_slow() != hash {
                return corrupt("a canonical block's header");
            }
            let linked = match parent {
                Some((number, hash)) if block.header.number == number + 1 => block.header.parent_hash == hash,
                // After a start from a snapshot there is nothing between genesis and the oldest block.
                Some((0, _)) | None => true,
                Some(_) => false,
            };
            if !linked || db.receipts(hash)?.is_none() || db.outcome(hash)?.is_none() {
                return corrupt("a canonical block's parent, receipts or outcome");
            }
            parent = Some((block.header.number, hash));
            seen.blocks = seen.blocks.saturating_add(1);
        }
        if parent != Some((head.number, head.hash)) {
            return corrupt("the newest canonical block, which is not the head");
        }
        let read = self.export_state::<DbError>(head.hash, |record| {
            if record.kind == RecordKind::Code && keccak256(record.value).as_slice() != record.key {
                return Err(DbError::Corrupt { what: "a contract's code" });
            }
            seen.records = seen.records.saturating_add(1);
            let bytes = record.key.len().saturating_add(record.value.len());
            seen.bytes = seen.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            Ok(())
        });
        match read {
            Ok(_) => {}
            Err(ExportError::Db(error) | ExportError::Sink(error)) => return Err(error),
            Err(ExportError::NotCanonical(_) | ExportError::TooOld { .. }) => return corrupt("the head"),
        }
        let root = HeadState(db).get(Table::AccountTrie, &account_trie_key(&Nibbles::new()))?;
        let root = root.map_or(EMPTY_ROOT_HASH, keccak256);
        if db.header(head.hash)?.map(|header| header.state_root) != Some(root) {
            return corrupt("the state trie's root");
        }
        Ok(seen)
    }

    /// Rewrites the database's files without what was overwritten or deleted. Takes as long as writing everything once.
    ///
    /// # Errors
    /// The database's.
    pub fn compact(&self) -> Result<(), DbError> {
        self.db().compact()
    }
}
