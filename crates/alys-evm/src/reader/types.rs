//! What readers are given, and why they are not.

use crate::db::DbError;
use crate::trie::TrieError;
use crate::{BlockRef, Tx};
use alloy_consensus::ReceiptEnvelope;
use alloy_consensus::transaction::Recovered;
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such block is known.
    #[error("unknown block")]
    UnknownBlock,
    /// The block is known but not canonical, so its state is not at hand.
    #[error("block {hash} is not canonical")]
    NotCanonical {
        /// The block's hash.
        hash: B256,
    },
    /// The block's state is no longer kept.
    #[error("state of block {number} is no longer kept; the oldest is that of block {oldest}")]
    Pruned {
        /// The block's number.
        number: u64,
        /// The oldest block whose state is kept.
        oldest: u64,
    },
    /// The call can't be executed: it is no transaction that the rules allow.
    #[error("{0}")]
    InvalidCall(String),
    /// The overrides make no sense.
    #[error("invalid overrides: {0}")]
    InvalidOverride(String),
    /// The database failed or is damaged.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The trie is damaged.
    #[error("{0}")]
    Trie(String),
}

impl From<TrieError> for ReadError {
    fn from(error: TrieError) -> Self {
        match error {
            TrieError::Db(error) => Self::Database(error),
            error @ (TrieError::Missing { .. } | TrieError::Damaged { .. }) => Self::Trie(error.to_string()),
        }
    }
}

/// A transaction of the canonical chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedTransaction {
    /// The transaction and its sender.
    pub transaction: Recovered<Tx>,
    /// Its block.
    pub block: BlockRef,
    /// Its index in the block.
    pub index: u64,
    /// The block's base fee in wei; `None` before London.
    pub base_fee: Option<u64>,
}

/// A receipt with what it means in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedReceipt {
    /// The receipt.
    pub receipt: ReceiptEnvelope,
    /// Its transaction.
    pub transaction: MinedTransaction,
    /// Gas that the transaction alone used.
    pub gas_used: u64,
    /// Index in the block of the receipt's first log.
    pub first_log_index: u64,
    /// What each unit of gas cost, in wei.
    pub effective_gas_price: u128,
    /// The contract that the transaction created, if it was a creation.
    pub contract_address: Option<Address>,
    /// Blob gas that the transaction used.
    pub blob_gas_used: Option<u64>,
    /// What each unit of blob gas cost, in wei.
    pub blob_gas_price: Option<u128>,
}

/// An account's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Hash of the code; that of nothing if there is none.
    pub code_hash: B256,
    /// Root of the storage trie.
    pub storage_root: B256,
}

/// A call to execute without keeping its effects.
#[derive(Clone, Debug, Default)]
pub struct CallRequest {
    /// The call.
    pub transaction: TransactionRequest,
    /// Accounts that are different for this call.
    pub state_overrides: Option<StateOverride>,
    /// Facts of the block that are different for this call.
    pub block_overrides: Option<Box<BlockOverrides>>,
    /// The most gas that the call may use, whatever it asks for.
    pub gas_cap: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallStatus {
    /// It returned.
    Success {
        /// What it returned; of a creation, the deployed code.
        output: Bytes,
        /// The created contract.
        created: Option<Address>,
    },
    /// It reverted.
    Revert {
        /// The revert data.
        output: Bytes,
    },
    /// It stopped with an error and used up its gas.
    Halt {
        /// Why.
        reason: String,
        /// Whether it ran out of gas.
        out_of_gas: bool,
    },
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// Gas used, after refunds.
    pub gas_used: u64,
    /// How it ended.
    pub status: CallStatus,
    /// Logs, if it succeeded.
    pub logs: Vec<Log>,
}

/// What a block on top of another will be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextBlock {
    /// Its rules.
    pub spec: SpecId,
    /// Its base fee in wei.
    pub base_fee: u64,
    /// The parent's gas limit, which it keeps unless a builder is told otherwise.
    pub gas_limit: u64,
    /// What a unit of blob gas costs, in wei; `None` before Cancun.
    pub blob_base_fee: Option<u128>,
}
