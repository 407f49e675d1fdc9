//! How a node catches up, what snapshots cost, and how long its chain actor is away. Three rows, all of them by default:
//!
//! - `blocks`: a chain of empty blocks with real signatures, work, execution and storage is made first; then a node with an
//!   empty folder syncs it from another process over loopback.
//! - `snapshot`: a chain whose state has a million accounts is made first; then a snapshot of it is made, restored, and
//!   fetched by an empty node from another process over loopback.
//! - `restart`: a member with a chain of 100,000 blocks goes on with it while 16 tasks ask its chain actor, which is restarted
//!   again and again.
//!
//! `ALYS_SYNC_SOURCE` names a folder for the chain that is made and served, such as one in memory; the node that syncs always
//! works on the disk of the temporary folder. `ALYS_SYNC_BLOCKS` (20,000), `ALYS_SYNC_ACCOUNTS` (1,000,000) and `ALYS_RESTART_BLOCKS` (100,000) change the sizes. Memory is that of the process that
//! syncs or restores and does nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement stops where it can't go on")]

#[path = "../tests/common/past.rs"]
mod past;
#[path = "../tests/common/payments.rs"]
mod payments;
#[path = "../tests/common/wallet.rs"]
mod wallet;

use alloy_primitives::{Bytes, TxKind, U256};
use alys_crypto::SecretKey;
use alys_evm::{Executor, ExecutorConfig, NoTransactions, genesis_hash};
use alys_node::actors::chain::ChainMessage;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::network::{NETWORK_KEY, network_config};
use alys_node::snapshot::{Folder, SNAPSHOTS, Sources, create, join, restore};
use alys_node::{Node, NodeBuilder, Validator};
use alys_p2p::{Identity, PeerAddress};
use alys_primitives::{Address, Height, Members, Slot};
use alys_store::signing::{RecordIdentity, SignedApproval, SignedSlot, SigningRecord, Watermarks};
use alys_store::{Database, StoreConfig};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wallet::Wallet;

/// What a child process is to do: `make` or `serve`.
const ROLE: &str = "ALYS_SYNC_ROLE";
const FOLDER: &str = "ALYS_SYNC_FOLDER";
const SOURCE: &str = "ALYS_SYNC_SOURCE";
const GENESIS_TIME: &str = "ALYS_SYNC_GENESIS_TIME";
const ROW: &str = "ALYS_SYNC_ROW";

/// Accounts that one transaction makes, and the gas that it may use: half of a block's, so that the base fee stays.
const ACCOUNTS_PER_BLOCK: u64 = 8000;
const GAS: u64 = 299_000_000;
const BLOCK_GAS: u64 = 600_000_000;

