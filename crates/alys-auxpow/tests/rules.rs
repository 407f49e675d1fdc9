//! Every rule of Namecoin's check, from both sides, in its order.
#![allow(clippy::unwrap_used)]

mod support;

use alys_auxpow::{
    AuxPow, Commitment, CommitmentPlace, Found, MAGIC, RULES, Rules, Target, TxInput, TxOutput, UnknownPlace, Verified,
    VerifyError, display_order, expected_index, merkle_fold,
};
use alys_primitives::{B256, U256};
use std::collections::BTreeSet;
use support::*;

fn rule(proof: &AuxPow, rules: &Rules) -> &'static str {
    proof.verify_commitment(hash(), rules).map_or_else(|error| error.rule(), |_| "valid")
}

#[test]
fn right_proofs_pass_at_every_height_and_place() {
    for height in 0..=30 {
        for (proof, rules, found) in [
            (in_script_sig(height), SCRIPT_SIG, Found::InScriptSig),
            (in_script_sig(height), EITHER, Found::InScriptSig),
            (in_output(height), OUTPUT, Found::InOutput { index: 1 }),
            (in_output(height), EITHER, Found::InOutput { index: 1 }),
        ] {
            let verified = Verified { commitment: commitment(height), found, parent_hash: proof.parent.hash() };
            assert_eq!(proof.verify(hash(), &rules, Target::MAX), Ok(verified), "height {height}, {rules:?}");
        }
    }
}

#[test]
fn the_commitment_must_stand_where_the_chain_allows() {
    assert_eq!(rule(&in_output(2), &SCRIPT_SIG), "root-absent");
    assert_eq!(rule(&in_script_sig(2), &OUTPUT), "magic-in-scriptsig");
}

#[test]
fn parents_of_our_own_chain_are_refused_strictly() {
    let own = u32::try_from(CHAIN_ID).unwrap() << 16;
    assert_eq!(rule(&with_version(in_script_sig(0), own), &SCRIPT_SIG), "parent-chain-id");
    assert_eq!(rule(&with_version(in_script_sig(0), own | 0xffff), &SCRIPT_SIG), "parent-chain-id");
    for other in [0, 1, 0x0100_0000, own - 1, own + 0x1_0000] {
        let version = other & !0x100;
        assert_eq!(rule(&with_version(in_script_sig(0), version), &SCRIPT_SIG), "valid", "{version:#x}");
    }
    // The upper half is unsigned: an id above 0x7fff is recognised too.
    let rules = Rules { chain_id: 0xfffe, ..SCRIPT_SIG };
    assert_eq!(rule(&with_version(in_script_sig(0), 0xfffe_0001), &rules), "parent-chain-id");
}

#[test]
fn a_chain_branch_ends_at_thirty() {
    let mut long = in_script_sig(30);
    assert_eq!(rule(&long, &SCRIPT_SIG), "valid");
    long.chain_branch.push(B256::ZERO);
    assert_eq!(rule(&long, &SCRIPT_SIG), "branch-too-long");
    long.chain_branch = vec![B256::ZERO; 32];
    assert_eq!(rule(&long, &SCRIPT_SIG), "branch-too-long");
}

#[test]
fn the_coinbase_must_be_the_first_transaction() {
    let valid = in_script_sig(1);
    let mut tampered = valid.clone();
    tampered.parent.0[40] ^= 1;
    assert_eq!(rule(&tampered, &SCRIPT_SIG), "coinbase-branch");

    let mut no_outputs = valid.clone();
    no_outputs.coinbase.outputs.clear();
    assert_eq!(rule(&no_outputs, &SCRIPT_SIG), "coinbase-branch");
    assert_eq!(rule(&sealed(no_outputs), &SCRIPT_SIG), "valid", "a coinbase may pay nobody");

    // The same bytes as the second transaction of the block.
    let mut second = valid.clone();
    let root = merkle_fold(second.coinbase.txid(), &second.coinbase_branch, 1);
    second.parent.0[36..68].copy_from_slice(root.as_slice());
    assert_eq!(rule(&second, &SCRIPT_SIG), "coinbase-branch");

    let mut longer = valid;
    longer.coinbase_branch.push(B256::ZERO);
    assert_eq!(rule(&longer, &SCRIPT_SIG), "coinbase-branch");
}

#[test]
fn a_coinbase_without_inputs_is_refused() {
    for (mut proof, rules) in [(in_script_sig(0), SCRIPT_SIG), (in_output(0), OUTPUT), (in_output(0), EITHER)] {
        proof.coinbase.inputs.clear();
        assert_eq!(rule(&sealed(proof), &rules), "no-inputs");
    }
}

