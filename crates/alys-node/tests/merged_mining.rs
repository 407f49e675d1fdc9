//! An independent merged miner against a development node.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use common::{DevNode, alys_node, auxminer, number};
use serde_json::json;
use std::process::Command;

#[test]
fn an_outside_miner_finalizes_bundles_and_bad_proofs_are_refused() {
    let Some(miner) = auxminer() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let node = DevNode::start(&folder.path().join("chain"), &["--no-mine", "--slot-duration", "1s"], &log);
    let mine = |arguments: &[&str]| {
        let output = Command::new("python3").arg(&miner).args(["--rpc", &node.rpc]).args(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "auxminer {arguments:?}: {text}");
    };
    node.until("a safe block", |status| number(&status["safe"]["height"]) > 0);

    // What breaks a rule is refused, and the log names the rule.
    let list = Command::new("python3").arg(&miner).arg("--list-rules").output().unwrap();
    for rule in String::from_utf8_lossy(&list.stdout).lines() {
        mine(&["--break", rule]);
    }
    assert_eq!(number(&node.status()["auxpow"]["records"]), 0, "nothing of that was taken");
    let logged = std::fs::read_to_string(&log).unwrap();
    let named = logged.lines().filter(|line| line.contains("AuxPoW rejected")).count();
    assert!(named >= 14, "{named} rejections are in the log:\n{logged}");

    mine(&["--bundles", "1"]);
    node.until("inclusion", |status| number(&status["auxpow"]["records"]) == 1);
    mine(&["--bundles", "1", "--tree-height", "3"]);
    node.until("inclusion", |status| number(&status["auxpow"]["records"]) == 2);
    mine(&["--bundles", "1", "--commitment", "output"]);
    let status = node.until("finality", |status| {
        number(&status["auxpow"]["records"]) == 3
            && number(&status["finalized"]["height"]) == number(&status["auxpow"]["committedHeight"])
    });
    assert!(number(&status["finalized"]["height"]) > 0);

    // Whoever has the chain spec can check that a block is final.
    let proof = node.call("alys_blockProof", json!([1])).unwrap();
    let file = folder.path().join("proof.json");
    let verify = |proof: &serde_json::Value| {
        std::fs::write(&file, proof.to_string()).unwrap();
        let spec = folder.path().join("chain/chain.json");
        alys_node().args(["proof", "verify", "--spec"]).arg(spec).arg(&file).status().unwrap().code()
    };
    assert_eq!(verify(&proof), Some(0));
    let mut bytes = hex::decode(&proof["proof"].as_str().unwrap()[2..]).unwrap();
    for at in [8, bytes.len() / 2, bytes.len() - 1] {
        bytes[at] ^= 1;
        assert_eq!(verify(&json!({ "proof": format!("0x{}", hex::encode(&bytes)) })), Some(1), "byte {at}");
        bytes[at] ^= 1;
    }
    let head = number(&node.status()["head"]["height"]);
    assert!(node.call("alys_blockProof", json!([head])).is_err(), "the head is not final");

    // Metrics tell what was refused, by rule.
    let (code, metrics) = node.get("/metrics");
    assert_eq!(code, 200);
    assert!(metrics.contains("alys_auxpow_rejected_total{rule=\"chain-index\"}"), "{metrics}");
    assert!(node.terminate().success());
}

#[test]
fn without_a_miner_the_chain_stops_and_goes_on_when_one_returns() {
    let Some(miner) = auxminer() else { return };
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("chain");
    let node = DevNode::start(&chain, &["--no-mine", "--slot-duration", "1s"], &folder.path().join("log"));
    let status = node.until("the stall", |status| status["stalled"] == true);
    assert_eq!(number(&status["head"]["height"]), number(&status["auxpow"]["maxBlocksWithoutPow"]));
    let mined = Command::new("python3").arg(&miner).args(["--rpc", &node.rpc]).status().unwrap();
    assert!(mined.success());
    let stalled_at = number(&status["head"]["height"]);
    node.until("the chain to go on", |status| number(&status["head"]["height"]) > stalled_at + 1);
}

