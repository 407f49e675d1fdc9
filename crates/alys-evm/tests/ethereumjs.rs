//! The Engine API client drives EthereumJS: an execution client by others, in another language. Every block is executed
//! here as well, and both must agree.
//!
//! The first run installs the pinned client with npm into the user's cache folder. Where there is no npm, or no
//! registry, the test says so and is counted as skipped.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use alys_engine::{
    ChainIdentity, EndpointConfig, EngineClient, EngineClientConfig, EngineError, ExecutionEngine, Fork,
    ForkchoiceState, HistoryFuture, JwtSecret, NewPayload, PayloadHistory, PayloadStatus, RetryPolicy, payload_hash,
};
use alys_evm::{Executor, ExecutorConfig};
use alys_primitives::{Gwei, Withdrawal};
use common::{CHAIN_ID, GENESIS_TIME, as_new, attributes, build, extend, genesis, heads, open, wallet};
use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The pinned client.
const PACKAGE: &str = "@ethereumjs/client@0.10.5";
const SECRET: JwtSecret = JwtSecret::new([5; 32]);
const SINK: Address = address!("00000000000000000000000000000000000000aa");

/// The client's start script, installed if need be; why not otherwise.
fn install() -> Result<PathBuf, String> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or("no cache folder: neither XDG_CACHE_HOME nor HOME is set")?;
    let folder = home.join("alys/npm/ethereumjs-client-0.10.5");
    let script = folder.join("node_modules/.bin/ethereumjs");
    if script.exists() {
        return Ok(script);
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("no cache folder: {error}"))?;
    let done = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--prefix", ".", PACKAGE])
        .current_dir(&folder)
        .output()
        .map_err(|error| format!("npm can't be run: {error}"))?;
    if done.status.success() && script.exists() {
        return Ok(script);
    }
    let text = String::from_utf8_lossy(&done.stderr);
    Err(format!("npm can't install {PACKAGE}: {}", text.lines().last().unwrap_or("no reason given")))
}

/// A running client, killed when dropped.
struct EthereumJs(Child);

impl Drop for EthereumJs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(script: &Path, folder: &Path, ports: (u16, u16)) -> EthereumJs {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let child = Command::new("node")
        .arg(script)
        .args(["--gethGenesis", "genesis.json", "--dataDir", "data", "--rpc", "--rpcAddr", "127.0.0.1"])
        .args(["--rpcPort", &ports.0.to_string(), "--rpcEngine", "--rpcEngineAddr", "127.0.0.1"])
        .args(["--rpcEnginePort", &ports.1.to_string(), "--jwtSecret", "jwt.hex", "--sync", "none"])
        .args(["--discDns=false", "--discV4=false", "--bootnodes", "--maxPeers", "0", "--minPeers", "0"])
        .arg("--isSingleNode")
        .current_dir(folder)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    EthereumJs(child)
}

fn free_ports() -> (u16, u16) {
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let port = |index: usize| listeners[index].local_addr().unwrap().port();
    (port(0), port(1))
}

/// The node's store of payloads.
struct Stored(watch::Receiver<HashMap<B256, NewPayload>>);

impl PayloadHistory for Stored {
    fn payload(&self, block_hash: B256, _: Option<u64>) -> HistoryFuture<'_> {
        let found = self.0.borrow().get(&block_hash).cloned();
        Box::pin(async move { Ok(found) })
    }
}

fn client(ports: (u16, u16), attempts: u32, stored: watch::Receiver<HashMap<B256, NewPayload>>) -> EngineClient {
    let genesis = genesis();
    let chain = ChainIdentity { chain_id: CHAIN_ID, genesis_hash: alys_evm::genesis_hash(&genesis).unwrap() };
    let forks = alys_evm::Forks::new(&genesis.config).unwrap().times();
    let endpoint = EndpointConfig {
        url: format!("http://127.0.0.1:{}", ports.1),
        secret: SECRET,
        rpc_url: Some(format!("http://127.0.0.1:{}", ports.0)),
    };
    let mut config = EngineClientConfig::new(vec![endpoint], chain, forks);
    let pause = Duration::from_millis(500);
    config.retry = RetryPolicy { attempts, first_pause: pause, longest_pause: pause, seed: 3 };
    EngineClient::with_history(config, Arc::new(Stored(stored))).unwrap()
}

