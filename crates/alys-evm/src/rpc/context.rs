//! What the methods answer from.

use super::error::RpcError;
use super::filters::{FilterHandle, FilterTask};
use crate::pool::PoolHandle;
use crate::{EvmReader, TraceLimits};
use alloy_primitives::B256;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Limits of the methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// What `web3_clientVersion` answers.
    pub client_version: String,
    /// The most gas that one call may use.
    pub gas_cap: u64,
    /// How long an estimate, an access list or a log search goes on; one execution more may be under way then.
    pub max_time: Duration,
    /// The most calls, estimates and access lists at once.
    pub max_heavy: usize,
    /// The most traces, simulations and log searches at once.
    pub max_slow: usize,
    /// The most other reads at once.
    pub max_light: usize,
    /// The most blocks that one log search covers.
    pub max_log_blocks: u64,
    /// The most logs that one answer holds.
    pub max_logs: usize,
    /// The most blocks of one fee history.
    pub max_fee_history: u64,
    /// The most storage slots of one proof.
    pub max_proof_slots: usize,
    /// The most filters.
    pub max_filters: usize,
    /// Seconds after which a filter that nobody asks for is forgotten.
    pub filter_lifetime: u64,
    /// Wei of priority fee per gas that are suggested while blocks show none.
    pub default_tip: u128,
    /// The highest priority fee that is suggested, in wei.
    pub max_tip: u128,
    /// What one trace may cost.
    pub trace: TraceLimits,
}

impl RpcConfig {
    /// The defaults, with the name and version of the client.
    pub fn new(client_version: String) -> Self {
        Self {
            client_version,
            gas_cap: 50_000_000,
            max_time: Duration::from_secs(5),
            max_heavy: 8,
            max_slow: 4,
            max_light: 64,
            max_log_blocks: 100_000,
            max_logs: 10_000,
            max_fee_history: 1_024,
            max_proof_slots: 1_024,
            max_filters: 256,
            filter_lifetime: 300,
            default_tip: 1_000_000,
            max_tip: 500_000_000_000,
            trace: TraceLimits::default(),
        }
    }
}

/// How far a node that is behind has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syncing {
    /// The head when it began.
    pub starting: u64,
    /// The highest block that is known of.
    pub highest: u64,
}

/// What the methods tell of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStatus {
    /// Whether other nodes can connect.
    pub listening: bool,
    /// Connected nodes.
    pub peers: u64,
    /// Set while the node is behind.
    pub syncing: Option<Syncing>,
    /// Whether it has not heard enough of the network yet to know that.
    pub waiting: bool,
}

impl NetStatus {
    /// Why no transactions of users are taken now. Judged by an old state, a nonce that was used long ago looks right; nobody
    /// would ever mine it.
    pub fn takes_no_transactions(&self) -> Option<String> {
        match self.syncing {
            Some(Syncing { highest, .. }) => Some(format!(
                "the node is catching up with block {highest}: send the transaction when eth_syncing is false"
            )),
            None if self.waiting => Some(
                "too few peers yet to know whether the node is behind: send the transaction when some are connected"
                    .to_owned(),
            ),
            None => None,
        }
    }
}

/// Everything that `eth_*`, `net_*`, `web3_*` and `txpool_*` need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EthRpc {
    pub(super) reader: EvmReader,
    pub(super) pool: PoolHandle,
    pub(super) config: Arc<RpcConfig>,
    pub(super) net: watch::Receiver<NetStatus>,
    pub(super) filters: FilterHandle,
    /// The suggested priority fee and the head that it was computed at.
    pub(super) tip: Arc<watch::Sender<(B256, u128)>>,
    light: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

/// When work that consists of several steps is given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    began: Instant,
    limit: Duration,
}

impl TimeLimit {
    /// Asked between two steps.
    ///
    /// # Errors
    /// The time is over, in geth's words.
    pub(super) fn check(&self) -> Result<(), RpcError> {
        if self.began.elapsed() < self.limit {
            return Ok(());
        }
        Err(RpcError::Failed(format!("execution aborted (timeout = {}s)", self.limit.as_secs())))
    }
}

impl EthRpc {
    /// The methods' context, and the task that keeps filters, to be run by a supervisor.
    pub fn new(
        reader: EvmReader,
        pool: PoolHandle,
        config: RpcConfig,
        net: watch::Receiver<NetStatus>,
    ) -> (Self, FilterTask) {
        let (filters, task) = FilterHandle::new(&config, reader.clone(), pool.clone());
        let light = Arc::new(Semaphore::new(config.max_light.max(1)));
        let heavy = Arc::new(Semaphore::new(config.max_heavy.max(1)));
        let slow = Arc::new(Semaphore::new(config.max_slow.max(1)));
        let (tip, _) = watch::channel((B256::ZERO, config.default_tip));
        let rpc = Self { reader, pool, config: Arc::new(config), net, filters, tip: Arc::new(tip), light, heavy, slow };
        (rpc, task)
    }

    /// The time that work of several steps has from now on.
    pub(super) fn time_limit(&self) -> TimeLimit {
        TimeLimit { began: Instant::now(), limit: self.config.max_time }
    }

    /// Reads on a thread that may block.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.on_thread(&self.light, work).await
    }

    /// Reads one value where it stands: a handful of lookups in the database cost less than the way to another thread.
    pub(super) async fn look<R>(&self, work: impl FnOnce(&Self) -> Result<R, RpcError>) -> Result<R, RpcError> {
        // Lets other tasks of the thread run between the calls of one client that never waits.
        tokio::task::coop::consume_budget().await;
        work(self)
    }

    /// Executes on a thread that may block; fewer at once than [`read`](Self::read).
    pub(super) async fn compute<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.on_thread(&self.heavy, work).await
    }

    /// Does what may take many seconds on a thread that may block, so few at once that calls find room beside it.
    pub(super) async fn labour<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        self.on_thread(&self.slow, work).await
    }

    async fn on_thread<R: Send + 'static>(
        &self,
        room: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let gone = |_| RpcError::Internal("the node is stopping".to_owned());
        let permit = room.clone().acquire_owned().await.map_err(gone)?;
        let rpc = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: an asker that goes away does not make room while it still runs.
            let _permit = permit;
            work(&rpc)
        });
        done.await.map_err(|error| RpcError::Internal(format!("the call did not end: {error}")))?
    }
}
