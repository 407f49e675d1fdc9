//! A chain comes back from its file as it was acknowledged; torn tails are cut, other damage is refused.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use alys_bitcoin::block_log::{BlockLog, LogError, MAGIC, Opened};
use alys_bitcoin::{HeaderLimits, Regtest, RegtestLimits, Submitted};
use bitcoin::Block;
use proptest::prelude::*;
use support::{NOW, op_true, p2wpkh, solve};
use tempfile::TempDir;

const TORN_OFFSETS: usize = 8;

fn open(path: &Path) -> Result<Opened, LogError> {
    BlockLog::open(path, RegtestLimits::default())
}

fn opened(path: &Path) -> Opened {
    open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A log of `count` blocks on the best chain and one beside it; gives the chain that was acknowledged.
fn written(folder: &TempDir, count: u32) -> (PathBuf, Regtest) {
    let path = folder.path().join("blocks");
    let Opened { mut log, mut regtest, replayed, .. } = opened(&path);
    assert_eq!(replayed, 0);
    let blocks: Vec<Block> = (0..count).map(|_| regtest.generate(&op_true(), NOW).unwrap()).collect();
    log.append(blocks.iter().map(|block| (block, NOW))).unwrap();
    let template = regtest.template_on(&blocks[0].block_hash(), NOW).unwrap();
    let side = solve(&template, Vec::new(), &p2wpkh(1));
    assert_eq!(regtest.submit(side.clone(), NOW), Ok(Submitted::Side));
    log.append([(&side, NOW)]).unwrap();
    (path, regtest)
}

fn state(regtest: &Regtest) -> (alys_bitcoin::BestBlock, (usize, bitcoin::Amount), (usize, usize)) {
    (regtest.best(), regtest.coin_totals(), regtest.headers().counts())
}

#[test]
fn what_was_appended_comes_back_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let (path, before) = written(&folder, 5);
    let Opened { mut log, mut regtest, replayed, skipped, cut_bytes } = opened(&path);
    assert_eq!((replayed, skipped, cut_bytes), (6, 0, 0));
    assert_eq!(state(&regtest), state(&before));
    let block = regtest.generate(&op_true(), NOW + 9).unwrap();
    log.append([(&block, NOW + 9)]).unwrap();
    log.append([]).unwrap();
    drop(log);
    let again = opened(&path);
    assert_eq!(state(&again.regtest), state(&regtest));
    assert_eq!(again.replayed, 7);
}

#[test]
fn an_open_log_can_not_be_opened_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("blocks");
    let first = opened(&path);
    assert!(matches!(open(&path), Err(LogError::InUse { .. })));
    drop(first);
    assert!(open(&path).is_ok());
}

#[test]
fn every_cut_of_the_last_record_gives_the_blocks_before_it() {
    let folder = TempDir::new().unwrap();
    let (path, _) = written(&folder, 2);
    let whole = fs::read(&path).unwrap();
    let lengths = record_lengths(&whole);
    assert_eq!(lengths.len(), 3);
    let last = lengths.last().copied().unwrap();
    for cut in 1..=last {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let opened = opened(&path);
        assert_eq!(opened.replayed, 2, "cut by {cut}");
        assert_eq!(opened.cut_bytes, u64::try_from(last - cut).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(whole.len() - last).unwrap());
    }
}

/// Lengths of the records, from the lengths that they state.
fn record_lengths(bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let stated = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = 12 + usize::try_from(stated).unwrap() + 8;
        lengths.push(length);
        at += length;
    }
    lengths
}

#[test]
fn a_torn_beginning_and_a_zeroed_tail_are_cut() {
    let folder = TempDir::new().unwrap();
    let (path, _) = written(&folder, 2);
    let whole = fs::read(&path).unwrap();
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0; 10_000]);
    fs::write(&path, &longer).unwrap();
    let found = opened(&path);
    assert_eq!((found.replayed, found.cut_bytes), (3, 10_000));
    drop(found);
    // The length was extended but the record's bytes never came.
    let last = record_lengths(&whole).pop().unwrap();
    let mut zeroed = whole.clone();
    let start = zeroed.len() - last + 12;
    zeroed[start..].fill(0);
    fs::write(&path, &zeroed).unwrap();
    assert_eq!(opened(&path).replayed, 2);
    for length in 0..TORN_OFFSETS {
        fs::write(&path, &MAGIC[..length]).unwrap();
        assert_eq!(opened(&path).replayed, 0);
        assert_eq!(fs::read(&path).unwrap(), MAGIC);
    }
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("blocks");
    for content in [&b"hi"[..], b"precious data of someone else", b"ALYSBTC\x02"] {
        fs::write(&path, content).unwrap();
        assert!(matches!(open(&path), Err(LogError::Format { .. })));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let missing = folder.path().join("no/such/folder");
    assert!(matches!(open(&missing), Err(LogError::Io { .. })));
}

#[test]
fn a_block_that_the_rules_refuse_is_reported_with_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("blocks");
    let Opened { mut log, mut regtest, .. } = opened(&path);
    let first = regtest.generate(&op_true(), NOW).unwrap();
    let mut template = regtest.template(NOW);
    template.coinbase_value += template.coinbase_value;
    let greedy = solve(&template, Vec::new(), &op_true());
    log.append([(&first, NOW), (&greedy, NOW)]).unwrap();
    drop(log);
    let before = fs::read(&path).unwrap();
    let expected = u64::try_from(MAGIC.len() + record_lengths(&before)[0]).unwrap();
    assert!(matches!(open(&path), Err(LogError::Refused { offset, .. }) if offset == expected));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn smaller_limits_skip_what_no_longer_fits_and_keep_the_file() {
    let folder = TempDir::new().unwrap();
    let (path, before) = written(&folder, 30);
    let headers = HeaderLimits { best: 10, side: 1 };
    let limits = RegtestLimits { headers, ..RegtestLimits::default() };
    let length = fs::metadata(&path).unwrap().len();
    let opened = BlockLog::open(&path, limits).unwrap();
    assert_eq!((opened.replayed, opened.skipped, opened.cut_bytes), (30, 1, 0));
    assert_eq!(opened.regtest.best(), before.best());
    assert_eq!(opened.regtest.coin_totals(), before.coin_totals());
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Flipped bits are never served: the file is refused, or, in what could be a torn last record, that one is cut.
    #[test]
    fn a_flipped_bit_is_noticed(pick in any::<prop::sample::Index>(), bit in 0u8..8) {
        let folder = TempDir::new().unwrap();
        let (path, before) = written(&folder, 3);
        let mut bytes = fs::read(&path).unwrap();
        let place = pick.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let last = bytes.len() - record_lengths(&fs::read(&path).unwrap()).pop().unwrap();
        fs::write(&path, &bytes).unwrap();
        match open(&path) {
            Ok(opened) => {
                prop_assert!(place >= last + 12, "byte {} of an acknowledged block", place);
                prop_assert_eq!(opened.replayed, 3);
                prop_assert_eq!(opened.regtest.best(), before.best());
            }
            Err(LogError::Format { .. }) => prop_assert!(place < MAGIC.len()),
            Err(LogError::Corrupt { .. }) => prop_assert!(place >= MAGIC.len()),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
