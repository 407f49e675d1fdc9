//! The column families and how RocksDB is set up.

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};
use std::fmt;

/// A column family. Every value is sealed with a checksum over column, key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Schema version, genesis root, pointers, state root (RocksDB's default column family).
    Meta,
    /// Block root → height, fees, block in SSZ.
    Blocks,
    /// Height and block root → nothing; every block, side branches included.
    BlocksByHeight,
    /// Height → block root, for the head's chain.
    Canonical,
    /// Block root → notarization in SSZ.
    Certificates,
    /// Bundle root → queue number, AuxPoW record in SSZ.
    AuxPowQueue,
    /// First height → bundle root, carrier, range.
    Bundles,
    /// Name → checkpoint of the chain, by the codec.
    Checkpoints,
    /// Commit number → state root after it. The newest [`LOG_KEPT`](crate::LOG_KEPT) ones.
    Log,
    /// Actor and number of inputs → checkpoint after them.
    ActorCheckpoints,
    /// Actor and number → input.
    ActorJournal,
    /// Block root → what the block burned for bitcoin, in SSZ; nothing for a block that burned nothing.
    Burns,
    /// Kind and offence → what waits for an author in SSZ: a proof of equivocation; a change of the federation.
    Waiting,
    /// First height → record of a final bundle in SSZ, for bundles that were learned before their blocks.
    LightRecords,
}

impl Column {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Meta,
        Self::Blocks,
        Self::BlocksByHeight,
        Self::Canonical,
        Self::Certificates,
        Self::AuxPowQueue,
        Self::Bundles,
        Self::Checkpoints,
        Self::Log,
        Self::ActorCheckpoints,
        Self::ActorJournal,
        Self::Burns,
        Self::Waiting,
        Self::LightRecords,
    ];

    /// RocksDB's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            Self::Blocks => "blocks",
            Self::BlocksByHeight => "blocks_by_height",
            Self::Canonical => "canonical",
            Self::Certificates => "certificates",
            Self::AuxPowQueue => "auxpow_queue",
            Self::Bundles => "bundles",
            Self::Checkpoints => "checkpoints",
            Self::Log => "log",
            Self::ActorCheckpoints => "actor_checkpoints",
            Self::ActorJournal => "actor_journal",
            Self::Burns => "burns",
            Self::Waiting => "waiting",
            Self::LightRecords => "light_records",
        }
    }

    /// Part of every checksum, so that a record of one column is never taken for one of another. Never reused.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Meta => 0,
            Self::Blocks => 1,
            Self::BlocksByHeight => 2,
            Self::Canonical => 3,
            Self::Certificates => 4,
            Self::AuxPowQueue => 5,
            Self::Bundles => 6,
            Self::Checkpoints => 7,
            Self::Log => 8,
            Self::ActorCheckpoints => 9,
            Self::ActorJournal => 10,
            Self::Burns => 11,
            Self::Waiting => 12,
            Self::LightRecords => 13,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Blocks
            | Self::BlocksByHeight
            | Self::Canonical
            | Self::Certificates
            | Self::AuxPowQueue
            | Self::Bundles
            | Self::Checkpoints
            | Self::Log
            | Self::ActorCheckpoints
            | Self::ActorJournal
            | Self::Burns
            | Self::Waiting
            | Self::LightRecords => self.name(),
        })
    }
}

/// Memory and file limits of the database: an operator's choice. The defaults suit a node with little memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Bytes of the block cache, indexes and filters included.
    pub cache_bytes: usize,
    /// Bytes of all write buffers together.
    pub write_buffer_bytes: usize,
    /// Bytes of write-ahead log after which buffers are flushed; bounds the time of recovery.
    pub log_bytes: u64,
    /// Most files held open.
    pub open_files: i32,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            write_buffer_bytes: 16 << 20,
            log_bytes: 32 << 20,
            open_files: 256,
            background_jobs: 2,
        }
    }
}

/// Options of the database as a whole.
pub(crate) fn database_options(config: &StoreConfig, is_fresh: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(is_fresh);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // Recovery stops at the first damaged entry of the log, which is right for the torn end that a power cut leaves.
    // Whether something acknowledged lay behind it is checked at open against the mark and the commit numbers.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    // All columns flush together: if the manifest loses its end, whole commits are missing, which their numbers show.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(config.log_bytes);
    options.set_db_write_buffer_size(config.write_buffer_bytes);
    options.set_max_open_files(config.open_files);
    options.set_max_background_jobs(config.background_jobs);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Options of every column family, with one cache among them.
pub(crate) fn descriptors<'a>(
    config: &StoreConfig,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(config.cache_bytes);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    // Checksums of blocks cover their position from this version on, so that a misplaced block is noticed.
    table.set_format_version(6);
    let describe = |name: &str| {
        let mut options = Options::default();
        options.set_write_buffer_size(4 << 20);
        options.set_arena_block_size(64 << 10);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_block_based_table_factory(&table);
        ColumnFamilyDescriptor::new(name, options)
    };
    names.into_iter().map(describe).collect()
}
