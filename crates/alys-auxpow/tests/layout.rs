//! Namecoin's layout: what decodes, what does not, and what is left of it.
#![allow(clippy::unwrap_used)]

mod support;

use alys_auxpow::{AuxPow, DecodeError, Transaction, sha256d};
use alys_primitives::{B256, MAX_AUXPOW_BYTES};
use proptest::prelude::*;
use support::*;

/// Everything of the layout in its own place, so that each part can be replaced.
struct Parts {
    coinbase: Vec<u8>,
    hash_block: [u8; 32],
    coinbase_branch: Vec<u8>,
    n_index: i32,
    chain_branch: Vec<u8>,
    chain_index: i32,
    parent: [u8; 80],
}

impl Parts {
    fn of(proof: &AuxPow) -> Self {
        Self {
            coinbase: proof.coinbase.encode(),
            hash_block: [0; 32],
            coinbase_branch: counted(&proof.coinbase_branch),
            n_index: 0,
            chain_branch: counted(&proof.chain_branch),
            chain_index: proof.chain_index,
            parent: proof.parent.0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { coinbase, hash_block, coinbase_branch, n_index, chain_branch, chain_index, parent } = self;
        [
            &coinbase[..],
            hash_block,
            coinbase_branch,
            &n_index.to_le_bytes(),
            chain_branch,
            &chain_index.to_le_bytes(),
            parent,
        ]
        .concat()
    }
}

fn counted(branch: &[B256]) -> Vec<u8> {
    let count = u8::try_from(branch.len()).unwrap();
    [count].into_iter().chain(branch.iter().flat_map(|item| item.0)).collect()
}

/// The coinbase with a witness of these items for its one input.
fn with_witness(coinbase: &[u8], items: &[&[u8]]) -> Vec<u8> {
    let (head, lock_time) = coinbase.split_at(coinbase.len() - 4);
    let (version, body) = head.split_at(4);
    let mut bytes = [version, &[0, 1], body].concat();
    bytes.push(u8::try_from(items.len()).unwrap());
    for item in items {
        bytes.push(u8::try_from(item.len()).unwrap());
        bytes.extend(*item);
    }
    bytes.extend(lock_time);
    bytes
}

#[test]
fn proofs_decode_to_what_was_encoded() {
    for height in [0, 1, 30] {
        for proof in [in_script_sig(height), in_output(height)] {
            let bytes = proof.encode();
            assert_eq!(bytes, Parts::of(&proof).bytes());
            assert_eq!(AuxPow::decode(&bytes), Ok(proof.clone()));
            assert_eq!(AuxPow::decode_normalised(&bytes), Ok(proof));
        }
    }
}

#[test]
fn ignored_fields_leave_no_trace() {
    let proof = in_script_sig(2);
    let edits: [fn(&mut Parts); 4] = [
        |parts| parts.hash_block = [0xee; 32],
        |parts| parts.n_index = 42,
        |parts| parts.n_index = -1,
        |parts| parts.coinbase = with_witness(&parts.coinbase, &[&[0; 32]]),
    ];
    for edit in edits {
        let mut parts = Parts::of(&proof);
        edit(&mut parts);
        let bytes = parts.bytes();
        assert_eq!(AuxPow::decode(&bytes), Ok(proof.clone()));
        assert_eq!(AuxPow::decode(&bytes).unwrap().encode(), proof.encode());
        assert_eq!(AuxPow::decode_normalised(&bytes), Err(DecodeError::NotNormalised));
        assert!(AuxPow::decode(&bytes).unwrap().verify_commitment(hash(), &SCRIPT_SIG).is_ok());
    }
}

#[test]
fn the_txid_is_without_witness() {
    let plain = in_script_sig(0).coinbase.encode();
    let witnessed = with_witness(&plain, &[&[0; 32], &[]]);
    assert_eq!(Transaction::decode(&witnessed).unwrap().txid(), sha256d(&plain));
}

#[test]
fn every_missing_byte_is_noticed() {
    let bytes = in_output(3).encode();
    for length in 0..bytes.len() {
        let error = AuxPow::decode(&bytes[..length]).unwrap_err();
        assert_eq!(error.rule(), "truncated", "{length} bytes: {error}");
    }
}

#[test]
fn bytes_behind_the_header_are_refused() {
    let mut bytes = in_script_sig(1).encode();
    bytes.push(0);
    assert_eq!(AuxPow::decode(&bytes), Err(DecodeError::TrailingBytes { count: 1 }));
    bytes.extend([0; 79]);
    assert_eq!(AuxPow::decode(&bytes), Err(DecodeError::TrailingBytes { count: 80 }));
}

#[test]
fn sizes_are_bounded_before_anything_is_read() {
    let found = MAX_AUXPOW_BYTES + 1;
    assert_eq!(AuxPow::decode(&vec![0; found]), Err(DecodeError::TooLong { found }));
    let mut longest = in_script_sig(0);
    let rest = MAX_AUXPOW_BYTES - longest.encode().len();
    // The script's own count grows from one byte to three.
    longest.coinbase.inputs[0].script.extend(vec![0; rest - 2]);
    assert_eq!(longest.encode().len(), MAX_AUXPOW_BYTES);
    assert_eq!(AuxPow::decode(&longest.encode()), Ok(longest));
}

#[test]
fn counts_that_promise_more_than_there_is_are_refused() {
    let parts = || Parts::of(&in_script_sig(0));
    for count in [&[0xfe, 0xff, 0xff, 0xff, 0xff][..], &[0xff; 9], &[0xfd, 0xff, 0xff]] {
        let mut branch = parts();
        branch.chain_branch = count.to_vec();
        assert_eq!(AuxPow::decode(&branch.bytes()).unwrap_err().rule(), "truncated");
        let mut inputs = parts();
        inputs.coinbase = [&[2, 0, 0, 0], count].concat();
        assert_eq!(AuxPow::decode(&inputs.bytes()).unwrap_err().rule(), "truncated");
    }
}

#[test]
fn counts_are_in_their_shortest_form() {
    for count in [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]] {
        let mut parts = Parts::of(&in_script_sig(0));
        parts.chain_branch = count.to_vec();
        assert_eq!(AuxPow::decode(&parts.bytes()).unwrap_err().rule(), "long-count", "{count:02x?}");
    }
}

