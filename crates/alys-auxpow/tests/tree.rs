//! One commitment for several chains.
#![allow(clippy::unwrap_used)]

mod support;

use alys_auxpow::{AuxPow, AuxTree, Commitment, MAX_TREE_CHAINS, Rules, TreeError, merkle_fold};
use alys_primitives::B256;
use support::*;

fn chains(count: u8) -> Vec<(u64, B256)> {
    (0..count).map(|n| (u64::from(n) * 77 + 1, B256::repeat_byte(n + 1))).collect()
}

/// The proof for one chain of a tree.
fn proof_of(tree: &AuxTree, chain_id: u64) -> AuxPow {
    let (chain_branch, chain_index) = tree.branch(chain_id).unwrap();
    let script = [&[3, 1, 2, 3][..], &tree.commitment().to_bytes()].concat();
    AuxPow { chain_branch, chain_index, ..proof(0, script, vec![payout()]) }
}

#[test]
fn every_chain_of_a_tree_verifies_and_no_other() {
    for count in [1, 2, 3, 8, 20] {
        let chains = chains(count);
        let tree = AuxTree::build(&chains).unwrap();
        for (chain_id, hash) in &chains {
            let proof = proof_of(&tree, *chain_id);
            let rules = Rules { chain_id: *chain_id, ..SCRIPT_SIG };
            let verified = proof.verify_commitment(*hash, &rules).unwrap();
            assert_eq!(verified.commitment, tree.commitment());
            for (_, other) in chains.iter().filter(|(_, other)| other != hash) {
                assert_eq!(proof.verify_commitment(*other, &rules).unwrap_err().rule(), "root-absent");
            }
        }
        assert_eq!(tree.branch(5000), None);
    }
}

#[test]
fn one_chain_alone_is_its_own_tree() {
    let tree = AuxTree::build(&[(CHAIN_ID, hash())]).unwrap();
    assert_eq!(tree.commitment(), Commitment::alone(hash()));
    assert_eq!(tree.branch(CHAIN_ID), Some((vec![], 0)));
}

#[test]
fn a_tree_of_two_is_one_hash() {
    let tree = AuxTree::build(&[(1, B256::repeat_byte(1)), (2, B256::repeat_byte(2))]).unwrap();
    let (branch, index) = tree.branch(1).unwrap();
    assert_eq!(branch, [B256::repeat_byte(2)]);
    let root = merkle_fold(B256::repeat_byte(1), &branch, u32::try_from(index).unwrap());
    assert_eq!(tree.commitment().root, root);
    assert_eq!(tree.commitment().size, 2);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(AuxTree::build(&[]), Err(TreeError::Empty));
    let too_many = vec![(1, hash()); MAX_TREE_CHAINS + 1];
    assert_eq!(AuxTree::build(&too_many), Err(TreeError::TooMany { found: MAX_TREE_CHAINS + 1 }));
    assert_eq!(AuxTree::build(&[(7, hash()), (7, hash())]), Err(TreeError::Collision));
    assert_eq!(AuxTree::build(&[(7, hash()), (7 + 0x1_0000, hash())]), Err(TreeError::Collision));
}

#[test]
fn a_tree_may_be_full() {
    // Ids that follow each other take places apart in a tree of any size.
    let chains: Vec<_> = (0..MAX_TREE_CHAINS).map(|id| (u64::try_from(id).unwrap(), hash())).collect();
    let tree = AuxTree::build(&chains).unwrap();
    assert!(chains.iter().all(|(id, _)| tree.branch(*id).is_some()));
}
