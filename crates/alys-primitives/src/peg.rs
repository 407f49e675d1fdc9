//! Records of the two-way peg that block bodies carry (protocol section 7).

use crate::{Address, B256, FixedBytes, Root, Wei};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash_derive::TreeHash;

/// A serialised Bitcoin block header (80 bytes).
pub type BitcoinHeaderBytes = FixedBytes<80>;

/// A serialised Bitcoin transaction without witness, at most 128 KiB.
pub type TransactionBytes = VariableList<u8, typenum::U131072>;

/// A Bitcoin Merkle branch, leaf to root, each item in internal byte order.
pub type MerkleBranch = VariableList<B256, typenum::U32>;

/// A deposit on Bitcoin with everything needed to check it without a Bitcoin node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct PegInRecord {
    /// Hash of the Bitcoin block that holds the deposit, internal byte order.
    pub bitcoin_block: B256,
    /// The depositing transaction.
    pub transaction: TransactionBytes,
    /// The transaction's position in its block.
    pub index: u64,
    /// From the transaction to the block's Merkle root.
    pub branch: MerkleBranch,
    /// The block's coinbase transaction, whose branch proves the tree's depth.
    pub coinbase: TransactionBytes,
    /// From the coinbase to the block's Merkle root; as long as `branch`.
    pub coinbase_branch: MerkleBranch,
}

/// A burn that asks for bitcoin, named by where its log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, TreeHash)]
pub struct PegOutId {
    /// Root of the Alys block whose payload holds the burn.
    pub block_root: Root,
    /// Index of the log within that block.
    pub log_index: u64,
}

/// A batch of peg-outs to be paid by one derived Bitcoin transaction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct PegOutBatch {
    /// The requests, oldest first.
    pub requests: VariableList<PegOutId, typenum::U256>,
    /// Fee rate in satoshis per 1000 virtual bytes.
    pub fee_rate: u64,
}

/// The next attempt at a batch that has not confirmed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct FeeBump {
    /// Number of the batch.
    pub batch: u64,
    /// Number of the attempt; the batch itself was attempt 0.
    pub attempt: u64,
}

/// Proof that a batch's payment confirmed on Bitcoin.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Settlement {
    /// Number of the batch.
    pub batch: u64,
    /// The payment with its proof.
    pub payment: PegInRecord,
}

/// A peg-out that can't be paid and goes back to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Refund {
    /// The request.
    pub request: PegOutId,
    /// Number of the reason.
    pub reason: u64,
}

/// A Bitcoin address as text, as a burn names it; unchecked.
pub type AddressText = VariableList<u8, typenum::U128>;

/// A burn that the bridge contract logged in a successful transaction: a wish for bitcoin.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Burn {
    /// Index of the log within its block.
    pub log_index: u64,
    /// Who burned, and who is refunded what can't be paid.
    pub sender: Address,
    /// Where the bitcoin shall go.
    pub bitcoin_address: AddressText,
    /// How much was burned, in wei; whole satoshis.
    pub amount: Wei,
}

/// The burns of one block, in the order of their logs. A block's gas allows far fewer.
pub type Burns = VariableList<Burn, typenum::U65536>;
