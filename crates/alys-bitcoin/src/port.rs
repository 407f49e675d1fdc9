//! What the node asks of Bitcoin, whoever answers.
//!
//! The answers are the view of one Bitcoin node. They steer what a member proposes and approves; they never make an
//! Alys block invalid (protocol, section 1).

use std::future::Future;

use bitcoin::block::Header;
use bitcoin::hashes::sha256d;
use bitcoin::{Block, BlockHash, Transaction, Txid};

use crate::merkle;
use crate::regtest::{BlockError, PoolError};
use crate::template::BlockTemplate;

/// The most headers that one call of [`BitcoinPort::headers_after`] gives (as many as a `headers` message carries).
pub const MAX_HEADERS: usize = 2_000;
/// The most hashes that a locator may name.
pub const MAX_LOCATOR: usize = 101;

/// The tip of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestBlock {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
}

/// A header of the best chain and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedHeader {
    /// The header.
    pub header: Header,
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
}

/// A confirmed transaction with the proofs that a peg-in record carries (protocol, section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTransaction {
    /// The transaction, with its witness.
    pub transaction: Transaction,
    /// The block of the best chain that holds it.
    pub block: PlacedHeader,
    /// Its position in the block; 0 is the coinbase.
    pub position: u32,
    /// Hashes from its txid up to the block's Merkle root.
    pub branch: Vec<sha256d::Hash>,
    /// The block's coinbase.
    pub coinbase: Transaction,
    /// Hashes from the coinbase's txid up to the block's Merkle root; as many as in `branch`.
    pub coinbase_branch: Vec<sha256d::Hash>,
}

impl FoundTransaction {
    /// Cuts the proofs for the transaction at `position` out of its block; `None` when the block has no such position.
    pub fn in_block(block: &Block, height: u32, position: usize) -> Option<Self> {
        let txids: Vec<sha256d::Hash> = block.txdata.iter().map(|tx| tx.compute_txid().to_raw_hash()).collect();
        Some(Self {
            transaction: block.txdata.get(position)?.clone(),
            block: PlacedHeader { header: block.header, hash: block.block_hash(), height },
            position: u32::try_from(position).ok()?,
            branch: merkle::merkle_branch(&txids, position)?,
            coinbase: block.txdata.first()?.clone(),
            coinbase_branch: merkle::merkle_branch(&txids, 0)?,
        })
    }

    /// Whether both branches lead to the header's Merkle root and are equally long.
    pub fn proofs_hold(&self) -> bool {
        let root = Some(self.block.header.merkle_root.to_raw_hash());
        let own = self.transaction.compute_txid().to_raw_hash();
        let coinbase = self.coinbase.compute_txid().to_raw_hash();
        self.branch.len() == self.coinbase_branch.len()
            && merkle::root_from_branch(own, &self.branch, self.position) == root
            && merkle::root_from_branch(coinbase, &self.coinbase_branch, 0) == root
    }
}

/// Where an accepted block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockPlace {
    /// It is the new tip.
    Best,
    /// It was kept beside the best chain.
    Side,
    /// It was there before.
    Known,
}

/// Why there is no answer now. It says nothing about what was asked: ask again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The operator chose none.
    #[error("no bitcoin node is configured")]
    NotConfigured,
    /// The task behind the port has ended.
    #[error("the bitcoin backend has stopped")]
    Stopped,
    /// No connection, or it broke.
    #[error("no connection to {address}: {reason}")]
    Connection {
        /// Where to.
        address: String,
        /// What happened.
        reason: String,
    },
    /// No whole answer in time.
    #[error("no answer to {method} within {milliseconds} ms")]
    Timeout {
        /// What was asked.
        method: &'static str,
        /// How long it was waited.
        milliseconds: u64,
    },
    /// It failed before; the next attempt is due later.
    #[error("backing off after {failures} failures, next attempt in {milliseconds} ms")]
    BackingOff {
        /// Failures in a row.
        failures: u32,
        /// Time until the next attempt.
        milliseconds: u64,
    },
    /// The credentials are missing or refused.
    #[error("credentials refused or unreadable: {reason}")]
    Credentials {
        /// What was wrong.
        reason: String,
    },
    /// The node is there but can't answer yet (starting, syncing, no peers, pruned).
    #[error("{method} refused with code {code}: {reason}")]
    NotReady {
        /// What was asked.
        method: &'static str,
        /// Its error code.
        code: i64,
        /// Its words, cut short.
        reason: String,
    },
    /// The answer has the wrong shape, contradicts itself or the question, or is too long.
    #[error("the answer to {method} can't be used: {reason}")]
    Nonsense {
        /// What was asked.
        method: &'static str,
        /// What did not fit.
        reason: String,
    },
    /// The pool has no place for another transaction.
    #[error("the pool is full")]
    PoolFull,
}

