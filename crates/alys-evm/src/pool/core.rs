//! The pool itself: a plain value that one task owns.

use super::sender::Sender;
use super::{
    ChainUnavailable, Entry, PoolAccount, PoolChain, PoolConfig, PoolError, PoolHead, PoolView, PooledTransaction,
    validate,
};
use alloy_consensus::transaction::Transaction as _;
use alloy_primitives::{Address, B256};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What taking a transaction, or a new head, did.
#[derive(Debug, Default)]
pub struct Changes {
    /// Transactions that became executable, in the order in which they did.
    pub pending: Vec<Arc<PooledTransaction>>,
    /// Transactions that left for good: replaced, pushed out or expired.
    pub gone: Vec<B256>,
}

/// Transactions by sender and nonce.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    head: PoolHead,
    senders: BTreeMap<Address, Sender>,
    by_hash: HashMap<B256, (Address, u64)>,
    bytes: usize,
    next_arrival: u64,
    /// Hashes whose nonce was used by block number; they return if that block is dropped.
    settled: BTreeMap<u64, Vec<B256>>,
}

impl Pool {
    /// An empty pool on `head`.
    pub fn new(config: PoolConfig, head: PoolHead) -> Self {
        Self {
            config,
            head,
            senders: BTreeMap::new(),
            by_hash: HashMap::new(),
            bytes: 0,
            next_arrival: 0,
            settled: BTreeMap::new(),
        }
    }

    /// The head that the pool follows.
    pub fn head(&self) -> &PoolHead {
        &self.head
    }

