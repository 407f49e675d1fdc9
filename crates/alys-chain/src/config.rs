//! What an operator chooses. Nothing here is consensus: two nodes with different configurations agree on every block.

use alys_primitives::PublicKeyBytes;

/// The operator's choices for one chain core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainConfig {
    /// The key we sign with, if we are a member; its index is looked up in the federation of each epoch.
    pub member_key: Option<PublicKeyBytes>,
    /// How long before its slot a payload is asked for, in milliseconds.
    pub production_lead: u64,
    /// How long after its slot's start a proposal may still be signed, in milliseconds.
    pub production_deadline: u64,
    /// The most blocks that wait for a parent, for their slot or for execution.
    pub max_pending_blocks: usize,
    /// The most bytes that those blocks may have together.
    pub max_pending_bytes: usize,
    /// The most of those blocks that one peer may have brought.
    pub max_pending_per_peer: usize,
    /// How long a block waits for its parent, in milliseconds.
    pub pending_expiry: u64,
    /// The most approvals that wait for their block.
    pub max_early_approvals: usize,
    /// The most proposals, and the most approvals, that are remembered to notice a second one for the same slot.
    pub max_witnessed: usize,
    /// The most AuxPoW records that wait for an author.
    pub max_queued_auxpow: usize,
    /// The most rejected blocks that are remembered.
    pub max_rejected_blocks: usize,
    /// Wait before a block whose execution gave no answer is tried again, in milliseconds; doubles up to 32 times this.
    pub execution_retry: u64,
    /// A reorganisation that drops more blocks than this raises an alert; it is not a validity rule.
    pub max_reorg_depth: Option<u64>,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            member_key: None,
            production_lead: 400,
            production_deadline: 1_000,
            max_pending_blocks: 4_096,
            max_pending_bytes: 64 << 20,
            max_pending_per_peer: 1_024,
            pending_expiry: 120_000,
            max_early_approvals: 4_096,
            max_witnessed: 16_384,
            max_queued_auxpow: 256,
            max_rejected_blocks: 1_024,
            execution_retry: 100,
            max_reorg_depth: Some(64),
        }
    }
}
