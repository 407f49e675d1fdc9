//! The way to a running pool.

use super::task::Request;
use super::{Candidates, PoolError, PoolStatus, PoolView, PooledTransaction};
use crate::Tx;
use crate::{BestTransactions, BuildTarget, Rejection, TransactionSource};
use alloy_consensus::transaction::Recovered;
use alloy_primitives::{Address, B256, Bytes};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Talks to the task that owns the pool. Cheap to clone.
///
/// Reads come from a snapshot that is published after every change, so they never wait; a transaction is in it when
/// [`submit`](Self::submit) returns.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    pub(super) chain_id: u64,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) view: watch::Receiver<Arc<PoolView>>,
    pub(super) announced: broadcast::WeakSender<Arc<PooledTransaction>>,
}

impl PoolHandle {
    /// Takes a signed transaction (EIP-2718 bytes) and returns its hash when it is on disk.
    ///
    /// # Errors
    /// Why the transaction was not taken.
    ///
    /// # Cancel safety
    /// A dropped future leaves the transaction either in the pool or not.
    pub async fn submit(&self, raw: Bytes) -> Result<B256, PoolError> {
        let transaction = Arc::new(PooledTransaction::decode(raw, self.chain_id)?);
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request::Submit { transaction, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PoolError::Busy,
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.map_err(|_| stopped())?
    }

    /// The transaction, and whether it can be executed now; `None` if the pool does not have it.
    ///
    /// # Errors
    /// The pool has stopped.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get(&self, hash: B256) -> Result<Option<(Arc<PooledTransaction>, bool)>, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Get { hash, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }

    /// All transactions by sender and nonce.
    pub fn view(&self) -> Arc<PoolView> {
        self.view.borrow().clone()
    }

    /// The transactions that can be executed in a block with this base fee, best first.
    pub fn candidates(&self, base_fee: u64) -> Candidates {
        self.view().candidates(base_fee)
    }

    /// How many transactions there are.
    pub fn status(&self) -> PoolStatus {
        self.view().status()
    }

    /// The sender's nonce after its pending transactions; `None` if it has none, so that the account's counts.
    pub fn pending_nonce(&self, sender: Address) -> Option<u64> {
        self.view().pending_nonce(sender)
    }

    /// Every transaction from now on that becomes executable. A subscriber that is too slow misses some and is told.
    ///
    /// # Errors
    /// The pool has stopped.
    pub fn subscribe(&self) -> Result<broadcast::Receiver<Arc<PooledTransaction>>, PoolError> {
        self.announced.upgrade().map(|sender| sender.subscribe()).ok_or_else(stopped)
    }
}

fn stopped() -> PoolError {
    PoolError::Unavailable { reason: "it has stopped or lost the request".to_owned() }
}

impl TransactionSource for PoolHandle {
    fn best(&self, target: BuildTarget) -> Box<dyn BestTransactions> {
        Box::new(Best { candidates: self.candidates(target.base_fee), requests: self.requests.clone() })
    }
}

/// Candidates for one block; tells the pool of those that no block can hold.
struct Best {
    candidates: Candidates,
    requests: mpsc::Sender<Request>,
}

impl BestTransactions for Best {
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>> {
        self.candidates.next().map(|pooled| pooled.recovered().clone())
    }

    fn reject(&mut self, transaction: &Recovered<Tx>, rejection: Rejection) {
        match rejection {
            // The snapshot is a block old; the ones behind it can follow.
            Rejection::NonceTooLow => {}
            Rejection::DoesNotFit | Rejection::NotNow(_) => self.candidates.skip_sender(transaction.signer()),
            Rejection::Invalid(reason) => {
                self.candidates.skip_sender(transaction.signer());
                let hash = *transaction.inner().tx_hash();
                // A full queue only means that the builder will offer, and refuse, it once more.
                let told = self.requests.try_send(Request::Discard { hash }).is_ok();
                tracing::debug!(%hash, reason, told, "builder refused a transaction for good");
            }
        }
    }
}