/// How the chain actor is restarted: tasks that ask it, the pause of each between two questions, how often, and the time
/// after each restart.
const ASKERS: usize = 16;
const ASK_PAUSE: Duration = Duration::from_millis(1);
const RESTARTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);
const RESTART_PAUSE: Duration = Duration::from_secs(2);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(role) = std::env::var(ROLE) {
        return runtime.block_on(child(&role));
    }
    let rows: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|wanted| wanted == row);
    if wanted("blocks") {
        runtime.block_on(blocks());
    }
    if wanted("snapshot") {
        runtime.block_on(snapshot());
    }
    if wanted("restart") {
        runtime.block_on(restarts());
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A chain of one member; every process makes the same from the same words.
#[derive(Clone)]
struct Row {
    name: &'static str,
    blocks: u64,
    genesis_time: u64,
}

impl Row {
    fn new(name: &'static str) -> Self {
        let blocks = match name {
            "blocks" => number("ALYS_SYNC_BLOCKS", 20_000),
            "restart" => number("ALYS_RESTART_BLOCKS", 100_000),
            _ => number("ALYS_SYNC_ACCOUNTS", 1_000_000).div_ceil(ACCOUNTS_PER_BLOCK) + 30,
        };
        let genesis_time = number(GENESIS_TIME, wall_now().0 / 1000 - blocks - 60);
        Self { name, blocks, genesis_time }
    }

    fn key() -> SecretKey {
        SecretKey::generate(&[7; 32]).unwrap()
    }

    fn files(&self) -> ChainFiles {
        let members = Members::new(vec![member(&Self::key(), Address::repeat_byte(1))]).unwrap();
        let mut files = ChainFiles::dev(members, self.genesis_time, 1).unwrap();
        if self.name == "snapshot" {
            files.genesis.gas_limit = BLOCK_GAS;
            files.spec.evm.genesis_hash = genesis_hash(&files.genesis).unwrap();
        }
        files
    }

    async fn make(&self, folder: &Path) {
        let transactions: Box<dyn alys_evm::TransactionSource> = match self.name {
            "snapshot" => Box::new(accounts()),
            _ => Box::new(NoTransactions),
        };
        past::make(&self.files(), &Self::key(), folder, self.blocks, transactions).await;
    }

    fn command(&self, role: &str, folder: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).env(FOLDER, folder).env(ROW, self.name);
        command.env(GENESIS_TIME, self.genesis_time.to_string());
        command
    }

    fn make_apart(&self, folder: &Path) {
        let began = Instant::now();
        assert!(self.command("make", folder).status().unwrap().success());
        println!("{}: {} blocks made in {:.1} s", self.name, self.blocks, began.elapsed().as_secs_f64());
    }

    /// Another process with the chain in `folder`, and where it can be dialled.
    fn serve(&self, folder: &Path) -> (Server, PeerAddress) {
        let mut process = self.command("serve", folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Server(process), line.trim().parse().unwrap())
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn child(role: &str) {
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    let name = std::env::var(ROW).unwrap_or_default();
    let row = Row::new(["blocks", "snapshot", "restart"].into_iter().find(|row| *row == name).unwrap());
    if role == "make" {
        return row.make(&folder).await;
    }
    let server = NodeBuilder::new(config(&folder, None), row.files()).start().await.unwrap();
    println!("{}", address(&server, &folder).await);
    std::future::pending().await
}

async fn blocks() {
    let row = Row::new("blocks");
    let folders = [source(), tempfile::tempdir().unwrap()];
    row.make_apart(folders[0].path());
    let (server, way) = row.serve(folders[0].path());
    let client = NodeBuilder::new(config(folders[1].path(), Some(way)), row.files()).start().await.unwrap();
    let mut view = client.view.clone();
    view.wait_for(|view| view.head.height > Height(0)).await.unwrap();
    let (began, first) = (Instant::now(), client.view.borrow().head.height);
    view.wait_for(|view| view.head.height >= Height(row.blocks)).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    let count = row.blocks - first.0;
    println!("blocks: {count} synced in {took:.2} s: {:.0} a second; {}", count as f64 / took, memory());
    client.shutdown().await;
    drop(server);
}

async fn snapshot() {
    let row = Row::new("snapshot");
    let folders = [source(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [chain, restored, joined] = folders.each_ref().map(tempfile::TempDir::path);
    row.make_apart(chain);
    let files = row.files();

    let created = {
        let root = files.spec.genesis_root();
        let database = Database::open(&chain.join("chain"), root, &StoreConfig::default()).unwrap();
        let none = Box::new(NoTransactions);
        let executor =
            Executor::open(&chain.join("evm"), files.genesis.clone(), ExecutorConfig::default(), none).unwrap();
        let sources = Sources { genesis_root: root, store: database.reader(), evm: executor.reader() };
        let began = Instant::now();
        let created = create(&sources, &chain.join(SNAPSHOTS), |_| {}).unwrap();
        let manifest = created.folder.manifest();
        println!(
            "snapshot: made in {:.1} s: height {}, {} parts, {} bytes; {}",
            began.elapsed().as_secs_f64(),
            manifest.height(),
            manifest.parts.len(),
            manifest.bytes(),
            memory(),
        );
        created
    };

    let began = Instant::now();
    let folder = Folder::open(created.folder.path()).unwrap();
    let done = restore(&folder, &files, created.anchor, restored, &mut |_, _, _| true).unwrap();
    println!(
        "snapshot: restored in {:.1} s: {} records, {} blocks; {}",
        began.elapsed().as_secs_f64(),
        done.records,
        done.blocks,
        memory()
    );

    let (server, way) = row.serve(chain);
    let began = Instant::now();
    let network = network_config(&config(joined, Some(way)), files.spec.genesis_root()).unwrap().unwrap();
    join(network, &files, created.anchor, joined).await.unwrap();
    println!("snapshot: fetched and restored in {:.1} s; {}", began.elapsed().as_secs_f64(), memory());
    drop(server);
}

/// Restarts the chain actor of a member under load. Every question that was taken must be answered, and the head may not go
/// back; the time without an answer is from the last one before a restart to the first one after it.
async fn restarts() {
    let row = Row::new("restart");
    let folder = source();
    row.make_apart(folder.path());
    let record = folder.path().join("signing.log");
    let identity = RecordIdentity {
        genesis_root: row.files().spec.genesis_root(),
        public_key: Row::key().public_key().to_bytes().into(),
    };
    // It made them all.
    let last = SignedSlot { slot: Slot(row.blocks), signing_root: None };
    let approval = SignedApproval { signed: last, parent_height: Height(row.blocks - 1) };
    let signed = Watermarks { proposal: Some(last), approval: Some(approval) };
    drop(SigningRecord::create(&record, &identity, &signed).unwrap());
    let validator = Validator { key: Row::key(), record };
    let node = NodeBuilder::new(config(folder.path(), None), row.files()).validator(validator).start().await.unwrap();
    let mut view = node.view.clone();
    view.wait_for(|view| view.head.height > Height(row.blocks)).await.unwrap();

    let (answers, mut times) = tokio::sync::mpsc::unbounded_channel();
    let askers: Vec<_> = (0..ASKERS)
        .map(|_| {
            let (chain, answers) = (node.chain.clone(), answers.clone());
            tokio::spawn(async move {
                let mut reached = Height(0);
                while !answers.is_closed() {
                    let ask = chain.ask_within(PATIENCE, |reply| ChainMessage::GetChainStatus { reply });
                    let status = ask.await.expect("an answer");
                    assert!(status.head.height >= reached, "the head went back");
                    reached = status.head.height;
                    answers.send(Instant::now()).unwrap_or_default();
                    tokio::time::sleep(ASK_PAUSE).await;
                }
            })
        })
        .collect();
    let (mut outages, mut answered) = (Vec::new(), 0_u64);
    for _ in 0..RESTARTS {
        let mut last = times.recv().await.unwrap();
        let until = Instant::now() + RESTART_PAUSE;
        node.restart("chain").unwrap();
        let mut longest = Duration::ZERO;
        while last < until {
            let next = times.recv().await.unwrap();
            longest = longest.max(next.duration_since(last));
            last = next.max(last);
            answered += 1;
        }
        outages.push(longest);
    }
    drop(times);
    for asker in askers {
        asker.await.unwrap();
    }
    outages.sort_unstable();
    let millis = |took: Duration| took.as_secs_f64() * 1e3;
    println!(
        "restart: chain actor of {} blocks restarted {RESTARTS} times: away for {:.1} ms (median), {:.1} ms at most; \
         {answered} questions answered, none lost; {}",
        row.blocks,
        millis(outages[outages.len() / 2]),
        millis(outages[outages.len() - 1]),
        memory()
    );
    node.shutdown().await;
}

/// Where the chain is made that others fetch.
fn source() -> tempfile::TempDir {
    std::env::var(SOURCE).map_or_else(|_| tempfile::tempdir(), tempfile::tempdir_in).unwrap()
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

/// Transactions that make accounts until there are enough; then none.
fn accounts() -> payments::Payments {
    let mut wallet = Wallet::dev(0);
    wallet.gas_limit = GAS;
    let count = number("ALYS_SYNC_ACCOUNTS", 1_000_000);
    let first = (0..count).step_by(usize::try_from(ACCOUNTS_PER_BLOCK).unwrap());
    let transactions = first.map(|first| {
        let last = (first + ACCOUNTS_PER_BLOCK).min(count);
        let code = init_code(u32::try_from(first).unwrap(), u32::try_from(last).unwrap());
        wallet.transaction(TxKind::Create, U256::from(last - first), code).0
    });
    payments::Payments::new(transactions)
}

/// Code that sends a wei to the last 20 bytes of the hash of each number from `first` to before `last`, and deploys nothing.
fn init_code(first: u32, last: u32) -> Bytes {
    let mut code = vec![0x63];
    code.extend_from_slice(&first.to_be_bytes());
    code.extend_from_slice(&hex::decode("5b805f525f5f5f5f600160205f205ff150600101").unwrap());
    code.extend_from_slice(&[0x80, 0x63]);
    code.extend_from_slice(&last.to_be_bytes());
    code.extend_from_slice(&[0x11, 0x60, 0x05, 0x57, 0x00]);
    code.into()
}

fn config(folder: &Path, peer: Option<PeerAddress>) -> Config {
    let mut config = Config::default();
    config.node.data_dir = folder.to_owned();
    config.rpc.listen.set_port(0);
    config.metrics.listen.set_port(0);
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.network.peers = peer.iter().map(ToString::to_string).collect();
    config.sync.snapshot_blocks = 0;
    config
}

async fn address(node: &Node, folder: &Path) -> PeerAddress {
    let peer = Identity::read(&folder.join(NETWORK_KEY)).unwrap().peer_id();
    let mut peers = node.peers.clone();
    let view = peers.wait_for(|view| !view.listening.is_empty()).await.unwrap();
    PeerAddress { peer, address: view.listening[0].clone() }
}
