//! Merkle roots of blocks and the witness commitment (BIP-141).

use bitcoin::block::Block;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::{Transaction, Wtxid};

/// The bytes that begin a commitment output: OP_RETURN, a push of 36 bytes, and BIP-141's magic.
pub const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// The reserved value that templates here put into the coinbase's witness.
pub const RESERVED_VALUE: [u8; 32] = [0; 32];

/// A root, and whether the same root also belongs to a shorter list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerkleRoot {
    /// The root.
    pub root: sha256d::Hash,
    /// Two equal neighbours were hashed together: the list may be another one with its tail repeated (CVE-2012-2459).
    pub mutated: bool,
}

/// The Merkle root of a list of leaves; `None` when it is empty.
pub fn merkle_root(leaves: impl IntoIterator<Item = sha256d::Hash>) -> Option<MerkleRoot> {
    let mut level: Vec<sha256d::Hash> = leaves.into_iter().collect();
    let mut mutated = false;
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => {
                    mutated |= left == right;
                    hash_pair(left, right)
                }
                [last, ..] => hash_pair(last, last),
                [] => sha256d::Hash::all_zeros(),
            })
            .collect();
    }
    level.first().map(|root| MerkleRoot { root: *root, mutated })
}

/// The longest branch that is looked at: a block has fewer than 2^32 transactions.
pub const MAX_BRANCH: usize = 32;

/// The hashes that lead from the leaf at `index` to the root; `None` when there is no such leaf.
///
/// The branch of leaf 0 does not depend on leaf 0 itself.
pub fn merkle_branch(leaves: &[sha256d::Hash], index: usize) -> Option<Vec<sha256d::Hash>> {
    leaves.get(index)?;
    let mut branch = Vec::new();
    let mut level = leaves.to_vec();
    let mut at = index;
    while level.len() > 1 {
        // The last of an odd level is hashed with itself.
        let sibling = level.get(at ^ 1).or_else(|| level.last())?;
        branch.push(*sibling);
        level = level.chunks(2).filter_map(|pair| Some(hash_pair(pair.first()?, pair.last()?))).collect();
        at /= 2;
    }
    Some(branch)
}

/// The root that a branch gives for a leaf at `index`.
///
/// `None` when the branch is longer than [`MAX_BRANCH`] or too short for the index, or when the index lies behind the end
/// of an odd level whose last hash is repeated: one position can't be passed off as another.
pub fn root_from_branch(leaf: sha256d::Hash, branch: &[sha256d::Hash], index: u32) -> Option<sha256d::Hash> {
    if branch.len() > MAX_BRANCH {
        return None;
    }
    let mut at = index;
    let mut hash = leaf;
    for sibling in branch {
        if at & 1 == 0 {
            hash = hash_pair(&hash, sibling);
        } else if *sibling == hash {
            return None;
        } else {
            hash = hash_pair(sibling, &hash);
        }
        at >>= 1;
    }
    (at == 0).then_some(hash)
}

/// What the coinbase must commit to: `sha256d(witness root || reserved value)`.
pub fn witness_commitment(transactions: &[Transaction], reserved: &[u8; 32]) -> sha256d::Hash {
    let others = transactions.iter().skip(1).map(|transaction| transaction.compute_wtxid().to_raw_hash());
    commitment_over(others, reserved)
}

/// The same from the wtxids of the transactions after the coinbase, whose own counts as zero.
pub(crate) fn commitment_over(others: impl Iterator<Item = sha256d::Hash>, reserved: &[u8; 32]) -> sha256d::Hash {
    let leaves = std::iter::once(Wtxid::all_zeros().to_raw_hash()).chain(others);
    let root = merkle_root(leaves).map_or(sha256d::Hash::all_zeros(), |merkle| merkle.root);
    let mut engine = sha256d::Hash::engine();
    engine.input(root.as_byte_array());
    engine.input(reserved);
    sha256d::Hash::from_engine(engine)
}

/// Why a block's witnesses are not committed to as BIP-141 asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitmentError {
    /// A transaction carries a witness and the coinbase carries no commitment.
    #[error("a transaction carries a witness but the coinbase commits to none")]
    Missing,
    /// The coinbase's witness is not exactly one item of 32 bytes.
    #[error("the coinbase's witness is not one reserved value of 32 bytes")]
    ReservedValue,
    /// The commitment differs from what the transactions give.
    #[error("the witness commitment does not match the transactions")]
    Mismatch,
}

/// Checks the witness commitment of a block; its last commitment output counts.
///
/// # Errors
/// [`CommitmentError`] names what is wrong.
pub fn check_witness_commitment(block: &Block) -> Result<(), CommitmentError> {
    let coinbase = block.txdata.first();
    let committed = coinbase.and_then(|coinbase| {
        let scripts = coinbase.output.iter().rev().map(|output| output.script_pubkey.as_bytes());
        scripts.filter(|script| script.len() >= 38 && script.starts_with(&COMMITMENT_PREFIX)).find_map(|s| s.get(6..38))
    });
    let Some(committed) = committed else {
        let witnessed = block.txdata.iter().any(|tx| tx.input.iter().any(|input| !input.witness.is_empty()));
        return if witnessed { Err(CommitmentError::Missing) } else { Ok(()) };
    };
    let witness = coinbase.and_then(|coinbase| coinbase.input.first()).map(|input| &input.witness);
    let reserved: &[u8; 32] = witness
        .filter(|witness| witness.len() == 1)
        .and_then(|witness| witness.nth(0))
        .and_then(|item| item.try_into().ok())
        .ok_or(CommitmentError::ReservedValue)?;
    if witness_commitment(&block.txdata, reserved).as_byte_array() != committed {
        return Err(CommitmentError::Mismatch);
    }
    Ok(())
}

fn hash_pair(left: &sha256d::Hash, right: &sha256d::Hash) -> sha256d::Hash {
    let mut engine = sha256d::Hash::engine();
    engine.input(left.as_byte_array());
    engine.input(right.as_byte_array());
    sha256d::Hash::from_engine(engine)
}
