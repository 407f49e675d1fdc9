//! Fees go up while payments wait: members replace them by the rules, and whatever attempt Bitcoin takes, every amount is exact.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "common/peg_fee_spike.rs"]
mod peg_fee_spike;
#[path = "common/peg_world.rs"]
mod peg_world;

use peg_world::Backend;
use std::path::Path;

fn play(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(peg_fee_spike::play(binary, folder.path(), backend, |step| println!("{step}"))).unwrap();
}

#[test]
fn payments_are_replaced_while_fees_rise_and_paid_by_whichever_attempt_confirms() {
    play(&Backend::Regtest);
}

#[test]
fn payments_are_replaced_while_fees_rise_on_bitcoin_core() {
    match Backend::core() {
        Some(core) => play(&core),
        None => alys_vectors::skip("needs a Bitcoin Core binary: BITCOIND names none and bitcoind is not on the PATH"),
    }
}
