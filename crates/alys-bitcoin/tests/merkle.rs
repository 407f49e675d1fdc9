//! Merkle roots, branches and commitments, against real blocks.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use alys_bitcoin::FoundTransaction;
use alys_bitcoin::merkle::{MAX_BRANCH, check_witness_commitment, merkle_branch, merkle_root, root_from_branch};
use bitcoin::Block;
use bitcoin::Transaction;
use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, sha256d};
use proptest::prelude::*;
use std::path::Path;

fn leaves(count: usize) -> Vec<sha256d::Hash> {
    (0..count).map(|index| sha256d::Hash::hash(&index.to_le_bytes())).collect()
}

#[test]
fn coinbase_branches_of_real_blocks_lead_to_their_headers() {
    let Some(folder) = alys_vectors::find("bitcoin/merged_mined_blocks") else { return };
    let index: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("index.json")).unwrap()).unwrap();
    let entries = index.as_array().unwrap();
    let mut whole = 0;
    for entry in entries {
        let text = |name: &str| hex::decode(entry[name].as_str().unwrap()).unwrap();
        let header: Header = encode::deserialize(&text("header_hex")).unwrap();
        let coinbase: Transaction = encode::deserialize(&text("coinbase_tx_hex")).unwrap();
        let branch: Vec<sha256d::Hash> = entry["coinbase_merkle_branch"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| hash.as_str().unwrap().parse().unwrap())
            .collect();
        let leaf = coinbase.compute_txid().to_raw_hash();
        assert_eq!(root_from_branch(leaf, &branch, 0), Some(header.merkle_root.to_raw_hash()));
        assert_ne!(root_from_branch(leaf, &branch, 1), Some(header.merkle_root.to_raw_hash()));
        let Some(file) = entry["raw_block_file"].as_str() else { continue };
        let file = folder.join(Path::new(file).file_name().unwrap());
        let block: Block = encode::deserialize(&std::fs::read(file).unwrap()).unwrap();
        let txids: Vec<_> = block.txdata.iter().map(|tx| tx.compute_txid().to_raw_hash()).collect();
        assert_eq!(merkle_root(txids.iter().copied()).unwrap().root, header.merkle_root.to_raw_hash());
        assert!(!merkle_root(txids.iter().copied()).unwrap().mutated);
        assert_eq!(merkle_branch(&txids, 0), Some(branch));
        for position in [0, 1, txids.len() / 2, txids.len() - 1] {
            let found = FoundTransaction::in_block(&block, 1, position).unwrap();
            assert!(found.proofs_hold());
            let mut moved = found.clone();
            moved.position ^= 1;
            assert!(!moved.proofs_hold());
        }
        assert_eq!(FoundTransaction::in_block(&block, 1, txids.len()), None);
        check_witness_commitment(&block).unwrap();
        whole += 1;
    }
    assert_eq!((entries.len(), whole), (10, 3));
}

#[test]
fn a_repeated_tail_is_noticed() {
    let three = leaves(3);
    let four = [three.clone(), vec![three[2]]].concat();
    let (honest, repeated) = (merkle_root(three).unwrap(), merkle_root(four).unwrap());
    assert_eq!(honest.root, repeated.root);
    assert!(!honest.mutated && repeated.mutated);
    assert_eq!(merkle_root([]), None);
}

#[test]
fn a_branch_can_be_neither_too_long_nor_too_short_for_its_index() {
    let leaf = sha256d::Hash::all_zeros();
    let branch = leaves(MAX_BRANCH + 1);
    assert_eq!(root_from_branch(leaf, &branch, 0), None);
    assert!(root_from_branch(leaf, &branch[..MAX_BRANCH], u32::MAX).is_some());
    assert_eq!(root_from_branch(leaf, &branch[..2], 4), None);
    assert_eq!(root_from_branch(leaf, &[], 0), Some(leaf));
}

proptest! {
    #[test]
    fn every_leaf_has_a_branch_to_the_root(count in 1usize..70, pick in any::<prop::sample::Index>()) {
        let leaves = leaves(count);
        let index = pick.index(count);
        let root = merkle_root(leaves.iter().copied()).unwrap().root;
        let branch = merkle_branch(&leaves, index).unwrap();
        prop_assert_eq!(branch.len(), merkle_branch(&leaves, 0).unwrap().len());
        prop_assert_eq!(root_from_branch(leaves[index], &branch, u32::try_from(index).unwrap()), Some(root));
        prop_assert_eq!(merkle_branch(&leaves, count), None);
    }
}
