//! Transactions that wait for a block.
//!
//! A transaction that shares inputs with waiting ones replaces them if it pays more (BIP-125's fee rules, whatever the
//! sequences say), so that a fee can be bumped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitcoin::{Amount, OutPoint, Transaction, Txid, Weight};

use super::coins::{Coin, CoinSource, spendable};
use super::rules::{Place, TransactionError};
use crate::template::TemplateTransaction;

/// The heaviest transaction that is taken (Bitcoin Core, `MAX_STANDARD_TX_WEIGHT`).
pub const MAX_TRANSACTION_WEIGHT: Weight = Weight::from_wu(400_000);
/// The smallest transaction that is taken, without witnesses: 64 bytes could pass for an inner node of a Merkle tree.
pub const MIN_TRANSACTION_BYTES: usize = 65;
/// The least fee, and the least increase of a replacement, per virtual byte.
pub const MIN_FEE_RATE_SATS_PER_VBYTE: u64 = 1;
/// The longest chain of waiting transactions, the newest included.
pub const MAX_ANCESTORS: usize = 25;
/// The most waiting transactions that one replacement may throw out.
pub const MAX_REPLACED: usize = 100;

/// Why a transaction does not wait here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It breaks a rule.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// Coinbases come with blocks only.
    #[error("a coinbase can't wait for a block")]
    Coinbase,
    /// It is heavier than is relayed.
    #[error("weight {weight} exceeds {limit}")]
    TooHeavy {
        /// Its weight.
        weight: Weight,
        /// The limit.
        limit: Weight,
    },
    /// It is so small that it could pass for an inner node of a Merkle tree.
    #[error("{bytes} bytes without witnesses are too few")]
    TooSmall {
        /// Its size.
        bytes: usize,
    },
    /// It pays too little for its size.
    #[error("fee {fee} is below {minimum}")]
    FeeTooLow {
        /// What it pays.
        fee: Amount,
        /// What is asked for.
        minimum: Amount,
    },
    /// It shares an input with a waiting transaction and does not pay enough to replace it and what follows it.
    #[error("fee {fee} does not replace waiting transaction {conflict}, {minimum} at a greater rate would")]
    Replacement {
        /// What it pays.
        fee: Amount,
        /// The least fee that replaces.
        minimum: Amount,
        /// A waiting transaction in its way.
        conflict: Txid,
    },
    /// It would replace too many, or its own ancestor.
    #[error("it may not replace waiting transaction {conflict}")]
    MayNotReplace {
        /// A waiting transaction in its way.
        conflict: Txid,
    },
    /// Too many waiting ancestors.
    #[error("more than {limit} waiting transactions would hang together")]
    TooManyAncestors {
        /// The limit.
        limit: usize,
    },
    /// No room.
    #[error("{limit} transactions or their bytes are waiting already")]
    Full {
        /// The limit of transactions.
        limit: usize,
    },
}

#[derive(Debug, Clone)]
struct Waiting {
    transaction: Transaction,
    fee: Amount,
    weight: Weight,
    /// Order of arrival.
    sequence: u64,
}

/// The waiting transactions.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    waiting: BTreeMap<Txid, Waiting>,
    /// Which waiting transaction spends an output.
    spenders: BTreeMap<OutPoint, Txid>,
    /// What waiting transactions create, whether or not others of them spend it.
    made: BTreeMap<OutPoint, Coin>,
    weight: Weight,
    next_sequence: u64,
}

/// Confirmed coins with those of waiting transactions on top.
pub(crate) struct PoolCoins<'a> {
    pub(crate) confirmed: &'a BTreeMap<OutPoint, Coin>,
    pub(crate) pool: &'a Pool,
}

impl CoinSource for PoolCoins<'_> {
    fn coin(&self, point: &OutPoint) -> Option<&Coin> {
        self.pool.made.get(point).or_else(|| self.confirmed.get(point))
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            spenders: BTreeMap::new(),
            made: BTreeMap::new(),
            weight: Weight::ZERO,
            next_sequence: 0,
        }
    }
}

impl Pool {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn get(&self, txid: &Txid) -> Option<&Transaction> {
        self.waiting.get(txid).map(|waiting| &waiting.transaction)
    }

    pub(crate) fn contains(&self, txid: &Txid) -> bool {
        self.waiting.contains_key(txid)
    }

    pub(crate) fn spender(&self, point: &OutPoint) -> Option<Txid> {
        self.spenders.get(point).copied()
    }