#[test]
fn only_the_first_inputs_script_counts() {
    let mut proof = in_script_sig(0);
    let mut first = proof.coinbase.inputs[0].clone();
    first.script = vec![1];
    proof.coinbase.inputs.insert(0, first);
    assert_eq!(rule(&sealed(proof), &SCRIPT_SIG), "root-absent");
}

#[test]
fn another_hash_is_not_committed_to() {
    for (proof, rules) in [(in_script_sig(3), SCRIPT_SIG), (in_output(3), OUTPUT), (in_output(3), EITHER)] {
        let error = proof.verify_commitment(B256::repeat_byte(0xa2), &rules).unwrap_err();
        assert_eq!(error.rule(), "root-absent");
    }
}

#[test]
fn the_root_stands_in_display_order() {
    let proof = with_script(in_script_sig(1), |script| {
        let start = position(script, &MAGIC).unwrap() + MAGIC.len();
        script[start..start + 32].reverse();
    });
    assert_eq!(rule(&proof, &SCRIPT_SIG), "root-absent");
}

/// Commitments to another root, one behind the other, with or without magic; what Namecoin's own tests try.
#[test]
fn several_roots_are_judged_as_namecoin_does() {
    let right = commitment(2);
    let wrong = Commitment { root: B256::repeat_byte(0x5a), ..right };
    let tagged = |commitment: Commitment| commitment.to_bytes().to_vec();
    let bare = |commitment: Commitment| commitment.to_bytes()[4..].to_vec();
    for (first, second, expected) in [
        (bare(right), bare(wrong), "valid"),
        (bare(wrong), bare(right), "late-root"),
        (bare(right), tagged(wrong), "gap-after-magic"),
        (tagged(wrong), bare(right), "gap-after-magic"),
        (tagged(right), tagged(wrong), "two-magics"),
        (tagged(wrong), tagged(right), "two-magics"),
        (tagged(right), bare(wrong), "valid"),
        (bare(wrong), tagged(right), "valid"),
        (tagged(right), bare(right), "valid"),
        (bare(right), tagged(right), "gap-after-magic"),
        (tagged(right), MAGIC.to_vec(), "two-magics"),
    ] {
        let script = [first, second].concat();
        assert_eq!(rule(&proof(2, script.clone(), vec![]), &SCRIPT_SIG), expected, "{script:02x?}");
        // In the scriptSig the same is said whether or not an output would have been allowed.
        assert_eq!(rule(&proof(2, script.clone(), vec![]), &EITHER), expected, "{script:02x?}");
    }
}

#[test]
fn a_magic_that_overlaps_the_root_is_a_second_magic() {
    // The search for a second magic starts one byte behind the first, root and tail included.
    let mut nonce = commitment(0);
    nonce.nonce = u32::from_le_bytes(MAGIC);
    let proof = proof(0, nonce.to_bytes().to_vec(), vec![]);
    assert_eq!(rule(&proof, &SCRIPT_SIG), "two-magics");
}

#[test]
fn the_root_follows_the_magic_at_once() {
    let proof = with_script(in_script_sig(2), |script| {
        let behind = position(script, &MAGIC).unwrap() + MAGIC.len();
        script.insert(behind, 0x20);
    });
    assert_eq!(rule(&proof, &SCRIPT_SIG), "gap-after-magic");
}

#[test]
fn a_bare_root_starts_within_twenty_bytes() {
    for (padding, expected) in [(0, "valid"), (19, "valid"), (20, "valid"), (21, "late-root"), (60, "late-root")] {
        let script = [&vec![0; padding][..], &commitment(1).to_bytes()[4..]].concat();
        assert_eq!(rule(&proof(1, script, vec![]), &SCRIPT_SIG), expected, "{padding}");
    }
    // The magic frees the root from that.
    let script = [&[0; 60][..], &commitment(1).to_bytes()].concat();
    assert_eq!(rule(&proof(1, script, vec![]), &SCRIPT_SIG), "valid");
}

#[test]
fn eight_bytes_follow_the_root() {
    for cut in 1..=8 {
        let mut script = commitment(0).to_bytes().to_vec();
        script.truncate(script.len() - cut);
        assert_eq!(rule(&proof(0, script, vec![]), &SCRIPT_SIG), "short-tail", "{cut} bytes cut");
    }
    assert_eq!(rule(&proof(0, commitment(0).to_bytes().to_vec(), vec![]), &SCRIPT_SIG), "valid");
}

#[test]
fn the_size_is_two_to_the_branch() {
    for height in [0, 1, 3, 30] {
        for size in [0, 1u32 << height >> 1, (1 << height) + 1, 2 << height, u32::MAX] {
            let wrong = Commitment { size, ..commitment(height) };
            let expected = if size == 1 << height { "valid" } else { "size" };
            assert_eq!(rule(&proof(height, wrong.to_bytes().to_vec(), vec![]), &SCRIPT_SIG), expected);
        }
    }
}

