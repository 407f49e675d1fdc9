//! Ids, units, SSZ containers and the chain spec of an Alys chain.
//!
//! Everything here is plain data with one canonical encoding: SSZ on the wire and on disk, hash-tree-roots for
//! identity (Ethereum consensus specs, "SimpleSerialize"). Decoding never panics and never allocates more than the
//! input's own size times a small constant, because every list carries its bound in its type.
//!
//! Invariants:
//! - a block's identity is the hash-tree-root of its [`BlockHeader`]; two blocks with equal roots are equal in
//!   everything but the author's signature and the parent's certificate;
//! - units are newtypes and convert only through checked functions;
//! - nothing here signs, verifies, executes, reads a clock or does I/O.

#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions)]

mod auxpow;
mod block;
mod federation;
mod payload;
mod peg;
mod peg_spec;
mod spec;
mod units;
mod vote;

pub use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
pub use auxpow::{
    AuxBundle, AuxPowRecord, LightRecord, MAX_AUXPOW_BYTES, MaxBundleBlocks, MaxLightChanges, blocks_root,
};
pub use block::{
    BlockBody, BlockHeader, ExecutionRequest, ExecutionRequests, MAX_BITCOIN_HEADERS, Optional, SignedBlock,
    SignedHeader,
};
pub use federation::{FederationChange, Member, Members, Pause};
pub use payload::{ExecutionPayload, GWEI_IN_WEI, Transaction, Withdrawal, WithdrawalKind};
pub use peg::{
    AddressText, BitcoinHeaderBytes, Burn, Burns, FeeBump, MerkleBranch, PegInRecord, PegOutBatch, PegOutId, Refund,
    Settlement, TransactionBytes,
};
pub use peg_spec::{
    BitcoinCheckpoint, Custodians, CustodyKeys, CustodyOffer, CustodyRecovery, OfferedCustody, PegSpec,
};
pub use spec::{AuxPowSpec, ChainSpec, EvmSpec, Fork, SpecError};
pub use ssz;
pub use ssz_types::{BitVector, VariableList, typenum};
pub use tree_hash::TreeHash;
pub use units::{Epoch, Gwei, Height, Sats, Slot, UnixMillis, Wei};
pub use vote::{Approval, ApprovalData, Evidence, Notarization, ProposalEquivocation, VoteEquivocation};

/// A hash-tree-root, in internal byte order (the order of the digest's bytes).
pub type Root = B256;

/// A compressed BLS12-381 public key (48 bytes, G1); unchecked until the crypto crate parses it.
pub type PublicKeyBytes = FixedBytes<48>;

/// A compressed BLS12-381 signature (96 bytes, G2); unchecked until the crypto crate parses it.
pub type SignatureBytes = FixedBytes<96>;

/// The most members a federation can have; the width of every approval bitfield.
pub const MAX_MEMBERS: usize = 128;

/// [`MAX_MEMBERS`] as a type.
pub type MaxMembers = typenum::U128;
