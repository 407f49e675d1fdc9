//! The port's trait and data.

use alys_primitives::{Address, B256, Burns, ExecutionPayload, ExecutionRequests, Wei, Withdrawal};
use serde::{Deserialize, Serialize};
use std::future::Future;

/// Names a payload that is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PayloadId(pub [u8; 8]);

/// `PayloadAttributesV3` of the Engine API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// The block's randomness.
    pub prev_randao: B256,
    /// Where priority fees go.
    pub fee_recipient: Address,
    /// What the block mints.
    pub withdrawals: Vec<Withdrawal>,
    /// Root of the parent Alys block (EIP-4788).
    pub parent_beacon_block_root: B256,
}

/// `ForkchoiceStateV1` of the Engine API: hashes of EVM blocks; zero where there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkchoiceState {
    /// Tip of the notarized chain.
    pub head: B256,
    /// Newest safe block.
    pub safe: B256,
    /// Newest finalized block.
    pub finalized: B256,
}

/// A payload to execute, with what its hash covers besides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayload {
    /// The payload.
    pub payload: ExecutionPayload,
    /// Root of the parent Alys block (EIP-4788).
    pub parent_beacon_block_root: B256,
    /// EIP-7685 requests.
    pub execution_requests: ExecutionRequests,
}

/// A payload that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltPayload {
    /// The payload.
    pub payload: ExecutionPayload,
    /// The requests that its execution produced.
    pub execution_requests: ExecutionRequests,
    /// What the payload's transactions pay its fee recipient: their priority fees.
    pub block_value: Wei,
}

/// `PayloadStatusV1` of the Engine API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadStatus {
    /// Executed; everything it claims holds.
    Valid,
    /// Executed or checked, and wrong.
    Invalid {
        /// The newest valid ancestor, if known.
        latest_valid_hash: Option<B256>,
        /// What was wrong.
        reason: String,
    },
    /// Its ancestors are missing; nothing is known about it.
    Syncing,
    /// Well-formed but not executed.
    Accepted,
}

/// The answer to a fork choice update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkchoiceOutcome {
    /// Status of the head.
    pub status: PayloadStatus,
    /// The payload that is being built, if attributes were given and the head is valid.
    pub payload_id: Option<PayloadId>,
}

/// The fees that a block's transactions paid, computed from receipts that were checked against the receipts root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFees {
    /// Base fees and priority fees together, in wei: the sum of `gas_used * effective_gas_price`.
    pub total: Wei,
}

/// What an engine says of itself at the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of its genesis block.
    pub genesis_hash: B256,
    /// Its current head.
    pub head: B256,
    /// Number of its head.
    pub head_number: u64,
    /// Name and version, for logs.
    pub client: String,
}

/// Why an engine gave no answer. None of these says anything about a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It can't be reached, or is shutting down; ask again later.
    #[error("execution engine unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// It does not know the payload any more, or never did.
    #[error("execution engine does not know payload {id:02x?}")]
    UnknownPayload {
        /// The id asked for.
        id: [u8; 8],
    },
    /// It does not know the block.
    #[error("execution engine does not know block {hash}")]
    UnknownBlock {
        /// The hash asked for.
        hash: B256,
    },
    /// It serves another chain, or lacks what this one needs; asking again is of no use until an operator acts.
    #[error("execution engine does not fit: {what} is {found}, must be {expected}")]
    Mismatch {
        /// What does not fit.
        what: &'static str,
        /// What this chain needs.
        expected: String,
        /// What the engine has.
        found: String,
    },
    /// The attributes can't follow the head. The head has moved nevertheless, as the Engine API has it.
    #[error("execution engine refused the payload attributes: {reason}")]
    InvalidAttributes {
        /// What is wrong with them.
        reason: String,
    },
    /// The fork choice names blocks that are not on one chain, or leaves what is final.
    #[error("execution engine refused the request: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// Its answer contradicts itself or the request; it can't be trusted.
    #[error("execution engine answered nonsense: {reason}")]
    Broken {
        /// What did not fit.
        reason: String,
    },
}

/// An EVM that builds and executes payloads.
///
/// # Cancel safety
/// Dropping a returned future never corrupts the engine: a request that it has received is either carried out entirely
/// or not at all.
pub trait ExecutionEngine: Send + Sync + 'static {
    /// Chain id, genesis and head, to be compared with the chain spec before anything else.
    fn info(&self) -> impl Future<Output = Result<EngineInfo, EngineError>> + Send;

    /// Moves head, safe and finalized; with attributes, also begins to build on the head.
    fn forkchoice_updated(
        &self,
        state: ForkchoiceState,
        attributes: Option<Attributes>,
    ) -> impl Future<Output = Result<ForkchoiceOutcome, EngineError>> + Send;

    /// The best payload built so far under `id`.
    fn get_payload(&self, id: PayloadId) -> impl Future<Output = Result<BuiltPayload, EngineError>> + Send;

    /// Executes a payload and keeps it durably if it is valid.
    fn new_payload(&self, payload: NewPayload) -> impl Future<Output = Result<PayloadStatus, EngineError>> + Send;

    /// The fees of an executed block.
    fn block_fees(&self, block_hash: B256) -> impl Future<Output = Result<BlockFees, EngineError>> + Send;

    /// What an executed block burned for bitcoin: [`crate::burns`] of its receipts, which were checked against the
    /// receipts root.
    fn block_burns(&self, block_hash: B256) -> impl Future<Output = Result<Burns, EngineError>> + Send;
}
