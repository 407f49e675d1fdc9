//! The one writer: opens the database, executes, builds, and moves the head.

mod canonical;
mod import;
mod payload;
mod side;
mod work;

pub(crate) use payload::decode_payload;

use crate::db::{Db, DbConfig, DbError, Head, HeadState, StateDiff, StorageFailure};
use crate::execute::BlockTimings;
use crate::genesis::genesis_state;
use crate::reader::Chain;
use crate::source::TransactionSource;
use crate::trie::{TrieError, state_diff};
use crate::{BlockRef, ChainEvent, EvmReader, ForkError, Forks, FullBlock, GenesisError, Heads, genesis_header};
use alloy_consensus::{Block, BlockBody};
use alloy_eips::eip4895::Withdrawals;
use alloy_genesis::Genesis;
use alloy_primitives::{B256, Bytes, Sealed};
use alys_engine::{EngineError, EngineInfo};
use alys_primitives::Burns;
use rocksdb::WriteBatch;
use side::SideState;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};
use work::PayloadJob;
pub use work::SampleBlock;

/// Payloads being built that are remembered.
const MAX_JOBS: usize = 16;

/// Invalid blocks that are remembered, so that their descendants are refused without execution.
const MAX_INVALID: usize = 512;

/// The newest invalid blocks that are kept whole, to be looked at.
const MAX_BAD_BLOCKS: usize = 10;

/// Diffs of recent blocks kept in memory, so that a block that was just executed becomes canonical without reading.
const MAX_RECENT_DIFFS: usize = 8;

/// Events that a subscriber can fall behind before it is told that it missed some.
const EVENT_CAPACITY: usize = 256;

/// An operator's choices.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    /// RocksDB's memory and files.
    pub db: DbConfig,
    /// How many blocks below the head can be asked for their state; `None` keeps all (an archive). Blocks above the
    /// finalized one are never given up.
    pub history_blocks: Option<u64>,
    /// The most blocks between the canonical chain and a side block that is executed.
    pub max_side_blocks: usize,
    /// The gas limit that built blocks move towards.
    pub gas_limit: u64,
    /// What built blocks carry in `extraData`, at most 32 bytes.
    pub extra_data: Bytes,
    /// Blocks that are older than this are written without waiting for the disk: a power cut may take the newest of them
    /// back, so whoever drives the executor must be able to give them again. `None`: every write waits.
    pub unsynced_after: Option<Duration>,
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            db: DbConfig::default(),
            history_blocks: Some(8192),
            max_side_blocks: 1024,
            gas_limit: crate::DEFAULT_GAS_LIMIT,
            extra_data: Bytes::from_static(b"alys"),
            unsynced_after: None,
        }
    }
}

/// Why an executor can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The state of the genesis file can't be stored.
    #[error("genesis state: {0}")]
    State(String),
    /// The configuration.
    #[error("`extra_data` has {0} bytes, at most 32 are allowed")]
    ExtraData(usize),
}

impl ExecutorError {
    /// True if bytes on disk are damaged: the node must resync or be restored, a restart alone does not help.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Db(DbError::Corrupt { .. }) | Self::State(_) => true,
            Self::Db(DbError::Rocks(error)) => error.kind() == rocksdb::ErrorKind::Corruption,
            Self::Db(DbError::Newer { .. } | DbError::OtherGenesis { .. } | DbError::Stopped)
            | Self::Genesis(_)
            | Self::ExtraData(_) => false,
        }
    }
}

impl From<ForkError> for ExecutorError {
    fn from(error: ForkError) -> Self {
        Self::Genesis(error.into())
    }
}

impl From<TrieError> for ExecutorError {
    fn from(error: TrieError) -> Self {
        match error {
            TrieError::Db(error) => Self::Db(error),
            error @ (TrieError::Missing { .. } | TrieError::Damaged { .. }) => Self::State(error.to_string()),
        }
    }
}

