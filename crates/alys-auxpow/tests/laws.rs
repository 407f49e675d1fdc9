//! Laws of difficulty, trees and encodings beyond single cases.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_auxpow::{
    Asert, AuxPow, AuxTree, CommitmentPlace, ParentHeader, Rules, Target, Transaction, TxInput, TxOutput,
    display_order, expected_index, merkle_fold,
};
use alys_primitives::{B256, U256};
use proptest::prelude::*;

fn hashes() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::from)
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..120)
}

prop_compose! {
    fn transactions()(
        version: u32,
        lock_time: u32,
        inputs in proptest::collection::vec((hashes(), any::<u32>(), script(), any::<u32>()), 1..5),
        outputs in proptest::collection::vec((any::<u64>(), script()), 0..5),
    ) -> Transaction {
        Transaction {
            version,
            lock_time,
            inputs: inputs
                .into_iter()
                .map(|(previous_txid, previous_index, script, sequence)| {
                    TxInput { previous_txid, previous_index, script, sequence }
                })
                .collect(),
            outputs: outputs.into_iter().map(|(value, script)| TxOutput { value, script }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn transactions_and_proofs_decode_to_what_was_encoded(
        coinbase in transactions(),
        coinbase_branch in proptest::collection::vec(hashes(), 0..5),
        chain_branch in proptest::collection::vec(hashes(), 0..5),
        chain_index: i32,
        header in proptest::collection::vec(any::<u8>(), 80),
    ) {
        prop_assert_eq!(Transaction::decode(&coinbase.encode()), Ok(coinbase.clone()));
        let parent = ParentHeader(<[u8; 80]>::try_from(header).unwrap());
        let proof = AuxPow { coinbase, coinbase_branch, chain_branch, chain_index, parent };
        prop_assert_eq!(AuxPow::decode_normalised(&proof.encode()), Ok(proof));
    }

    #[test]
    fn display_order_undoes_itself(hash in hashes()) {
        prop_assert_eq!(display_order(display_order(hash)), hash);
    }

    #[test]
    fn a_branch_leads_to_another_root_from_any_other_place(
        leaf in hashes(),
        branch in proptest::collection::vec(hashes(), 1..12),
        index: u32,
        flipped in any::<prop::sample::Index>(),
    ) {
        let root = merkle_fold(leaf, &branch, index);
        let level = flipped.index(branch.len());
        prop_assert_ne!(merkle_fold(leaf, &branch, index ^ (1 << level)), root);
        // Bits above the tree have no say.
        let above = 1u32 << branch.len();
        prop_assert_eq!(merkle_fold(leaf, &branch, index | above), merkle_fold(leaf, &branch, index & !above));
    }

    #[test]
    fn a_place_in_a_smaller_tree_is_that_of_the_larger_one_cut_off(nonce: u32, chain_id: u64, height in 1usize..=30) {
        let place = expected_index(nonce, chain_id, height);
        prop_assert!(u64::from(place) < 1 << height);
        prop_assert_eq!(expected_index(nonce, chain_id, height - 1), place & ((1 << (height - 1)) - 1));
    }

    #[test]
    fn every_chain_of_any_tree_proves_its_place(ids in proptest::collection::btree_set(0u64..1 << 16, 1..24), salt in hashes()) {
        let chains: Vec<(u64, B256)> =
            ids.iter().map(|id| (*id, B256::from(U256::from(*id)) ^ salt)).collect();
        let tree = AuxTree::build(&chains).unwrap();
        let commitment = tree.commitment();
        prop_assert!(commitment.size.is_power_of_two());
        for (id, hash) in &chains {
            let (branch, index) = tree.branch(*id).unwrap();
            let index = u32::try_from(index).unwrap();
            prop_assert_eq!(1u64 << branch.len(), u64::from(commitment.size));
            prop_assert_eq!(index, expected_index(commitment.nonce, *id, branch.len()));
            prop_assert_eq!(merkle_fold(*hash, &branch, index), commitment.root);
        }
    }

    #[test]
    fn a_half_life_more_doubles_the_target_and_a_record_more_is_a_spacing_less(
        bits in 0x1500_8000u32..0x1500_ffff, spacing in 1u64..1_000, half_life in 1u64..50_000,
        elapsed in 0u64..200_000, committed in 0u64..2_000,
    ) {
        // Far from both ends, so that nothing is held there.
        let limit = Target::of_work(U256::from(2u64));
        let asert = Asert::new(Target::from_compact(bits).unwrap(), spacing, half_life, limit).unwrap();
        let now = asert.target(elapsed, committed);
        prop_assert_eq!(asert.target(elapsed + spacing, committed + 1), now);
        let later = asert.target(elapsed + half_life, committed);
        if now > Target::MIN && later < limit {
            let (now, later): (U256, U256) = (now.value(), later.value());
            let twice: U256 = now << 1;
            let (low, high) = (twice.min(later), twice.max(later));
            if elapsed >= spacing * committed {
                // Rounded down once more or once less.
                prop_assert!(later == high && high - low <= U256::from(1), "{} then {}", now, later);
            } else {
                // An exponent below zero is rounded towards zero: by up to one step of its 2^16.
                prop_assert!(high - low <= (now >> 14) + U256::from(2), "{} then {}", now, later);
            }
        }
        // The compact form is what a bundle carries, and never easier.
        prop_assert!(Target::from_compact(asert.bits(elapsed, committed)).unwrap() <= now);
    }

    #[test]
    fn a_commitment_elsewhere_counts_only_where_rules_say(hash in hashes(), id in 0u64..1 << 16, tail in script()) {
        let tree = AuxTree::build(&[(id, hash)]).unwrap();
        let input = |script| TxInput {
            previous_txid: B256::ZERO, previous_index: u32::MAX, script, sequence: u32::MAX,
        };
        let tail: Vec<u8> = tail.into_iter().filter(|byte| *byte != 0xfa).collect();
        let coinbase = |script: Vec<u8>, outputs: Vec<TxOutput>| Transaction {
            version: 1, lock_time: 0, inputs: vec![input(script)], outputs,
        };
        let written = tree.commitment().to_bytes().to_vec();
        let in_input = coinbase([written, tail].concat(), vec![]);
        let in_output = coinbase(vec![], vec![TxOutput { value: 0, script: tree.commitment().to_output_script() }]);
        for (coinbase, right, wrong) in [
            (in_input, CommitmentPlace::ScriptSig, CommitmentPlace::Output),
            (in_output, CommitmentPlace::Output, CommitmentPlace::ScriptSig),
        ] {
            let mut header = [0u8; 80];
            header[36..68].copy_from_slice(coinbase.txid().as_slice());
            let proof = AuxPow {
                coinbase, coinbase_branch: vec![], chain_branch: vec![], chain_index: 0, parent: ParentHeader(header),
            };
            let verify = |place| proof.verify_commitment(hash, &Rules { chain_id: id, place });
            prop_assert!(verify(right).is_ok());
            prop_assert!(verify(wrong).is_err());
        }
    }
}
