//! One prepared transaction a block.

#![allow(clippy::unwrap_used, reason = "a test or a measurement stops where it can't go on")]
#![allow(dead_code, unreachable_pub, reason = "shared by test binaries and benchmarks")]

use alloy_consensus::transaction::{Recovered, SignerRecoverable as _};
use alloy_eips::Decodable2718 as _;
use alys_evm::{BestTransactions, BuildTarget, Rejection, TransactionSource, Tx};
use std::sync::Arc;

/// Transactions for blocks 1, 2, 3, …
pub struct Payments(Vec<Arc<Recovered<Tx>>>);

impl Payments {
    /// From raw transactions as hex text.
    pub fn new(raw: impl Iterator<Item = String>) -> Self {
        let transactions = raw.map(|raw| {
            let bytes = hex::decode(raw.trim_start_matches("0x")).unwrap();
            Arc::new(Tx::decode_2718_exact(&bytes).unwrap().try_into_recovered().unwrap())
        });
        Self(transactions.collect())
    }
}

struct Next(Option<Arc<Recovered<Tx>>>);

impl TransactionSource for Payments {
    fn best(&self, target: BuildTarget) -> Box<dyn BestTransactions> {
        let index = usize::try_from(target.number).unwrap() - 1;
        Box::new(Next(self.0.get(index).cloned()))
    }
}

impl BestTransactions for Next {
    fn next(&mut self) -> Option<Arc<Recovered<Tx>>> {
        self.0.take()
    }

    fn reject(&mut self, _: &Recovered<Tx>, rejection: Rejection) {
        panic!("{rejection:?}");
    }
}