/// Owns the database. Every method returns only after what it promises is on disk, but for old blocks
/// ([`ExecutorConfig::unsynced_after`]).
pub struct Executor {
    db: Arc<Db>,
    chain: Arc<Chain>,
    config: ExecutorConfig,
    source: Box<dyn TransactionSource>,
    heads: watch::Sender<Heads>,
    events: broadcast::Sender<ChainEvent>,
    recent_diffs: VecDeque<(B256, Arc<StateDiff>)>,
    side: Option<SideState>,
    jobs: VecDeque<PayloadJob>,
    invalid: VecDeque<InvalidBlock>,
    bad_blocks: watch::Sender<Vec<Arc<Sealed<FullBlock>>>>,
    timings: BlockTimings,
}

/// A block that was found invalid, or that descends from one.
#[derive(Clone, Debug)]
struct InvalidBlock {
    hash: B256,
    latest_valid: Option<B256>,
    reason: String,
}

impl Executor {
    /// Opens the database in `path`, or creates it with the genesis block.
    ///
    /// # Errors
    /// [`ExecutorError`]; [`DbError::OtherGenesis`] if the database belongs to another chain.
    pub fn open(
        path: &Path,
        genesis: Genesis,
        config: ExecutorConfig,
        source: Box<dyn TransactionSource>,
    ) -> Result<Self, ExecutorError> {
        if config.extra_data.len() > 32 {
            return Err(ExecutorError::ExtraData(config.extra_data.len()));
        }
        let forks = Forks::new(&genesis.config)?;
        let (genesis_hash, genesis_block) = genesis_block(&genesis)?;
        let db = Db::open(path, config.db)?;
        match db.genesis()? {
            Some(found) if found != genesis_hash => {
                return Err(DbError::OtherGenesis { found, expected: genesis_hash }.into());
            }
            Some(_) => {}
            None => write_genesis(&db, &genesis, &genesis_block, genesis_hash)?,
        }
        let head = |head| db.head(head).and_then(|found| found.ok_or(DbError::Corrupt { what: "a head" }));
        let heads = Heads { latest: head(Head::Latest)?, safe: head(Head::Safe)?, finalized: head(Head::Finalized)? };
        Ok(Self {
            db: Arc::new(db),
            chain: Arc::new(Chain { genesis, genesis_hash, forks, history_blocks: config.history_blocks }),
            config,
            source,
            heads: watch::Sender::new(heads),
            events: broadcast::Sender::new(EVENT_CAPACITY),
            recent_diffs: VecDeque::new(),
            side: None,
            jobs: VecDeque::new(),
            invalid: VecDeque::new(),
            bad_blocks: watch::Sender::new(Vec::new()),
            timings: BlockTimings::default(),
        })
    }

    /// A handle for readers.
    pub fn reader(&self) -> EvmReader {
        let (heads, bad_blocks) = (self.heads.subscribe(), self.bad_blocks.subscribe());
        EvmReader::new(self.db.clone(), self.chain.clone(), heads, self.events.clone(), bad_blocks)
    }

    /// Sets where built blocks get their transactions from.
    pub fn set_source(&mut self, source: Box<dyn TransactionSource>) {
        self.source = source;
    }

    /// Where the time of the last payload went that was executed and found valid.
    pub const fn last_timings(&self) -> BlockTimings {
        self.timings
    }

