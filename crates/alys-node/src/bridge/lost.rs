//! Recorded transactions that left the best branch go back to Bitcoin.
//!
//! A deposit or a payment that the chain has taken counts in the books. When a reorganisation drops its block, the books do
//! not balance and the peg waits until it is in a block again. Bitcoin nodes put what a reorganisation dropped back into
//! their pools, but pools are lost with a restart and have limits; a payment that has settled is signed by nobody any more.
//! The dropped block still holds the transaction with its witness: it is taken from there and sent again.

use alys_bitcoin::{BitcoinPort, PortError};
use alys_chain::peg::PegLedger;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Txid};
use std::collections::BTreeMap;

/// Rounds after which a transaction that is still missing is sent again.
const ROUNDS_PER_BROADCAST: u64 = 30;

/// Missing transactions that one round looks after at most, the oldest first.
const MAX_PER_ROUND: usize = 16;

/// When each missing transaction was sent last.
#[derive(Debug, Default)]
pub(super) struct Lost {
    sent: BTreeMap<Txid, u64>,
}

impl Lost {
    /// Sends what the books miss, if Bitcoin still has the block that it stood in.
    ///
    /// # Errors
    /// [`PortError`] if Bitcoin does not answer. That it refuses a transaction is no error: what that spends may be missing
    /// as well, and come back first.
    pub(super) async fn send<B: BitcoinPort>(
        &mut self,
        bitcoin: &B,
        ledger: &PegLedger,
        round: u64,
    ) -> Result<(), PortError> {
        let mut missing: Vec<_> = ledger
            .lost()
            .map(|recorded| (recorded.bitcoin_height, Txid::from_byte_array(recorded.txid.0), recorded.block))
            .collect();
        missing.sort_unstable();
        self.sent.retain(|txid, _| missing.iter().any(|(_, known, _)| known == txid));
        let is_due = |sent: &BTreeMap<Txid, u64>, txid: &Txid| {
            sent.get(txid).is_none_or(|last| round.saturating_sub(*last) >= ROUNDS_PER_BROADCAST)
        };
        for (_, txid, block) in missing.into_iter().take(MAX_PER_ROUND) {
            if !is_due(&self.sent, &txid) {
                continue;
            }
            self.sent.insert(txid, round);
            // In another block already: the chain learns of that one.
            if bitcoin.find_transaction(txid).await?.is_some() {
                continue;
            }
            let Some(block) = bitcoin.block(BlockHash::from_byte_array(block.0)).await? else { continue };
            let found = block.txdata.into_iter().find(|transaction| transaction.compute_txid() == txid);
            // A coinbase is gone for good with its block.
            let Some(transaction) = found.filter(|transaction| !transaction.is_coinbase()) else { continue };
            match bitcoin.broadcast(transaction).await {
                Ok(_) => tracing::info!(%txid, "a transaction that left the best branch was sent again"),
                Err(error) if error.is_retryable() => {
                    self.sent.remove(&txid);
                    return Err(error);
                }
                Err(error) => tracing::warn!(%txid, %error, "a transaction that left the best branch is refused"),
            }
        }
        Ok(())
    }
}
