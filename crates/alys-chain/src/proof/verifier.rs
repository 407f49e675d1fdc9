//! Checks a [`BlockProof`], in one file.
//!
//! It needs `core` and `alloc` only, beside the containers, the AuxPoW check and SHA-256. Signatures are checked by what
//! the caller brings ([`Quorum`]), so that a wallet can use the BLS library that it has.
//!
//! Whoever checks must know, from the chain's spec or from an earlier proof: the chain's `genesis_root`, its rules of
//! merged mining, and the federation of the epoch.

use super::BlockProof;
use alys_auxpow::{AuxPow, Rules, Target};
use alys_primitives::{ApprovalData, B256, BlockHeader, Height, Notarization, Root, TreeHash as _};
use core::fmt;
use sha2::{Digest as _, Sha256};

/// Depth of the tree over a bundle's blocks (65,536 leaves).
const BLOCKS_DEPTH: usize = 16;
/// Depth of the tree over a body's fields (11, padded to 16).
const BODY_DEPTH: usize = 4;
/// Position of the AuxPoW in the body.
const AUXPOW_FIELD: u64 = 1;

/// What the checker takes for granted.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The chain.
    pub genesis_root: Root,
    /// The chain's id in merged mining.
    pub auxpow_chain_id: u64,
    /// The rules of merged mining.
    pub rules: Rules,
    /// The easiest target that the chain accepts.
    pub limit: Target,
    /// Notarized descendants that a carrier needs.
    pub min_finalization_depth: u64,
}

/// Checks certificates of one epoch.
pub trait Quorum {
    /// Whether a quorum of the epoch's members signed `data`, under the rules' version at `height`, and nobody who is no
    /// member is counted.
    fn is_certified(&self, height: Height, data: &ApprovalData, certificate: &Notarization) -> bool;
}

/// What is wrong with a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFlaw {
    /// Made for another chain.
    OtherChain,
    /// The block is no leaf of the bundle.
    NotInBundle,
    /// The work does not commit to the bundle, or is too little.
    Work,
    /// The carrier's body does not hold the record.
    NotCarried,
    /// The headers are no chain from the carrier's parent on.
    Chain,
    /// No three consecutive slots of one epoch make the carrier safe.
    NotSafe,
    /// Too few blocks follow the carrier.
    NotDeep,
    /// The last header is not certified.
    Certificate,
}

impl fmt::Display for ProofFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherChain => "the proof is for another chain",
            Self::NotInBundle => "the block is not in the bundle",
            Self::Work => "the work does not commit to the bundle",
            Self::NotCarried => "the carrier does not hold the record",
            Self::Chain => "the headers are not a chain",
            Self::NotSafe => "the carrier is not safe",
            Self::NotDeep => "too few blocks follow the carrier",
            Self::Certificate => "the last header is not certified",
        })
    }
}

impl core::error::Error for ProofFlaw {}

/// Checks a proof. What is proven is that the block of `proof.header` is final.
///
/// # Errors
/// The first [`ProofFlaw`].
pub fn verify(proof: &BlockProof, trust: &Trust, quorum: &impl Quorum) -> Result<(), ProofFlaw> {
    in_bundle(proof)?;
    worked_for(proof, trust)?;
    let headers: &[BlockHeader] = &proof.headers;
    let [_, carrier, ..] = headers else { return Err(ProofFlaw::Chain) };
    carried(proof, carrier)?;
    linked(headers)?;
    final_in(headers, carrier, trust)?;
    let last = headers.last().ok_or(ProofFlaw::Chain)?;
    let data = ApprovalData { block_root: last.root(), slot: last.slot, epoch: last.epoch };
    let named = proof.certificate.data() == data;
    if named && quorum.is_certified(last.height, &data, &proof.certificate) {
        Ok(())
    } else {
        Err(ProofFlaw::Certificate)
    }
}

