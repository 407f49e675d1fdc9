//! What miners commit to, and the record of their work.

use crate::{Address, BlockHeader, FederationChange, Root, Slot};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

/// The most bytes of a serialised AuxPoW in a block body.
pub const MAX_AUXPOW_BYTES: usize = 65_536;

/// The most blocks that one bundle can hold, as a type; the chain spec may set a lower bound.
pub type MaxBundleBlocks = typenum::U65536;

/// A run of blocks that one AuxPoW commits to. Its hash-tree-root is the hash that miners mine on, so everything that a
/// relayer could change (target, payout, range) is inside it (protocol section 5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct AuxBundle {
    /// The chain.
    pub genesis_root: Root,
    /// The chain's id in merged mining.
    pub auxpow_chain_id: u64,
    /// The target in Bitcoin's compact form.
    pub bits: u32,
    /// Who receives the miner's share of the fees.
    pub miner_address: Address,
    /// The slot at which the difficulty was evaluated.
    pub template_slot: Slot,
    /// Root of the previous [`AuxPowRecord`]'s essence (bundle and parent header hash); zero for the first.
    pub previous_auxpow_root: Root,
    /// First block of the run.
    pub start_root: Root,
    /// Last block of the run.
    pub end_root: Root,
    /// Number of blocks in the run.
    pub count: u64,
    /// [`blocks_root`] of the run's block roots.
    pub blocks_root: Root,
}

/// The SSZ list root of the block roots of a bundle, oldest first; `None` for more than 65,536 of them.
pub fn blocks_root(roots: &[Root]) -> Option<Root> {
    VariableList::<Root, MaxBundleBlocks>::new(roots.to_vec()).ok().map(|list| list.tree_hash_root())
}

/// A bundle with the work that commits to it, as a block body carries it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct AuxPowRecord {
    /// What was committed to.
    pub bundle: AuxBundle,
    /// The normalised AuxPoW in Namecoin's layout.
    pub proof: VariableList<u8, typenum::U65536>,
}

/// The most changes of the federation in one [`LightRecord`], as a type.
pub type MaxLightChanges = typenum::U64;

/// What a light start looks at of one committed bundle: the work, the headers at both ends of the run, and the changes by
/// which the federation at its end follows from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LightRecord {
    /// The bundle and the work.
    pub record: AuxPowRecord,
    /// Header of the bundle's first block.
    pub start: BlockHeader,
    /// Header of its last block; the same for a bundle of one.
    pub end: BlockHeader,
    /// The changes whose epochs began after the bundle before and not after `end`, oldest first.
    pub changes: VariableList<FederationChange, MaxLightChanges>,
}
