//! A merged miner: real proofs of little work.

use alys_auxpow::{AuxPow, Commitment, ParentHeader, Target, Transaction, TxInput, TxOutput, merkle_fold};
use alys_primitives::{AuxBundle, AuxPowRecord, TreeHash as _, VariableList};

/// Mines a bundle on a parent block that is distinct for each `salt`.
pub fn mine(bundle: AuxBundle, salt: u32) -> AuxPowRecord {
    mine_with(bundle, salt, |_| {})
}

/// As [`mine`], with a change made to the proof before the work is done.
pub fn mine_with(bundle: AuxBundle, salt: u32, change: impl FnOnce(&mut AuxPow)) -> AuxPowRecord {
    let mut script = vec![3, 1, 2, 3];
    script.extend(Commitment::alone(bundle.tree_hash_root()).to_bytes());
    let coinbase = Transaction {
        version: 1,
        inputs: vec![TxInput {
            previous_txid: Default::default(),
            previous_index: u32::MAX,
            script,
            sequence: u32::MAX,
        }],
        outputs: vec![TxOutput { value: 5_000_000_000, script: vec![0x51] }],
        lock_time: salt,
    };
    let mut header = [0; 80];
    header[0..4].copy_from_slice(&0x2000_0000u32.to_le_bytes());
    header[36..68].copy_from_slice(merkle_fold(coinbase.txid(), &[], 0).as_slice());
    let mut proof = AuxPow {
        coinbase,
        coinbase_branch: Vec::new(),
        chain_branch: Vec::new(),
        chain_index: 0,
        parent: ParentHeader(header),
    };
    change(&mut proof);
    let target = Target::from_compact(bundle.bits).unwrap_or(Target::MIN);
    for nonce in 0..1_000_000 {
        proof.parent = proof.parent.with_nonce(nonce);
        if target.is_met_by(proof.parent.hash()) {
            break;
        }
    }
    AuxPowRecord { bundle, proof: VariableList::new(proof.encode()).expect("a small proof") }
}
