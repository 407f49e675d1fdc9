//! Filters that are asked for what is new: kept by one task, which hands out what came since the last question.

use super::args::Args;
use super::blocks::RpcTransaction;
use super::error::RpcError;
use super::{EthRpc, RpcConfig, logs};
use crate::pool::{PoolHandle, PooledTransaction};
use crate::{ChainEvent, EvmReader};
use alloy_consensus::transaction::{Recovered, TransactionInfo};
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, Log, Transaction};
use serde::Serialize;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

/// Requests that wait for the task at most.
const QUEUE: usize = 256;

/// What a filter watches.
#[derive(Clone, Debug)]
enum Kind {
    Blocks,
    Logs(Arc<Filter>),
    Pending { full: bool },
}

/// What happened since a filter was last asked.
enum News {
    Blocks(Vec<ChainEvent>),
    Logs(Arc<Filter>, Vec<ChainEvent>),
    Pending(Vec<Arc<PooledTransaction>>, bool),
}

enum Request {
    Install { kind: Kind, reply: oneshot::Sender<Result<String, RpcError>> },
    Uninstall { id: String, reply: oneshot::Sender<bool> },
    News { id: String, reply: oneshot::Sender<Option<News>> },
    Criteria { id: String, reply: oneshot::Sender<Option<Kind>> },
}

/// Talks to the task that keeps the filters.
#[derive(Clone, Debug)]
pub(super) struct FilterHandle(mpsc::Sender<Request>);

impl FilterHandle {
    pub(super) fn new(config: &RpcConfig, reader: EvmReader, pool: PoolHandle) -> (Self, FilterTask) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let task = FilterTask {
            requests,
            reader,
            pool,
            max_filters: config.max_filters,
            lifetime: Duration::from_secs(config.filter_lifetime),
            filters: HashMap::new(),
        };
        (Self(sender), task)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, RpcError> {
        let gone = || RpcError::Internal("filters are not available".to_owned());
        let (reply, answer) = oneshot::channel();
        self.0.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[derive(Debug)]
struct Watch {
    kind: Kind,
    chain: Option<broadcast::Receiver<ChainEvent>>,
    pending: Option<broadcast::Receiver<Arc<PooledTransaction>>>,
    asked: Instant,
}

impl Watch {
    /// `None` if so much happened that some of it is lost.
    fn news(&mut self) -> Option<News> {
        let mut changes = Vec::new();
        if let Some(chain) = &mut self.chain {
            loop {
                match chain.try_recv() {
                    Ok(change) => changes.push(change),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    Err(TryRecvError::Lagged(_)) => return None,
                }
            }
        }
        let mut transactions = Vec::new();
        if let Some(pending) = &mut self.pending {
            loop {
                match pending.try_recv() {
                    Ok(transaction) => transactions.push(transaction),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    // Announcements are a courtesy; the newest ones are still there.
                    Err(TryRecvError::Lagged(_)) => {}
                }
            }
        }
        Some(match &self.kind {
            Kind::Blocks => News::Blocks(changes),
            Kind::Logs(filter) => News::Logs(filter.clone(), changes),
            Kind::Pending { full } => News::Pending(transactions, *full),
        })
    }
}

/// Owns the filters; to be run by a supervisor.
#[derive(Debug)]
pub struct FilterTask {
    requests: mpsc::Receiver<Request>,
    reader: EvmReader,
    pool: PoolHandle,
    max_filters: usize,
    lifetime: Duration,
    filters: HashMap<String, Watch>,
}

impl FilterTask {
    /// Serves until `stop` completes or every [`EthRpc`] is gone.
    ///
    /// # Cancel safety
    /// Filters are gone with the task; clients install new ones.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        let mut sweep = tokio::time::interval(self.lifetime.max(Duration::from_secs(1)));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request),
                    None => return,
                },
                _ = sweep.tick() => self.forget_old(),
            }
        }
    }

    fn forget_old(&mut self) {
        let lifetime = self.lifetime;
        self.filters.retain(|_, watch| watch.asked.elapsed() < lifetime);
    }

    fn serve(&mut self, request: Request) {
        // A failed send means that nobody waits any more.
        match request {
            Request::Install { kind, reply } => drop(reply.send(self.install(kind))),
            Request::Uninstall { id, reply } => drop(reply.send(self.filters.remove(&id).is_some())),
            Request::News { id, reply } => {
                self.forget_old();
                let news = self.filters.get_mut(&id).and_then(|watch| {
                    watch.asked = Instant::now();
                    watch.news()
                });
                if news.is_none() {
                    self.filters.remove(&id);
                }
                drop(reply.send(news));
            }
            Request::Criteria { id, reply } => {
                self.forget_old();
                let kind = self.filters.get_mut(&id).map(|watch| {
                    watch.asked = Instant::now();
                    watch.kind.clone()
                });
                drop(reply.send(kind));
            }
        }
    }

    fn install(&mut self, kind: Kind) -> Result<String, RpcError> {
        self.forget_old();
        if self.filters.len() >= self.max_filters {
            let limit = self.max_filters;
            return Err(RpcError::Limit(format!("too many filters: {limit} are installed, uninstall some")));
        }
        let (chain, pending) = match &kind {
            Kind::Blocks | Kind::Logs(_) => (Some(self.reader.events()), None),
            Kind::Pending { .. } => (None, Some(self.pool.subscribe()?)),
        };
        let id = random_id();
        self.filters.insert(id.clone(), Watch { kind, chain, pending, asked: Instant::now() });
        Ok(id)
    }
}

