//! Opening the database, its column families and its single-key facts.

use crate::heads::BlockRef;
use alloy_primitives::B256;
use alys_engine::EngineError;
use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB};
use rocksdb::{DBCompressionType, Options, WriteBatch, WriteOptions};
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use super::Table;

/// The layout this code reads and writes.
const VERSION: u64 = 1;

/// How the database uses memory and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbConfig {
    /// Bytes of the block cache, shared by all column families.
    pub block_cache: usize,
    /// Bytes of one memtable.
    pub write_buffer: usize,
    /// Bytes of all memtables together.
    pub total_write_buffers: usize,
    /// Files kept open.
    pub max_open_files: i32,
}

impl Default for DbConfig {
    fn default() -> Self {
        Self { block_cache: 128 << 20, write_buffer: 8 << 20, total_write_buffers: 24 << 20, max_open_files: 256 }
    }
}

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// RocksDB failed.
    #[error("execution database: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// It was written by a newer version of this program.
    #[error("execution database has layout {found}, this program knows {known}; run the newer program")]
    Newer {
        /// The layout found.
        found: u64,
        /// The layout known.
        known: u64,
    },
    /// It belongs to another chain.
    #[error("execution database belongs to genesis {found}, the genesis file gives {expected}")]
    OtherGenesis {
        /// The genesis hash it holds.
        found: B256,
        /// The genesis hash asked for.
        expected: B256,
    },
    /// An earlier write failed.
    #[error("an earlier write to the execution database failed, the process must restart")]
    Stopped,
    /// Something in it can't be decoded or is missing.
    #[error("execution database is damaged: {what}")]
    Corrupt {
        /// What was expected.
        what: &'static str,
    },
}

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cf {
    /// A table of the canonical state.
    State(Table),
    /// Code hash → bytecode.
    Code,
    /// Block hash → header.
    Headers,
    /// Block hash → body.
    Bodies,
    /// Block hash → receipts.
    Receipts,
    /// Block hash → fees and requests.
    Outcomes,
    /// Block hash → state diff.
    Diffs,
    /// Number → hash of the canonical block.
    Canonical,
    /// Number and hash of every executed block.
    Executed,
    /// Transaction hash → number and index in the canonical chain.
    Transactions,
    /// Table, key and number → the value before that block.
    History,
    /// Single facts.
    Meta,
}

impl Cf {
    const ALL: [Self; 15] = [
        Self::State(Table::Accounts),
        Self::State(Table::Storage),
        Self::State(Table::AccountTrie),
        Self::State(Table::StorageTrie),
        Self::Code,
        Self::Headers,
        Self::Bodies,
        Self::Receipts,
        Self::Outcomes,
        Self::Diffs,
        Self::Canonical,
        Self::Executed,
        Self::Transactions,
        Self::History,
        Self::Meta,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::State(Table::Accounts) => "accounts",
            Self::State(Table::Storage) => "storage",
            Self::State(Table::AccountTrie) => "account_trie",
            Self::State(Table::StorageTrie) => "storage_trie",
            Self::Code => "code",
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Receipts => "receipts",
            Self::Outcomes => "outcomes",
            Self::Diffs => "diffs",
            Self::Canonical => "canonical",
            Self::Executed => "executed",
            Self::Transactions => "transactions",
            Self::History => "history",
            Self::Meta => "meta",
        }
    }
}

/// The heads as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The canonical head.
    Latest,
    /// The newest safe block.
    Safe,
    /// The newest finalized block.
    Finalized,
}

impl Head {
    const fn key(self) -> &'static [u8] {
        match self {
            Self::Latest => b"latest",
            Self::Safe => b"safe",
            Self::Finalized => b"finalized",
        }
    }
}

/// Key of [`Head::Latest`], for readers of a snapshot.
pub(crate) const LATEST_KEY: &[u8] = Head::Latest.key();

const VERSION_KEY: &[u8] = b"version";
const GENESIS_KEY: &[u8] = b"genesis";
const HISTORY_FROM_KEY: &[u8] = b"history_from";

/// The open database. Shared by one writer and any number of readers.
#[derive(Debug)]
pub(crate) struct Db {
    inner: DB,
    /// How a write failed, or a read of the writer's, if one has.
    failure: OnceLock<StorageFailure>,
    /// Goes last: without it the folder is free.
    mark: Arc<()>,
}

