//! The consensus state after a block: what `state_root` of its children commits to (protocol section 3).
//!
//! A state is a function of the block's ancestors, the block itself and the certificates among them. It takes for
//! granted that the block is notarized, because only notarized blocks have children.

use crate::peg::Peg;
use alys_primitives::{B256, BitVector, Epoch, Height, MaxMembers, Optional, Root, VariableList, Wei, typenum};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use std::sync::Arc;
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

/// The most carriers of an AuxPoW that wait for finality in one chain. When the list is full, a new carrier replaces the
/// newest one: the finality of a later bundle implies that of all before it, and the oldest entry still makes progress.
pub type MaxCarriers = typenum::U64;

/// The consensus state after a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct ChainState {
    /// The epoch of the block.
    pub epoch: Epoch,
    /// Height of the epoch's first block.
    pub epoch_start: Height,
    /// Hash-tree-root of the epoch's members.
    pub members_root: Root,
    /// A federation change in flight.
    pub change: Optional<ChangeInFlight>,
    /// How many blocks up to this one lie in consecutive slots of one epoch; held at 3.
    pub run: u64,
    /// Newest ancestor that is safe by the certificates of this chain.
    pub safe: Point,
    /// Newest ancestor that is final by the certificates of this chain.
    pub finalized: Point,
    /// The newest committed bundle. Shared with the parent's state while nothing changes.
    #[serde(with = "shared")]
    pub committed: Arc<Committed>,
    /// Blocks with an AuxPoW whose bundles are not final in this chain, oldest first. Shared with the parent's state while
    /// nothing changes: most blocks neither carry nor settle one.
    #[serde(with = "shared")]
    pub carriers: Arc<VariableList<Carrier, MaxCarriers>>,
    /// Fees of all blocks up to this one, in wei.
    pub fees_total: Wei,
    /// What earlier distributions of fees left over, in wei.
    pub fee_carry: Wei,
    /// Index of the next withdrawal.
    pub next_withdrawal_index: u64,
    /// `prevRandao` of the next block.
    pub next_randao: B256,
    /// Totals of what was minted and burned.
    pub ledger: Ledger,
    /// Members that were proven to have signed twice.
    pub offences: Offences,
    /// The peg: the chain's view of Bitcoin and the books.
    pub peg: Peg,
}

impl ChainState {
    /// The value of the children's `state_root`.
    pub fn root(&self) -> Root {
        self.tree_hash_root()
    }
}

/// Who was proven to have signed twice in the current epoch, and how many proofs the chain holds in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Offences {
    /// Members of the epoch that proposed twice in one slot.
    pub proposals: BitVector<MaxMembers>,
    /// Members of the epoch that approved twice in one slot.
    pub votes: BitVector<MaxMembers>,
    /// Recorded proofs of all epochs.
    pub recorded: u64,
}

impl Offences {
    /// Whether a member's offence of a kind is recorded.
    pub fn has(&self, member: u64, proposal: bool) -> bool {
        let bits = if proposal { &self.proposals } else { &self.votes };
        usize::try_from(member).ok().and_then(|bit| bits.get(bit).ok()).unwrap_or(false)
    }

    /// Records an offence; `false` if it was recorded before, `None` if nobody has the index.
    pub(crate) fn add(&mut self, member: u64, proposal: bool) -> Option<bool> {
        if self.has(member, proposal) {
            return Some(false);
        }
        let bits = if proposal { &mut self.proposals } else { &mut self.votes };
        bits.set(usize::try_from(member).ok()?, true).ok()?;
        self.recorded = self.recorded.saturating_add(1);
        Some(true)
    }

    /// What a new epoch starts with.
    pub(crate) fn next_epoch(&self) -> Self {
        Self { recorded: self.recorded, ..Self::default() }
    }
}

/// A block by root and height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Point {
    /// The block.
    pub root: Root,
    /// Its height.
    pub height: Height,
}

/// A federation change that waits for its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct ChangeInFlight {
    /// Height of the block that carries it.
    pub height: Height,
    /// Hash-tree-root of the new members.
    pub members_root: Root,
}

/// The newest committed bundle of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Committed {
    /// What the next bundle names as `previous_auxpow_root`; zero before the first.
    pub auxpow_root: Root,
    /// Hash of the newest bundle; zero before the first.
    pub bundle: Root,
    /// Hash of the parent header that committed to it, internal byte order; zero before the first.
    pub parent_header: B256,
    /// The newest bundle's last block; genesis before the first.
    pub end: Point,
    /// Number of committed records.
    pub records: u64,
    /// Expected hashes of all committed records.
    pub work: Wei,
    /// `fees_total` at `end`.
    pub fees: Wei,
}

/// A block that carries an AuxPoW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Carrier {
    /// The block.
    pub root: Root,
    /// Its height.
    pub height: Height,
    /// Hash of the bundle.
    pub bundle: Root,
    /// Height of the bundle's first block.
    pub start: Height,
    /// The bundle's last block.
    pub end: Point,
}

/// Totals in wei. Supply is `minted - burned`; minting fees again is internal and not part of `minted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Ledger {
    /// The genesis allocation and deposits, those among them that nobody was credited for.
    pub deposited: Wei,
    /// Credited deposits and refunds, the genesis allocation among them.
    pub minted: Wei,
    /// Burned for payments on Bitcoin.
    pub burned: Wei,
    /// Fees that carriers minted again.
    pub fees_reminted: Wei,
}

/// Leaf of [`Committed::auxpow_root`]: the bundle and the header that committed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TreeHash)]
pub struct AuxPowEssence {
    /// Hash of the bundle.
    pub bundle: Root,
    /// Hash of the parent header, internal byte order.
    pub parent_header: B256,
}

impl AuxPowEssence {
    /// What the next bundle names as `previous_auxpow_root`.
    pub fn root(&self) -> Root {
        self.tree_hash_root()
    }
}

/// A shared value is written as the value.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}
