//! A merged miner's proofs, built by hand, and where the vectors are.
// The vectors are files; the crate itself still does no I/O.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used)]

use alys_auxpow::{AuxPow, Commitment, CommitmentPlace, ParentHeader, Rules, Transaction, TxInput, TxOutput};
use alys_auxpow::{NULL_OUTPUT_INDEX, expected_index, merkle_fold};
use alys_primitives::B256;
pub use alys_vectors::find as vectors;
use std::path::PathBuf;

pub const CHAIN_ID: u64 = 0x414c;
pub const NONCE: u32 = 7;

pub const SCRIPT_SIG: Rules = Rules { chain_id: CHAIN_ID, place: CommitmentPlace::ScriptSig };
pub const OUTPUT: Rules = Rules { chain_id: CHAIN_ID, place: CommitmentPlace::Output };
pub const EITHER: Rules = Rules { chain_id: CHAIN_ID, place: CommitmentPlace::Either };

/// The hash that is mined on.
pub fn hash() -> B256 {
    B256::repeat_byte(0xa1)
}

/// A chain branch of `height` distinct items.
pub fn branch(height: usize) -> Vec<B256> {
    (0..height).map(|level| B256::repeat_byte(0x80 + u8::try_from(level).unwrap())).collect()
}

/// What a right proof for [`hash`] in a tree of this height commits to.
pub fn commitment(height: usize) -> Commitment {
    let root = merkle_fold(hash(), &branch(height), expected_index(NONCE, CHAIN_ID, height));
    Commitment { root, size: 1u32 << height, nonce: NONCE }
}

/// A right proof with the commitment in the scriptSig.
pub fn in_script_sig(height: usize) -> AuxPow {
    let script = [&[3, 1, 2, 3][..], &commitment(height).to_bytes(), b"/pool/"].concat();
    proof(height, script, vec![payout()])
}

/// A right proof with the commitment in an output.
pub fn in_output(height: usize) -> AuxPow {
    let script = commitment(height).to_output_script();
    proof(height, vec![3, 1, 2, 3], vec![payout(), TxOutput { value: 0, script }])
}

pub fn payout() -> TxOutput {
    TxOutput { value: 50 * 100_000_000, script: vec![0x51] }
}

/// A proof around any scriptSig and outputs.
pub fn proof(height: usize, script: Vec<u8>, outputs: Vec<TxOutput>) -> AuxPow {
    let input = TxInput { previous_txid: B256::ZERO, previous_index: NULL_OUTPUT_INDEX, script, sequence: u32::MAX };
    let proof = AuxPow {
        coinbase: Transaction { version: 2, inputs: vec![input], outputs, lock_time: 0 },
        coinbase_branch: vec![B256::repeat_byte(0x11), B256::repeat_byte(0x12)],
        chain_branch: branch(height),
        chain_index: i32::try_from(expected_index(NONCE, CHAIN_ID, height)).unwrap(),
        parent: header(0x2000_0000),
    };
    sealed(proof)
}

/// A header of this version over nothing yet.
pub fn header(version: u32) -> ParentHeader {
    let mut bytes = [0x77; 80];
    bytes[..4].copy_from_slice(&version.to_le_bytes());
    ParentHeader(bytes)
}

pub fn with_version(mut proof: AuxPow, version: u32) -> AuxPow {
    proof.parent.0[..4].copy_from_slice(&version.to_le_bytes());
    proof
}

/// The proof with the parent's Merkle root put right, as its miner would have.
pub fn sealed(mut proof: AuxPow) -> AuxPow {
    let root = merkle_fold(proof.coinbase.txid(), &proof.coinbase_branch, 0);
    proof.parent.0[36..68].copy_from_slice(root.as_slice());
    proof
}

/// The proof with another scriptSig, put right again.
pub fn with_script(mut proof: AuxPow, edit: impl FnOnce(&mut Vec<u8>)) -> AuxPow {
    edit(&mut proof.coinbase.inputs[0].script);
    sealed(proof)
}

/// Where `needle` starts.
pub fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

pub fn read_json(path: PathBuf) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A hash from display order.
pub fn from_display(text: &str) -> B256 {
    alys_auxpow::display_order(text.parse().unwrap())
}