    /// The transaction, and whether it can be executed now.
    pub fn get(&self, hash: B256) -> Option<(Arc<PooledTransaction>, bool)> {
        let (address, nonce) = self.by_hash.get(&hash)?;
        let sender = self.senders.get(address)?;
        let entry = sender.get(*nonce)?;
        Some((entry.transaction.clone(), *nonce < sender.next_nonce()))
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// A snapshot for readers.
    pub fn view(&self) -> PoolView {
        PoolView { senders: self.senders.iter().map(|(address, sender)| (*address, sender.view())).collect() }
    }

    /// Takes a transaction, if it keeps the rules and there is room for it.
    ///
    /// # Errors
    /// Why it was not taken; nothing has changed then.
    pub fn add(&mut self, transaction: Arc<PooledTransaction>, chain: &dyn PoolChain) -> Result<Changes, PoolError> {
        if self.by_hash.contains_key(&transaction.hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        validate::against_rules(&transaction, &self.head)?;
        if transaction.tip() < self.config.min_tip {
            return Err(PoolError::Underpriced { tip: transaction.tip(), minimum: self.config.min_tip });
        }
        let address = transaction.sender();
        let fresh;
        let sender = match self.senders.get(&address) {
            Some(sender) => sender,
            None => {
                fresh = Sender::new(chain.account(self.head.hash, address).map_err(unavailable)?);
                &fresh
            }
        };
        let account = *sender.account();
        let nonce = transaction.nonce();
        let replaced = sender.get(nonce);
        let earlier = sender.pending_cost_before(nonce);
        validate::against_account(&transaction, sender.account(), earlier)?;
        if let Some(old) = replaced {
            check_replacement(&old.transaction, &transaction)?;
        } else {
            self.check_room_for_sender(sender, nonce)?;
        }
        let freed = replaced.map(|old| (1, old.transaction.raw().len())).unwrap_or_default();
        let will_be_pending = sender.would_be_pending(nonce);
        let victims = self.victims_for(&transaction, freed, will_be_pending)?;

        let mut changes = Changes::default();
        for victim in victims {
            self.take_out(victim);
            changes.gone.push(victim);
        }
        self.put(transaction, account).merge_into(&mut changes);
        Ok(changes)
    }

    /// Takes a transaction that was acknowledged before, whatever the sender has by now; nonces that are used up are
    /// settled at once. Used for what a journal or a dropped block brings back.
    ///
    /// # Errors
    /// The transaction breaks a rule that no account can mend, or the chain can't be read.
    pub fn restore(
        &mut self,
        transaction: Arc<PooledTransaction>,
        chain: &dyn PoolChain,
    ) -> Result<Changes, PoolError> {
        if self.by_hash.contains_key(&transaction.hash()) {
            return Ok(Changes::default());
        }
        validate::against_rules(&transaction, &self.head)?;
        let account = match self.senders.get(&transaction.sender()) {
            Some(sender) => *sender.account(),
            None => chain.account(self.head.hash, transaction.sender()).map_err(unavailable)?,
        };
        if transaction.nonce() < account.nonce {
            self.settled.entry(self.head.number).or_default().push(transaction.hash());
            return Ok(Changes::default());
        }
        let occupied = self.senders.get(&transaction.sender()).and_then(|sender| sender.get(transaction.nonce()));
        if occupied.is_some_and(|entry| check_replacement(&entry.transaction, &transaction).is_err()) {
            return Ok(Changes { gone: vec![transaction.hash()], ..Changes::default() });
        }
        Ok(self.put(transaction, account))
    }

    /// Removes a transaction that can never be executed.
    pub fn discard(&mut self, hash: B256) -> Changes {
        if self.by_hash.contains_key(&hash) {
            self.take_out(hash);
            return Changes { gone: vec![hash], ..Changes::default() };
        }
        Changes::default()
    }

    /// Follows the chain to `head`: transactions of `dropped` blocks come back, used nonces and expired transactions
    /// leave, and every sender's account is read again.
    ///
    /// # Errors
    /// The chain can't be read. The pool may have followed for some senders and not for others; call again.
    pub fn on_head(
        &mut self,
        head: PoolHead,
        dropped: Vec<Arc<PooledTransaction>>,
        chain: &dyn PoolChain,
    ) -> Result<Changes, ChainUnavailable> {
        if head.hash == self.head.hash {
            self.head = head;
            return Ok(Changes::default());
        }
        let mut accounts = Vec::with_capacity(self.senders.len());
        for address in self.senders.keys() {
            accounts.push((*address, chain.account(head.hash, *address)?));
        }
        self.head = head;
        let mut changes = Changes::default();
        for (address, account) in accounts {
            let Some(sender) = self.senders.get_mut(&address) else { continue };
            let before = sender.next_nonce();
            let used = sender.follow(account);
            changes.pending.extend(sender.pending_from(before));
            for entry in used {
                self.forget(&entry);
                self.settled.entry(head.number).or_default().push(entry.transaction.hash());
            }
        }
        for transaction in dropped {
            match self.restore(transaction, chain) {
                Ok(more) => more.merge_into(&mut changes),
                Err(PoolError::Unavailable { reason }) => return Err(ChainUnavailable { reason }),
                Err(error) => tracing::debug!(%error, "transaction of a dropped block does not come back"),
            }
        }
        for hash in self.expired() {
            self.take_out(hash);
            changes.gone.push(hash);
        }
        self.senders.retain(|_, sender| !sender.is_empty());
        Ok(changes)
    }

    /// Hashes whose nonce was used in a block that is final now. They will not be named again.
    pub fn settle(&mut self) -> Vec<B256> {
        let later = self.settled.split_off(&self.head.finalized_number.saturating_add(1));
        let mut settled = std::mem::replace(&mut self.settled, later);
        let mut remembered: usize = self.settled.values().map(Vec::len).sum();
        while remembered > self.config.max_settled
            && let Some((number, hashes)) = self.settled.pop_first()
        {
            remembered = remembered.saturating_sub(hashes.len());
            settled.insert(number, hashes);
        }
        // What a reorganisation brought back is not settled.
        settled.into_values().flatten().filter(|hash| !self.by_hash.contains_key(hash)).collect()
    }

    fn check_room_for_sender(&self, sender: &Sender, nonce: u64) -> Result<(), PoolError> {
        if sender.len() >= self.config.max_per_sender {
            return Err(PoolError::SenderFull { count: sender.len(), limit: self.config.max_per_sender });
        }
        if !sender.would_be_pending(nonce) && sender.queued_len() >= self.config.max_queued_per_sender {
            return Err(PoolError::QueueFull {
                count: sender.queued_len(),
                missing: sender.next_nonce(),
                limit: self.config.max_queued_per_sender,
            });
        }
        Ok(())
    }

    /// The last transactions of other senders that must go to make room; each must be worth less than the new one.
    fn victims_for(
        &self,
        transaction: &PooledTransaction,
        freed: (usize, usize),
        will_be_pending: bool,
    ) -> Result<Vec<B256>, PoolError> {
        let count = self.by_hash.len().saturating_add(1).saturating_sub(freed.0);
        let bytes = self.bytes.saturating_add(transaction.raw().len()).saturating_sub(freed.1);
        let mut excess_count = count.saturating_sub(self.config.max_transactions);
        let mut excess_bytes = bytes.saturating_sub(self.config.max_bytes);
        if excess_count == 0 && excess_bytes == 0 {
            return Ok(Vec::new());
        }
        let full = PoolError::Full { count: self.by_hash.len() };
        let own_worth = worth(transaction, self.head.next_base_fee, will_be_pending, self.next_arrival);
        let mut tails: Vec<_> = self
            .senders
            .iter()
            .filter(|(address, _)| **address != transaction.sender())
            .flat_map(|(_, sender)| {
                // A transaction goes only together with the ones behind it, so it is worth no more than they are.
                let mut behind = None;
                sender.rev().map(move |(entry, pending)| {
                    let own = worth(&entry.transaction, self.head.next_base_fee, pending, entry.arrival);
                    let least = behind.map_or(own, |behind| own.max(behind));
                    behind = Some(least);
                    (least, Reverse(entry.transaction.nonce()), entry)
                })
            })
            .collect();
        tails.sort_by_key(|(worth, nonce, _)| (*worth, *nonce));
        let mut victims = Vec::new();
        for (worth, _, entry) in tails {
            if excess_count == 0 && excess_bytes == 0 {
                break;
            }
            if worth >= own_worth {
                return Err(full);
            }
            victims.push(entry.transaction.hash());
            excess_count = excess_count.saturating_sub(1);
            excess_bytes = excess_bytes.saturating_sub(entry.transaction.raw().len());
        }
        if excess_count > 0 || excess_bytes > 0 { Err(full) } else { Ok(victims) }
    }

    /// Stores a transaction whose place was checked.
    fn put(&mut self, transaction: Arc<PooledTransaction>, account: PoolAccount) -> Changes {
        let address = transaction.sender();
        let sender = self.senders.entry(address).or_insert_with(|| Sender::new(account));
        let nonce = transaction.nonce();
        let entry = Entry { transaction, arrival: self.next_arrival, since: self.head.number };
        self.next_arrival = self.next_arrival.saturating_add(1);
        self.by_hash.insert(entry.transaction.hash(), (address, nonce));
        self.bytes = self.bytes.saturating_add(entry.transaction.raw().len());
        let before = sender.next_nonce();
        let replaced = sender.insert(entry);
        let mut changes = Changes { pending: sender.pending_from(before.min(nonce)).collect(), gone: Vec::new() };
        // A replacement in the middle announces itself, not those behind it.
        if replaced.is_some() {
            changes.pending.retain(|other| other.nonce() == nonce || other.nonce() >= before);
        }
        if let Some(old) = replaced {
            self.forget(&old);
            changes.gone.push(old.transaction.hash());
        }
        changes
    }

    fn take_out(&mut self, hash: B256) {
        let Some((address, nonce)) = self.by_hash.get(&hash).copied() else { return };
        let Some(sender) = self.senders.get_mut(&address) else { return };
        let removed = sender.remove(nonce);
        if sender.is_empty() {
            self.senders.remove(&address);
        }
        if let Some(entry) = removed {
            self.forget(&entry);
        }
    }

    fn forget(&mut self, entry: &Entry) {
        self.by_hash.remove(&entry.transaction.hash());
        self.bytes = self.bytes.saturating_sub(entry.transaction.raw().len());
    }

    /// Queued transactions that have waited too long.
    fn expired(&self) -> Vec<B256> {
        let oldest = self.head.number.saturating_sub(self.config.queued_lifetime_blocks);
        self.senders
            .values()
            .flat_map(|sender| sender.rev())
            .filter(|(entry, pending)| !pending && entry.since < oldest)
            .map(|(entry, _)| entry.transaction.hash())
            .collect()
    }
}

impl Changes {
    pub(super) fn merge_into(self, sum: &mut Self) {
        sum.pending.extend(self.pending);
        sum.gone.extend(self.gone);
    }
}

/// What a transaction is worth to the next block: executable before waiting, paying the base fee before not, then by
/// tip; among equals the earlier.
fn worth(
    transaction: &PooledTransaction,
    base_fee: u64,
    pending: bool,
    arrival: u64,
) -> (bool, Option<u128>, Reverse<u64>) {
    (pending, transaction.transaction().effective_tip_per_gas(base_fee), Reverse(arrival))
}

fn check_replacement(old: &PooledTransaction, new: &PooledTransaction) -> Result<(), PoolError> {
    let bumped = |old: u128| old.saturating_add((old / 10).max(1));
    let (fee, tip) = (bumped(old.fee()), bumped(old.tip()));
    if new.fee() < fee || new.tip() < tip {
        return Err(PoolError::ReplacementUnderpriced { fee, tip });
    }
    Ok(())
}

fn unavailable(error: ChainUnavailable) -> PoolError {
    PoolError::Unavailable { reason: error.to_string() }
}