/// Why what was asked can't be: asking again won't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// None of the locator's headers is on the best chain, as far back as headers are kept.
    #[error("none of the {count} headers named is on the best chain")]
    UnknownHeaders {
        /// How many were named.
        count: usize,
    },
    /// More was asked than one call gives.
    #[error("{requested} {what} asked for, the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Asked for.
        requested: usize,
        /// The limit.
        limit: usize,
    },
    /// The transaction breaks a rule.
    #[error("transaction refused: {0}")]
    Transaction(#[source] Box<PoolError>),
    /// The block breaks a rule.
    #[error("block refused: {0}")]
    Block(#[source] Box<BlockError>),
    /// An outside node refused the transaction.
    #[error("transaction refused with code {code}: {reason}")]
    TransactionRejected {
        /// Its error code.
        code: i64,
        /// Its words, cut short.
        reason: String,
    },
    /// An outside node refused the block.
    #[error("block refused: {reason}")]
    BlockRejected {
        /// Its words, cut short.
        reason: String,
    },
}

/// Why the port gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Ask again later; nobody is to blame.
    #[error("bitcoin unavailable: {0}")]
    Unavailable(#[from] Unavailable),
    /// What was asked or offered is wrong; blame whoever it came from.
    #[error("invalid: {0}")]
    Invalid(#[from] Invalid),
    /// This program contradicts itself; an operator must know.
    #[error("bug in the bitcoin port: {0}")]
    Bug(&'static str),
}

impl PortError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<PoolError> for PortError {
    fn from(error: PoolError) -> Self {
        if matches!(error, PoolError::Full { .. }) {
            return Self::Unavailable(Unavailable::PoolFull);
        }
        Self::Invalid(Invalid::Transaction(Box::new(error)))
    }
}

impl From<BlockError> for PortError {
    fn from(error: BlockError) -> Self {
        if matches!(error, BlockError::Inconsistent { .. }) {
            return Self::Bug("a header is kept without its block");
        }
        Self::Invalid(Invalid::Block(Box::new(error)))
    }
}

/// A view of Bitcoin, and a way to put things into it.
///
/// # Cancel safety
/// Dropping a returned future never corrupts the backend: what it has received is carried out entirely or not at all.
/// A dropped `broadcast` or `submit_block` may have taken effect; both may be repeated.
pub trait BitcoinPort: Send + Sync + 'static {
    /// The tip of the best chain.
    fn best_block(&self) -> impl Future<Output = Result<BestBlock, PortError>> + Send;

    /// The header of the best chain at a height; `None` above the tip, or below what is kept.
    fn header_at(&self, height: u32) -> impl Future<Output = Result<Option<PlacedHeader>, PortError>> + Send;

    /// Headers of the best chain after the first hash of `locator` that is on it, ascending, at most `limit`
    /// (up to [`MAX_HEADERS`]). List the newest hash first, older ones behind it, so that a fork is bridged. Empty when
    /// that hash is the tip.
    ///
    /// # Errors
    /// [`Invalid::UnknownHeaders`] when none is on the best chain.
    fn headers_after(
        &self,
        locator: Vec<BlockHash>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<PlacedHeader>, PortError>> + Send;

    /// A whole block by hash, on any branch; `None` when it is not kept.
    fn block(&self, hash: BlockHash) -> impl Future<Output = Result<Option<Block>, PortError>> + Send;

    /// Puts a transaction into the pool. One that is there, or confirmed, already is no error.
    ///
    /// # Errors
    /// [`Invalid`] names the broken rule.
    fn broadcast(&self, transaction: Transaction) -> impl Future<Output = Result<Txid, PortError>> + Send;

    /// A confirmed transaction of the best chain with its proofs; `None` when there is none, or its block is no longer
    /// kept.
    fn find_transaction(&self, txid: Txid) -> impl Future<Output = Result<Option<FoundTransaction>, PortError>> + Send;

    /// The fee rate, in satoshis per 1000 virtual bytes, that should confirm within `blocks`; `None` where nobody can tell.
    fn estimate_fee_rate(&self, blocks: u16) -> impl Future<Output = Result<Option<u64>, PortError>> + Send;

    /// What a miner may build on the tip.
    fn block_template(&self) -> impl Future<Output = Result<BlockTemplate, PortError>> + Send;

    /// Offers a solved block.
    ///
    /// # Errors
    /// [`Invalid`] names the broken rule.
    fn submit_block(&self, block: Block) -> impl Future<Output = Result<BlockPlace, PortError>> + Send;
}
