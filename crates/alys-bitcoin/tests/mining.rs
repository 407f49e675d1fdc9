//! A merged miner's way: commitment into the coinbase, branch, nonce, block.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use alys_bitcoin::merkle::root_from_branch;
use alys_bitcoin::template::{GrindError, MAX_COINBASE_SCRIPT_BYTES, TemplateError, grind, grind_to};
use alys_bitcoin::{Regtest, RegtestLimits, Submitted};
use bitcoin::{CompactTarget, Target, Transaction};
use support::{NOW, funded, op_true, p2wpkh, pay};

const COIN: u64 = 100_000_000;

fn target(leading_zero_bits: u32) -> Target {
    let mut bytes = [0xff; 32];
    for bit in 0..leading_zero_bits {
        bytes[usize::try_from(bit / 8).unwrap()] &= !(0x80 >> (bit % 8));
    }
    Target::from_be_bytes(bytes)
}

#[test]
fn a_committed_block_is_accepted_and_its_branch_proves_the_coinbase() {
    let (mut regtest, points) = funded(&op_true(), 3);
    for point in &points {
        regtest.broadcast(pay(&[*point], &[(COIN, op_true()), (COIN, op_true())])).unwrap();
    }
    let template = regtest.template(NOW);
    let commitment: Vec<u8> = [&[0xfa, 0xbe, 0x6d, 0x6d][..], &[7; 32], &[1, 0, 0, 0], &[0; 4]].concat();
    let coinbase = template.coinbase(&p2wpkh(1), &commitment).unwrap();
    let script = coinbase.input[0].script_sig.as_bytes();
    assert!(script.ends_with(&commitment));
    let branch = template.coinbase_branch();
    assert_eq!(branch.len(), 2);
    let mut header = template.header(&coinbase);
    let root = root_from_branch(coinbase.compute_txid().to_raw_hash(), &branch, 0);
    assert_eq!(root, Some(header.merkle_root.to_raw_hash()));
    let hash = grind(&mut header, u32::MAX).unwrap().unwrap();
    assert_eq!(hash, header.block_hash());
    let block = template.block(header, coinbase);
    assert_eq!(block.compute_merkle_root(), Some(header.merkle_root));
    assert!(matches!(regtest.submit(block, NOW), Ok(Submitted::Best(_))));
    assert_eq!(regtest.best().hash, hash);
}

#[test]
fn a_coinbase_script_has_two_to_a_hundred_bytes() {
    let mut regtest = Regtest::new(RegtestLimits::default());
    for _ in 0..20 {
        let template = regtest.template(NOW);
        let coinbase: Transaction = template.coinbase(&op_true(), &[]).unwrap();
        assert!(coinbase.input[0].script_sig.len() >= 2);
        assert!(template.coinbase(&op_true(), &[9; 98]).is_ok());
        regtest.generate(&op_true(), NOW).unwrap();
    }
    let refused = regtest.template(NOW).coinbase(&op_true(), &[9; 100]);
    assert_eq!(refused, Err(TemplateError::ScriptTooLong { length: 102, limit: MAX_COINBASE_SCRIPT_BYTES }));
}

#[test]
fn a_search_in_chunks_finds_what_one_search_finds() {
    let regtest = Regtest::new(RegtestLimits::default());
    let template = regtest.template(NOW);
    let coinbase = template.coinbase(&op_true(), &[]).unwrap();
    let aux = target(10);
    let mut whole = template.header(&coinbase);
    let hash = grind_to(&mut whole, aux, u32::MAX).unwrap().unwrap();
    let mut chunked = template.header(&coinbase);
    let mut chunks = 0u32;
    let found = loop {
        chunks += 1;
        if let Some(hash) = grind_to(&mut chunked, aux, 7).unwrap() {
            break hash;
        }
        assert_eq!(chunked.nonce, chunks * 7);
    };
    assert_eq!((found, chunked), (hash, whole));
    assert!(aux.is_met_by(hash));
    assert!(chunks > 1, "the target was met at once");
    let mut none = template.header(&coinbase);
    assert_eq!(grind_to(&mut none, Target::ZERO, 100), Ok(None));
    assert_eq!(none.nonce, 100);
}

#[test]
fn a_search_ends_when_no_nonce_is_left() {
    let regtest = Regtest::new(RegtestLimits::default());
    let template = regtest.template(NOW);
    let mut header = template.header(&template.coinbase(&op_true(), &[]).unwrap());
    header.nonce = u32::MAX - 3;
    assert_eq!(grind_to(&mut header, Target::ZERO, 3), Ok(None));
    assert_eq!(grind_to(&mut header, Target::ZERO, 1), Err(GrindError::Exhausted));
    header.bits = CompactTarget::from_consensus(0);
    assert!(matches!(grind(&mut header, 1), Err(GrindError::Bits(_))));
}