/// Gives a block that was built here to the other client, as its head.
async fn give(client: &EngineClient, new: &NewPayload) {
    assert_eq!(client.new_payload(new.clone()).await.unwrap(), PayloadStatus::Valid);
    let outcome = client.forkchoice_updated(heads(new.payload.block_hash), None).await.unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn ethereumjs_builds_imports_reorganises_and_comes_back() {
    let script = match tokio::task::spawn_blocking(install).await.unwrap() {
        Ok(script) => script,
        Err(reason) => return alys_vectors::skip(&reason),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut json = serde_json::to_value(genesis()).unwrap();
    json["config"]["mergeForkBlock"] = 0.into();
    std::fs::write(folder.path().join("genesis.json"), json.to_string()).unwrap();
    std::fs::write(folder.path().join("jwt.hex"), "05".repeat(32)).unwrap();
    let ports = free_ports();
    let running = start(&script, folder.path(), ports);
    let (stored, history) = watch::channel(HashMap::new());
    let keep = |new: &NewPayload| stored.send_modify(|stored| drop(stored.insert(new.payload.block_hash, new.clone())));
    let patient = client(ports, 120, history.clone());
    let info = match patient.info().await {
        Ok(info) => info,
        Err(error) => {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            panic!("{error}\n{log}");
        }
    };
    assert_eq!((info.chain_id, info.head_number), (CHAIN_ID, 0));
    let client = client(ports, 3, history);

    // Built here, with transfers, a contract and its call; executed there.
    let database = tempfile::tempdir().unwrap();
    let mut executor = open(database.path(), ExecutorConfig::default());
    let (alice, bob) = (wallet(1), wallet(2));
    let code = Bytes::from_static(&[0x60, 0x00, 0x35, 0x60, 0x00, 0x55]);
    let mut init = vec![0x65];
    init.extend_from_slice(&code);
    init.extend_from_slice(&[0x60, 0x00, 0x52, 0x60, 0x06, 0x60, 0x1a, 0xf3]);
    let first = extend(
        &mut executor,
        vec![
            alice.call(0, TxKind::Call(SINK), U256::from(7), Bytes::new()),
            alice.call(1, TxKind::Create, U256::ZERO, init.into()),
            bob.call(0, TxKind::Call(alice.address.create(1)), U256::ZERO, U256::from(9).to_be_bytes_vec().into()),
        ],
    );
    keep(&first);
    give(&client, &first).await;
    let fees = client.block_fees(first.payload.block_hash).await.unwrap();
    assert_eq!(fees, executor.block_fees(first.payload.block_hash).unwrap());
    assert!(fees.total > U256::ZERO);

    // Built there, with a withdrawal; executed here.
    let mut wanted = attributes(GENESIS_TIME + 4);
    wanted.withdrawals = vec![Withdrawal { index: 0, validator_index: 3, address: SINK, amount: Gwei(17) }];
    let outcome = client.forkchoice_updated(heads(first.payload.block_hash), Some(wanted.clone())).await.unwrap();
    let built = client.get_payload(outcome.payload_id.unwrap()).await.unwrap();
    let second = as_new(&built, &wanted);
    assert_eq!(executor.new_payload(&second).unwrap(), PayloadStatus::Valid);
    keep(&second);
    give(&client, &second).await;

    // A sibling takes its place, and the first block becomes final.
    let (sibling, _) = build(&mut executor, first.payload.block_hash, &attributes(GENESIS_TIME + 6), Vec::new());
    assert_eq!(executor.new_payload(&sibling).unwrap(), PayloadStatus::Valid);
    keep(&sibling);
    give(&client, &sibling).await;
    let (head, safe) = (sibling.payload.block_hash, first.payload.block_hash);
    let outcome = client.forkchoice_updated(ForkchoiceState { head, safe, finalized: safe }, None).await.unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
    assert_eq!(client.info().await.unwrap().head, head);

    // What is wrong is wrong there too.
    let mut wrong = sibling.clone();
    wrong.payload.state_root = B256::repeat_byte(1);
    wrong.payload.block_hash = payload_hash(&wrong, Fork::Prague).unwrap();
    let status = client.new_payload(wrong).await.unwrap();
    assert!(matches!(status, PayloadStatus::Invalid { .. }), "{status:?}");

    // Killed in the middle: nothing is known of any block until it is back, and then everything is.
    drop(running);
    let away = client.new_payload(sibling.clone()).await;
    assert!(matches!(away, Err(EngineError::Unavailable { .. })), "{away:?}");
    let running = start(&script, folder.path(), ports);
    patient.info().await.unwrap();
    let third = follow(&mut executor, head);
    keep(&third);
    give(&client, &third).await;
    assert_eq!(client.info().await.unwrap().head, third.payload.block_hash);
    drop(running);
}

/// A block of our own on `parent`.
fn follow(executor: &mut Executor, parent: B256) -> NewPayload {
    let (new, _) = build(executor, parent, &attributes(GENESIS_TIME + 8), Vec::new());
    assert_eq!(executor.new_payload(&new).unwrap(), PayloadStatus::Valid);
    new
}