/// The block's root leads to the bundle's list of blocks.
fn in_bundle(proof: &BlockProof) -> Result<(), ProofFlaw> {
    let bundle = &proof.record.bundle;
    let holds = holds(bundle.blocks_root, bundle.count, proof.header.root(), proof.index, &proof.branch);
    if holds { Ok(()) } else { Err(ProofFlaw::NotInBundle) }
}

/// Whether a bundle of `count` blocks whose list has the root `blocks_root` holds the block `root` at a position, by the
/// siblings on the way up.
pub fn holds(blocks_root: Root, count: u64, root: Root, index: u64, branch: &[Root]) -> bool {
    branch.len() == BLOCKS_DEPTH && index < count && with_length(fold(root, index, branch), count) == blocks_root
}

/// Miners worked for the bundle.
fn worked_for(proof: &BlockProof, trust: &Trust) -> Result<(), ProofFlaw> {
    let bundle = &proof.record.bundle;
    if bundle.genesis_root != trust.genesis_root || bundle.auxpow_chain_id != trust.auxpow_chain_id {
        return Err(ProofFlaw::OtherChain);
    }
    let target = Target::from_compact(bundle.bits).map_err(|_| ProofFlaw::Work)?;
    let work = AuxPow::decode(&proof.record.proof).map_err(|_| ProofFlaw::Work)?;
    if target > trust.limit || work.verify(bundle.tree_hash_root(), &trust.rules, target).is_err() {
        return Err(ProofFlaw::Work);
    }
    Ok(())
}

/// The record is in the carrier's body.
fn carried(proof: &BlockProof, carrier: &BlockHeader) -> Result<(), ProofFlaw> {
    let field = with_length(proof.record.tree_hash_root(), 1);
    let whole =
        proof.body_branch.len() == BODY_DEPTH && fold(field, AUXPOW_FIELD, &proof.body_branch) == carrier.body_root;
    if whole { Ok(()) } else { Err(ProofFlaw::NotCarried) }
}

/// Each header is the parent of the next.
fn linked(headers: &[BlockHeader]) -> Result<(), ProofFlaw> {
    let follows = |(parent, child): (&BlockHeader, &BlockHeader)| {
        child.parent_root == parent.root()
            && parent.height.checked_add(1) == Some(child.height)
            && child.slot > parent.slot
    };
    if headers.iter().zip(headers.iter().skip(1)).all(follows) { Ok(()) } else { Err(ProofFlaw::Chain) }
}

/// The carrier is safe by three consecutive slots of one epoch, and deep enough (protocol sections 4 and 6).
fn final_in(headers: &[BlockHeader], carrier: &BlockHeader, trust: &Trust) -> Result<(), ProofFlaw> {
    let safe = headers.windows(3).any(|run| match run {
        [first, second, third] => {
            first.epoch == second.epoch
                && second.epoch == third.epoch
                && first.slot.checked_add(1) == Some(second.slot)
                && second.slot.checked_add(1) == Some(third.slot)
                && second.height >= carrier.height
        }
        _ => false,
    });
    if !safe {
        return Err(ProofFlaw::NotSafe);
    }
    let deep = headers.last().is_some_and(|last| last.height.since(carrier.height) >= trust.min_finalization_depth);
    if deep { Ok(()) } else { Err(ProofFlaw::NotDeep) }
}

/// The root of a tree from a leaf and its siblings, the lowest first.
fn fold(leaf: Root, index: u64, siblings: &[Root]) -> Root {
    let (root, _) = siblings.iter().fold((leaf, index), |(node, index), sibling| {
        let parent = if index & 1 == 0 { pair(node, *sibling) } else { pair(*sibling, node) };
        (parent, index >> 1)
    });
    root
}

/// SSZ's root of a list: its tree and its length.
fn with_length(tree: Root, length: u64) -> Root {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    pair(tree, B256::from(bytes))
}

/// SHA-256 of two nodes.
pub(super) fn pair(left: Root, right: Root) -> Root {
    let digest: [u8; 32] = Sha256::new_with_prefix(left).chain_update(right).finalize().into();
    B256::from(digest)
}
