//! The Engine API's JSON (execution-apis, `src/engine`), for the client here and the server in `alys-evm`.
//!
//! One [`Payload`] covers all versions: which of its optional fields must be there is the method's business
//! ([`PayloadVersion`]). Conversions to the port's bounded types refuse what is too large.

use crate::{Attributes, Fork, ForkchoiceState, NewPayload, PayloadStatus};
use alloy_primitives::{Address, B256, Bytes, FixedBytes, U64, U256};
use alys_primitives::{ExecutionPayload, ExecutionRequests, Gwei, VariableList, Withdrawal as PortWithdrawal};
use serde::{Deserialize, Serialize};

/// The longest validation error that is handed on, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// A JSON value that does not fit the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field has too many bytes or elements.
    #[error("`{field}` is too long")]
    TooLong {
        /// The field.
        field: &'static str,
    },
    /// A field is missing that the version has, or there in a version that does not have it.
    #[error("`{field}` is {}", if *.present { "there, but this version does not have it" } else { "missing" })]
    Presence {
        /// The field.
        field: &'static str,
        /// Whether it is there.
        present: bool,
    },
}

/// The fields that a payload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadVersion {
    /// Paris: neither withdrawals nor blob gas.
    V1,
    /// Shanghai: withdrawals.
    V2,
    /// Cancun and later: withdrawals and blob gas.
    V3,
}

impl PayloadVersion {
    /// The version that payloads of a fork have.
    pub const fn of(fork: Fork) -> Self {
        match fork {
            Fork::Paris => Self::V1,
            Fork::Shanghai => Self::V2,
            Fork::Cancun | Fork::Prague | Fork::Osaka => Self::V3,
        }
    }
}

/// `WithdrawalV1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Index over the whole chain.
    pub index: U64,
    /// The validator's index.
    pub validator_index: U64,
    /// Who is credited.
    pub address: Address,
    /// Gwei.
    pub amount: U64,
}

impl From<&PortWithdrawal> for Withdrawal {
    fn from(withdrawal: &PortWithdrawal) -> Self {
        Self {
            index: U64::from(withdrawal.index),
            validator_index: U64::from(withdrawal.validator_index),
            address: withdrawal.address,
            amount: U64::from(withdrawal.amount.0),
        }
    }
}

impl From<&Withdrawal> for PortWithdrawal {
    fn from(withdrawal: &Withdrawal) -> Self {
        Self {
            index: withdrawal.index.to(),
            validator_index: withdrawal.validator_index.to(),
            address: withdrawal.address,
            amount: Gwei(withdrawal.amount.to()),
        }
    }
}

/// `ExecutionPayloadV1` to `V3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// Hash of the parent block.
    pub parent_hash: B256,
    /// Receiver of priority fees.
    pub fee_recipient: Address,
    /// Root of the state after the block.
    pub state_root: B256,
    /// Root of the receipts trie.
    pub receipts_root: B256,
    /// Bloom filter over the logs.
    pub logs_bloom: FixedBytes<256>,
    /// The block's randomness.
    pub prev_randao: B256,
    /// Number.
    pub block_number: U64,
    /// Gas limit.
    pub gas_limit: U64,
    /// Gas used.
    pub gas_used: U64,
    /// Seconds since the Unix epoch.
    pub timestamp: U64,
    /// Free bytes of the builder.
    pub extra_data: Bytes,
    /// Base fee in wei.
    pub base_fee_per_gas: U256,
    /// Hash of the block that these fields make.
    pub block_hash: B256,
    /// EIP-2718 transactions.
    pub transactions: Vec<Bytes>,
    /// From V2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// From V3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_gas_used: Option<U64>,
    /// From V3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess_blob_gas: Option<U64>,
}

impl Payload {
    /// The JSON of a payload.
    pub fn from_port(payload: &ExecutionPayload, version: PayloadVersion) -> Self {
        let blobs = version >= PayloadVersion::V3;
        Self {
            parent_hash: payload.parent_hash,
            fee_recipient: payload.fee_recipient,
            state_root: payload.state_root,
            receipts_root: payload.receipts_root,
            logs_bloom: payload.logs_bloom,
            prev_randao: payload.prev_randao,
            block_number: U64::from(payload.block_number),
            gas_limit: U64::from(payload.gas_limit),
            gas_used: U64::from(payload.gas_used),
            timestamp: U64::from(payload.timestamp),
            extra_data: Bytes::copy_from_slice(&payload.extra_data),
            base_fee_per_gas: payload.base_fee_per_gas,
            block_hash: payload.block_hash,
            transactions: payload.transactions.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect(),
            withdrawals: (version >= PayloadVersion::V2).then(|| payload.withdrawals.iter().map(Into::into).collect()),
            blob_gas_used: blobs.then(|| U64::from(payload.blob_gas_used)),
            excess_blob_gas: blobs.then(|| U64::from(payload.excess_blob_gas)),
        }
    }

