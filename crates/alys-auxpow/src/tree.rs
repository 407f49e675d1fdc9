//! One commitment for several chains.

use crate::{Commitment, expected_index, hash::merkle_fold};
use alloy_primitives::B256;
use std::collections::BTreeMap;
use thiserror::Error;

/// The most chains in one tree.
pub const MAX_TREE_CHAINS: usize = 64;

/// The greatest height that is tried.
const MAX_TREE_HEIGHT: usize = 16;

/// How many nonces are tried at each height.
const NONCES_PER_HEIGHT: u32 = 64;

/// Why chains can't be committed to together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// Nothing to commit to.
    #[error("no chain to commit to")]
    Empty,
    /// More than [`MAX_TREE_CHAINS`].
    #[error("at most {MAX_TREE_CHAINS} chains fit a tree, not {found}")]
    TooMany {
        /// Chains given.
        found: usize,
    },
    /// No tree of a reasonable size keeps the chains apart; two with ids equal modulo 65,536 always collide.
    #[error("no tree of height {MAX_TREE_HEIGHT} or less keeps these chain ids apart")]
    Collision,
}

/// A tree of the hashes of several chains, each at the place that its id demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuxTree {
    /// Levels from the leaves to the root.
    levels: Vec<Vec<B256>>,
    nonce: u32,
    /// Chain id to place.
    places: BTreeMap<u64, u32>,
}

impl AuxTree {
    /// The smallest tree that holds all of `chains` (id and hash); other places are zero.
    ///
    /// # Errors
    /// [`TreeError`] if there are none or too many, or if they can't be kept apart.
    pub fn build(chains: &[(u64, B256)]) -> Result<Self, TreeError> {
        if chains.is_empty() {
            return Err(TreeError::Empty);
        }
        if chains.len() > MAX_TREE_CHAINS {
            return Err(TreeError::TooMany { found: chains.len() });
        }
        (0..=MAX_TREE_HEIGHT)
            .filter(|height| leaf_count(*height) >= chains.len())
            .flat_map(|height| (0..NONCES_PER_HEIGHT).map(move |nonce| (height, nonce)))
            .find_map(|(height, nonce)| Self::place(chains, height, nonce))
            .ok_or(TreeError::Collision)
    }

    fn place(chains: &[(u64, B256)], height: usize, nonce: u32) -> Option<Self> {
        let mut leaves: BTreeMap<u32, B256> = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (chain_id, hash) in chains {
            let index = expected_index(nonce, *chain_id, height);
            if leaves.insert(index, *hash).is_some() {
                return None;
            }
            places.insert(*chain_id, index);
        }
        let leaf = |index: usize| u32::try_from(index).ok().and_then(|index| leaves.get(&index)).copied();
        let mut levels: Vec<Vec<B256>> =
            vec![(0..leaf_count(height)).map(|index| leaf(index).unwrap_or(B256::ZERO)).collect()];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let above =
                level.chunks(2).filter_map(|pair| pair.split_first()).map(|(left, right)| merkle_fold(*left, right, 0));
            levels.push(above.collect());
        }
        Some(Self { levels, nonce, places })
    }

    /// What to write into the coinbase.
    pub fn commitment(&self) -> Commitment {
        let size = self.levels.first().map_or(0, Vec::len);
        Commitment {
            root: self.levels.last().and_then(|level| level.first()).copied().unwrap_or(B256::ZERO),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            nonce: self.nonce,
        }
    }

    /// The branch and the index of one chain's hash; `None` for a chain that is not in the tree.
    pub fn branch(&self, chain_id: u64) -> Option<(Vec<B256>, i32)> {
        let index = *self.places.get(&chain_id)?;
        let mut place = usize::try_from(index).ok()?;
        let below_root = self.levels.len().saturating_sub(1);
        let mut branch = Vec::new();
        for level in self.levels.iter().take(below_root) {
            branch.push(*level.get(place ^ 1)?);
            place >>= 1;
        }
        Some((branch, i32::try_from(index).ok()?))
    }
}

fn leaf_count(height: usize) -> usize {
    u32::try_from(height).ok().and_then(|height| 1usize.checked_shl(height)).unwrap_or(usize::MAX)
}
