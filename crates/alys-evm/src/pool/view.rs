//! What readers and the block builder see of the pool: a snapshot that is published after every change.

use super::{Entries, PooledTransaction};
use alloy_consensus::transaction::Transaction as _;
use alloy_primitives::Address;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

/// A transaction in the pool, and its place in line.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The transaction.
    pub transaction: Arc<PooledTransaction>,
    /// Rises by one with every transaction that is taken; the tie-break among equal tips.
    pub arrival: u64,
    /// Number of the head when it was taken.
    pub since: u64,
}

/// One sender's transactions.
#[derive(Clone, Debug)]
pub struct SenderView {
    /// The nonce after all transactions that can be executed now.
    pub next_nonce: u64,
    /// Those that can be executed now, by nonce without gaps.
    pub pending: Arc<Entries>,
    /// Those that wait for an earlier nonce or for coins, by nonce.
    pub queued: Arc<Entries>,
}

/// How many transactions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Those that can be executed now.
    pub pending: usize,
    /// Those that wait.
    pub queued: usize,
}

/// The pool at one moment.
#[derive(Clone, Debug, Default)]
pub struct PoolView {
    pub(super) senders: BTreeMap<Address, SenderView>,
}

impl PoolView {
    /// All senders that have transactions here.
    pub fn senders(&self) -> &BTreeMap<Address, SenderView> {
        &self.senders
    }

    /// The sender's next nonce after its pending transactions; `None` if it has none, so that the account's counts.
    pub fn pending_nonce(&self, sender: Address) -> Option<u64> {
        self.senders.get(&sender).map(|view| view.next_nonce)
    }

    /// How many transactions there are.
    pub fn status(&self) -> PoolStatus {
        self.senders.values().fold(PoolStatus::default(), |sum, view| PoolStatus {
            pending: sum.pending.saturating_add(view.pending.len()),
            queued: sum.queued.saturating_add(view.queued.len()),
        })
    }

    /// The transactions that can be executed in a block with this base fee, best first.
    pub fn candidates(&self, base_fee: u64) -> Candidates {
        let mut heads = BinaryHeap::new();
        for (&sender, view) in &self.senders {
            if let Some(head) = Ranked::new(sender, view.pending.clone(), 0, base_fee) {
                heads.push(head);
            }
        }
        Candidates { heads, last: None, skipped: HashSet::new(), base_fee }
    }
}

/// Pending transactions by effective tip, each sender's by nonce.
///
/// The next transaction of a sender is offered only after the one before was taken: call
/// [`skip_sender`](Self::skip_sender) when the last one was not.
#[derive(Debug)]
pub struct Candidates {
    heads: BinaryHeap<Ranked>,
    /// The one that was offered last; its successor joins the heap at the next call.
    last: Option<Ranked>,
    skipped: HashSet<Address>,
    base_fee: u64,
}

impl Candidates {
    /// Offers no more transactions of this sender.
    pub fn skip_sender(&mut self, sender: Address) {
        self.skipped.insert(sender);
        if self.last.as_ref().is_some_and(|last| last.sender == sender) {
            self.last = None;
        }
    }
}

impl Iterator for Candidates {
    type Item = Arc<PooledTransaction>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(last) = self.last.take()
            && let Some(successor) = last.successor(self.base_fee)
        {
            self.heads.push(successor);
        }
        loop {
            let best = self.heads.pop()?;
            if self.skipped.contains(&best.sender) {
                continue;
            }
            let transaction = best.entry().map(|entry| entry.transaction.clone());
            self.last = Some(best);
            return transaction;
        }
    }
}

/// A sender's next transaction with what it is ranked by.
#[derive(Debug)]
struct Ranked {
    tip: u128,
    arrival: u64,
    sender: Address,
    entries: Arc<Entries>,
    index: usize,
}

impl Ranked {
    /// `None` past the sender's last transaction, or if it does not pay the base fee.
    fn new(sender: Address, entries: Arc<Entries>, index: usize, base_fee: u64) -> Option<Self> {
        let entry = entries.get(index)?;
        let tip = entry.transaction.transaction().effective_tip_per_gas(base_fee)?;
        let arrival = entry.arrival;
        Some(Self { tip, arrival, sender, entries, index })
    }

    fn successor(self, base_fee: u64) -> Option<Self> {
        Self::new(self.sender, self.entries, self.index.checked_add(1)?, base_fee)
    }

    fn entry(&self) -> Option<&Entry> {
        self.entries.get(self.index)
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tip.cmp(&other.tip).then(other.arrival.cmp(&self.arrival)).then(other.sender.cmp(&self.sender))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}