    /// The payload, if it has exactly the fields of `version`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn into_port(self, version: PayloadVersion) -> Result<ExecutionPayload, WireError> {
        let presence = |field, present: bool, since| {
            let expected = version >= since;
            if present == expected { Ok(()) } else { Err(WireError::Presence { field, present }) }
        };
        presence("withdrawals", self.withdrawals.is_some(), PayloadVersion::V2)?;
        presence("blobGasUsed", self.blob_gas_used.is_some(), PayloadVersion::V3)?;
        presence("excessBlobGas", self.excess_blob_gas.is_some(), PayloadVersion::V3)?;
        let too_long = |field| move |_| WireError::TooLong { field };
        let transactions = self
            .transactions
            .into_iter()
            .map(|bytes| VariableList::new(bytes.to_vec()).map_err(too_long("transactions")))
            .collect::<Result<Vec<_>, _>>()?;
        let withdrawals = self.withdrawals.iter().flatten().map(Into::into).collect();
        Ok(ExecutionPayload {
            parent_hash: self.parent_hash,
            fee_recipient: self.fee_recipient,
            state_root: self.state_root,
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            prev_randao: self.prev_randao,
            block_number: self.block_number.to(),
            gas_limit: self.gas_limit.to(),
            gas_used: self.gas_used.to(),
            timestamp: self.timestamp.to(),
            extra_data: VariableList::new(self.extra_data.to_vec()).map_err(too_long("extraData"))?,
            base_fee_per_gas: self.base_fee_per_gas,
            block_hash: self.block_hash,
            transactions: VariableList::new(transactions).map_err(too_long("transactions"))?,
            withdrawals: VariableList::new(withdrawals).map_err(too_long("withdrawals"))?,
            blob_gas_used: self.blob_gas_used.unwrap_or_default().to(),
            excess_blob_gas: self.excess_blob_gas.unwrap_or_default().to(),
        })
    }
}

/// Execution requests as the port holds them.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn requests_into_port(requests: Vec<Bytes>) -> Result<ExecutionRequests, WireError> {
    let too_long = |_| WireError::TooLong { field: "executionRequests" };
    let requests = requests
        .into_iter()
        .map(|bytes| VariableList::new(bytes.to_vec()).map_err(too_long))
        .collect::<Result<Vec<_>, _>>()?;
    ExecutionRequests::new(requests).map_err(too_long)
}

/// Execution requests as JSON has them.
pub fn requests_from_port(requests: &ExecutionRequests) -> Vec<Bytes> {
    requests.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect()
}

/// `PayloadAttributesV1` to `V3`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadAttributes {
    /// Seconds since the Unix epoch.
    pub timestamp: U64,
    /// The block's randomness.
    pub prev_randao: B256,
    /// Receiver of priority fees.
    pub suggested_fee_recipient: Address,
    /// From V2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// From V3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_beacon_block_root: Option<B256>,
}

impl PayloadAttributes {
    /// The JSON of attributes.
    pub fn from_port(attributes: &Attributes, fork: Fork) -> Self {
        Self {
            timestamp: U64::from(attributes.timestamp),
            prev_randao: attributes.prev_randao,
            suggested_fee_recipient: attributes.fee_recipient,
            withdrawals: (fork >= Fork::Shanghai).then(|| attributes.withdrawals.iter().map(Into::into).collect()),
            parent_beacon_block_root: (fork >= Fork::Cancun).then_some(attributes.parent_beacon_block_root),
        }
    }

    /// The attributes; what is missing is empty.
    pub fn into_port(self) -> Attributes {
        Attributes {
            timestamp: self.timestamp.to(),
            prev_randao: self.prev_randao,
            fee_recipient: self.suggested_fee_recipient,
            withdrawals: self.withdrawals.iter().flatten().map(Into::into).collect(),
            parent_beacon_block_root: self.parent_beacon_block_root.unwrap_or_default(),
        }
    }
}

/// `ForkchoiceStateV1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forkchoice {
    /// Head.
    pub head_block_hash: B256,
    /// Safe block, or zero.
    pub safe_block_hash: B256,
    /// Finalized block, or zero.
    pub finalized_block_hash: B256,
}

impl From<ForkchoiceState> for Forkchoice {
    fn from(state: ForkchoiceState) -> Self {
        Self { head_block_hash: state.head, safe_block_hash: state.safe, finalized_block_hash: state.finalized }
    }
}

