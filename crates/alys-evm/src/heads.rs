//! What readers are told of the chain's heads, and how they hear of changes.

use alloy_primitives::B256;
use std::sync::Arc;

/// Names one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Hash of the EVM block.
    pub hash: B256,
    /// Its number.
    pub number: u64,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
}

/// The published view of the chain: three blocks of one chain, `finalized ≤ safe ≤ latest`.
///
/// Genesis stands for safe and finalized until the fork choice names one: it can't be reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The canonical head: `latest` of JSON-RPC.
    pub latest: BlockRef,
    /// The newest safe block.
    pub safe: BlockRef,
    /// The newest finalized block.
    pub finalized: BlockRef,
}

/// The canonical chain changed. Sent after the change is durable and visible to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// The head grew: every added block extends the head before it.
    Extended {
        /// Lowest first, never empty.
        added: Arc<[BlockRef]>,
    },
    /// The head moved to another branch.
    Reorg {
        /// Blocks that are no longer canonical, highest first, never empty.
        dropped: Arc<[BlockRef]>,
        /// Blocks that are canonical now, lowest first; empty if the head moved to an ancestor.
        added: Arc<[BlockRef]>,
    },
}

impl ChainEvent {
    /// Blocks that are no longer canonical, highest first.
    pub fn dropped(&self) -> &[BlockRef] {
        match self {
            Self::Extended { .. } => &[],
            Self::Reorg { dropped, .. } => dropped,
        }
    }

    /// Blocks that became canonical, lowest first.
    pub fn added(&self) -> &[BlockRef] {
        match self {
            Self::Extended { added } | Self::Reorg { added, .. } => added,
        }
    }
}
