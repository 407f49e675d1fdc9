//! What readers see of a chain: only what is durable.

use crate::{
    BlockRef,
    peg::Peg,
    state::{ChangeInFlight, Committed, Ledger, Offences},
};
use alys_primitives::{AuxBundle, Epoch, Members, Root, Wei};
use std::sync::Arc;

/// A snapshot of a chain, cheap to clone, for a watch channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainView {
    /// The chain.
    pub genesis_root: Root,
    /// Tip of the notarized chain.
    pub head: BlockRef,
    /// Newest safe block.
    pub safe: BlockRef,
    /// Newest finalized block.
    pub finalized: BlockRef,
    /// Epoch of the next block.
    pub epoch: Epoch,
    /// Its members.
    pub members: Arc<Members>,
    /// Approvals that notarize a block.
    pub quorum: u64,
    /// Our index among the members.
    pub member_index: Option<u64>,
    /// The newest committed bundle in the head's chain.
    pub committed: Committed,
    /// Blocks of the head's chain past the last committed one.
    pub blocks_without_pow: u64,
    /// Whether the next block must carry an AuxPoW.
    pub stalled: bool,
    /// Fees of the head's chain that no carrier has minted again yet, in wei.
    pub pending_fees: Wei,
    /// What earlier distributions of fees left over.
    pub carried_fees: Wei,
    /// Totals of what was minted and burned in the head's chain.
    pub ledger: Ledger,
    /// A change of the federation in the head's chain that has not taken effect.
    pub change: Option<ChangeInFlight>,
    /// Members that the head's chain has proven to have signed twice.
    pub offences: Offences,
    /// The peg in the head's chain.
    pub peg: Peg,
    /// The bundles whose work waits for an author.
    pub queued_auxpow: Arc<Vec<QueuedAuxPow>>,
    /// The block that a template made now ends with; zero if every block is committed.
    pub bundle_end: Root,
    /// Blocks that wait for a parent, for their slot or for execution.
    pub pending_blocks: usize,
    /// Blocks above the finalized one.
    pub unfinalized_blocks: usize,
    /// The chain's state root.
    pub state_root: Root,
    /// What happened since the start.
    pub counters: Counters,
}

/// A bundle whose work waits for an author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedAuxPow {
    /// Hash of the bundle.
    pub hash: Root,
    /// The bundle.
    pub bundle: AuxBundle,
}

/// Counts since the core was made; for metrics, never for decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Valid blocks imported.
    pub imported: u64,
    /// Invalid blocks rejected.
    pub rejected: u64,
    /// Waiting blocks that expired or made room.
    pub evicted: u64,
    /// Blocks that got a certificate.
    pub notarized: u64,
    /// Proposals signed.
    pub proposed: u64,
    /// Approvals signed.
    pub approved: u64,
    /// Signatures that the signing record or the signer refused.
    pub refused: u64,
    /// Slots of ours without a proposal.
    pub missed: u64,
    /// Reorganisations.
    pub reorgs: u64,
    /// Bundles finalized.
    pub bundles: u64,
    /// AuxPoW records refused.
    pub auxpow_refused: u64,
    /// Proofs of equivocation found.
    pub equivocations: u64,
}
