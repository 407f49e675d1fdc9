//! Reading a state from beginning to end, while blocks go on being executed.

use super::{RecordKind, StateRecord};
use crate::db::{Cf, Db, DbError, StateDiff, Table, decode_block_ref};
use crate::{BlockRef, EvmReader};
use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::B256;
use alloy_rlp::Decodable as _;
use alloy_trie::TrieAccount;
use rocksdb::{Direction, IteratorMode, ReadOptions, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// The most blocks above the exported one whose changes are taken back in memory.
const MAX_BLOCKS_ABOVE: u64 = 1 << 17;

/// Bytes that RocksDB reads ahead of a scan.
const READ_AHEAD: usize = 2 << 20;

/// Why a state can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError<E> {
    /// The database failed, or is damaged.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The block is not on the canonical chain, or above its head.
    #[error("block {0} is not canonical here")]
    NotCanonical(B256),
    /// Its state is too far below the head.
    #[error("block {number} is too far below the head at {head}")]
    TooOld {
        /// The block's number.
        number: u64,
        /// The head's.
        head: u64,
    },
    /// Whoever takes the records failed.
    #[error(transparent)]
    Sink(E),
}

/// Values that differ from the head's: those of the exported block.
type Older = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl EvmReader {
    /// Gives every record of the state after a canonical block to `sink`, in order. What is written meanwhile does not
    /// disturb it. Memory is bounded by what the blocks above changed and by the number of different codes.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export_state<E>(
        &self,
        block: B256,
        mut sink: impl FnMut(StateRecord<'_>) -> Result<(), E>,
    ) -> Result<BlockRef, ExportError<E>> {
        let db = self.db();
        let snapshot = db.rocks().snapshot();
        let scan = Scan { db, snapshot: &snapshot };
        let (at, mut accounts, mut slots) = scan.older(block)?;
        let mut codes = BTreeSet::new();
        scan.table(Table::Accounts, &mut accounts, |key, value| {
            let account = TrieAccount::decode(&mut &*value).map_err(|_| DbError::Corrupt { what: "an account" })?;
            if account.code_hash != KECCAK_EMPTY {
                codes.insert(account.code_hash);
            }
            sink(StateRecord { kind: RecordKind::Account, key, value }).map_err(ExportError::Sink)
        })?;
        scan.table(Table::Storage, &mut slots, |key, value| {
            sink(StateRecord { kind: RecordKind::Slot, key, value }).map_err(ExportError::Sink)
        })?;
        for hash in codes {
            let code = db.code(hash)?.ok_or(DbError::Corrupt { what: "a contract's code" })?;
            let record = StateRecord { kind: RecordKind::Code, key: hash.as_slice(), value: &code };
            sink(record).map_err(ExportError::Sink)?;
        }
        Ok(at)
    }

    /// RLP of a block's receipts, for a snapshot.
    ///
    /// # Errors
    /// The database's.
    pub fn receipts_rlp(&self, block: B256) -> Result<Option<Vec<u8>>, DbError> {
        self.db().get(Cf::Receipts, block)
    }
}

struct Scan<'a> {
    db: &'a Db,
    snapshot: &'a Snapshot<'a>,
}

impl Scan<'_> {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        Ok(self.snapshot.get_cf(self.db.cf(cf)?, key)?)
    }

    fn canonical(&self, number: u64) -> Result<Option<B256>, DbError> {
        let bytes = self.get(Cf::Canonical, &number.to_be_bytes())?;
        bytes.map(|bytes| crate::db::decode_hash(&bytes)).transpose()
    }

    /// What the blocks above changed, taken back.
    fn older<E>(&self, block: B256) -> Result<(BlockRef, Older, Older), ExportError<E>> {
        let head = self.get(Cf::Meta, crate::db::LATEST_KEY)?.ok_or(DbError::Corrupt { what: "a head" })?;
        let head = decode_block_ref(&head)?;
        let at = self.db.block_ref(block)?.ok_or(ExportError::NotCanonical(block))?;
        if at.number > head.number || self.canonical(at.number)? != Some(block) {
            return Err(ExportError::NotCanonical(block));
        }
        if head.number - at.number > MAX_BLOCKS_ABOVE {
            return Err(ExportError::TooOld { number: at.number, head: head.number });
        }
        let (mut accounts, mut slots) = (Older::new(), Older::new());
        for number in (at.number.saturating_add(1)..=head.number).rev() {
            let hash = self.canonical(number)?.ok_or(DbError::Corrupt { what: "a canonical block" })?;
            let diff = self.get(Cf::Diffs, hash.as_slice())?.ok_or(DbError::Corrupt { what: "a state diff" })?;
            for (table, key, change) in StateDiff::decode(&diff)?.iter() {
                match table {
                    Table::Accounts => drop(accounts.insert(key.to_vec(), change.old.clone())),
                    Table::Storage => drop(slots.insert(key.to_vec(), change.old.clone())),
                    Table::AccountTrie | Table::StorageTrie => {}
                }
            }
        }
        Ok((at, accounts, slots))
    }

    /// The head's table with older values in place of the head's, in order of keys.
    fn table<E>(
        &self,
        table: Table,
        older: &mut Older,
        mut give: impl FnMut(&[u8], &[u8]) -> Result<(), ExportError<E>>,
    ) -> Result<(), ExportError<E>> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        let from = IteratorMode::From(&[], Direction::Forward);
        for entry in self.snapshot.iterator_cf_opt(self.db.cf(Cf::State(table))?, options, from) {
            let (key, value) = entry.map_err(DbError::from)?;
            while let Some(first) = older.first_entry().filter(|first| first.key().as_slice() < &*key) {
                let (key, value) = first.remove_entry();
                value.map_or(Ok(()), |value| give(&key, &value))?;
            }
            match older.remove(&*key) {
                Some(old) => old.map_or(Ok(()), |old| give(&key, &old))?,
                None => give(&key, &value)?,
            }
        }
        while let Some((key, value)) = older.pop_first() {
            value.map_or(Ok(()), |value| give(&key, &value))?;
        }
        Ok(())
    }
}
