//! Besu's scripts of Engine API calls, replayed in order against one node a folder.
//!
//! Compared is what the specification fixes: verdicts, hashes, codes of errors, results of `eth_*`. A payload's id is
//! the client's own choice, and so are gas limit and extra data of what it builds, and with them the hash.

#![allow(clippy::unwrap_used)]

mod common;

use common::node::Node;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const BLOBS: &str = "the pool takes no blob transactions";

/// What is not run, as `docs/conformance.md` lists it.
const EXCLUDED: [(&str, &str); 14] = [
    ("cancun/01", BLOBS),
    ("cancun/02", BLOBS),
    ("cancun/03", BLOBS),
    ("cancun/04", BLOBS),
    ("cancun/11", "`txpool_besuStatistics` is Besu's own method"),
    ("osaka/02", BLOBS),
    ("osaka/03", BLOBS),
    ("osaka/04", BLOBS),
    ("osaka/07", BLOBS),
    ("osaka/13", BLOBS),
    ("osaka/17", BLOBS),
    ("osaka/18", BLOBS),
    ("osaka/20", BLOBS),
    ("osaka/21", BLOBS),
];

/// What a client may choose in a payload that it builds.
const CHOICES: [&str; 3] = ["gasLimit", "extraData", "blockHash"];

/// Besu numbers an unknown payload otherwise than the specification.
fn code(error: &Value) -> i64 {
    match error["code"].as_i64().unwrap() {
        -32001 => -38001,
        code => code,
    }
}

fn scripts(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            scripts(&path, out);
        } else {
            out.push(path);
        }
    }
}

/// Puts our own payload ids for Besu's.
fn translate(value: &mut Value, ids: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(own) = ids.get(text) {
                text.clone_from(own);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| translate(value, ids)),
        Value::Object(values) => values.values_mut().for_each(|value| translate(value, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Without what is a client's choice, and numbers without leading zeros.
fn comparable(mut value: Value, built: bool) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.remove("payloadId");
        fields.remove("validationError");
        if built {
            CHOICES.iter().for_each(|field| drop(fields.remove(*field)));
        }
        for field in fields.values_mut() {
            *field = comparable(field.take(), built);
        }
    }
    value
}

fn compare(name: &str, method: &str, found: &Value, expected: &Value) -> Result<(), String> {
    match (found.get("error"), expected.get("error")) {
        (Some(found), Some(expected)) if code(found) == code(expected) => return Ok(()),
        (None, None) => {}
        _ => return Err(format!("{name}: {found} instead of {expected}")),
    }
    let built = method.starts_with("engine_getPayloadV");
    let (a, b) = (comparable(found["result"].clone(), built), comparable(expected["result"].clone(), built));
    let same = match (&a, &b) {
        // Where Besu's own fields of a block are left out, the ones that it shares must be equal.
        (Value::Object(a), Value::Object(b)) if method.starts_with("eth_getBlock") => {
            b.iter().all(|(key, value)| a.get(key).is_none_or(|found| found == value))
        }
        (a, b) => a == b,
    };
    if same { Ok(()) } else { Err(format!("{name}: {a} instead of {b}")) }
}

async fn replay(fork: &str) {
    let Some(folder) = alys_vectors::find(&format!("engine/besu-engine/{fork}")) else { return };
    let genesis = alys_evm::parse_genesis(&std::fs::read(folder.join("genesis.json")).unwrap()).unwrap();
    let database = tempfile::tempdir().unwrap();
    let node = Node::open(database.path(), genesis);
    let mut files = Vec::new();
    scripts(&folder.join("test-cases"), &mut files);
    let (mut ids, mut passed, mut excluded, mut failed) = (HashMap::new(), 0, 0, Vec::new());
    for file in files {
        let name = format!("{fork}/{}", file.file_stem().unwrap().to_str().unwrap());
        let mut case: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        translate(&mut case["request"], &ids);
        let found = node.ask(&case["request"]).await;
        let expected = &case["response"];
        let pair = (expected["result"]["payloadId"].as_str(), found["result"]["payloadId"].as_str());
        if let (Some(theirs), Some(own)) = pair {
            ids.insert(theirs.to_owned(), own.to_owned());
        }
        if EXCLUDED.iter().any(|(prefix, _)| name.starts_with(prefix)) {
            excluded += 1;
            continue;
        }
        match compare(&name, case["request"]["method"].as_str().unwrap(), &found, expected) {
            Ok(()) => passed += 1,
            Err(reason) => failed.push(reason.chars().take(1500).collect::<String>()),
        }
    }
    println!("besu-engine/{fork}: {passed} passed, {} failed, {excluded} excluded", failed.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 0);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paris_is_answered_as_besu_does() {
    replay("paris").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shanghai_is_answered_as_besu_does() {
    replay("shanghai").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancun_is_answered_as_besu_does() {
    replay("cancun").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prague_is_answered_as_besu_does() {
    replay("prague").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn osaka_is_answered_as_besu_does() {
    replay("osaka").await;
}