    /// What only concerns the pool and costs little; before signatures are looked at.
    pub(crate) fn check_form(transaction: &Transaction) -> Result<(), PoolError> {
        if transaction.is_coinbase() {
            return Err(PoolError::Coinbase);
        }
        let (weight, limit) = (transaction.weight(), MAX_TRANSACTION_WEIGHT);
        if weight > limit {
            return Err(PoolError::TooHeavy { weight, limit });
        }
        let bytes = transaction.base_size();
        if bytes < MIN_TRANSACTION_BYTES {
            return Err(PoolError::TooSmall { bytes });
        }
        Ok(())
    }

    /// Takes a transaction whose validity was checked against [`PoolCoins`]; gives what it replaced.
    pub(crate) fn insert(
        &mut self,
        transaction: Transaction,
        fee: Amount,
        place: Place,
        limits: &super::Limits,
    ) -> Result<Vec<Txid>, PoolError> {
        let weight = transaction.weight();
        let own_minimum = minimum_fee(weight);
        if fee < own_minimum {
            return Err(PoolError::FeeTooLow { fee, minimum: own_minimum });
        }
        let ancestors = self.ancestors(&transaction)?;
        let replaced = self.replaced_by(&transaction, fee, weight, &ancestors)?;
        let freed: Weight = replaced.iter().filter_map(|txid| self.waiting.get(txid)).map(|old| old.weight).sum();
        let count = self.waiting.len().saturating_sub(replaced.len());
        let kept = self.weight.checked_sub(freed).unwrap_or(Weight::ZERO);
        if count >= limits.pool_transactions || kept + weight > limits.pool_weight {
            return Err(PoolError::Full { limit: limits.pool_transactions });
        }
        for txid in &replaced {
            self.remove(txid);
        }
        let txid = transaction.compute_txid();
        for (point, output) in spendable(&transaction) {
            let (height, median_before) = (place.height, place.median_before);
            self.made.insert(point, Coin { output: output.clone(), height, coinbase: false, median_before });
        }
        self.spenders.extend(transaction.input.iter().map(|input| (input.previous_output, txid)));
        self.weight += weight;
        self.waiting.insert(txid, Waiting { transaction, fee, weight, sequence: self.next_sequence });
        self.next_sequence = self.next_sequence.saturating_add(1);
        Ok(replaced)
    }