#[test]
fn the_hash_stands_where_the_nonce_and_the_chain_id_say() {
    // Another nonce in the coinbase.
    let nonce = Commitment { nonce: NONCE + 3, ..commitment(6) };
    assert_eq!(rule(&proof(6, nonce.to_bytes().to_vec(), vec![]), &SCRIPT_SIG), "chain-index");
    // Another chain.
    let rules = Rules { chain_id: CHAIN_ID + 1, ..SCRIPT_SIG };
    assert_eq!(rule(&in_script_sig(6), &rules), "chain-index");
    // The hash one place further, with the root recomputed.
    let index = expected_index(NONCE, CHAIN_ID, 6);
    let moved = merkle_fold(hash(), &branch(6), index ^ 1);
    let mut elsewhere = proof(6, Commitment { root: moved, ..commitment(6) }.to_bytes().to_vec(), vec![]);
    elsewhere.chain_index = i32::try_from(index ^ 1).unwrap();
    assert_eq!(rule(&elsewhere, &SCRIPT_SIG), "chain-index");
    // The same place modulo the size leads to the same root but is another index.
    let mut wrapped = in_script_sig(6);
    wrapped.chain_index += 64;
    assert_eq!(rule(&wrapped, &SCRIPT_SIG), "chain-index");
    wrapped.chain_index -= 128;
    assert_eq!(rule(&wrapped, &SCRIPT_SIG), "chain-index");
    // Minus one leads nowhere, even if the coinbase commits to nowhere.
    let mut nowhere = proof(0, Commitment { root: B256::ZERO, ..commitment(0) }.to_bytes().to_vec(), vec![]);
    nowhere.chain_index = -1;
    assert_eq!(rule(&nowhere, &SCRIPT_SIG), "chain-index");
    let mut nowhere = in_script_sig(0);
    nowhere.chain_index = -1;
    assert_eq!(rule(&nowhere, &SCRIPT_SIG), "root-absent");
}

/// Worked out with unbounded integers: ((nonce * a + c + id) * a + c) mod 2^height.
#[test]
fn the_expected_index_is_namecoins() {
    for (nonce, chain_id, height, index) in
        [(0, 1, 4, 11), (7, 42, 30, 819_408_191), (u32::MAX, 65535, 30, 501_231_016), (723_260_953, 98, 7, 121)]
    {
        assert_eq!(expected_index(nonce, chain_id, height), index);
    }
}

#[test]
fn merged_mined_parents_and_weak_parents_are_refused_last() {
    assert_eq!(rule(&with_version(in_script_sig(0), 0x2000_0100), &SCRIPT_SIG), "auxpow-bit");

    let proof = in_script_sig(0);
    let work = U256::from_le_bytes(proof.parent.hash().0);
    let verify = |target: U256| proof.verify(hash(), &SCRIPT_SIG, Target::new(target));
    assert!(verify(work).is_ok(), "a hash equal to the target meets it");
    let target = Target::new(work - U256::from(1u64));
    assert_eq!(verify(target.value()), Err(VerifyError::Work { hash: proof.parent.hash(), target }));
}

#[test]
fn outputs_follow_the_same_rules() {
    let output = |script: Vec<u8>| TxOutput { value: 0, script };
    let with = |scripts: Vec<Vec<u8>>| proof(2, vec![1, 2, 3], scripts.into_iter().map(output).collect());
    let right = commitment(2).to_bytes().to_vec();
    let tail = |commitment: Commitment| commitment.to_bytes().to_vec();
    for (scripts, expected) in [
        (vec![right.clone()], "valid"),
        (vec![vec![], vec![0x51], commitment(2).to_output_script()], "valid"),
        (vec![], "root-absent"),
        (vec![MAGIC.to_vec()], "root-absent"),
        (vec![right.clone(), right.clone()], "several-outputs"),
        (vec![right.clone(), MAGIC.to_vec()], "several-outputs"),
        (vec![MAGIC.to_vec(), right.clone()], "several-outputs"),
        (vec![right.clone(), right[4..].to_vec()], "several-outputs"),
        (vec![[&right[..], &MAGIC].concat()], "two-magics"),
        (vec![[&MAGIC[..], &[0], &right[4..]].concat()], "gap-after-magic"),
        (vec![right[4..].to_vec()], "no-magic-in-output"),
        (vec![right[..43].to_vec()], "short-tail"),
        (vec![tail(Commitment { size: 8, ..commitment(2) })], "size"),
        (vec![tail(Commitment { nonce: 8, ..commitment(2) })], "chain-index"),
    ] {
        for rules in [OUTPUT, EITHER] {
            assert_eq!(rule(&with(scripts.clone()), &rules), expected, "{scripts:02x?}");
        }
    }
}

