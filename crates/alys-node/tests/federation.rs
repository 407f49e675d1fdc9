//! Four members as processes on loopback: they agree, bear the loss of one, halt without two, and catch up.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_node::rpc_client::RpcClient;
use common::{PATIENCE, alys_node, number};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MEMBERS: usize = 4;

/// Who the miner is paid for.
const PAYOUT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

struct Member {
    arguments: Vec<String>,
    rpc: SocketAddr,
    log: PathBuf,
    process: Option<Child>,
}

impl Member {
    fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = alys_node();
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

struct Federation {
    members: Vec<Member>,
    miner: Option<Child>,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Drop for Federation {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        if let Some(mut miner) = self.miner.take() {
            let _ = miner.kill();
            let _ = miner.wait();
        }
    }
}

impl Federation {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chain = folder.path().join("chain");
        let made = alys_node()
            .args(["init", "--preset", "dev", "--members", &MEMBERS.to_string(), "--slot-seconds", "1", "--data-dir"])
            .arg(&chain)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let ports = free_ports(MEMBERS * 3);
        let mut members: Vec<Member> = (0..MEMBERS).map(|index| member(index, &chain, folder.path(), &ports)).collect();
        members.iter_mut().for_each(Member::start);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { members, miner: None, runtime, _folder: folder }
    }

    fn mine(&mut self) {
        let urls: Vec<String> = self.members.iter().map(|member| format!("http://{}", member.rpc)).collect();
        let mut miner = alys_node();
        miner
            .args(["mine", "--rpc", &urls.join(","), "--payout", PAYOUT, "--period", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.miner = Some(miner.spawn().unwrap());
    }

    fn call(&self, member: usize, method: &str, params: Value) -> Option<Value> {
        let client = RpcClient::new(&format!("http://{}", self.members[member].rpc), Duration::from_secs(5)).unwrap();
        self.runtime.block_on(client.call(method, params)).ok()
    }

    fn statuses(&self, members: &[usize]) -> Vec<Option<Value>> {
        members.iter().map(|member| self.call(*member, "alys_status", json!([]))).collect()
    }

    /// Asks until every one of `members` is as wanted.
    fn until(&self, what: &str, members: &[usize], wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses(members);
            if statuses.iter().all(|status| status.as_ref().is_some_and(&wanted)) {
                return statuses.into_iter().flatten().collect();
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {statuses:#?}\n{}", self.logs());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let tail = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(15).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.members.iter().map(|member| format!("{}:\n{}\n", member.log.display(), tail(&member.log))).collect()
    }

    fn root_at(&self, member: usize, height: u64) -> Value {
        self.call(member, "alys_blockByHeight", json!([height])).map(|block| block["root"].clone()).unwrap_or_default()
    }
}

fn member(index: usize, chain: &Path, folder: &Path, ports: &[SocketAddr]) -> Member {
    let port = |member: usize, which: usize| ports[member * 3 + which];
    let peers: Vec<String> = (0..MEMBERS)
        .filter(|other| *other != index)
        .map(|other| {
            let id = std::fs::read_to_string(chain.join(format!("member-{other}/peer-id"))).unwrap();
            format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", port(other, 2).port(), id.trim())
        })
        .collect();
    let rpc = port(index, 0);
    let arguments = vec![
        "run".to_owned(),
        format!("--config={}", chain.join(format!("member-{index}/alys.toml")).display()),
        format!("--rpc-listen={rpc}"),
        format!("--metrics-listen={}", port(index, 1)),
        format!("--network-listen=/ip4/127.0.0.1/tcp/{}", port(index, 2).port()),
        format!("--network-peers={}", peers.join(",")),
    ];
    Member { arguments, rpc, log: folder.join(format!("node-{index}.log")), process: None }
}

fn free_ports(count: usize) -> Vec<SocketAddr> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

fn height(status: &Value, tag: &str) -> u64 {
    number(&status[tag]["height"])
}

#[test]
fn four_members_agree_bear_one_loss_halt_without_two_and_catch_up() {
    let mut federation = Federation::start();
    federation.mine();
    let all = [0, 1, 2, 3];

    // Blocks are proposed by everyone in turn, notarized and safe, and the same everywhere.
    let statuses = federation.until("a safe chain", &all, |status| height(status, "safe") >= 2);
    assert!(statuses.iter().all(|status| status["peers"] == 3), "{statuses:#?}");
    let safe = statuses.iter().map(|status| height(status, "safe")).min().unwrap();
    let roots: Vec<Value> = all.iter().map(|member| federation.root_at(*member, safe)).collect();
    assert!(roots.iter().all(|root| root.is_string() && *root == roots[0]), "{roots:?}");

    // Without one member the others go on.
    let before = federation.until("a head", &[3], |_| true);
    let kept = height(&before[0], "safe");
    let root = federation.root_at(3, kept);
    federation.members[3].kill();
    let reached = height(&before[0], "head") + 4;
    federation.until("progress without one member", &[0, 1, 2], |status| height(status, "head") >= reached);

    // Without two nothing is notarized any more.
    federation.members[2].kill();
    let halted = federation.until("a head", &[0, 1], |_| true);
    let top = halted.iter().map(|status| height(status, "head")).max().unwrap();
    std::thread::park_timeout(Duration::from_secs(3));
    let still = federation.until("a head", &[0, 1], |_| true);
    // At most the block that was under way when the second member went.
    assert!(still.iter().all(|status| height(status, "head") <= top + 1), "{still:#?}");

    // They come back, keep what they had acknowledged, catch up, and the chain goes on and becomes final.
    federation.members[2].start();
    federation.members[3].start();
    federation.until("progress with everyone", &all, |status| {
        height(status, "head") > top + 2 && status["sync"]["state"] == "synced" && height(status, "finalized") > 0
    });
    assert_eq!(federation.root_at(3, kept), root, "a block that was acknowledged before the crash");
}
