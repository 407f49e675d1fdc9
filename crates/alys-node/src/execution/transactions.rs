//! Where transactions of users and peers go, and where those come from that peers should hear of.

use alys_engine::{EngineClient, ForwardError};
use alys_evm::pool::{PoolError, PoolHandle, PooledTransaction};
use alys_primitives::B256;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::broadcast;

/// Announcements that a slow subscriber may be behind before it misses some.
const ANNOUNCEMENTS: usize = 1024;

/// The node's side of the transaction pool, whoever keeps it.
#[derive(Clone, Debug)]
pub enum Transactions {
    /// The pool inside the node.
    Pool(PoolHandle),
    /// An external client's.
    Client(ClientTransactions),
}

impl Transactions {
    /// Takes a signed transaction (EIP-2718 bytes).
    ///
    /// # Errors
    /// Why it was not taken.
    ///
    /// # Cancel safety
    /// A dropped future leaves the transaction either taken or not.
    pub async fn submit(&self, raw: Vec<u8>) -> Result<B256, PoolError> {
        match self {
            Self::Pool(pool) => pool.submit(raw.into()).await,
            Self::Client(client) => client.submit(raw).await,
        }
    }

    /// Every transaction from now on that peers should hear of.
    ///
    /// # Errors
    /// The pool has stopped.
    pub fn subscribe(&self) -> Result<broadcast::Receiver<Arc<PooledTransaction>>, PoolError> {
        match self {
            Self::Pool(pool) => pool.subscribe(),
            Self::Client(client) => Ok(client.announced.subscribe()),
        }
    }
}

/// Hands transactions to an external client's pool.
#[derive(Clone, Debug)]
pub struct ClientTransactions {
    client: EngineClient,
    chain_id: u64,
    announced: broadcast::Sender<Arc<PooledTransaction>>,
}

impl ClientTransactions {
    /// Transactions for the pool of `client`.
    pub fn new(client: EngineClient, chain_id: u64) -> Self {
        Self { client, chain_id, announced: broadcast::Sender::new(ANNOUNCEMENTS) }
    }

    /// A user's transaction: checked as far as it goes without state, handed through, and told to peers once the client
    /// has taken it.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn send(&self, raw: Vec<u8>) -> Result<Value, SendError> {
        let transaction = PooledTransaction::decode(raw.into(), self.chain_id).map_err(PoolError::Invalid)?;
        let hash = self.hand_over(&transaction).await?;
        // No receiver means no network.
        drop(self.announced.send(Arc::new(transaction)));
        Ok(json!(hash))
    }

    /// Gives a transaction to the client, whose answer must name it: another hash is no acknowledgement.
    async fn hand_over(&self, transaction: &PooledTransaction) -> Result<B256, SendError> {
        let answer = self.client.forward("eth_sendRawTransaction", json!([transaction.raw()])).await?;
        let hash = transaction.hash();
        if answer == json!(hash) { Ok(hash) } else { Err(SendError::OtherTransaction) }
    }

    /// A peer's transaction, which gossip itself passes on.
    async fn submit(&self, raw: Vec<u8>) -> Result<B256, PoolError> {
        let transaction = PooledTransaction::decode(raw.into(), self.chain_id)?;
        self.hand_over(&transaction).await.map_err(|error| PoolError::Unavailable { reason: error.to_string() })
    }
}

/// Why a user's transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It breaks a rule that needs no state.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The client's answer.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The client names another transaction than it was given.
    #[error("the execution client answers for another transaction: whether it has taken this one is not known")]
    OtherTransaction,
}
