//! The federation and the records by which a quorum of it changes itself.

use crate::{Address, Epoch, MaxMembers, OfferedCustody, Optional, PublicKeyBytes, Root, SignatureBytes};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{BitVector, VariableList};
use tree_hash_derive::TreeHash;

/// A federation member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The key that proposes and approves.
    pub public_key: PublicKeyBytes,
    /// Proof that the member holds the secret key: a signature over the public key under the proof-of-possession tag.
    pub proof_of_possession: SignatureBytes,
    /// Receives the member's share of the fees.
    pub fee_address: Address,
}

/// The members of one epoch, in order; the position is the member's index.
pub type Members = VariableList<Member, MaxMembers>;

/// A new federation, approved by a quorum of the current one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct FederationChange {
    /// The chain.
    pub genesis_root: Root,
    /// The epoch whose federation signs; the new one begins the next.
    pub epoch: Epoch,
    /// The new federation.
    pub members: Members,
    /// Who holds the deposits from the next epoch on, each with proof that the key is held; empty if that does not change.
    pub custody: Optional<OfferedCustody>,
    /// Which current members signed.
    pub bitfield: BitVector<MaxMembers>,
    /// Their aggregate signature.
    pub aggregate_signature: SignatureBytes,
}

/// A quorum's decision to stop or resume a direction of the peg.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Pause {
    /// The chain.
    pub genesis_root: Root,
    /// The epoch whose federation signs.
    pub epoch: Epoch,
    /// Rises with each decision, so that an old one can't be replayed.
    pub sequence: u64,
    /// Whether deposits are held.
    pub pegin_paused: bool,
    /// Whether payments are held.
    pub pegout_paused: bool,
    /// Which members signed.
    pub bitfield: BitVector<MaxMembers>,
    /// Their aggregate signature.
    pub aggregate_signature: SignatureBytes,
}