#[test]
fn an_output_commits_only_where_the_script_sig_does_not() {
    let magic = with_script(in_output(1), |script| script.extend(MAGIC));
    assert_eq!(rule(&magic, &OUTPUT), "magic-in-scriptsig");
    assert_eq!(rule(&magic, &EITHER), "root-absent");
    // A scriptSig that carries a root without magic is judged as it stands.
    let late = with_script(in_output(1), |script| {
        script.extend([0; 30]);
        script.extend(display_order(commitment(1).root));
    });
    assert_eq!(rule(&late, &EITHER), "late-root");
    assert_eq!(rule(&late, &OUTPUT), "valid");
}

#[test]
fn an_output_commits_only_in_a_coinbase() {
    let spend = |edit: fn(&mut TxInput)| {
        let mut proof = in_output(0);
        edit(&mut proof.coinbase.inputs[0]);
        rule(&sealed(proof), &OUTPUT)
    };
    assert_eq!(spend(|_| ()), "valid");
    assert_eq!(spend(|input| input.previous_index = 0), "not-coinbase");
    assert_eq!(spend(|input| input.previous_txid = B256::repeat_byte(1)), "not-coinbase");
    let mut two = in_output(0);
    two.coinbase.inputs.push(two.coinbase.inputs[0].clone());
    assert_eq!(rule(&sealed(two), &EITHER), "not-coinbase");
    // Namecoin does not ask that of a scriptSig.
    let mut proof = in_script_sig(0);
    proof.coinbase.inputs[0].previous_index = 0;
    assert_eq!(rule(&sealed(proof), &SCRIPT_SIG), "valid");
}

/// One proof that breaks everything, mended rule by rule: the answer is always the first broken rule.
#[test]
fn rules_are_checked_in_their_order() {
    let own = u32::try_from(CHAIN_ID).unwrap() << 16;
    let mut proof = in_script_sig(0);
    proof.chain_branch = vec![B256::ZERO; 31];
    proof.coinbase.inputs.clear();
    proof = with_version(proof, own | 0x100);
    let mut seen = Vec::new();
    let mut note = |proof: &AuxPow| {
        let error = proof.verify(hash(), &SCRIPT_SIG, Target::MIN).unwrap_err();
        seen.push(error.rule());
    };
    note(&proof);
    proof = with_version(proof, 0x100);
    note(&proof);
    proof.chain_branch = branch(2);
    note(&proof);
    proof = sealed(proof);
    note(&proof);
    let wrong = Commitment { size: 1, nonce: 1, ..commitment(2) };
    let bytes = wrong.to_bytes();
    let scripts: [Vec<u8>; 8] = [
        vec![0; 50],
        [&MAGIC[..], &[0], &bytes[4..36], &MAGIC].concat(),
        [&MAGIC[..], &[0], &bytes[4..36]].concat(),
        [&[0; 21][..], &bytes[4..36]].concat(),
        bytes[..36].to_vec(),
        bytes.to_vec(),
        Commitment { nonce: 1, ..commitment(2) }.to_bytes().to_vec(),
        commitment(2).to_bytes().to_vec(),
    ];
    for script in scripts {
        proof.coinbase = support::proof(2, script, vec![]).coinbase;
        proof = sealed(proof);
        proof.chain_index = i32::try_from(expected_index(NONCE, CHAIN_ID, 2)).unwrap();
        note(&proof);
    }
    proof = with_version(proof, 0x2000_0000);
    note(&proof);
    let script_sig_rules: Vec<_> = RULES
        .into_iter()
        .filter(|rule| !["magic-in-scriptsig", "not-coinbase", "several-outputs", "no-magic-in-output"].contains(rule))
        .collect();
    assert_eq!(seen, script_sig_rules);
}

#[test]
fn rule_names_are_distinct_and_kebab_case() {
    let distinct: BTreeSet<_> = RULES.into_iter().collect();
    assert_eq!(distinct.len(), RULES.len());
    assert!(RULES.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
}

#[test]
fn places_are_named_and_read_by_their_names() {
    for (place, name) in [
        (CommitmentPlace::ScriptSig, "scriptsig"),
        (CommitmentPlace::Output, "output"),
        (CommitmentPlace::Either, "either"),
    ] {
        assert_eq!(place.to_string(), name);
        assert_eq!(name.parse(), Ok(place));
    }
    for other in ["", "ScriptSig", "outputs"] {
        assert_eq!(other.parse::<CommitmentPlace>(), Err(UnknownPlace));
    }
}
