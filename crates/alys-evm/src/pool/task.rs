//! The task that owns the pool: takes requests in groups, makes a group durable with one sync, then answers.

use super::journal::{JournalEntry, JournalError, TransactionJournal};
use super::{
    ChainUnavailable, Changes, Pool, PoolChain, PoolConfig, PoolError, PoolHandle, PoolView, PooledTransaction,
};
use alloy_primitives::{B256, Bytes};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// The most requests that share one sync.
const MAX_BATCH: usize = 256;

/// The longest that a group waits for the senders that were answered with the group before.
const MAX_GATHERING: Duration = Duration::from_micros(200);

/// Pause between two looks for them.
const GATHERING_STEP: Duration = Duration::from_micros(20);

/// How often the pool is rebuilt after a panic before the task gives up.
const MAX_REBUILDS: u32 = 8;

pub(super) enum Request {
    Submit { transaction: Arc<PooledTransaction>, reply: oneshot::Sender<Result<B256, PoolError>> },
    Get { hash: B256, reply: oneshot::Sender<Option<(Arc<PooledTransaction>, bool)>> },
    Discard { hash: B256 },
}

/// Why the pool does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum PoolTaskError {
    /// Transactions can't be kept any more; nothing was acknowledged since.
    #[error("transactions can't be kept")]
    Journal(#[from] JournalError),
    /// The chain can't be read.
    #[error("transactions can't be checked")]
    Chain(#[from] ChainUnavailable),
    /// The pool panicked again and again.
    #[error("the transaction pool panicked {count} times")]
    Panicked {
        /// How often.
        count: u32,
    },
}

/// Owns the pool; to be run by a supervisor.
pub struct PoolTask {
    owner: Owner,
    requests: mpsc::Receiver<Request>,
}

impl PoolTask {
    /// Loads what the journal kept and checks it against the chain. Reads from disk.
    ///
    /// # Errors
    /// The journal or the chain can't be read.
    pub fn open(
        config: PoolConfig,
        chain: Arc<dyn PoolChain>,
        journal: impl TransactionJournal,
    ) -> Result<(PoolHandle, Self), PoolTaskError> {
        let (requests, inbox) = mpsc::channel(config.max_requests.max(1));
        let (view, viewed) = watch::channel(Arc::new(PoolView::default()));
        let (announce, _) = broadcast::channel(config.max_announcements.max(1));
        let handle = PoolHandle { chain_id: config.chain_id, requests, view: viewed, announced: announce.downgrade() };
        let pool = Pool::new(config, chain.head()?);
        let last = Group::default();
        let mut owner = Owner { config, pool, chain, journal: Box::new(journal), view, announce, last };
        owner.rebuild()?;
        Ok((handle, Self { owner, requests: inbox }))
    }

    /// Serves until `stop` completes, `heads` closes, or the journal fails. `heads` tells of every change of head, safe
    /// and finalized; its values are not read.
    ///
    /// # Errors
    /// The journal failed, or the pool panicked too often.
    ///
    /// # Cancel safety
    /// What was acknowledged is in the journal; the pool is rebuilt from it when it is opened again.
    pub async fn run<H>(
        self,
        mut heads: watch::Receiver<H>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), PoolTaskError> {
        let Self { mut owner, mut requests } = self;
        let mut panics = 0;
        tokio::pin!(stop);
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                changed = heads.changed() => if changed.is_err() { return Ok(()) },
                count = requests.recv_many(&mut batch, MAX_BATCH) => if count == 0 { return Ok(()) },
            }
            let work = tokio::task::spawn_blocking(move || {
                owner.last.gather(&mut batch, &mut requests);
                let outcome = catch_unwind(AssertUnwindSafe(|| owner.serve(batch)));
                let outcome = match outcome {
                    Ok(outcome) => outcome.map(|()| false),
                    // What the panic left in memory can't be trusted; the journal can.
                    Err(_) => owner.rebuild().map(|()| true),
                };
                (owner, requests, outcome)
            });
            // Blocking work is only cancelled when the runtime goes down.
            let Ok(returned) = work.await else { return Ok(()) };
            let outcome;
            (owner, requests, outcome) = returned;
            if outcome? {
                panics += 1;
                tracing::error!(panics, "transaction pool panicked and was rebuilt from its journal");
                if panics > MAX_REBUILDS {
                    return Err(PoolTaskError::Panicked { count: panics });
                }
            }
        }
    }
}

/// Transactions that shared a sync.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    /// How many were taken.
    pub(super) taken: usize,
    /// How long the journal took.
    pub(super) synced: Duration,
}