    /// Forgets what a block's transactions confirm or contradict.
    pub(crate) fn confirm<'b>(&mut self, transactions: impl IntoIterator<Item = &'b Transaction>) {
        for transaction in transactions {
            self.remove(&transaction.compute_txid());
            for input in &transaction.input {
                if let Some(rival) = self.spender(&input.previous_output) {
                    for txid in self.with_descendants([rival]) {
                        self.remove(&txid);
                    }
                }
            }
        }
    }

    /// Empties the pool; gives the transactions in the order in which they came.
    pub(crate) fn drain(&mut self) -> Vec<Transaction> {
        let mut waiting: Vec<Waiting> = std::mem::take(&mut self.waiting).into_values().collect();
        self.spenders.clear();
        self.made.clear();
        self.weight = Weight::ZERO;
        waiting.sort_unstable_by_key(|waiting| waiting.sequence);
        waiting.into_iter().map(|waiting| waiting.transaction).collect()
    }

    /// What to put into a block: the best payers first, each behind the waiting transactions that it spends from.
    pub(crate) fn select(&self, room: Weight, mut fits: impl FnMut(&Transaction) -> bool) -> Vec<TemplateTransaction> {
        let mut order: Vec<(&Txid, &Waiting)> = self.waiting.iter().collect();
        order.sort_by(|(_, left), (_, right)| {
            let rates = rate_key(right.fee, left.weight).cmp(&rate_key(left.fee, right.weight));
            rates.then(left.sequence.cmp(&right.sequence))
        });
        let mut room = room;
        let mut chosen = BTreeSet::new();
        let mut selected = Vec::new();
        for (txid, _) in order {
            // In order of arrival, parents come before their children.
            let mut package: Vec<(&Txid, &Waiting)> =
                self.lineage([*txid]).iter().filter_map(|txid| self.waiting.get_key_value(txid)).collect();
            package.retain(|(txid, _)| !chosen.contains(*txid));
            package.sort_unstable_by_key(|(_, waiting)| waiting.sequence);
            let weight: Weight = package.iter().map(|(_, waiting)| waiting.weight).sum();
            let Some(left) = room.checked_sub(weight) else { continue };
            if !package.iter().all(|(_, waiting)| fits(&waiting.transaction)) {
                continue;
            }
            room = left;
            for (txid, waiting) in package {
                chosen.insert(*txid);
                let (transaction, fee) = (waiting.transaction.clone(), waiting.fee);
                selected.push(TemplateTransaction { transaction, txid: *txid, fee });
            }
        }
        selected
    }

    /// The waiting transactions that this one comes after.
    fn ancestors(&self, transaction: &Transaction) -> Result<BTreeSet<Txid>, PoolError> {
        let parents = transaction.input.iter().map(|input| input.previous_output.txid);
        let ancestors = self.lineage(parents.filter(|txid| self.contains(txid)));
        if ancestors.len() >= MAX_ANCESTORS {
            return Err(PoolError::TooManyAncestors { limit: MAX_ANCESTORS });
        }
        Ok(ancestors)
    }

    /// These and all waiting transactions before them.
    fn lineage(&self, from: impl IntoIterator<Item = Txid>) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open: VecDeque<Txid> = from.into_iter().collect();
        while let Some(txid) = open.pop_front() {
            let Some(waiting) = self.waiting.get(&txid) else { continue };
            if found.insert(txid) {
                open.extend(waiting.transaction.input.iter().map(|input| input.previous_output.txid));
            }
        }
        found
    }

    /// These and all waiting transactions after them.
    fn with_descendants(&self, from: impl IntoIterator<Item = Txid>) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open: VecDeque<Txid> = from.into_iter().collect();
        while let Some(txid) = open.pop_front() {
            let Some(waiting) = self.waiting.get(&txid) else { continue };
            if found.insert(txid) {
                let points = (0u32..).zip(&waiting.transaction.output).map(|(vout, _)| OutPoint { txid, vout });
                open.extend(points.filter_map(|point| self.spender(&point)));
            }
        }
        found
    }

    /// Which waiting transactions have to go, if they may: BIP-125, rules 3 to 5, and a greater rate than each of them.
    fn replaced_by(
        &self,
        transaction: &Transaction,
        fee: Amount,
        weight: Weight,
        ancestors: &BTreeSet<Txid>,
    ) -> Result<Vec<Txid>, PoolError> {
        let direct: BTreeSet<Txid> =
            transaction.input.iter().filter_map(|input| self.spender(&input.previous_output)).collect();
        let Some(conflict) = direct.first().copied() else { return Ok(Vec::new()) };
        let replaced = self.with_descendants(direct.iter().copied());
        if replaced.len() > MAX_REPLACED || !replaced.is_disjoint(ancestors) {
            return Err(PoolError::MayNotReplace { conflict });
        }
        let fees = replaced.iter().filter_map(|txid| self.waiting.get(txid)).map(|old| old.fee);
        let paid = fees.fold(Amount::ZERO, |sum, fee| sum.checked_add(fee).unwrap_or(Amount::MAX_MONEY));
        let minimum = paid.checked_add(minimum_fee(weight)).unwrap_or(Amount::MAX_MONEY);
        let outbids = |old: &Waiting| rate_key(fee, old.weight) > rate_key(old.fee, weight);
        let outbid = direct.iter().filter_map(|txid| self.waiting.get(txid)).all(outbids);
        if fee < minimum || !outbid {
            return Err(PoolError::Replacement { fee, minimum, conflict });
        }
        Ok(replaced.into_iter().collect())
    }

    fn remove(&mut self, txid: &Txid) {
        let Some(waiting) = self.waiting.remove(txid) else { return };
        for input in &waiting.transaction.input {
            self.spenders.remove(&input.previous_output);
        }
        for (point, _) in spendable(&waiting.transaction) {
            self.made.remove(&point);
        }
        self.weight = self.weight.checked_sub(waiting.weight).unwrap_or(Weight::ZERO);
    }
}

/// Fee times the other's weight: compares two rates without dividing.
fn rate_key(fee: Amount, other_weight: Weight) -> u128 {
    u128::from(fee.to_sat()) * u128::from(other_weight.to_wu())
}

fn minimum_fee(weight: Weight) -> Amount {
    Amount::from_sat(weight.to_vbytes_ceil().saturating_mul(MIN_FEE_RATE_SATS_PER_VBYTE))
}
