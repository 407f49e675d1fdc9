//! Plain data from which a chain starts again.

use crate::{Pointers, state::ChainState};
use alys_primitives::{
    AuxPowRecord, BlockHeader, Burns, Evidence, FederationChange, Height, Members, Notarization, Pause, Root,
    SignedBlock, Slot, Wei,
};
use serde::{Deserialize, Serialize};

/// The newest finalized block with its state: everything below it can be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The block's header.
    pub header: BlockHeader,
    /// The block's certificate; absent for genesis only.
    pub certificate: Option<Notarization>,
    /// The state after it.
    pub state: ChainState,
    /// Members of its epoch.
    pub members: Members,
    /// Members that a change in flight brings.
    pub next_members: Option<Members>,
    /// Blocks that are finalized but not committed to in this block's own chain, oldest first, this block the last.
    /// The next bundle of every chain may begin among them. Bounded by `max_bundle_blocks`.
    pub trunk: Vec<TrunkBlock>,
}

/// What a bundle needs to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkBlock {
    /// Its root.
    pub root: Root,
    /// Its height.
    pub height: Height,
    /// Its slot.
    pub slot: Slot,
    /// Fees of the chain up to it.
    pub fees_total: Wei,
}

/// What a store kept.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The newest checkpoint; genesis if there is none.
    pub checkpoint: Option<Checkpoint>,
    /// Blocks above the checkpoint, executed before, parents first.
    pub blocks: Vec<RestoredBlock>,
    /// Their certificates.
    pub certificates: Vec<Notarization>,
    /// Work that waits for an author.
    pub auxpow: Vec<AuxPowRecord>,
    /// Proofs of equivocation that wait for an author.
    pub evidence: Vec<Evidence>,
    /// A change of the federation that waits for an author.
    pub change: Option<FederationChange>,
    /// A decision about pausing the peg that waits for an author.
    pub pause: Option<Pause>,
    /// The pointers as last written, to be compared.
    pub pointers: Option<Pointers>,
    /// The state root as last written, to be compared.
    pub state_root: Option<Root>,
}

/// A stored block.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoredBlock {
    /// The block.
    pub block: SignedBlock,
    /// The fees that its transactions paid.
    pub fees: Wei,
    /// What they burned for bitcoin.
    pub burns: Burns,
}
