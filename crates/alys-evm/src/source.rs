//! Where the builder gets transactions from.

use crate::Tx;
use alloy_consensus::transaction::Recovered;
use alloy_primitives::B256;
use std::sync::Arc;

/// What a transaction must suit to be worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildTarget {
    /// The block to build on.
    pub parent: B256,
    /// Number of the block being built.
    pub number: u64,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// Its EIP-1559 base fee, in wei.
    pub base_fee: u64,
    /// Its gas limit.
    pub gas_limit: u64,
}

/// Why the builder did not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It needs more gas or bytes than the block has left; it may fit the next one.
    DoesNotFit,
    /// Its nonce is below the sender's: it was executed already.
    NonceTooLow,
    /// It can't be executed on this state (a nonce gap, too little balance, …); it may be later.
    NotNow(String),
    /// It can't be executed under the rules of the chain.
    Invalid(String),
}

/// Ready transactions in the order in which a builder should try them.
///
/// A sender's transactions come in order of nonce; after a rejection none of that sender's later ones may follow.
pub trait BestTransactions: Send {
    /// The next one to try.
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>>;

    /// The transaction was not taken: none of its sender's later ones can be executed in this block.
    fn reject(&mut self, transaction: &Recovered<Tx>, rejection: Rejection);
}

/// A pool as the builder sees it.
pub trait TransactionSource: Send + 'static {
    /// Transactions that can be tried for `target`, best first, as of now.
    fn best(&self, target: BuildTarget) -> Box<dyn BestTransactions>;
}

/// A source without transactions.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransactions;

impl TransactionSource for NoTransactions {
    fn best(&self, _target: BuildTarget) -> Box<dyn BestTransactions> {
        Box::new(Self)
    }
}

impl BestTransactions for NoTransactions {
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>> {
        None
    }

    fn reject(&mut self, _transaction: &Recovered<Tx>, _rejection: Rejection) {}
}
