//! The execution payload, as the Engine API (Prague) carries it and as SSZ hashes it.

use crate::{Address, B256, FixedBytes, Gwei, U256};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash_derive::TreeHash;

/// Wei in a gwei.
pub const GWEI_IN_WEI: u64 = 1_000_000_000;

/// One EIP-2718 transaction in its network encoding, at most 2^24 bytes.
pub type Transaction = VariableList<u8, typenum::U16777216>;

/// What a withdrawal mints; its number is the withdrawal's validator index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WithdrawalKind {
    /// The miner's share of a bundle's fees.
    Miner,
    /// A federation member's share of a bundle's fees.
    Federation,
    /// A peg-out that could not be paid, returned to its sender.
    Refund,
    /// Bitcoin deposited to the federation.
    PegIn,
}

impl WithdrawalKind {
    /// The value of the withdrawal's `validatorIndex`.
    pub fn validator_index(self) -> u64 {
        match self {
            Self::Miner => 0,
            Self::Federation => 1,
            Self::Refund => 2,
            Self::PegIn => 3,
        }
    }
}

/// An EIP-4895 withdrawal: the only way in which coins are minted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Withdrawal {
    /// A number that rises by one from withdrawal to withdrawal over the whole chain.
    pub index: u64,
    /// The [`WithdrawalKind`].
    pub validator_index: u64,
    /// Who is credited.
    pub address: Address,
    /// How much.
    pub amount: Gwei,
}

/// An execution payload with the fields of `ExecutionPayloadV3` (Engine API, Cancun).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct ExecutionPayload {
    /// Hash of the parent EVM block.
    pub parent_hash: B256,
    /// Receiver of priority fees: always the burn address.
    pub fee_recipient: Address,
    /// Root of the EVM state after this block.
    pub state_root: B256,
    /// Root of the receipts trie.
    pub receipts_root: B256,
    /// Bloom filter over the logs.
    pub logs_bloom: FixedBytes<256>,
    /// The block's randomness.
    pub prev_randao: B256,
    /// EVM block number; equals the Alys height.
    pub block_number: u64,
    /// Gas limit.
    pub gas_limit: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Seconds since the Unix epoch; the slot's start.
    pub timestamp: u64,
    /// Free bytes of the builder.
    pub extra_data: VariableList<u8, typenum::U32>,
    /// EIP-1559 base fee in wei.
    pub base_fee_per_gas: U256,
    /// Hash of the EVM block that these fields make.
    pub block_hash: B256,
    /// The transactions in order.
    pub transactions: VariableList<Transaction, typenum::U1048576>,
    /// The withdrawals in order; exactly the ones the rules derive.
    pub withdrawals: VariableList<Withdrawal, typenum::U256>,
    /// EIP-4844 gas; always zero.
    pub blob_gas_used: u64,
    /// EIP-4844 excess gas; always zero.
    pub excess_blob_gas: u64,
}
