//! What an operator chooses. Nothing here is consensus: two nodes with different configurations agree on every block.

use alys_primitives::{ChainSpec, PublicKeyBytes};

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

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A choice that would keep the core from working on this chain.
    #[error("`{field}` is {found}, must be {range}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What was given.
        found: u64,
        /// What is possible, in words.
        range: &'static str,
    },
    /// The key can't change while the core runs: the signing record belongs to the key.
    #[error("the member key can't change while the node runs")]
    MemberKey,
}

impl ChainConfig {
    /// Checks the choices against each other and against the chain's constants.
    ///
    /// # Errors
    /// [`ConfigError`] with the first field that is out of range.
    pub fn validate(&self, spec: &ChainSpec) -> Result<(), ConfigError> {
        let slot = spec.slot_duration.saturating_mul(1_000);
        let count = |places: usize| u64::try_from(places).unwrap_or(u64::MAX);
        let some = "at least 1";
        let checks = [
            ("production_lead", self.production_lead, self.production_lead < slot, "less than a slot"),
            ("production_deadline", self.production_deadline, self.production_deadline < slot, "less than a slot"),
            ("max_pending_blocks", count(self.max_pending_blocks), self.max_pending_blocks > 0, some),
            ("max_pending_bytes", count(self.max_pending_bytes), self.max_pending_bytes > 0, some),
            ("max_pending_per_peer", count(self.max_pending_per_peer), self.max_pending_per_peer > 0, some),
            ("pending_expiry", self.pending_expiry, self.pending_expiry >= slot, "at least a slot"),
            ("max_early_approvals", count(self.max_early_approvals), self.max_early_approvals > 0, some),
            ("max_witnessed", count(self.max_witnessed), self.max_witnessed > 0, some),
            ("max_queued_auxpow", count(self.max_queued_auxpow), self.max_queued_auxpow > 0, some),
            ("execution_retry", self.execution_retry, self.execution_retry > 0, "at least 1 millisecond"),
        ];
        let wrong = checks.into_iter().find(|(_, _, holds, _)| !holds);
        match wrong {
            Some((field, found, _, range)) => Err(ConfigError::OutOfRange { field, found, range }),
            None => Ok(()),
        }
    }
}
