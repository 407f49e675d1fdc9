//! Why a transaction is not taken. The texts begin with the words that wallets and libraries look for.

use alloy_primitives::{Address, U256};

/// A transaction that its sender must change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransaction {
    /// Not an EIP-2718 transaction.
    #[error("transaction can't be decoded: {reason}")]
    Undecodable {
        /// What the decoder met.
        reason: String,
    },
    /// Longer than any transaction that is taken.
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized {
        /// Its bytes.
        size: usize,
        /// The most bytes.
        limit: usize,
    },
    /// A type that the chain's rules do not know (yet).
    #[error("transaction type not supported: type {kind:#04x}")]
    UnsupportedType {
        /// The EIP-2718 type.
        kind: u8,
    },
    /// A blob transaction; this chain has no blobs.
    #[error("transaction type not supported: blob transactions (type 0x03) are invalid on this chain")]
    Blob,
    /// A legacy transaction without EIP-155's chain id: anyone could replay it from another chain.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    /// Signed for another chain.
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    ChainId {
        /// Its chain id.
        have: u64,
        /// The chain's.
        want: u64,
    },
    /// No address can be recovered from the signature, or it is malleable (EIP-2).
    #[error("invalid sender: signature recovers no address")]
    Signature,
    /// The priority fee exceeds the whole fee (EIP-1559).
    #[error("max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas {tip}, maxFeePerGas {fee}")]
    TipAboveFee {
        /// `maxPriorityFeePerGas`.
        tip: u128,
        /// `maxFeePerGas`.
        fee: u128,
    },
    /// Initcode over the limit of EIP-3860.
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    Initcode {
        /// Its bytes.
        size: usize,
        /// The most bytes.
        limit: usize,
    },
    /// An EIP-7702 transaction that delegates nothing.
    #[error("EIP-7702 transaction with empty auth list")]
    EmptyAuthorizations,
    /// The nonce that no account can pass (EIP-2681).
    #[error("nonce has max value")]
    NonceMax,
    /// More gas than a block has.
    #[error("exceeds block gas limit: gas {gas}, block gas limit {limit}")]
    BlockGasLimit {
        /// Its gas limit.
        gas: u64,
        /// The block's.
        limit: u64,
    },
    /// More gas than one transaction may take (EIP-7825).
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas})")]
    GasCap {
        /// Its gas limit.
        gas: u64,
        /// The cap.
        cap: u64,
    },
    /// Less gas than its bytes cost before the first instruction.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas {
        /// Its gas limit.
        gas: u64,
        /// What it needs.
        needed: u64,
    },
    /// Less gas than the floor for its data (EIP-7623).
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorGas {
        /// Its gas limit.
        gas: u64,
        /// What it needs.
        needed: u64,
    },
    /// The sender has already used the nonce.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The account's nonce.
        next: u64,
        /// The transaction's.
        nonce: u64,
    },
    /// The sender is a contract (EIP-3607).
    #[error("sender not an eoa: address {address}")]
    SenderIsContract {
        /// The sender.
        address: Address,
    },
    /// The sender can't pay for it.
    #[error("insufficient funds for gas * price + value: balance {balance}, tx cost {cost}, overshot {overshot}")]
    InsufficientFunds {
        /// What the sender has.
        balance: U256,
        /// The most that the transaction, with the sender's earlier pending ones, can cost.
        cost: U256,
        /// The difference.
        overshot: U256,
    },
}

/// Why the pool did not take a transaction, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The transaction can't be right.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The pool has it.
    #[error("already known")]
    AlreadyKnown,
    /// Another transaction has its nonce, and it does not pay a tenth more on both fees.
    #[error("replacement transaction underpriced: needs maxFeePerGas {fee} and maxPriorityFeePerGas {tip}")]
    ReplacementUnderpriced {
        /// The least `maxFeePerGas`.
        fee: u128,
        /// The least `maxPriorityFeePerGas`.
        tip: u128,
    },
    /// It tips less than the operator asks for.
    #[error("transaction underpriced: gas tip cap {tip}, minimum needed {minimum}")]
    Underpriced {
        /// Its tip.
        tip: u128,
        /// The least tip.
        minimum: u128,
    },
    /// The pool is full of transactions that pay no less.
    #[error("txpool is full: {count} transactions, none of which pays less")]
    Full {
        /// How many it holds.
        count: usize,
    },
    /// The sender has too many transactions in the pool.
    #[error("account limit exceeded: sender has {count} transactions in the pool, limit {limit}")]
    SenderFull {
        /// How many it holds.
        count: usize,
        /// The most.
        limit: usize,
    },
    /// The sender has too many transactions that wait for an earlier nonce.
    #[error("account limit exceeded: sender has {count} transactions waiting for nonce {missing}, limit {limit}")]
    QueueFull {
        /// How many wait.
        count: usize,
        /// The nonce they wait for.
        missing: u64,
        /// The most.
        limit: usize,
    },
    /// Too many requests wait for the pool; ask again.
    #[error("transaction pool is busy")]
    Busy,
    /// The pool has stopped or can't keep transactions any more.
    #[error("transaction pool is not available: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}