/// How an executor's database failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageFailure {
    /// Whether the disk failed a write, so that what is on disk is unknown; otherwise something that was stored can't be
    /// read. Damage that RocksDB finds while it merges files fails the writes that follow, and is damage all the same.
    pub is_write: bool,
    /// What the database said.
    pub reason: String,
}

impl Db {
    pub(crate) fn open_mark(&self) -> Weak<()> {
        Arc::downgrade(&self.mark)
    }

    /// Opens or creates the database in `path`.
    ///
    /// # Errors
    /// RocksDB's, and [`DbError::Newer`] for a layout of the future.
    pub(crate) fn open(path: &Path, config: DbConfig) -> Result<Self, DbError> {
        let cache = Cache::new_lru_cache(config.block_cache);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_open_files(config.max_open_files);
        options.set_db_write_buffer_size(config.total_write_buffers);
        options.set_max_total_wal_size(64 << 20);
        options.set_keep_log_file_num(4);
        options.set_use_fsync(true);
        options.set_max_background_jobs(2);
        let families = Cf::ALL.map(|cf| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            // Partitioned, so that a read brings a few KiB of a large file's index and filter into the cache, not all of them.
            table.set_cache_index_and_filter_blocks(true);
            table.set_pin_l0_filter_and_index_blocks_in_cache(true);
            table.set_pin_top_level_index_and_filter(true);
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_bloom_filter(10.0, false);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_write_buffer_size(config.write_buffer);
            options.set_compression_type(DBCompressionType::Lz4);
            // Nodes of a trie are asked for where they are: the largest level needs no filter.
            options.set_optimize_filters_for_hits(matches!(cf, Cf::State(Table::AccountTrie | Table::StorageTrie)));
            ColumnFamilyDescriptor::new(cf.name(), options)
        });
        let db = Self {
            inner: DB::open_cf_descriptors(&options, path, families)?,
            failure: OnceLock::new(),
            mark: Arc::default(),
        };
        match db.meta_u64(VERSION_KEY)? {
            Some(found) if found > VERSION => return Err(DbError::Newer { found, known: VERSION }),
            Some(_) => {}
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(db.cf(Cf::Meta)?, VERSION_KEY, VERSION.to_be_bytes());
                // Durable with the first synced write: without one there is nothing whose layout must be known.
                db.write_with(batch, false)?;
            }
        }
        Ok(db)
    }

    /// The handle of a column family.
    pub(crate) fn cf(&self, cf: Cf) -> Result<&ColumnFamily, DbError> {
        self.inner.cf_handle(cf.name()).ok_or(DbError::Corrupt { what: "a column family is missing" })
    }

    /// RocksDB itself, for snapshots and iterators.
    pub(crate) const fn rocks(&self) -> &DB {
        &self.inner
    }

    /// One value.
    pub(crate) fn get(&self, cf: Cf, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, DbError> {
        Ok(self.inner.get_cf(self.cf(cf)?, key)?)
    }

    /// Whether a key exists.
    pub(crate) fn contains(&self, cf: Cf, key: impl AsRef<[u8]>) -> Result<bool, DbError> {
        Ok(self.inner.get_pinned_cf(self.cf(cf)?, key)?.is_some())
    }

    /// Writes a batch atomically and waits until it is on disk. After a failed write every later one fails: a sync that
    /// is tried again may claim what the disk has dropped.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), DbError> {
        self.write_with(batch, true)
    }

    /// Writes a batch atomically. Without `sync` a power cut may take it back, and everything that was written after it, until
    /// the next synced write; a crash of the process does not.
    pub(crate) fn write_with(&self, batch: WriteBatch, sync: bool) -> Result<(), DbError> {
        if self.failure.get().is_some() {
            return Err(DbError::Stopped);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(self.inner.write_opt(batch, &options).inspect_err(|error| {
            let reason = format!("execution database: {error}");
            let is_write = error.kind() != rocksdb::ErrorKind::Corruption;
            self.failure.get_or_init(|| StorageFailure { is_write, reason });
        })?)
    }

    /// Remembers that the writer can't go on, and what its askers are told: that says nothing about blocks.
    pub(crate) fn failed(&self, error: DbError) -> EngineError {
        tracing::error!(%error, "the execution database failed");
        let reason = error.to_string();
        self.failure.get_or_init(|| StorageFailure { is_write: false, reason: reason.clone() });
        EngineError::Unavailable { reason }
    }

    /// How it has failed, if it has.
    pub(crate) fn failure(&self) -> Option<&StorageFailure> {
        self.failure.get()
    }

    /// Writes a batch that may be lost: only for a database that does not count before it is finished.
    pub(crate) fn write_unsynced(&self, batch: WriteBatch) -> Result<(), DbError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.inner.write_opt(batch, &options)?)
    }

    /// Rewrites the files without what is gone.
    pub(crate) fn compact(&self) -> Result<(), DbError> {
        for cf in Cf::ALL {
            self.inner.compact_range_cf(self.cf(cf)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    /// Brings everything that was written so far to disk.
    pub(crate) fn flush(&self) -> Result<(), DbError> {
        for cf in Cf::ALL {
            self.inner.flush_cf(self.cf(cf)?)?;
        }
        Ok(())
    }

    fn meta_u64(&self, key: &[u8]) -> Result<Option<u64>, DbError> {
        let Some(bytes) = self.get(Cf::Meta, key)? else { return Ok(None) };
        let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| DbError::Corrupt { what: "a number in meta" })?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    /// The genesis hash, if the database holds a chain.
    pub(crate) fn genesis(&self) -> Result<Option<B256>, DbError> {
        let Some(bytes) = self.get(Cf::Meta, GENESIS_KEY)? else { return Ok(None) };
        B256::try_from(bytes.as_slice()).map(Some).map_err(|_| DbError::Corrupt { what: "the genesis hash" })
    }

    /// Sets the genesis hash.
    pub(crate) fn put_genesis(&self, batch: &mut WriteBatch, hash: B256) -> Result<(), DbError> {
        batch.put_cf(self.cf(Cf::Meta)?, GENESIS_KEY, hash);
        Ok(())
    }

    /// The oldest canonical block whose state can be read.
    pub(crate) fn history_from(&self) -> Result<u64, DbError> {
        Ok(self.meta_u64(HISTORY_FROM_KEY)?.unwrap_or(0))
    }

    /// Sets the oldest canonical block whose state can be read.
    pub(crate) fn put_history_from(&self, batch: &mut WriteBatch, number: u64) -> Result<(), DbError> {
        batch.put_cf(self.cf(Cf::Meta)?, HISTORY_FROM_KEY, number.to_be_bytes());
        Ok(())
    }

    /// One of the heads.
    pub(crate) fn head(&self, head: Head) -> Result<Option<BlockRef>, DbError> {
        let Some(bytes) = self.get(Cf::Meta, head.key())? else { return Ok(None) };
        decode_block_ref(&bytes).map(Some)
    }

    /// Sets one of the heads.
    pub(crate) fn put_head(&self, batch: &mut WriteBatch, head: Head, block: BlockRef) -> Result<(), DbError> {
        let mut value = [0; 48];
        let (hash, rest) = value.split_at_mut(32);
        let (number, timestamp) = rest.split_at_mut(8);
        hash.copy_from_slice(block.hash.as_slice());
        number.copy_from_slice(&block.number.to_be_bytes());
        timestamp.copy_from_slice(&block.timestamp.to_be_bytes());
        batch.put_cf(self.cf(Cf::Meta)?, head.key(), value);
        Ok(())
    }
}

/// A head as stored.
pub(crate) fn decode_block_ref(bytes: &[u8]) -> Result<BlockRef, DbError> {
    let corrupt = DbError::Corrupt { what: "a head" };
    let Ok(bytes) = <&[u8; 48]>::try_from(bytes) else { return Err(corrupt) };
    let (hash, rest) = bytes.split_at(32);
    let (number, timestamp) = rest.split_at(8);
    match (<[u8; 8]>::try_from(number), <[u8; 8]>::try_from(timestamp)) {
        (Ok(number), Ok(timestamp)) => Ok(BlockRef {
            hash: B256::from_slice(hash),
            number: u64::from_be_bytes(number),
            timestamp: u64::from_be_bytes(timestamp),
        }),
        _ => Err(corrupt),
    }
}
