//! Ethereum's own test suites, executed and compared: hashes, roots, post states and rejections.
//!
//! The suites stand beside the checkout (`alys_vectors`); where they are absent the tests say so and are counted.
//! `docs/conformance.md` lists what of them is not run, and why.

#![allow(clippy::unwrap_used)]

use alloy_primitives::B256;
use alloy_rlp::Encodable as _;
use alys_engine::{ForkchoiceState, PayloadStatus};
use alys_evm::fixtures::{CaseOutcome, run_fixture};
use alys_evm::{ChainFile, Executor, ExecutorConfig, NoTransactions};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn json_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            json_files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            out.push(path);
        }
    }
}

/// Every case of a suite passes, at least `least` of them, and none is skipped.
fn run_suite(suite: &str, least: usize) {
    let Some(folder) = alys_vectors::find(&format!("engine/{suite}")) else { return };
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    let scratch = tempfile::tempdir().unwrap();
    let (mut passed, mut others) = (0, Vec::new());
    for file in files {
        for result in run_fixture(&std::fs::read(&file).unwrap(), scratch.path()).unwrap() {
            match result.outcome {
                CaseOutcome::Passed => passed += 1,
                CaseOutcome::Failed(reason) => others.push(format!("failed: {}: {reason}", result.name)),
                CaseOutcome::Skipped(reason) => others.push(format!("skipped: {}: {reason}", result.name)),
            }
        }
    }
    println!("{suite}: {passed} passed, {} not", others.len());
    assert!(others.is_empty(), "{others:#?}");
    assert!(passed >= least, "only {passed} cases in {}", folder.display());
}

#[test]
fn blocks_of_ethereum_tests_give_their_hashes_and_states() {
    run_suite("ethereum-tests/BlockchainTests", 55);
}

#[test]
fn blocks_of_prague_and_osaka_give_their_hashes_and_states() {
    run_suite("eest-blockchain-prague", 44);
}

#[test]
fn payloads_of_osaka_give_their_hashes_and_states() {
    run_suite("eest-engine", 34);
}

#[test]
fn transactions_of_ethereum_tests_give_their_states_and_logs() {
    run_suite("ethereum-tests/GeneralStateTests", 15);
}

#[test]
fn transactions_of_shanghai_to_osaka_give_their_states_and_logs() {
    run_suite("eest-state", 72);
}

#[test]
fn a_wrong_expectation_is_a_failure() {
    let Some(folder) = alys_vectors::find("engine/eest-state") else { return };
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    let scratch = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let mut cases: Value = serde_json::from_str(&text).unwrap();
    for case in cases.as_object_mut().unwrap().values_mut() {
        for posts in case["post"].as_object_mut().unwrap().values_mut() {
            posts[0]["hash"] = serde_json::to_value(B256::repeat_byte(1)).unwrap();
        }
    }
    let results = run_fixture(cases.to_string().as_bytes(), scratch.path()).unwrap();
    assert!(results.iter().any(|result| matches!(&result.outcome, CaseOutcome::Failed(_))), "{results:?}");
    let other = run_fixture(br#"{"one": {"in": []}, "two": 3}"#, scratch.path()).unwrap();
    assert!(other.iter().all(|result| matches!(result.outcome, CaseOutcome::Skipped(_))), "{other:?}");
    assert!(run_fixture(b"[]", scratch.path()).is_err());
    assert!(run_fixture(b"{", scratch.path()).is_err());
}

#[test]
fn a_chain_over_all_forks_is_imported() {
    let Some(folder) = alys_vectors::find("engine/execution-apis/tests") else { return };
    let genesis = alys_evm::parse_genesis(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&std::fs::read(folder.join("headfcu.json")).unwrap()).unwrap();
    let database = tempfile::tempdir().unwrap();
    let mut executor =
        Executor::open(database.path(), genesis, ExecutorConfig::default(), Box::new(NoTransactions)).unwrap();
    let mut chain = ChainFile::open(&folder.join("chain.rlp")).unwrap();
    let mut bytes = 0;
    while let Some(block) = chain.next_block().unwrap() {
        assert_eq!(executor.import_block(&block).unwrap(), PayloadStatus::Valid, "block {}", block.header.number);
        let state = ForkchoiceState { head: block.header.hash_slow(), safe: B256::ZERO, finalized: B256::ZERO };
        assert_eq!(executor.forkchoice_updated(state, None).unwrap().status, PayloadStatus::Valid);
        bytes += block.length();
    }
    assert_eq!(u64::try_from(bytes).unwrap(), chain.length(), "every block keeps its bytes");
    let expected = head["params"][0]["headBlockHash"].as_str().unwrap();
    assert_eq!(executor.reader().heads().latest.hash.to_string(), expected);
}
