//! Merged mining: commitment, layout, checks and difficulty.
//!
//! Purpose: everything about the work that Bitcoin miners do for an Alys chain which can be decided from bytes alone.
//! An [`AuxPow`] is decoded from Namecoin's layout, [`AuxPow::verify`] applies Namecoin's rules in Namecoin's order,
//! [`Asert`] says which target a proof has to meet, and [`Commitment`] and [`AuxTree`] are what a miner needs to
//! produce one.
//!
//! Invariants:
//! - an [`AuxPow`] is normalised from the moment it is decoded: it has no place for the fields that Namecoin ignores
//!   (`hashBlock`, `nIndex`) nor for the coinbase's witness, so two proofs that differ only there are equal;
//! - decoding is bounded by [`MAX_AUXPOW_BYTES`](alys_primitives::MAX_AUXPOW_BYTES), allocates no more than the input's
//!   own size times a small constant, and never panics;
//! - hashes are in internal byte order (the order of the digest's bytes) everywhere; [`display_order`] turns one into
//!   the reversed form that RPC answers, block explorers and the coinbase commitment show;
//! - integers only: no difficulty ever passes through a float.
//!
//! Deliberately absent: I/O, clocks, randomness, and any knowledge of Alys blocks. Which hash a proof has to commit to,
//! and that a parent header serves one record only, are the chain's rules.

#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions)]

mod asert;
mod commitment;
mod hash;
mod proof;
mod reader;
mod target;
mod transaction;
mod tree;
mod verify;

pub use asert::{Asert, AsertError};
pub use commitment::{COMMITMENT_BYTES, Commitment, MAGIC, MAX_CHAIN_BRANCH, expected_index};
pub use hash::{display_order, merkle_fold, sha256d};
pub use proof::{AuxPow, PARENT_HEADER_BYTES, ParentHeader};
pub use reader::DecodeError;
pub use target::{CompactError, Target};
pub use transaction::{NULL_OUTPUT_INDEX, Transaction, TxInput, TxOutput};
pub use tree::{AuxTree, MAX_TREE_CHAINS, TreeError};
pub use verify::{CommitmentPlace, Found, RULES, Rules, UnknownPlace, Verified, VerifyError};
