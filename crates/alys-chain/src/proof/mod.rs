//! Proofs that a block is final, for whoever has no node (`alys_blockProof`).
//!
//! The proof leads from the block to the work of a Bitcoin block, and from there to the federation: the block's root is a
//! leaf of the bundle's tree; the bundle is what miners committed to; the record of their work is in the body of the
//! carrier; the carrier is safe and deep enough in a chain of headers whose last one a quorum certified. A certificate
//! covers all hash-linked ancestors, because members approve only blocks on notarized parents.
//!
//! [`verifier`] checks it in one file that uses nothing of this crate, so that it can be copied or ported.

mod build;
pub mod verifier;

pub use build::{EpochQuorum, ProofError, ProofParts, bundle_branch, prove};

use alys_primitives::{AuxPowRecord, BlockHeader, Notarization, Root, VariableList, typenum};
use ssz_derive::{Decode, Encode};

/// The most headers from the carrier's parent to the certified block.
pub const MAX_PROOF_HEADERS: usize = 4_096;

/// A proof that `header`'s block is final.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockProof {
    /// The block.
    pub header: BlockHeader,
    /// Its position in the bundle.
    pub index: u64,
    /// Siblings from the block's root up to the root of the bundle's list, its length apart.
    pub branch: VariableList<Root, typenum::U16>,
    /// The bundle and the work.
    pub record: AuxPowRecord,
    /// Siblings from the record's field up to the carrier's `body_root`.
    pub body_branch: VariableList<Root, typenum::U4>,
    /// Headers from the carrier's parent on, each the parent of the next; the last one is certified.
    pub headers: VariableList<BlockHeader, typenum::U4096>,
    /// The certificate of the last header.
    pub certificate: Notarization,
}
