//! A node whose EVM is another process behind the Engine API: it is killed, loses its data, lies, and talks nonsense.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alloy_primitives::{Address, B256, address};
use common::engine::{Engine, Mode, Proxy};
use common::wallet::Wallet;
use common::{DevNode, PATIENCE, alys_node, number};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const RECIPIENT: Address = address!("00000000000000000000000000000000000012aB");

/// A chain of a few blocks that the embedded EVM made.
fn begun_chain(folder: &Path) -> PathBuf {
    let chain = folder.join("chain");
    let node = DevNode::start(&chain, &["--slot-duration", "1s"], &folder.join("log"));
    node.until("a first block", |status| height(status, "head") >= 2);
    assert!(node.terminate().success());
    chain
}

fn height(status: &Value, tag: &str) -> u64 {
    number(&status[tag]["height"])
}

fn start(chain: &Path, endpoint: &str, secret: &Path, folder: &Path) -> DevNode {
    let flags = ["--execution-endpoints", endpoint, "--execution-jwt-secret", secret.to_str().unwrap()];
    DevNode::start(chain, &flags, &folder.join("log"))
}

fn ready(node: &DevNode) -> bool {
    node.get("/readyz").0 == 200
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn transfer(node: &DevNode, wallet: &mut Wallet) -> B256 {
    let (raw, hash) = wallet.transfer(RECIPIENT, 5);
    assert_eq!(node.call("eth_sendRawTransaction", json!([raw])), Ok(json!(hash)));
    wait("the transfer's receipt", || !node.call("eth_getTransactionReceipt", json!([hash])).unwrap().is_null());
    hash
}

fn assert_no_panic(folder: &Path) {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn blocks_come_and_become_final_while_the_engine_is_killed_and_loses_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let chain = begun_chain(folder.path());
    // The client is new: the node gives it the blocks that it made before.
    let engine = Engine::start(&chain.join("genesis.json"), &folder.path().join("engine"));
    let node = start(&chain, &engine.url(), &engine.secret(), folder.path());
    let begun = node.until("a block by the client", |status| height(status, "head") >= 4);
    node.until("finality", |status| height(status, "finalized") > height(&begun, "finalized"));
    let mut wallet = Wallet::dev(0);
    let mined = transfer(&node, &mut wallet);

    // `eth_*` is the client's, but for keys and subscriptions.
    let client = node.call("web3_clientVersion", json!([])).unwrap();
    assert!(client.as_str().unwrap().starts_with("alys-node/"), "{client}");
    assert_eq!(node.call("eth_accounts", json!([])), Ok(json!([])));
    assert_eq!(node.call("eth_getBalance", json!([RECIPIENT, "latest"])), Ok(json!("0x5")));
    assert!(node.call("eth_getBlockByNumber", json!(["finalized", false])).unwrap()["number"].is_string());
    let (code, message) = node.call("eth_subscribe", json!(["newHeads"])).unwrap_err();
    assert!(code == -32601 && message.contains("WebSocket"), "{code} {message}");
    let (code, _) = node.call("eth_sendTransaction", json!([{}])).unwrap_err();
    assert_eq!(code, -32000);
    let (code, message) = node.call("eth_getBalance", json!(["0x12", "latest"])).unwrap_err();
    assert_eq!(code, -32602, "{message}");
    let (code, message) = node.call("eth_sendRawTransaction", json!(["0x03"])).unwrap_err();
    assert!(code == -32000, "{code} {message}");

    // Killed: no block, no vote, and the node says so. Back: it goes on.
    let stopped = engine.kill();
    wait("the node's notice", || !ready(&node));
    let (code, message) = node.call("eth_blockNumber", json!([])).unwrap_err();
    assert!(code == -32002 && message.contains("does not answer"), "{code} {message}");
    let before = node.status();
    let engine = stopped.start();
    node.until("a block after the restart", |status| height(status, "head") > height(&before, "head") + 1);
    wait("readiness", || ready(&node));
    node.until("finality after the restart", |status| height(status, "finalized") > height(&before, "finalized"));

    // Killed with its data lost: the node's blocks are replayed to it.
    let stopped = engine.kill();
    wait("the node's notice", || !ready(&node));
    stopped.lose_data();
    let before = node.status();
    let engine = stopped.start();
    let healed = node.until("a block after the loss", |status| height(status, "head") > height(&before, "head") + 1);
    node.until("finality after the loss", |status| height(status, "finalized") > height(&before, "finalized"));
    let receipt = node.call("eth_getTransactionReceipt", json!([mined])).unwrap();
    assert!(receipt["blockNumber"].is_string(), "the old block is there again: {receipt}");
    transfer(&node, &mut wallet);
    let known = node.call("eth_blockNumber", json!([])).unwrap();
    let known = u64::from_str_radix(known.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    assert!(known >= height(&healed, "head"));
    assert!(node.terminate().success());

    // The node stops while the client is away, and begins without it.
    let stopped = engine.kill();
    let node = start(&chain, &stopped.url(), &stopped.secret(), folder.path());
    assert!(!ready(&node));
    let waiting = node.status();
    let engine = stopped.start();
    node.until("a block once it is there", |status| height(status, "head") > height(&waiting, "head"));
    assert!(node.terminate().success());
    drop(engine);
    assert_no_panic(folder.path());
}

#[test]
fn another_client_takes_over_when_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let chain = begun_chain(folder.path());
    let genesis = chain.join("genesis.json");
    let first = Engine::start(&genesis, &folder.path().join("first"));
    // One secret for both.
    let home = folder.path().join("second");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::copy(first.secret(), home.join("jwt.hex")).unwrap();
    let second = Engine::start(&genesis, &home);
    let node = start(&chain, &format!("{},{}", first.url(), second.url()), &first.secret(), folder.path());
    node.until("a block by the first client", |status| height(status, "head") >= 4);
    let mut wallet = Wallet::dev(0);
    let mined = transfer(&node, &mut wallet);

    let stopped = first.kill();
    let before = node.status();
    node.until("blocks by the second", |status| height(status, "head") > height(&before, "head") + 2);
    // It was given the blocks that the first one made.
    let receipt = node.call("eth_getTransactionReceipt", json!([mined])).unwrap();
    assert!(receipt["blockNumber"].is_string(), "{receipt}");
    transfer(&node, &mut wallet);

    let first = stopped.start();
    second.kill();
    let before = node.status();
    node.until("blocks by the first again", |status| height(status, "head") > height(&before, "head") + 2);
    wait("readiness", || ready(&node));
    assert!(node.terminate().success());
    drop(first);
    assert_no_panic(folder.path());
}

#[test]
fn an_engine_that_is_slower_than_a_slot_costs_slots_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let chain = begun_chain(folder.path());
    let engine = Engine::start(&chain.join("genesis.json"), &folder.path().join("engine"));
    let proxy = Proxy::before(&engine, Mode::Honest);
    let node = start(&chain, &proxy.url, &engine.secret(), folder.path());
    node.until("a block by the client", |status| height(status, "head") >= 4);
    proxy.set(Mode::Slow);
    let late = || {
        let (_, metrics) = node.get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("alys_chain_late_answers_total "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    wait("late answers", || late() > 8);
    proxy.set(Mode::Honest);
    let before = node.status();
    node.until("blocks afterwards", |status| height(status, "head") > height(&before, "head") + 2);
    let tree = node.call("alys_actors", json!([])).unwrap();
    assert!(!tree.to_string().contains("\"restarts\":1"), "nothing had to be restarted: {tree}");
    assert!(node.terminate().success());
    assert_no_panic(folder.path());
}

#[test]
fn an_engine_that_lies_or_talks_nonsense_gets_no_vote_out_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let chain = begun_chain(folder.path());
    let engine = Engine::start(&chain.join("genesis.json"), &folder.path().join("engine"));
    let proxy = Proxy::before(&engine, Mode::Honest);
    let node = start(&chain, &proxy.url, &engine.secret(), folder.path());
    node.until("a block by the client", |status| height(status, "head") >= 4);
    proxy.set(Mode::OtherHash);
    let (raw, _) = Wallet::dev(0).transfer(RECIPIENT, 5);
    let (code, message) = node.call("eth_sendRawTransaction", json!([raw])).unwrap_err();
    assert!(code == -32002 && message.contains("another transaction"), "{code} {message}");
    for mode in [Mode::Lies, Mode::Garbage] {
        proxy.set(mode);
        // What was asked before may still be answered honestly.
        let (asked, requests) = (proxy.verdicts(), proxy.requests());
        wait("requests", || proxy.verdicts() > asked + 3 && proxy.requests() > requests + 8);
        let before = node.status();
        let requests = proxy.requests();
        wait("more requests", || proxy.requests() > requests + 20);
        assert_eq!(node.status()["head"], before["head"], "{mode:?}: no block without a verdict");
        assert!(!ready(&node), "{mode:?}");
        proxy.set(Mode::Honest);
        node.until("a block afterwards", |status| height(status, "head") > height(&before, "head") + 1);
    }
    let tree = node.call("alys_actors", json!([])).unwrap();
    assert!(!tree.to_string().contains("\"restarts\":1"), "nothing had to be restarted: {tree}");
    // The signing record can be read once the node has ended: the newest vote is the one for the head.
    proxy.set(Mode::Lies);
    let asked = proxy.verdicts();
    wait("lies", || proxy.verdicts() > asked + 6);
    let head = node.status()["head"].clone();
    assert!(node.terminate().success());
    assert_eq!(last_approved(&chain), number(&head["slot"]), "no vote without a verdict");
    assert_no_panic(folder.path());

    // A client of another chain is refused at the start.
    let proxy = Proxy::before(&engine, Mode::OtherChain);
    let output = alys_node()
        .args(["dev", "--rpc-port", "0", "--metrics-port", "0", "--data-dir"])
        .arg(&chain)
        .args(["--execution-endpoints", &proxy.url, "--execution-jwt-secret"])
        .arg(engine.secret())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("chain id"), "{error}");
}

/// Slot of the last approval in the member's signing record.
fn last_approved(chain: &Path) -> u64 {
    let config = chain.join("member-0/alys.toml");
    let output = alys_node().args(["keys", "history", "export", "--config"]).arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let approvals = document["data"][0]["signed_approvals"].as_array().unwrap();
    approvals.iter().map(|approval| approval["slot"].as_str().unwrap().parse().unwrap()).max().unwrap_or(0)
}
