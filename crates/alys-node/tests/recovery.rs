//! `kill -9` while transactions flow: what was acknowledged stays, no slot is signed twice.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alloy_primitives::{B256, address};
use common::wallet::Wallet;
use common::{DevNode, PATIENCE, alys_node, number};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Names how often the node is killed; the default keeps the suite short.
const KILLS_VARIABLE: &str = "ALYS_KILLS";
const DEFAULT_KILLS: u32 = 4;

/// Wei of each transfer.
const AMOUNT: u64 = 1_000_000_007;

/// What was seen from outside, which no crash may take back.
#[derive(Default)]
struct Ledger {
    /// Hashes that `eth_sendRawTransaction` acknowledged.
    acknowledged: Vec<B256>,
    /// Roots of the blocks that were served, by slot.
    roots: BTreeMap<u64, String>,
    /// The highest block served.
    head: u64,
    /// The last signed proposal of the record.
    signed: u64,
    /// Times from start to the first answer.
    starts: Vec<Duration>,
}

impl Ledger {
    fn see(&mut self, block: &Value) {
        // Genesis is no block.
        if number(&block["height"]) == 0 {
            return;
        }
        let (slot, root) = (number(&block["slot"]), block["root"].as_str().unwrap());
        let before = self.roots.entry(slot).or_insert_with(|| root.to_owned());
        assert_eq!(before, root, "two blocks in slot {slot}");
        self.head = self.head.max(number(&block["height"]));
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_slot_is_signed_twice_when_the_node_is_killed() {
    let kills = std::env::var(KILLS_VARIABLE).map_or(DEFAULT_KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (chain, log) = (folder.path().join("chain"), folder.path().join("log"));
    let mut wallet = Wallet::dev(0);
    let mut ledger = Ledger::default();
    let start = || DevNode::start(&chain, &["--slot-duration", "1s"], &log);
    for life in 0..kills {
        let node = start();
        ledger.starts.push(node.start);
        check_kept(&node, &ledger);
        wallet.nonce = pending_nonce(&node, &wallet);
        live(&node, &mut wallet, &mut ledger, Duration::from_millis(1100 + u64::from(life % 7) * 130));
        node.kill();
        let signed = last_signed(&chain);
        assert!(signed >= ledger.signed, "the record went back from slot {} to {signed}", ledger.signed);
        let newest = ledger.roots.keys().next_back().copied().unwrap_or(0);
        assert!(signed >= newest, "the block of slot {newest} was served, the record ends at {signed}");
        ledger.signed = signed;
    }
    let node = start();
    ledger.starts.push(node.start);
    check_kept(&node, &ledger);
    let deadline = Instant::now() + PATIENCE;
    let missing = |hash: &B256| node.call("eth_getTransactionReceipt", json!([hash])).unwrap().is_null();
    while ledger.acknowledged.iter().any(missing) {
        assert!(Instant::now() < deadline, "an acknowledged transaction is in no block");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let paid = node.call("eth_getBalance", json!([RECIPIENT, "latest"])).unwrap();
    let count = u64::try_from(ledger.acknowledged.len()).unwrap();
    assert_eq!(paid, json!(format!("0x{:x}", count * AMOUNT)), "each of {count} transfers once");
    ledger.starts.sort();
    println!(
        "{kills} kills, {count} transactions kept, {} slots seen, start to serving p50 {:?}, max {:?}",
        ledger.roots.len(),
        ledger.starts[ledger.starts.len() / 2],
        ledger.starts.last().unwrap(),
    );
    assert!(node.terminate().success());
}

const RECIPIENT: alloy_primitives::Address = address!("00000000000000000000000000000000000012aB");

/// Sends transactions and looks at blocks for a while.
fn live(node: &DevNode, wallet: &mut Wallet, ledger: &mut Ledger, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (raw, hash) = wallet.transfer(RECIPIENT, AMOUNT);
        assert_eq!(node.call("eth_sendRawTransaction", json!([raw])).unwrap(), json!(hash));
        ledger.acknowledged.push(hash);
        ledger.see(&node.status()["head"]);
        std::thread::park_timeout(Duration::from_millis(60));
    }
}

/// Every block that was served before is served again.
fn check_kept(node: &DevNode, ledger: &Ledger) {
    let status = node.status();
    assert!(number(&status["head"]["height"]) >= ledger.head, "the head went back: {status}");
    for (slot, root) in &ledger.roots {
        let block = node.call("alys_blockByRoot", json!([root])).unwrap();
        assert_eq!(number(&block["slot"]), *slot);
        let at_height = node.call("alys_blockByHeight", json!([block["height"]])).unwrap();
        assert_eq!(at_height["root"], json!(root), "another block took its place");
    }
}

fn pending_nonce(node: &DevNode, wallet: &Wallet) -> u64 {
    let answer = node.call("eth_getTransactionCount", json!([wallet.address, "pending"])).unwrap();
    u64::from_str_radix(answer.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Slot of the last proposal in the member's signing record.
fn last_signed(chain: &Path) -> u64 {
    let output = alys_node()
        .args(["keys", "history", "export", "--config"])
        .arg(chain.join("member-0/alys.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let proposals = document["data"][0]["signed_proposals"].as_array().unwrap();
    proposals.iter().map(|proposal| proposal["slot"].as_str().unwrap().parse().unwrap()).max().unwrap_or(0)
}