impl From<Forkchoice> for ForkchoiceState {
    fn from(state: Forkchoice) -> Self {
        Self { head: state.head_block_hash, safe: state.safe_block_hash, finalized: state.finalized_block_hash }
    }
}

/// The words of `PayloadStatusV1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Executed, and right.
    Valid,
    /// Wrong.
    Invalid,
    /// Ancestors are missing.
    Syncing,
    /// Well-formed, not executed.
    Accepted,
    /// Wrong; of the first version only.
    InvalidBlockHash,
}

/// `PayloadStatusV1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The verdict.
    pub status: Verdict,
    /// Of `VALID` the block itself, of `INVALID` its newest valid ancestor if known.
    #[serde(default)]
    pub latest_valid_hash: Option<B256>,
    /// What was wrong.
    #[serde(default)]
    pub validation_error: Option<String>,
}

impl Status {
    /// The JSON of a status of `block`.
    pub fn from_port(status: PayloadStatus, block: B256) -> Self {
        let plain = |status, latest_valid_hash| Self { status, latest_valid_hash, validation_error: None };
        match status {
            PayloadStatus::Valid => plain(Verdict::Valid, Some(block)),
            PayloadStatus::Invalid { latest_valid_hash, reason } => {
                Self { status: Verdict::Invalid, latest_valid_hash, validation_error: Some(reason) }
            }
            PayloadStatus::Syncing => plain(Verdict::Syncing, None),
            PayloadStatus::Accepted => plain(Verdict::Accepted, None),
        }
    }

    /// The status of `block`.
    ///
    /// # Errors
    /// What contradicts itself: a block is valid up to itself and to nothing else.
    pub fn into_port(self, block: B256) -> Result<PayloadStatus, String> {
        match self.status {
            Verdict::Valid if self.latest_valid_hash == Some(block) => Ok(PayloadStatus::Valid),
            Verdict::Valid => {
                let said = self.latest_valid_hash.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string());
                Err(format!("{block} is VALID, and {said} is the latest valid block"))
            }
            Verdict::Invalid | Verdict::InvalidBlockHash if self.latest_valid_hash == Some(block) => {
                Err(format!("{block} is INVALID and the latest valid block"))
            }
            Verdict::Invalid | Verdict::InvalidBlockHash => {
                let reason = self.validation_error.as_deref().map_or("no reason given", shorten).to_owned();
                Ok(PayloadStatus::Invalid { latest_valid_hash: self.latest_valid_hash, reason })
            }
            Verdict::Syncing => Ok(PayloadStatus::Syncing),
            Verdict::Accepted => Ok(PayloadStatus::Accepted),
        }
    }
}

/// At most [`MAX_REASON_BYTES`] of a text.
pub(crate) fn shorten(text: &str) -> &str {
    if text.len() <= MAX_REASON_BYTES {
        return text;
    }
    let end = (0..=MAX_REASON_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The answer to `engine_forkchoiceUpdated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkchoiceResult {
    /// Status of the head.
    pub payload_status: Status,
    /// The payload that is being built.
    #[serde(default)]
    pub payload_id: Option<FixedBytes<8>>,
}

/// `BlobsBundle`, always empty here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobsBundle {
    /// KZG commitments.
    pub commitments: Vec<Bytes>,
    /// Proofs.
    pub proofs: Vec<Bytes>,
    /// Blobs.
    pub blobs: Vec<Bytes>,
}

/// The answer to `engine_getPayload` from the second version on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The payload.
    pub execution_payload: Payload,
    /// What the fee recipient gains, in wei.
    pub block_value: U256,
    /// From V3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs_bundle: Option<BlobsBundle>,
    /// From V3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should_override_builder: Option<bool>,
    /// From V4 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_requests: Option<Vec<Bytes>>,
}

/// `ExecutionPayloadBodyV1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// EIP-2718 transactions.
    pub transactions: Vec<Bytes>,
    /// `null` before Shanghai.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// The positional parameters of `engine_newPayload` under the rules of `fork`.
pub fn new_payload_params(new: &NewPayload, fork: Fork) -> serde_json::Value {
    let payload = Payload::from_port(&new.payload, PayloadVersion::of(fork));
    let root = new.parent_beacon_block_root;
    let no_blobs: [B256; 0] = [];
    match fork {
        Fork::Paris | Fork::Shanghai => serde_json::json!([payload]),
        Fork::Cancun => serde_json::json!([payload, no_blobs, root]),
        Fork::Prague | Fork::Osaka => {
            serde_json::json!([payload, no_blobs, root, requests_from_port(&new.execution_requests)])
        }
    }
}