impl Group {
    /// Adds requests to the next group until it has as many as this one, for a quarter of the time that a sync takes.
    ///
    /// Who sends one transaction after another sends the next one just after the answer. The first of several such senders
    /// would have a sync to itself, for which all the others wait before they get theirs.
    pub(super) fn gather(self, batch: &mut Vec<Request>, requests: &mut mpsc::Receiver<Request>) {
        if self.taken < 2 || !batch.iter().any(|request| matches!(request, Request::Submit { .. })) {
            return;
        }
        let (began, limit) = (Instant::now(), MAX_GATHERING.min(self.synced / 4));
        while batch.len() < self.taken.min(MAX_BATCH) {
            match requests.try_recv() {
                Ok(request) => batch.push(request),
                Err(mpsc::error::TryRecvError::Empty) if began.elapsed() < limit => {
                    std::thread::sleep(GATHERING_STEP);
                }
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// Everything that lives on the blocking side.
struct Owner {
    config: PoolConfig,
    pool: Pool,
    chain: Arc<dyn PoolChain>,
    journal: Box<dyn TransactionJournal>,
    view: watch::Sender<Arc<PoolView>>,
    announce: broadcast::Sender<Arc<PooledTransaction>>,
    /// The last group with a transaction in it.
    last: Group,
}

impl Owner {
    /// Builds the pool from the journal. Transactions whose nonce is used in a final block, or that the rules forbid
    /// now, are forgotten.
    fn rebuild(&mut self) -> Result<(), PoolTaskError> {
        let head = self.chain.head()?;
        let mut pool = Pool::new(self.config, head);
        let mut gone = Vec::new();
        for entry in self.journal.load()? {
            let transaction = match PooledTransaction::decode(entry.raw, self.config.chain_id) {
                Ok(transaction) => Arc::new(transaction),
                Err(error) => {
                    tracing::warn!(hash = %entry.hash, %error, "journalled transaction is not valid here");
                    gone.push(entry.hash);
                    continue;
                }
            };
            let settled = match self.chain.account(head.finalized_hash, transaction.sender()) {
                Ok(account) => transaction.nonce() < account.nonce,
                // Without that state it is kept a while longer.
                Err(_) => false,
            };
            if settled {
                gone.push(entry.hash);
                continue;
            }
            match pool.restore(transaction, &*self.chain) {
                Ok(changes) => gone.extend(changes.gone),
                Err(PoolError::Unavailable { reason }) => return Err(ChainUnavailable { reason }.into()),
                Err(error) => {
                    tracing::warn!(hash = %entry.hash, %error, "journalled transaction is not valid here");
                    gone.push(entry.hash);
                }
            }
        }
        if !gone.is_empty() {
            self.journal.remove(&gone)?;
        }
        self.pool = pool;
        self.publish();
        tracing::info!(transactions = self.pool.len(), forgotten = gone.len(), "transaction pool opened");
        Ok(())
    }

    fn serve(&mut self, batch: Vec<Request>) -> Result<(), PoolTaskError> {
        let mut changes = match self.follow() {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "transaction pool could not follow the chain; it tries again");
                Changes::default()
            }
        };
        let mut entries = Vec::new();
        let mut taken = Vec::new();
        let mut asked = Vec::new();
        for request in batch {
            match request {
                Request::Submit { transaction, reply } => {
                    let hash = transaction.hash();
                    let raw = transaction.raw().clone();
                    match self.pool.add(transaction, &*self.chain) {
                        Ok(more) => {
                            more.merge_into(&mut changes);
                            entries.push(JournalEntry { hash, raw });
                            taken.push((reply, hash));
                        }
                        Err(error) => answer(reply, Err(error)),
                    }
                }
                Request::Discard { hash } => self.pool.discard(hash).merge_into(&mut changes),
                Request::Get { hash, reply } => asked.push((hash, reply)),
            }
        }
        if let Err(error) = self.keep(&entries, &changes) {
            for (reply, _) in taken {
                answer(reply, Err(PoolError::Unavailable { reason: "transactions can't be kept".to_owned() }));
            }
            return Err(error.into());
        }
        self.publish();
        for transaction in changes.pending {
            // No subscriber is no error.
            let _ = self.announce.send(transaction);
        }
        for (reply, hash) in taken {
            answer(reply, Ok(hash));
        }
        for (hash, reply) in asked {
            answer(reply, self.pool.get(hash));
        }
        Ok(())
    }

    fn follow(&mut self) -> Result<Changes, ChainUnavailable> {
        if self.chain.is_at(self.pool.head()) {
            return Ok(Changes::default());
        }
        let head = self.chain.head()?;
        let dropped = self.chain.dropped(self.pool.head().hash, head.hash)?;
        let dropped = dropped.into_iter().filter_map(|raw| self.decode_dropped(raw)).collect();
        self.pool.on_head(head, dropped, &*self.chain)
    }

    fn decode_dropped(&self, raw: Bytes) -> Option<Arc<PooledTransaction>> {
        match PooledTransaction::decode(raw, self.config.chain_id) {
            Ok(transaction) => Some(Arc::new(transaction)),
            Err(error) => {
                tracing::debug!(%error, "transaction of a dropped block is not for the pool");
                None
            }
        }
    }

    fn keep(&mut self, entries: &[JournalEntry], changes: &Changes) -> Result<(), JournalError> {
        if !entries.is_empty() {
            let began = Instant::now();
            self.journal.append(entries)?;
            self.last = Group { taken: entries.len(), synced: began.elapsed() };
        }
        let mut gone = self.pool.settle();
        gone.extend(&changes.gone);
        if !gone.is_empty() {
            self.journal.remove(&gone)?;
        }
        Ok(())
    }

    fn publish(&self) {
        self.view.send_replace(Arc::new(self.pool.view()));
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("nobody waits for the pool's answer any more");
    }
}
