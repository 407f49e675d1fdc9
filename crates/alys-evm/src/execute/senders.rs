//! Who sent a block's transactions: the dearest part of checking a block of transfers, and one that splits over threads.

use super::BlockError;
use crate::Tx;
use crate::threads::on_threads;
use alloy_consensus::transaction::SignerRecoverable as _;
use alloy_primitives::Address;
use std::num::NonZeroUsize;

/// Fewer transactions than this for each thread are not worth starting it.
const LEAST_PER_THREAD: usize = 64;

/// More threads than this gain nothing for a block.
const MAX_THREADS: usize = 8;

/// The senders, in the order of the transactions.
///
/// # Errors
/// The first transaction that has none.
pub(super) fn recover_senders(transactions: &[Tx]) -> Result<Vec<Address>, BlockError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let threads = threads.min(transactions.len() / LEAST_PER_THREAD).max(1);
    let share = transactions.len().div_ceil(threads).max(1);
    let shares = transactions.chunks(share).enumerate();
    let shares = shares.map(|(index, part)| (index.saturating_mul(share), part)).collect();
    let parts = on_threads(shares, |(start, part)| recover(start, part));
    let mut senders = Vec::with_capacity(transactions.len());
    for part in parts {
        senders.extend(part?);
    }
    Ok(senders)
}

fn recover(start: usize, transactions: &[Tx]) -> Result<Vec<Address>, BlockError> {
    let sender = |(index, transaction): (usize, &Tx)| {
        let index = start.saturating_add(index);
        transaction.recover_signer().map_err(|error| BlockError::Transaction { index, reason: error.to_string() })
    };
    transactions.iter().enumerate().map(sender).collect()
}
