//! How fast a node catches up: a chain of empty blocks with real signatures, work, execution and storage is made first,
//! then a node with an empty folder syncs it from another one over loopback.
//!
//! `ALYS_SYNC_BLOCKS` sets the number of blocks (3,000). Prints blocks a second and the resident memory afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement stops where it can't go on")]

#[path = "../tests/common/past.rs"]
mod past;

use alys_crypto::SecretKey;
use alys_evm::NoTransactions;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::network::NETWORK_KEY;
use alys_node::{Node, NodeBuilder};
use alys_p2p::{Identity, PeerAddress};
use alys_primitives::{Address, Height, Members};
use std::path::Path;
use std::time::Instant;

fn main() {
    let blocks: u64 = std::env::var("ALYS_SYNC_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(blocks));
}

async fn measure(blocks: u64) {
    let key = SecretKey::generate(&[7; 32]).unwrap();
    let members = Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap();
    let genesis_time = wall_now().0 / 1000 - blocks - 60;
    let files = ChainFiles::dev(members, genesis_time, 1).unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let began = Instant::now();
    past::make(&files, &key, folders[0].path(), blocks, Box::new(NoTransactions)).await;
    println!("{blocks} blocks made in {:.1} s", began.elapsed().as_secs_f64());

    let server = NodeBuilder::new(config(folders[0].path(), None), files.clone()).start().await.unwrap();
    let way = address(&server, folders[0].path()).await;
    let client = NodeBuilder::new(config(folders[1].path(), Some(way)), files).start().await.unwrap();
    let mut view = client.view.clone();
    view.wait_for(|view| view.head.height > Height(0)).await.unwrap();
    let (began, first) = (Instant::now(), client.view.borrow().head.height);
    view.wait_for(|view| view.head.height >= Height(blocks)).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    let count = blocks - first.0;
    println!("{count} blocks synced in {took:.2} s: {:.0} blocks a second", count as f64 / took);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")) {
        println!("both nodes together: {line}");
    }
    client.shutdown().await;
    server.shutdown().await;
}

fn config(folder: &Path, peer: Option<PeerAddress>) -> Config {
    let mut config = Config::default();
    config.node.data_dir = folder.to_owned();
    config.rpc.listen.set_port(0);
    config.metrics.listen.set_port(0);
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.network.peers = peer.iter().map(ToString::to_string).collect();
    config
}

async fn address(node: &Node, folder: &Path) -> PeerAddress {
    let peer = Identity::read(&folder.join(NETWORK_KEY)).unwrap().peer_id();
    let mut peers = node.peers.clone();
    let view = peers.wait_for(|view| !view.listening.is_empty()).await.unwrap();
    PeerAddress { peer, address: view.listening[0].clone() }
}
