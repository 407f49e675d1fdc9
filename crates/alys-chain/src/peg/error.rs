//! Why a block's peg records are refused.

use super::{headers::HeaderError, pause::PauseError, payment::PaymentError, proof::ProofError};
use alys_primitives::{B256, Height, PegOutId};

/// The first rule that a block's peg records break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PegError {
    /// Bitcoin headers.
    #[error("bitcoin headers: {0}")]
    Headers(#[from] HeaderError),
    /// A proof.
    #[error("proof: {0}")]
    Proof(#[from] ProofError),
    /// A payment that can't be derived.
    #[error("payment: {0}")]
    Payment(#[from] PaymentError),
    /// A decision about pausing.
    #[error("pause: {0}")]
    Pause(#[from] PauseError),
    /// A proof names a block that the view does not hold.
    #[error("bitcoin block {block} is not within the view")]
    UnknownBlock {
        /// Its hash, internal byte order.
        block: B256,
    },
    /// Too few headers on top.
    #[error("{found} confirmations, {needed} are needed")]
    Unconfirmed {
        /// Found.
        found: u64,
        /// Needed.
        needed: u64,
    },
    /// The transaction is recorded already.
    #[error("transaction {txid} is recorded already")]
    Duplicate {
        /// The transaction, internal byte order.
        txid: B256,
    },
    /// The transaction pays nothing to the federation.
    #[error("transaction {txid} pays nothing to the federation")]
    NoDeposit {
        /// The transaction, internal byte order.
        txid: B256,
    },
    /// The transaction spends coins of the federation, so what it pays to the federation is no deposit.
    #[error("transaction {txid} spends coins of the federation")]
    SpendsCoins {
        /// The transaction, internal byte order.
        txid: B256,
    },
    /// More deposits than one block may bring.
    #[error("more than {max} deposits in one block")]
    TooManyPegIns {
        /// The limit.
        max: u64,
    },
    /// More withdrawals than one payload may hold.
    #[error("more withdrawals than a payload may hold")]
    TooManyWithdrawals,
    /// The books do not balance, or a quorum holds this direction: nothing is credited or paid until that ends.
    #[error("the peg is paused")]
    Paused,
    /// No such batch is open.
    #[error("no open batch {number}")]
    UnknownBatch {
        /// The number.
        number: u64,
    },
    /// The proven transaction is no attempt of the batch.
    #[error("transaction {txid} is no payment of batch {number}")]
    NotThePayment {
        /// The batch.
        number: u64,
        /// The transaction, internal byte order.
        txid: B256,
    },
    /// Another attempt at the payment has settled it, and is still on the best branch of the view.
    #[error("transaction {txid} is an attempt at batch {number}, which {counts} has settled")]
    SettledBy {
        /// The batch.
        number: u64,
        /// The transaction, internal byte order.
        txid: B256,
        /// The one that counts.
        counts: B256,
    },
    /// Another attempt at the payment has settled it and left the best branch, and what came back by it was spent by a payment
    /// that has settled as well.
    #[error("what {counts} brought back was spent by a settled payment, {txid} can't take its place")]
    ChangeSpent {
        /// The transaction, internal byte order.
        txid: B256,
        /// The one that counts.
        counts: B256,
    },
    /// No such request is open.
    #[error("no open request {} {}", .id.block_root, .id.log_index)]
    UnknownRequest {
        /// The request.
        id: PegOutId,
    },
    /// The request is part of a batch already, or can't be paid.
    #[error("request {} {} is not to be paid", .id.block_root, .id.log_index)]
    NotPayable {
        /// The request.
        id: PegOutId,
    },
    /// The burn is not final in this chain.
    #[error("request {} {} of height {height} is not final, {finalized} is", .id.block_root, .id.log_index)]
    NotFinal {
        /// The request.
        id: PegOutId,
        /// Its height.
        height: Height,
        /// The newest final height.
        finalized: Height,
    },
    /// Requests of a batch are not in the order of their burns, or one comes twice.
    #[error("request {} {} is out of order", .id.block_root, .id.log_index)]
    Order {
        /// The request.
        id: PegOutId,
    },
    /// Too many requests in one batch.
    #[error("{found} requests in one batch, at most {max}")]
    BatchSize {
        /// Found.
        found: usize,
        /// The limit.
        max: u64,
    },
    /// The fee rate is not within half to double the previous one and the spec's bounds.
    #[error("fee rate {found}, must be {min} to {max}")]
    FeeRate {
        /// Found.
        found: u64,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// The attempt is not the next one, or comes too early, or can't pay more.
    #[error("attempt {attempt} at batch {number}: the next is {expected}, from bitcoin height {due} on")]
    Bump {
        /// The batch.
        number: u64,
        /// The attempt.
        attempt: u64,
        /// The next attempt.
        expected: u64,
        /// When it is due.
        due: u64,
    },
    /// A refund with another reason than the derived one.
    #[error("refund of {} {} with reason {found}, derived is {expected}", .id.block_root, .id.log_index)]
    RefundReason {
        /// The request.
        id: PegOutId,
        /// The record's.
        found: u64,
        /// The derived one; zero if the request can be paid.
        expected: u64,
    },
    /// A burn of no whole number of satoshis, which the bridge contract excludes.
    #[error("burn {} {} is no whole number of satoshis", .id.block_root, .id.log_index)]
    BurnAmount {
        /// The burn.
        id: PegOutId,
    },
    /// A sum does not fit its type, which takes more bitcoin than exist.
    #[error("a sum overflows")]
    Overflow,
}