    /// Chain id, genesis and head.
    pub fn info(&self) -> EngineInfo {
        let head = self.head();
        EngineInfo {
            chain_id: self.chain.forks.chain_id(),
            genesis_hash: self.chain.genesis_hash,
            head: head.hash,
            head_number: head.number,
            client: concat!("alys-evm/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The fees of an executed block.
    ///
    /// # Errors
    /// [`EngineError::UnknownBlock`], or [`EngineError::Unavailable`] if the database fails.
    pub fn block_fees(&self, block_hash: B256) -> Result<alys_engine::BlockFees, EngineError> {
        let outcome = self.db.outcome(block_hash).map_err(|error| self.db.failed(error))?;
        outcome
            .map(|outcome| alys_engine::BlockFees { total: outcome.fees })
            .ok_or(EngineError::UnknownBlock { hash: block_hash })
    }

    /// What an executed block burned for bitcoin.
    ///
    /// # Errors
    /// [`EngineError::UnknownBlock`], [`EngineError::Unavailable`] if the database fails, [`EngineError::Broken`] if the
    /// bridge contract logged what its code can't.
    pub fn block_burns(&self, block_hash: B256) -> Result<Burns, EngineError> {
        let receipts = self.db.receipts(block_hash).map_err(|error| self.db.failed(error))?;
        let receipts = receipts.ok_or(EngineError::UnknownBlock { hash: block_hash })?;
        // Every log has its place, whatever logged it.
        let logs = (0u64..).zip(receipts.iter().flat_map(|receipt| receipt.logs()));
        let logs = logs.map(|(index, log)| alys_engine::Log {
            index,
            address: log.address,
            topics: log.data.topics(),
            data: &log.data.data,
        });
        alys_engine::burns(logs).map_err(|error| EngineError::Broken { reason: error.to_string() })
    }

    /// Whether a write that is about a block of this time waits for the disk.
    fn is_synced(&self, timestamp: u64) -> bool {
        let Some(age) = self.config.unsynced_after else { return true };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(timestamp)) <= age
    }

    fn head(&self) -> BlockRef {
        self.heads.borrow().latest
    }

    /// How the database has failed, if it has: the process must restart.
    pub fn storage_failure(&self) -> Option<&StorageFailure> {
        self.db.failure()
    }

    fn diff(&self, hash: B256) -> Result<Arc<StateDiff>, DbError> {
        if let Some((_, diff)) = self.recent_diffs.iter().find(|(of, _)| *of == hash) {
            return Ok(diff.clone());
        }
        self.db.diff(hash)?.map(Arc::new).ok_or(DbError::Corrupt { what: "a block's state diff" })
    }

    fn remember_diff(&mut self, hash: B256, diff: StateDiff) {
        if self.recent_diffs.len() >= MAX_RECENT_DIFFS {
            self.recent_diffs.pop_front();
        }
        self.recent_diffs.push_back((hash, Arc::new(diff)));
    }

    fn known_invalid(&self, hash: B256) -> Option<&InvalidBlock> {
        self.invalid.iter().find(|block| block.hash == hash)
    }

    fn remember_invalid(&mut self, block: InvalidBlock) {
        if self.invalid.len() >= MAX_INVALID {
            self.invalid.pop_front();
        }
        self.invalid.push_back(block);
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("head", &self.head()).finish_non_exhaustive()
    }
}

/// A failure to execute says nothing about blocks.
fn unavailable(error: impl std::fmt::Display) -> EngineError {
    tracing::error!(%error, "execution failed");
    EngineError::Unavailable { reason: error.to_string() }
}

/// The genesis block with its hash.
pub(crate) fn genesis_block(genesis: &Genesis) -> Result<(B256, FullBlock), ExecutorError> {
    let header = genesis_header(genesis)?;
    let hash = header.hash_slow();
    let withdrawals = header.withdrawals_root.map(|_| Withdrawals::default());
    Ok((hash, Block { header, body: BlockBody { transactions: Vec::new(), ommers: Vec::new(), withdrawals } }))
}

fn write_genesis(db: &Db, genesis: &Genesis, block: &FullBlock, hash: B256) -> Result<(), ExecutorError> {
    let (update, codes) = genesis_state(genesis);
    let (root, diff) = state_diff(&HeadState(db), &update)?;
    let header = &block.header;
    if root != header.state_root {
        return Err(ExecutorError::State(format!("root is {root}, the header has {}", header.state_root)));
    }
    let block_ref = BlockRef { hash, number: header.number, timestamp: header.timestamp };
    let mut batch = WriteBatch::default();
    for (table, key, change) in diff.iter() {
        if let Some(value) = &change.new {
            batch.put_cf(db.cf(crate::db::Cf::State(table))?, key, value);
        }
    }
    import::put_codes(db, &mut batch, codes)?;
    db.put_block(&mut batch, hash, block, &[], &crate::db::Outcome::default())?;
    db.put_canonical(&mut batch, block_ref, std::iter::empty())?;
    db.put_genesis(&mut batch, hash)?;
    db.put_history_from(&mut batch, block_ref.number)?;
    for head in [Head::Latest, Head::Safe, Head::Finalized] {
        db.put_head(&mut batch, head, block_ref)?;
    }
    Ok(db.write(batch)?)
}
