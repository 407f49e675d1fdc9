//! The peg on a development node, through its command line and JSON-RPC.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use common::{DevNode, alys_node};
use serde_json::{Value, json};

const NOBODY: &str = "0x00000000000000000000000000000000000a11ce";

fn peg(node: &DevNode, arguments: &[&str]) -> (Option<i32>, String) {
    let output = alys_node().arg("peg").args(arguments).args(["--rpc", &node.rpc]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

fn refused(answer: Result<Value, (i64, String)>) -> i64 {
    answer.unwrap_err().0
}

#[test]
fn a_deposit_from_the_command_line_is_credited_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, log) = (folder.path().join("chain"), folder.path().join("log"));
    let node = DevNode::start(&chain, &["--slot-duration", "1s", "--no-mine"], &log);
    node.until("the first blocks", |status| status["head"]["height"].as_u64() > Some(1));

    // A node that has not heard from its Bitcoin yet says so.
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while let Err((code, text)) = node.call("alys_depositAddress", json!([])) {
        assert_eq!(code, -32002, "{text}");
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    // Before anything is paid.
    let (code, text) = peg(&node, &["deposit", "--to", NOBODY]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("bcrt1p") && text.contains("6a14"), "{text}");
    let (code, text) = peg(&node, &["deposit", "--to", "0x12"]);
    assert_eq!(code, Some(2), "{text}");
    let unknown = "11".repeat(32);
    assert_eq!(refused(node.call("alys_pegInStatus", json!([unknown]))), -32001);
    assert_eq!(refused(node.call("alys_pegInStatus", json!(["zz"]))), -32602);
    assert_eq!(refused(node.call("alys_pegInStatus", json!([]))), -32602);
    assert_eq!(refused(node.call("alys_pegOutStatus", json!([format!("0x{unknown}")]))), -32001);
    assert_eq!(refused(node.call("alys_pegOutStatus", json!([3]))), -32602);
    assert_eq!(refused(node.call("alys_pegOutStatus", json!([1, 2, 3]))), -32602);
    assert_eq!(refused(node.call("alys_depositAddress", json!(["0x12"]))), -32602);
    assert_eq!(refused(node.call("dev_sendBitcoin", json!(["nowhere", 1]))), -32602);

    let answer = node.call("getdepositaddress", json!([])).unwrap();
    let address = answer["address"].as_str().unwrap();
    let txid = node.call("dev_sendBitcoin", json!([address, 1_234_567, &NOBODY[2..]])).unwrap();
    node.call("dev_mineBitcoin", json!([6])).unwrap();
    let (code, text) = peg(&node, &["status", "--json", txid.as_str().unwrap()]);
    // It may not have been looked at yet, or be on its way, or be there.
    assert!(matches!(code, Some(0 | 1)), "{text}");
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while node.call("eth_getBalance", json!([NOBODY, "latest"])).unwrap() != json!("0x2bdc524add3c00") {
        assert!(std::time::Instant::now() < deadline, "{:?}", node.call("alys_pegInStatus", json!([txid])));
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let supply = node.call("alys_supply", json!([])).unwrap();
    assert_eq!((&supply["lockedSats"], &supply["imbalanceSats"]), (&json!(1_234_567), &json!("0")));
    assert!(node.terminate().success());

    // The books are where they were.
    let node = DevNode::start(&chain, &["--no-mine"], &log);
    let status = node.call("alys_pegInStatus", json!([txid])).unwrap();
    assert!(status["status"] == "credited" || status["status"] == "safe", "{status}");
    assert_eq!(status["sats"], json!(1_234_567));
    assert_eq!(node.call("alys_supply", json!([])).unwrap()["lockedSats"], json!(1_234_567));
    assert!(node.terminate().success());
}
