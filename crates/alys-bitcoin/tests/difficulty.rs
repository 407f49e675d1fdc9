//! Work, difficulty and header rules, against values of Bitcoin Core and real headers.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use alys_bitcoin::compact::{CompactError, WorkError, check_work, target_from_compact};
use alys_bitcoin::{Checkpoint, EpochStart, HeaderChain, HeaderError, HeaderLimits, Inserted};
use bitcoin::block::Header;
use bitcoin::consensus::{Params, encode};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, CompactTarget, Network, Target};
use serde_json::Value;

fn load(name: &str) -> Option<Value> {
    let path = alys_vectors::find(&format!("bitcoin/pow/{name}"))?;
    Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
}

fn bits(hex: &str) -> CompactTarget {
    CompactTarget::from_consensus(u32::from_str_radix(hex, 16).unwrap())
}

fn header(value: &Value) -> Header {
    let hex = value["hex"].as_str().unwrap().trim_start_matches("0x");
    encode::deserialize(&hex::decode(hex).unwrap()).unwrap()
}

fn headers(value: &Value) -> Vec<Header> {
    value.as_array().unwrap().iter().map(header).collect()
}

/// A chain that starts at a real header in the middle of a period.
fn from_the_middle(start: &Header, epoch_start: &Header, height: u32) -> HeaderChain {
    let checkpoint = Checkpoint {
        header: *start,
        height,
        work: start.work(),
        epoch_start: EpochStart { time: epoch_start.time, bits: epoch_start.bits },
        earlier_times: Vec::new(),
    };
    HeaderChain::new(Network::Bitcoin, checkpoint, HeaderLimits::default())
}

#[test]
fn compact_forms_decode_as_in_bitcoin_core() {
    let Some(vectors) = load("core_compact_bits.json") else { return };
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let compact = case["compact"].as_str().unwrap();
        let decoded = target_from_compact(bits(compact));
        if case["overflow"].as_bool().unwrap() {
            assert!(matches!(decoded, Err(CompactError::Overflow { .. })), "{compact}: {decoded:?}");
        } else if case["negative"].as_bool().unwrap() {
            assert!(matches!(decoded, Err(CompactError::Negative { .. })), "{compact}: {decoded:?}");
        } else {
            let bytes: [u8; 32] = hex::decode(case["target"].as_str().unwrap()).unwrap().try_into().unwrap();
            let expected = Target::from_be_bytes(bytes);
            if expected == Target::ZERO {
                assert!(matches!(decoded, Err(CompactError::Zero { .. })), "{compact}: {decoded:?}");
            } else {
                assert_eq!(decoded, Ok(expected), "{compact}");
            }
        }
    }
    assert!(cases.len() > 10);
}

#[test]
fn bits_that_bitcoin_core_refuses_are_refused() {
    let params = Params::new(Network::Bitcoin);
    let one = BlockHash::from_byte_array({
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    });
    let check = |bits: u32, hash| check_work(hash, CompactTarget::from_consensus(bits), &params);
    assert!(matches!(check(0x1d80_ffff, one), Err(WorkError::Compact(CompactError::Negative { .. }))));
    assert!(matches!(check(0xff7f_ffff, one), Err(WorkError::Compact(CompactError::Overflow { .. }))));
    assert!(matches!(check(0x1d01_fffe, one), Err(WorkError::TooEasy { .. })));
    assert!(matches!(check(0, BlockHash::all_zeros()), Err(WorkError::Compact(CompactError::Zero { .. }))));
    let twice_the_limit = {
        let mut bytes = [0; 32];
        bytes[28] = 2;
        BlockHash::from_byte_array(bytes)
    };
    assert!(matches!(check(0x1d00_ffff, twice_the_limit), Err(WorkError::Missed { .. })));
    assert!(check(0x1d00_ffff, one).is_ok());
}

