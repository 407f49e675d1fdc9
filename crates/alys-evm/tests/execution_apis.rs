//! The requests and answers of ethereum/execution-apis over its own chain.
//!
//! As that suite's runner does: results must be equal, of errors only the code, and where a file says *speconly* the
//! answer need only have the right shape.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_primitives::B256;
use alys_engine::{ForkchoiceState, PayloadStatus};
use alys_evm::rpc::RpcConfig;
use alys_evm::{ChainFile, Executor, ExecutorConfig, NoTransactions};
use common::node::Node;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is not run, as `docs/conformance.md` lists it.
const EXCLUDED: [(&str, &str); 1] = [("eth_sendRawTransaction/send-blob-tx.io", "the pool takes no blob transactions")];

/// The node at the end of the suite's chain.
fn node(folder: &Path, database: &Path) -> Node {
    let genesis = alys_evm::parse_genesis(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    let config = ExecutorConfig { history_blocks: None, ..ExecutorConfig::default() };
    let mut executor = Executor::open(database, genesis, config, Box::new(NoTransactions)).unwrap();
    let mut chain = ChainFile::open(&folder.join("chain.rlp")).unwrap();
    while let Some(block) = chain.next_block().unwrap() {
        assert_eq!(executor.import_block(&block).unwrap(), PayloadStatus::Valid);
        let state = ForkchoiceState { head: block.header.hash_slow(), safe: B256::ZERO, finalized: B256::ZERO };
        executor.forkchoice_updated(state, None).unwrap();
    }
    let heads: Value = serde_json::from_slice(&std::fs::read(folder.join("headfcu.json")).unwrap()).unwrap();
    let hash = |key: &str| heads["params"][0][key].as_str().unwrap().parse().unwrap();
    let (head, safe, finalized) = (hash("headBlockHash"), hash("safeBlockHash"), hash("finalizedBlockHash"));
    executor.forkchoice_updated(ForkchoiceState { head, safe, finalized }, None).unwrap();
    Node::over(executor, RpcConfig::new("test/1".to_owned()))
}

fn io_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "io"));
    files.sort();
    files
}

/// Whether `found` has everything that `expected` has, of the same kinds.
fn has_shape(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        // By address or nonce: which there are depends on what was sent before.
        (Value::Object(found), Value::Object(expected)) if expected.keys().any(|key| key.starts_with("0x")) => {
            found.values().next().zip(expected.values().next()).is_none_or(|(a, b)| a.is_object() == b.is_object())
        }
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| value.is_null() || found.get(key).is_some_and(|found| has_shape(found, value))),
        (Value::Array(found), Value::Array(expected)) => match (found.first(), expected.first()) {
            (Some(found), Some(expected)) => has_shape(found, expected),
            (None, Some(_)) => false,
            (_, None) => true,
        },
        (found, expected) => std::mem::discriminant(found) == std::mem::discriminant(expected),
    }
}

/// Sorted by key, as text, with what makes long lines cut.
fn differences(path: &str, found: &Value, expected: &Value, out: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
                let null = Value::Null;
                differences(&format!("{path}.{key}"), a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let cut = |value: &Value| value.to_string().chars().take(160).collect::<String>();
            out.push(format!("{path}: {} instead of {}", cut(a), cut(b)));
        }
    }
}

async fn run(node: &Node, file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    let spec_only = text.lines().any(|line| line.starts_with("// speconly"));
    let mut answer = None;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix(">> ") {
            answer = Some(node.ask(&serde_json::from_str(request).unwrap()).await);
        } else if let Some(expected) = line.strip_prefix("<< ") {
            let expected: Value = serde_json::from_str(expected).unwrap();
            let found = answer.take().ok_or("an answer without a request")?;
            match (expected.get("error"), found.get("error")) {
                (Some(expected), Some(found)) if expected["code"] == found["code"] => {}
                (None, None) if spec_only && has_shape(&found["result"], &expected["result"]) => {}
                (None, None) if found["result"] == expected["result"] => {}
                _ => {
                    let mut out = Vec::new();
                    differences("", &found, &expected, &mut out);
                    return Err(out.join("\n    "));
                }
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_execution_apis() {
    let Some(folder) = alys_vectors::find("engine/execution-apis/tests") else { return };
    let database = tempfile::tempdir().unwrap();
    let node = node(&folder, database.path());
    let (mut passed, mut excluded, mut failed) = (0, 0, Vec::new());
    for file in io_files(&folder) {
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        if EXCLUDED.iter().any(|(prefix, _)| name.starts_with(prefix)) {
            excluded += 1;
            continue;
        }
        match run(&node, &file).await {
            Ok(()) => passed += 1,
            Err(reason) => failed.push(format!("{name}\n    {reason}")),
        }
    }
    println!("execution-apis: {passed} passed, {} failed, {excluded} excluded", failed.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed >= 165, "only {passed} files");
    node.kill().await;
}
