//! Where the time of checking a block went.

use std::time::Duration;

/// Parts of [`crate::Executor::new_payload`], in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTimings {
    /// Recovering the senders from the signatures.
    pub recover: Duration,
    /// Running the transactions and system calls in the EVM, reads of the state included.
    pub run: Duration,
    /// Changing the state's trie, and its new root.
    pub trie: Duration,
    /// Receipts root, bloom and comparisons.
    pub compare: Duration,
    /// Writing block, receipts and changes, durably.
    pub write: Duration,
    /// All of it, decoding and hashing the payload included.
    pub total: Duration,
}
