//! The custody changes hands in running nodes: members name new keys with the commands, old coins are swept, the old address
//! holds for a while, burns are paid by the new keys. One member is away with its key from the beginning.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "common/peg_rotation.rs"]
mod peg_rotation;
#[path = "common/peg_world.rs"]
mod peg_world;

use peg_world::Backend;
use std::path::Path;

fn play(backend: &Backend) {
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_alys-node"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(peg_rotation::play(binary, folder.path(), backend, |step| println!("{step}"))).unwrap();
}

#[test]
fn custody_changes_hands_while_a_member_is_lost() {
    play(&Backend::Regtest);
}

#[test]
fn custody_changes_hands_on_bitcoin_core() {
    match Backend::core() {
        Some(core) => play(&core),
        None => alys_vectors::skip("needs a Bitcoin Core binary: BITCOIND names none and bitcoind is not on the PATH"),
    }
}
