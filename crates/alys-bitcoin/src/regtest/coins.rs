//! Unspent outputs, and a view on top of them whose changes are kept only if all goes well.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Script, Transaction, TxOut};

/// The longest script of an output that can still be spent (Bitcoin Core, `MAX_SCRIPT_SIZE`).
const MAX_SPENDABLE_SCRIPT_BYTES: usize = 10_000;

/// An unspent output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// The output.
    pub output: TxOut,
    /// Height of the block that made it.
    pub height: u32,
    /// Whether a coinbase made it.
    pub coinbase: bool,
    /// Median time of the block before that one: relative locks in seconds count from there (BIP-68).
    pub median_before: u32,
}

/// Where coins are looked up.
pub(crate) trait CoinSource {
    fn coin(&self, point: &OutPoint) -> Option<&Coin>;
}

impl CoinSource for BTreeMap<OutPoint, Coin> {
    fn coin(&self, point: &OutPoint) -> Option<&Coin> {
        self.get(point)
    }
}

/// Changes to a set of coins; `None` stands for a coin that is gone.
pub(crate) type Changes = BTreeMap<OutPoint, Option<Coin>>;

/// A set of coins with changes on top.
#[derive(Debug)]
pub(crate) struct CoinView<'a> {
    base: &'a BTreeMap<OutPoint, Coin>,
    changes: Changes,
}

impl CoinSource for CoinView<'_> {
    fn coin(&self, point: &OutPoint) -> Option<&Coin> {
        match self.changes.get(point) {
            Some(change) => change.as_ref(),
            None => self.base.get(point),
        }
    }
}

impl<'a> CoinView<'a> {
    pub(crate) fn new(base: &'a BTreeMap<OutPoint, Coin>) -> Self {
        Self { base, changes: Changes::new() }
    }

    pub(crate) fn put(&mut self, point: OutPoint, coin: Coin) {
        self.changes.insert(point, Some(coin));
    }

    pub(crate) fn remove(&mut self, point: &OutPoint) {
        self.changes.insert(*point, None);
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    /// How many coins there are more than in the base, never less than zero.
    pub(crate) fn growth(&self) -> usize {
        let added = self.changes.values().filter(|change| change.is_some()).count();
        let removed = self.changes.iter().filter(|(point, change)| change.is_none() && self.base.contains_key(point));
        added.saturating_sub(removed.count())
    }
}

/// The outputs of a transaction that can ever be spent, with their places.
pub(crate) fn spendable(transaction: &Transaction) -> impl Iterator<Item = (OutPoint, &TxOut)> {
    let txid = transaction.compute_txid();
    let outputs = (0u32..).zip(&transaction.output).filter(|(_, output)| !is_unspendable(&output.script_pubkey));
    outputs.map(move |(vout, output)| (OutPoint { txid, vout }, output))
}

fn is_unspendable(script: &Script) -> bool {
    script.is_op_return() || script.len() > MAX_SPENDABLE_SCRIPT_BYTES
}