/// The chain's rule is asked through a checkpoint at the last height of a period, whose child starts the next one.
#[test]
fn retargets_equal_bitcoin_cores() {
    let Some(vectors) = load("core_pow_tests.json") else { return };
    let cases = vectors["calculate_next_work_required"].as_array().unwrap();
    for case in cases {
        let number = |name: &str| u32::try_from(case[name].as_u64().unwrap()).unwrap();
        let old = bits(case["bits"].as_str().unwrap());
        let mut last = bitcoin::constants::genesis_block(Network::Bitcoin).header;
        (last.bits, last.time) = (old, number("last_time"));
        let checkpoint = Checkpoint {
            header: last,
            height: number("height"),
            work: last.work(),
            epoch_start: EpochStart { time: number("first_time"), bits: old },
            earlier_times: Vec::new(),
        };
        let chain = HeaderChain::new(Network::Bitcoin, checkpoint, HeaderLimits::default());
        let next = chain.next_bits(last.time + 600);
        assert_eq!(next, bits(case["expected"].as_str().unwrap()), "{}", case["name"]);
        if let Some(wrong) = case["not_permitted"].as_str() {
            assert_ne!(next, bits(wrong), "{}", case["name"]);
        }
    }
    assert_eq!(cases.len(), 4);
}

#[test]
fn real_headers_cross_a_retarget_and_reorganise() {
    let Some(vectors) = load("tbtc_headersReorgAndRetarget.json") else { return };
    let (start, period) = (header(&vectors["genesis"]), header(&vectors["oldPeriodStart"]));
    let mut chain = from_the_middle(&start, &period, 437_466);
    let (before, after) = (headers(&vectors["preRetargetChain"]), headers(&vectors["postRetargetChain"]));
    let now = after.last().unwrap().time;
    for header in &before {
        assert!(matches!(chain.insert(header, now), Ok(Inserted::Best(_))));
    }
    assert_eq!(chain.height(), 437_471);
    let orphan = header(&vectors["orphan_437478"]);
    assert!(matches!(chain.insert(&orphan, now), Err(HeaderError::UnknownParent { .. })));
    let mut wrong = after[0];
    wrong.bits = before[0].bits;
    assert!(chain.insert(&wrong, now).is_err());
    for header in &after {
        if header.prev_blockhash == orphan.prev_blockhash {
            assert!(matches!(chain.insert(&orphan, now), Ok(Inserted::Best(_))));
            assert!(matches!(chain.insert(header, now), Ok(Inserted::Side)), "the first of two equals stays");
        } else {
            chain.insert(header, now).unwrap();
        }
    }
    assert_eq!(chain.tip_hash(), after.last().unwrap().block_hash());
    assert!(!chain.is_best(&orphan.block_hash()));
    assert_eq!(chain.confirmations(&after[0].block_hash()), Some(u32::try_from(after.len()).unwrap()));
    assert_ne!(after[0].bits, before[0].bits);
}

#[test]
fn two_hundred_real_headers_connect_and_a_bounded_chain_keeps_the_newest() {
    let Some(vectors) = load("tbtc_longHeaders.json") else { return };
    let all = headers(&vectors["chain"]);
    let first_height = u32::try_from(vectors["chain"][0]["height"].as_u64().unwrap()).unwrap();
    let period = header(&vectors["epochStart"]);
    let checkpoint = Checkpoint {
        header: all[0],
        height: first_height,
        work: all[0].work(),
        epoch_start: EpochStart { time: period.time, bits: period.bits },
        earlier_times: Vec::new(),
    };
    let mut chain = HeaderChain::new(Network::Bitcoin, checkpoint, HeaderLimits { best: 20, side: 5 });
    for header in &all[1..] {
        chain.insert(header, header.time).unwrap();
    }
    assert_eq!(chain.tip_hash(), all.last().unwrap().block_hash());
    assert_eq!(chain.counts(), (20, 0));
    assert_eq!(chain.height() - chain.root_height(), 19);
    assert!(chain.get(&all[0].block_hash()).is_none());
}

#[test]
fn the_first_headers_of_mainnet_follow_genesis() {
    let Some(path) = alys_vectors::find("bitcoin/pow/btcd_blockheaders-mainnet-1-11.txt") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let mut chain = HeaderChain::new(Network::Bitcoin, Checkpoint::genesis(Network::Bitcoin), HeaderLimits::default());
    for line in text.lines().filter(|line| !line.is_empty()) {
        let header: Header = encode::deserialize(&hex::decode(line.trim()).unwrap()).unwrap();
        let early = header.time - 2 * 60 * 60 - 1;
        assert!(matches!(chain.check(&header, early), Err(HeaderError::TimeTooNew { .. })));
        chain.insert(&header, header.time).unwrap();
        assert_eq!(chain.insert(&header, header.time), Ok(Inserted::Known));
    }
    assert_eq!(chain.height(), 11);
}
