//! What the metrics say of sweeps: how old coins come to those who hold coins now.

use alys_chain::peg::PegLedger;
use alys_primitives::B256;
use std::collections::BTreeMap;

/// A sweep that has not settled.
#[derive(Clone, Debug)]
struct Open {
    /// What its coins hold, the fee included, in satoshis.
    sats: u64,
    /// The transactions of its attempts.
    txids: Vec<B256>,
}

/// The sweeps that this node has seen open, by batch. One that settles while the node is away is not counted.
#[derive(Debug, Default)]
pub(super) struct Sweeps(BTreeMap<u64, Open>);

impl Sweeps {
    /// Compares the books with those of the last time, and tells the metrics.
    pub(super) fn watch(&mut self, ledger: &PegLedger) {
        let open: BTreeMap<u64, Open> = ledger
            .batches()
            .iter()
            .filter(|batch| batch.is_sweep())
            .map(|batch| {
                let sats = batch.coins.iter().fold(0u64, |sum, coin| sum.saturating_add(coin.value.0));
                (batch.number, Open { sats, txids: batch.attempts.iter().map(|attempt| attempt.txid).collect() })
            })
            .collect();
        for (number, gone) in self.0.iter().filter(|(number, _)| !open.contains_key(number)) {
            // Otherwise a reorganisation took it away.
            if gone.txids.iter().any(|txid| ledger.find_recorded(txid).is_some()) {
                metrics::counter!("alys_peg_sweeps_total").increment(1);
                metrics::counter!("alys_peg_swept_sats_total").increment(gone.sats);
                tracing::info!(batch = number, sats = gone.sats, "sweep settled");
            }
        }
        let earlier = ledger.custodies().iter().filter(|entry| !entry.is_current);
        let unswept = earlier.fold(0u64, |sum, entry| sum.saturating_add(ledger.held_by(entry.number).0));
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "gauges are floating point")]
        let (count, unswept) = (open.len() as f64, unswept as f64);
        metrics::gauge!("alys_peg_sweeps_open").set(count);
        metrics::gauge!("alys_peg_unswept_sats").set(unswept);
        self.0 = open;
    }
}