#[test]
fn templates_and_errors_are_what_mining_software_knows() {
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("chain");
    let node = DevNode::start(&chain, &["--no-mine", "--slot-duration", "1s"], &folder.path().join("log"));
    node.until("a block", |status| number(&status["head"]["height"]) > 1);
    let address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let template = node.call("createauxblock", json!([address])).unwrap();
    for (field, digits) in [("hash", 64), ("previousblockhash", 64), ("bits", 8), ("_target", 64)] {
        assert_eq!(template[field].as_str().map(str::len), Some(digits), "{field} of {template}");
    }
    assert!(template["chainid"].is_u64() && template["coinbasevalue"].is_u64() && template["height"].is_u64());
    assert_eq!(node.call("createauxblock", json!([address])).unwrap(), template, "a fresh template is kept");
    let other = node.call("createauxblock", json!(["0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"])).unwrap();
    assert_ne!(other["hash"], template["hash"], "two payouts never share a hash");

    let code = |method: &str, params| node.call(method, params).unwrap_err();
    let hash = template["hash"].as_str().unwrap();
    assert_eq!(code("createauxblock", json!([])).0, -1);
    assert_eq!(code("createauxblock", json!([address, 1])).0, -1);
    assert_eq!(code("createauxblock", json!(["tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"])).0, -5);
    assert_eq!(code("createauxblock", json!(["0x70997970c51812dc3A010C7d01b50e0d17dc79C8"])).0, -5, "bad checksum");
    assert_eq!(code("submitauxblock", json!(["zz", "00"])), (-8, "invalid block hash hex".to_owned()));
    assert_eq!(code("submitauxblock", json!(["00".repeat(32), "zz"])), (-8, "block hash unknown".to_owned()));
    assert_eq!(code("submitauxblock", json!([hash, "00"])).0, -1);
    assert_eq!(code("submitauxblock", json!([hash])).0, -1);
    assert_eq!(node.call("getqueuedpow", json!([])).unwrap(), json!([]));
    let own = node.call("getauxblock", json!([])).unwrap();
    assert_eq!(own["chainid"], template["chainid"]);
}

#[test]
fn real_auxpows_verify_offline_and_damaged_ones_name_the_rule() {
    let Some(folder) = alys_vectors::find("auxpow") else { return };
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let entries = index.as_array().or_else(|| index["entries"].as_array()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in entries {
        let (Some(offset), Some(length), Some(hash)) =
            (entry["auxpow_offset"].as_u64(), entry["auxpow_bytes"].as_u64(), entry["aux_block_hash"].as_str())
        else {
            continue;
        };
        // Some families commit elsewhere; the index says which entries follow Namecoin's rules.
        if entry["expected_valid"] != true || entry["checked"]["commitment_ok"] != true || entry["chain_id"].is_null() {
            continue;
        }
        let hex = std::fs::read_to_string(folder.join(entry["file"].as_str().unwrap())).unwrap();
        let [from, to] = [offset, offset + length].map(|at| usize::try_from(2 * at).unwrap());
        let proof = &hex.trim()[from..to];
        let bits = entry["aux_bits"].as_str().filter(|_| entry["parent_pow"] == "sha256d");
        let file = scratch.path().join("proof");
        let verify = |text: &str| {
            std::fs::write(&file, text).unwrap();
            alys_node()
                .args(["auxpow", "verify", "--chain-id", &entry["chain_id"].to_string()])
                .args(["--hash", hash])
                .args(bits.iter().flat_map(|bits| ["--bits", bits]))
                .arg(&file)
                .output()
                .unwrap()
        };
        let good = verify(proof);
        assert!(good.status.success(), "{entry}: {}", String::from_utf8_lossy(&good.stderr));
        // The last byte of the parent's Merkle root.
        let at = proof.len() - 160 + 134;
        let flipped = if &proof[at..=at] == "0" { "1" } else { "0" };
        let damaged = verify(&format!("{}{flipped}{}", &proof[..at], &proof[at + 1..]));
        assert_eq!(damaged.status.code(), Some(1));
        let error = String::from_utf8_lossy(&damaged.stderr).into_owned();
        assert!(error.starts_with("error: coinbase-branch: "), "{error}");
        let cut = verify(&proof[..proof.len() - 2]);
        assert_eq!(cut.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&cut.stderr).starts_with("error: truncated"));
        checked += 1;
    }
    assert!(checked > 0, "no entry of the index fits");
}
