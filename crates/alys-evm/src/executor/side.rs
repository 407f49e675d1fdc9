//! The state of blocks that are not the head: the head's with changes taken back and made.

use super::Executor;
use crate::db::{DbError, HeadState, Layer, Overlay};
use alloy_primitives::B256;

/// Why a block's state can't be put together.
#[derive(Debug, thiserror::Error)]
pub(super) enum SideError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The block is too far from the canonical chain, or the chain below was pruned.
    #[error("the block is too far from the canonical head")]
    TooFar,
}

/// The state after one block, over the head's.
#[derive(Debug)]
pub(super) struct SideState {
    /// The head that lies below.
    head: B256,
    /// The block.
    tip: B256,
    /// What differs from the head's state.
    layer: Layer,
    /// How many blocks' changes are in the layer.
    blocks: usize,
}

/// The blocks between a block and the canonical chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Branch {
    /// Number of the newest ancestor (or the block itself) that is canonical.
    pub(super) fork: u64,
    /// What is above it up to the block, lowest first.
    pub(super) blocks: Vec<B256>,
}

impl SideState {
    /// The state as tables.
    pub(super) const fn overlay<'a>(&'a self, head: HeadState<'a>) -> Overlay<'a> {
        Overlay { head, layer: &self.layer }
    }
}

impl Executor {
    /// The way from the canonical chain to an executed block; `None` if the block is unknown.
    pub(super) fn branch(&self, hash: B256, limit: usize) -> Result<Option<Branch>, SideError> {
        let Some(mut header) = self.db.header(hash)? else { return Ok(None) };
        let mut hash = hash;
        let mut blocks = Vec::new();
        while self.db.canonical(header.number)? != Some(hash) {
            if blocks.len() >= limit {
                return Err(SideError::TooFar);
            }
            blocks.push(hash);
            hash = header.parent_hash;
            header = self.db.header(hash)?.ok_or(DbError::Corrupt { what: "a block's parent" })?;
        }
        blocks.reverse();
        Ok(Some(Branch { fork: header.number, blocks }))
    }

    /// The state after an executed block. Give it back with [`Self::keep_side_state`], so that its child need not
    /// start again.
    pub(super) fn side_state(&mut self, block: B256) -> Result<SideState, SideError> {
        let head = self.head();
        if block == head.hash {
            return Ok(SideState { head: head.hash, tip: block, layer: Layer::default(), blocks: 0 });
        }
        let limit = self.config.max_side_blocks;
        if let Some(mut side) = self.side.take().filter(|side| side.head == head.hash) {
            if side.tip == block {
                return Ok(side);
            }
            let parent = self.db.header(block)?.map(|header| header.parent_hash);
            if parent == Some(side.tip) && side.blocks < limit {
                side.layer.apply(&*self.diff(block)?);
                side.tip = block;
                side.blocks = side.blocks.saturating_add(1);
                return Ok(side);
            }
        }
        let branch = self.branch(block, limit)?.ok_or(DbError::Corrupt { what: "a block's parent" })?;
        let unwound = head.number.saturating_sub(branch.fork);
        let blocks = branch.blocks.len().saturating_add(usize::try_from(unwound).unwrap_or(usize::MAX));
        if blocks > limit || branch.fork < self.db.history_from()? {
            return Err(SideError::TooFar);
        }
        let mut layer = Layer::default();
        for number in (branch.fork.saturating_add(1)..=head.number).rev() {
            let hash = self.db.canonical(number)?.ok_or(DbError::Corrupt { what: "a canonical block" })?;
            layer.unwind(&*self.diff(hash)?);
        }
        for hash in &branch.blocks {
            layer.apply(&*self.diff(*hash)?);
        }
        Ok(SideState { head: head.hash, tip: block, layer, blocks })
    }

    /// Keeps a state for the next block.
    pub(super) fn keep_side_state(&mut self, side: SideState) {
        if side.blocks > 0 {
            self.side = Some(side);
        }
    }
}
