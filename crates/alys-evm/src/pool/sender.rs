//! One sender's transactions by nonce.

use super::view::SenderView;
use super::{Entry, PoolAccount, PooledTransaction};
use alloy_primitives::U256;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Transactions of one sender: first those that can be executed now, then those that wait.
#[derive(Debug)]
pub(super) struct Sender {
    account: PoolAccount,
    entries: BTreeMap<u64, Entry>,
    /// Every nonce from the account's up to this one is here, and the account can pay for all of them.
    next_nonce: u64,
    /// Kept from one view to the next while nothing changes.
    view: SenderView,
}

impl Sender {
    pub(super) fn new(account: PoolAccount) -> Self {
        let view = SenderView { next_nonce: account.nonce, pending: Arc::from([]), queued: Arc::from([]) };
        Self { account, entries: BTreeMap::new(), next_nonce: account.nonce, view }
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
        self.view.queued.len()
    }

    pub(super) fn view(&self) -> SenderView {
        self.view.clone()
    }

    /// Whether a transaction with this nonce, which the sender can pay, could be executed now.
    pub(super) fn would_be_pending(&self, nonce: u64) -> bool {
        nonce <= self.next_nonce
    }

    /// The most that the pending transactions below `nonce` can cost; held at 2^256 − 1.
    pub(super) fn pending_cost_before(&self, nonce: u64) -> U256 {
        let below = nonce.min(self.next_nonce);
        self.entries.range(..below).fold(U256::ZERO, |sum, (_, entry)| sum.saturating_add(entry.transaction.cost()))
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
        let old = self.entries.insert(entry.transaction.nonce(), entry);
        self.refresh();
        old
    }

    pub(super) fn remove(&mut self, nonce: u64) -> Option<Entry> {
        let old = self.entries.remove(&nonce);
        if old.is_some() {
            self.refresh();
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
        self.refresh();
        used.into_values().collect()
    }

    fn refresh(&mut self) {
        let mut next = self.account.nonce;
        let mut left = self.account.balance;
        for (nonce, entry) in &self.entries {
            let Some(rest) = left.checked_sub(entry.transaction.cost()) else { break };
            if *nonce != next || self.account.is_contract {
                break;
            }
            left = rest;
            next = next.saturating_add(1);
        }
        self.next_nonce = next;
        self.view = SenderView {
            next_nonce: next,
            pending: self.entries.range(..next).map(|(_, entry)| entry.clone()).collect(),
            queued: self.entries.range(next..).map(|(_, entry)| entry.clone()).collect(),
        };
    }
}