#[test]
fn witnesses_are_checked_as_bitcoin_core_checks_them() {
    let plain = in_script_sig(0).coinbase.encode();
    assert_eq!(Transaction::decode(&with_witness(&plain, &[])), Err(DecodeError::EmptyWitness));
    let mut unknown = with_witness(&plain, &[&[1]]);
    unknown[5] = 2;
    assert!(Transaction::decode(&unknown).is_err());
    unknown[5] = 3;
    assert_eq!(Transaction::decode(&unknown), Err(DecodeError::UnknownFlag { flag: 3 }));
    // No inputs and a flag of zero: a transaction with neither inputs nor outputs.
    let nothing = Transaction { version: 1, ..Transaction::default() };
    assert_eq!(nothing.encode(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Transaction::decode(&nothing.encode()), Ok(nothing));
}

#[test]
fn a_parent_header_shows_its_fields() {
    // Bitcoin's first block.
    let bytes = hex::decode(concat!(
        "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617f",
        "c81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
    ))
    .unwrap();
    let header = alys_auxpow::ParentHeader(bytes.try_into().unwrap());
    assert_eq!(header.hash(), from_display("000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"));
    assert_eq!(header.merkle_root(), from_display("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"));
    assert_eq!((header.version(), header.chain_id(), header.has_auxpow_bit()), (1, 0, false));
    assert_eq!((header.time(), header.bits(), header.nonce()), (1_231_006_505, 0x1d00_ffff, 2_083_236_893));
    assert!(header.previous().is_zero());
    assert_eq!(header.with_nonce(5).nonce(), 5);
    assert_eq!(header.with_nonce(5).bits(), header.bits());
}

proptest! {
    #[test]
    fn whatever_decodes_encodes_to_a_fixed_point(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(proof) = AuxPow::decode(&bytes) {
            prop_assert_eq!(AuxPow::decode_normalised(&proof.encode()), Ok(proof));
        }
    }

    #[test]
    fn damaged_proofs_never_panic_and_stay_normalised(
        height in 0usize..5, output: bool,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = if output { in_output(height) } else { in_script_sig(height) }.encode();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(proof) = AuxPow::decode(&bytes) {
            let again = AuxPow::decode_normalised(&proof.encode());
            prop_assert_eq!(again.as_ref(), Ok(&proof));
            for rules in [SCRIPT_SIG, OUTPUT, EITHER] {
                let _ = proof.verify_commitment(hash(), &rules);
            }
        }
    }
}

#[test]
fn a_decoding_error_says_which_field_and_where_it_starts() {
    let bytes = in_script_sig(0).encode();
    let parent = bytes.len() - 80;
    assert_eq!(
        AuxPow::decode(&bytes[..bytes.len() - 1]),
        Err(DecodeError::Truncated { field: "parent header", offset: parent })
    );
    let mut long = bytes;
    // The chain branch's count, before the index and the header.
    let count = parent - 5;
    long.splice(count..=count, [0xfd, 0, 0]);
    assert_eq!(AuxPow::decode(&long), Err(DecodeError::LongCount { offset: count }));
}

#[test]
fn scripts_of_every_length_have_the_shortest_count() {
    for (length, count) in
        [(0xfc, &[0xfc][..]), (0xfd, &[0xfd, 0xfd, 0]), (0xffff, &[0xfd, 0xff, 0xff]), (0x1_0000, &[0xfe, 0, 0, 1, 0])]
    {
        let mut coinbase = in_script_sig(0).coinbase;
        coinbase.inputs[0].script = vec![0; length];
        // Version, count of inputs, outpoint.
        assert!(coinbase.encode()[4 + 1 + 36..].starts_with(count), "{length}");
    }
}

#[test]
fn a_parent_header_names_the_block_before_and_prints_as_its_bytes() {
    let mut bytes = [0; 80];
    bytes[4..36].fill(7);
    let header = alys_auxpow::ParentHeader(bytes);
    assert_eq!(header.previous(), B256::repeat_byte(7));
    assert_eq!(format!("{header:?}"), format!("ParentHeader({})", hex::encode(bytes)));
}

#[test]
fn each_decoding_error_has_a_name_of_its_own() {
    let errors = [
        (DecodeError::TooLong { found: 65_537 }, "too-long"),
        (DecodeError::Truncated { field: "parent header", offset: 3 }, "truncated"),
        (DecodeError::TrailingBytes { count: 1 }, "trailing-bytes"),
        (DecodeError::LongCount { offset: 5 }, "long-count"),
        (DecodeError::EmptyWitness, "empty-witness"),
        (DecodeError::UnknownFlag { flag: 3 }, "unknown-flag"),
        (DecodeError::NotNormalised, "not-normalised"),
    ];
    for (error, name) in errors {
        assert_eq!(error.rule(), name, "{error}");
    }
}