/// An id that strangers do not guess, as a hexadecimal number.
pub(super) fn random_id() -> String {
    // The standard library seeds every state with the system's randomness.
    let half = |salt: u8| RandomState::new().hash_one(salt);
    format!("0x{:016x}{:016x}", half(0), half(1))
}

pub(super) async fn new_filter(rpc: Arc<EthRpc>, args: Args) -> Result<String, RpcError> {
    let filter = Arc::new(logs::filter(&args.at_most(1)?, 0)?);
    rpc.filters.ask(|reply| Request::Install { kind: Kind::Logs(filter), reply }).await?
}

pub(super) async fn new_block_filter(rpc: Arc<EthRpc>, args: Args) -> Result<String, RpcError> {
    args.at_most(0)?;
    rpc.filters.ask(|reply| Request::Install { kind: Kind::Blocks, reply }).await?
}

pub(super) async fn new_pending_filter(rpc: Arc<EthRpc>, args: Args) -> Result<String, RpcError> {
    let full = args.at_most(1)?.optional(0, "full")?.unwrap_or(false);
    rpc.filters.ask(|reply| Request::Install { kind: Kind::Pending { full }, reply }).await?
}

pub(super) async fn uninstall(rpc: Arc<EthRpc>, args: Args) -> Result<bool, RpcError> {
    let id = args.at_most(1)?.required(0, "filter")?;
    rpc.filters.ask(|reply| Request::Uninstall { id, reply }).await
}

/// What a filter answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FilterAnswer {
    Hashes(Vec<B256>),
    Logs(Vec<Log>),
    Transactions(Vec<RpcTransaction>),
}

pub(super) async fn changes(rpc: Arc<EthRpc>, args: Args) -> Result<FilterAnswer, RpcError> {
    let id = args.at_most(1)?.required(0, "filter")?;
    match rpc.filters.ask(|reply| Request::News { id, reply }).await?.ok_or_else(unknown)? {
        News::Blocks(changes) => {
            let hashes = changes.iter().flat_map(|change| change.added().iter().map(|block| block.hash));
            Ok(FilterAnswer::Hashes(hashes.collect()))
        }
        News::Logs(filter, changes) => {
            rpc.compute(move |rpc| logs::of_changes(rpc, &filter, &changes)).await.map(FilterAnswer::Logs)
        }
        News::Pending(transactions, false) => {
            Ok(FilterAnswer::Hashes(transactions.iter().map(|transaction| transaction.hash()).collect()))
        }
        News::Pending(transactions, true) => Ok(FilterAnswer::Transactions(
            transactions.iter().map(|transaction| describe_pending(transaction)).collect(),
        )),
    }
}

pub(super) async fn filter_logs(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<Log>, RpcError> {
    let id = args.at_most(1)?.required(0, "filter")?;
    match rpc.filters.ask(|reply| Request::Criteria { id, reply }).await? {
        Some(Kind::Logs(filter)) => rpc.labour(move |rpc| logs::search(rpc, &filter)).await,
        Some(Kind::Blocks | Kind::Pending { .. }) | None => Err(unknown()),
    }
}

fn unknown() -> RpcError {
    RpcError::Failed("filter not found".to_owned())
}

/// A transaction of the pool as JSON-RPC shows it.
pub(super) fn describe_pending(transaction: &PooledTransaction) -> RpcTransaction {
    Transaction::from_transaction(Recovered::clone(transaction.recovered()), TransactionInfo::default())
}
