//! The operator's limits.

/// Limits of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// EIP-155 chain id that transactions must be signed for.
    pub chain_id: u64,
    /// The most transactions.
    pub max_transactions: usize,
    /// The most bytes of all transactions together.
    pub max_bytes: usize,
    /// The most transactions of one sender.
    pub max_per_sender: usize,
    /// The most transactions of one sender that wait for an earlier nonce.
    pub max_queued_per_sender: usize,
    /// The least priority fee in wei.
    pub min_tip: u128,
    /// Blocks after which a transaction that still waits for an earlier nonce or for coins leaves.
    pub queued_lifetime_blocks: u64,
    /// The most transactions whose nonce is used but whose block is not final yet, and which the journal still keeps.
    pub max_settled: usize,
    /// The most requests that wait for the pool.
    pub max_requests: usize,
    /// The most announcements that a slow subscriber is behind before it misses some.
    pub max_announcements: usize,
}

impl PoolConfig {
    /// The defaults for a chain.
    pub fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            max_transactions: 8_192,
            max_bytes: 32 * 1024 * 1024,
            max_per_sender: 1_024,
            max_queued_per_sender: 64,
            min_tip: 0,
            queued_lifetime_blocks: 5_400,
            max_settled: 65_536,
            max_requests: 1_024,
            max_announcements: 1_024,
        }
    }
}
