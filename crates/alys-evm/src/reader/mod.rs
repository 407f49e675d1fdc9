//! Questions about the chain, answered from database snapshots and the published heads.

mod call;
mod call_logs;
mod chain;
mod simulate;
mod simulate_plan;
mod state;
mod trace;
mod types;

pub use simulate::{SimulateError, Simulated, SimulatedCall};
pub use state::{StateAt, StateError};
pub use trace::{TraceLimits, Traced};
pub use types::{Account, CallOutcome, CallRequest, CallStatus, MinedReceipt, MinedTransaction, NextBlock, ReadError};

use crate::db::Db;
use crate::{ChainEvent, Forks, FullBlock, Heads};
use alloy_genesis::Genesis;
use alloy_primitives::{B256, Sealed};
use std::sync::{Arc, Weak};
use tokio::sync::{broadcast, watch};

/// What never changes while a chain is open.
#[derive(Debug)]
pub(crate) struct Chain {
    /// The genesis file.
    pub(crate) genesis: Genesis,
    /// Its hash.
    pub(crate) genesis_hash: B256,
    /// Its fork schedule.
    pub(crate) forks: Forks,
    /// How many blocks below the head can be asked for their state; all without.
    pub(crate) history_blocks: Option<u64>,
}

/// A cheap handle to read blocks, state and receipts, and to run calls. Every method reads one consistent snapshot.
///
/// Blocks are named by [`alloy_eips::BlockId`]: `latest` and `pending` mean the canonical head, `safe` and `finalized`
/// the published heads, `earliest` genesis.
#[derive(Clone, Debug)]
pub struct EvmReader {
    db: Arc<Db>,
    chain: Arc<Chain>,
    heads: watch::Receiver<Heads>,
    events: broadcast::Sender<ChainEvent>,
    bad_blocks: watch::Receiver<Vec<Arc<Sealed<FullBlock>>>>,
}

impl EvmReader {
    pub(crate) const fn new(
        db: Arc<Db>,
        chain: Arc<Chain>,
        heads: watch::Receiver<Heads>,
        events: broadcast::Sender<ChainEvent>,
        bad_blocks: watch::Receiver<Vec<Arc<Sealed<FullBlock>>>>,
    ) -> Self {
        Self { db, chain, heads, events, bad_blocks }
    }

    /// The newest blocks that execution found invalid since the start, newest first, at most ten.
    pub fn bad_blocks(&self) -> Vec<Arc<Sealed<FullBlock>>> {
        self.bad_blocks.borrow().clone()
    }

    /// What has no owner any more once the database is closed and its folder is free: when the executor and every reader are
    /// gone. It keeps nothing open itself.
    pub fn open_mark(&self) -> Weak<()> {
        self.db.open_mark()
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// The published heads.
    pub fn heads(&self) -> Heads {
        *self.heads.borrow()
    }

    /// Follows the published heads; only the newest value is kept.
    pub fn subscribe(&self) -> watch::Receiver<Heads> {
        self.heads.clone()
    }

    /// Follows changes of the canonical chain. A receiver that falls behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain.forks.chain_id()
    }

    /// The genesis file.
    pub fn genesis(&self) -> &Genesis {
        &self.chain.genesis
    }

    /// Hash of the genesis block.
    pub fn genesis_hash(&self) -> B256 {
        self.chain.genesis_hash
    }

    /// How many blocks below the head keep their state, as the operator chose; all of them without.
    pub fn history_blocks(&self) -> Option<u64> {
        self.chain.history_blocks
    }

    /// The fork schedule.
    pub fn forks(&self) -> &Forks {
        &self.chain.forks
    }
}
