//! Approvals, certificates and the evidence of a broken promise.

use crate::{Epoch, MaxMembers, Root, SignatureBytes, SignedHeader, Slot};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{BitVector, VariableList, typenum};
use tree_hash_derive::TreeHash;

/// What an approval signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, TreeHash)]
pub struct ApprovalData {
    /// The approved block.
    pub block_root: Root,
    /// The block's slot.
    pub slot: Slot,
    /// The block's epoch.
    pub epoch: Epoch,
}

/// One member's approval of one block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Approval {
    /// What is signed.
    pub data: ApprovalData,
    /// Position of the member in the epoch's federation.
    pub member_index: u64,
    /// The member's signature over `data`.
    pub signature: SignatureBytes,
}

/// A certificate: the aggregate signature of a quorum of the federation over one block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Notarization {
    /// The approved block.
    pub block_root: Root,
    /// The block's slot.
    pub slot: Slot,
    /// The block's epoch.
    pub epoch: Epoch,
    /// Which members signed; bits at or past the federation's size make the certificate invalid.
    pub bitfield: BitVector<MaxMembers>,
    /// The aggregate of their signatures over the same [`ApprovalData`].
    pub aggregate_signature: SignatureBytes,
}

impl Notarization {
    /// What every signer signed.
    pub fn data(&self) -> ApprovalData {
        ApprovalData { block_root: self.block_root, slot: self.slot, epoch: self.epoch }
    }
}

/// Two different proposals by one author for one slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct ProposalEquivocation {
    /// One.
    pub first: SignedHeader,
    /// The other.
    pub second: SignedHeader,
}

/// Two different approvals by one member for one slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct VoteEquivocation {
    /// One.
    pub first: Approval,
    /// The other.
    pub second: Approval,
}

/// Proofs of equivocation that a block brings on chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Evidence {
    /// Members that proposed twice.
    pub proposals: VariableList<ProposalEquivocation, typenum::U16>,
    /// Members that approved twice.
    pub votes: VariableList<VoteEquivocation, typenum::U16>,
}
