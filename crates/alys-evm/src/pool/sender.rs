//! One sender's transactions by nonce.

use super::view::SenderView;
use super::{Entries, Entry, PoolAccount, PooledTransaction};
use alloy_primitives::U256;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Transactions of one sender: first those that can be executed now, then those that wait.
#[derive(Debug)]
pub(super) struct Sender {
    account: PoolAccount,
    entries: BTreeMap<u64, Entry>,
    /// Every nonce from the account's up to this one is here, and the account can pay for all of them.
    next_nonce: u64,
    /// What these leave of the balance.
    left: U256,
    /// These again, as snapshots share them.
    pending: Entries,
    /// Made when it is asked for, and kept while nothing changes: many transactions come between two views.
    view: OnceLock<SenderView>,
}

impl Sender {
    pub(super) fn new(account: PoolAccount) -> Self {
        let (next_nonce, left) = (account.nonce, account.balance);
        Self { account, entries: BTreeMap::new(), next_nonce, left, pending: Entries::default(), view: OnceLock::new() }
    }

    pub(super) fn account(&self) -> &PoolAccount {
        &self.account
    }

    pub(super) fn next_nonce(&self) -> u64 {
        self.next_nonce
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&Entry> {
        self.entries.get(&nonce)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn queued_len(&self) -> usize {
        self.entries.len().saturating_sub(self.pending.len())
    }

    pub(super) fn view(&self) -> SenderView {
        let view = || SenderView {
            next_nonce: self.next_nonce,
            pending: Arc::new(self.pending.clone()),
            queued: Arc::new(self.entries.range(self.next_nonce..).map(|(_, entry)| entry.clone()).collect()),
        };
        self.view.get_or_init(view).clone()
    }

    /// Whether a transaction with this nonce, which the sender can pay, could be executed now.
    pub(super) fn would_be_pending(&self, nonce: u64) -> bool {
        nonce <= self.next_nonce
    }

    /// The most that the pending transactions below `nonce` can cost; held at 2^256 − 1.
    pub(super) fn pending_cost_before(&self, nonce: u64) -> U256 {
        if nonce >= self.next_nonce {
            return self.account.balance.saturating_sub(self.left);
        }
        self.entries.range(..nonce).fold(U256::ZERO, |sum, (_, entry)| sum.saturating_add(entry.transaction.cost()))
    }

    /// The pending transactions from `nonce` on.
    pub(super) fn pending_from(&self, nonce: u64) -> impl Iterator<Item = Arc<PooledTransaction>> {
        let from = nonce.min(self.next_nonce);
        self.entries.range(from..self.next_nonce).map(|(_, entry)| entry.transaction.clone())
    }

    /// All, from the highest nonce down, each with whether it is pending.
    pub(super) fn rev(&self) -> impl Iterator<Item = (&Entry, bool)> {
        self.entries.iter().rev().map(|(nonce, entry)| (entry, *nonce < self.next_nonce))
    }

    /// Puts the entry at its nonce and returns what was there.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        let nonce = entry.transaction.nonce();
        let old = self.entries.insert(nonce, entry);
        self.changed(nonce);
        old
    }

    pub(super) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let old = self.entries.remove(&nonce);
        if old.is_some() {
            self.changed(nonce);
        }
        old
    }

    /// Takes the account as it is now and returns the entries whose nonce is used.
    pub(super) fn follow(&mut self, account: PoolAccount) -> Vec<Entry> {
        if account == self.account {
            return Vec::new();
        }
        self.account = account;
        let later = self.entries.split_off(&account.nonce);
        let used = std::mem::replace(&mut self.entries, later);
        self.recount();
        used.into_values().collect()
    }

    /// Finds out which entries are pending after one at `nonce` has changed.
    fn changed(&mut self, nonce: u64) {
        if nonce < self.next_nonce {
            self.recount();
        } else {
            self.extend();
        }
    }

    /// Finds out from the beginning which entries are pending.
    fn recount(&mut self) {
        (self.next_nonce, self.left) = (self.account.nonce, self.account.balance);
        self.pending.clear();
        self.extend();
    }

    /// Goes on from what is pending: what is appended costs one step, however many there are before it.
    fn extend(&mut self) {
        self.view = OnceLock::new();
        while !self.account.is_contract
            && let Some(entry) = self.entries.get(&self.next_nonce)
            && let Some(left) = self.left.checked_sub(entry.transaction.cost())
        {
            self.left = left;
            self.pending.push(entry.clone());
            self.next_nonce = self.next_nonce.saturating_add(1);
        }
    }
}
