//! One function per decoder of outside bytes, and one per state machine that scripts of bytes can drive.
//!
//! Each takes any bytes, decodes them as the node would, and checks what must then hold; a panic is a finding. The
//! functions have two callers: `libfuzzer/` (coverage-guided, as long as one likes) and `tests/corpus.rs` (the committed
//! corpora and a bounded number of seeded mutations, on every test run).
//!
//! - [`TARGETS`] names them all; a target's name is its function's name, its corpus folder's and its libFuzzer binary's;
//! - [`seeds`] makes the committed corpora: `cargo run -p alys-fuzz --example write_corpus`;
//! - [`mutate`] makes the seeded mutations.
//!
//! Run libFuzzer with
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir crates/fuzz/libfuzzer TARGET crates/fuzz/libfuzzer/corpus/TARGET
//! crates/fuzz/corpus/TARGET` from the root of the repository: what it learns goes to the first folder, which git
//! ignores. A finding becomes a seed or a test.
//!
//! Deliberately absent: decoders that only ever see our own bytes (checkpoints carry a checksum; see the store crate).

#![forbid(unsafe_code)]

mod bitcoin;
mod chain;
mod crypto;
mod execution;
mod merged_mining;
pub mod mutate;
mod network;
pub mod seeds;
mod ssz;

pub use bitcoin::{bitcoin_block, compact_bits};
pub use chain::chain_script;
pub use crypto::{keystore, public_key, signature};
pub use execution::{payload, transaction};
pub use merged_mining::{auxpow, coinbase};
pub use network::{gossip, request_frame, response_frame};
pub use ssz::{approval, auxpow_record, chain_spec, evidence, federation_change, notarization, signed_block};

/// A function that panics if the bytes show a mistake.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 20] = [
    ("approval", approval),
    ("auxpow", auxpow),
    ("auxpow_record", auxpow_record),
    ("bitcoin_block", bitcoin_block),
    ("chain_script", chain_script),
    ("chain_spec", chain_spec),
    ("coinbase", coinbase),
    ("compact_bits", compact_bits),
    ("evidence", evidence),
    ("federation_change", federation_change),
    ("gossip", gossip),
    ("keystore", keystore),
    ("notarization", notarization),
    ("payload", payload),
    ("public_key", public_key),
    ("request_frame", request_frame),
    ("response_frame", response_frame),
    ("signature", signature),
    ("signed_block", signed_block),
    ("transaction", transaction),
];
