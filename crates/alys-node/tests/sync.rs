//! A node that is behind, with an honest peer and one that lies.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

use alys_crypto::SecretKey;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::sync::SyncState;
use alys_node::{Node, NodeBuilder, Validator};
use alys_p2p::{Blocks, Event, Identity, NetworkConfig, NetworkLimits, NetworkTask, PeerAddress, Response, Status};
use alys_primitives::{
    Address, BlockBody, BlockHeader, ExecutionPayload, Height, Members, Root, SignatureBytes, SignedBlock, Slot,
    VariableList,
};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn chain(key: &SecretKey) -> ChainFiles {
    let members = Members::new(vec![member(key, Address::repeat_byte(1))]).unwrap();
    ChainFiles::dev(members, wall_now().0 / 1000, 1).unwrap()
}

fn config(folder: &Path, peers: &[PeerAddress]) -> Config {
    let mut config = Config::default();
    config.node.data_dir = folder.to_owned();
    config.rpc.listen.set_port(0);
    config.metrics.listen.set_port(0);
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.network.peers = peers.iter().map(ToString::to_string).collect();
    config
}

async fn address(node: &Node, folder: &Path) -> PeerAddress {
    let peer = Identity::read(&folder.join(alys_node::network::NETWORK_KEY)).unwrap().peer_id();
    let mut peers = node.peers.clone();
    let view = tokio::time::timeout(PATIENCE, peers.wait_for(|view| !view.listening.is_empty())).await;
    PeerAddress { peer, address: view.unwrap().unwrap().listening[0].clone() }
}

/// Claims a long chain and answers every question for blocks with a run that links but is signed by nobody.
fn liar(genesis_root: Root) -> (PeerAddress, tokio::task::JoinHandle<()>) {
    let identity = Identity::from_secret(&[66; 32]).unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let listen: alys_p2p::Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let address = PeerAddress { peer: identity.peer_id(), address: listen.clone() };
    let config = NetworkConfig {
        identity,
        listen: vec![listen],
        peers: Vec::new(),
        genesis_root,
        agent: "liar".to_owned(),
        limits: NetworkLimits::default(),
    };
    let claimed = Height(1_000_000);
    let status = Status {
        genesis_root,
        fork_version: Default::default(),
        epoch: alys_primitives::Epoch(0),
        head_root: Root::repeat_byte(6),
        head_height: claimed,
        head_slot: Slot(1_000_000),
        safe_height: claimed,
        finalized_root: Root::ZERO,
        finalized_height: Height(0),
        time: wall_now(),
    };
    let (handle, mut events, task) = NetworkTask::open(config, status).unwrap();
    let running = tokio::spawn(async move {
        let answering = async {
            while let Some(event) = events.next().await {
                if let Event::Request { id, request, .. } = event {
                    let alys_p2p::Request::BlocksByRange(range) = request else { continue };
                    let blocks = Blocks { blocks: invented(range.start, range.count), ..Blocks::default() };
                    let _ = handle.answer(id, Response::Blocks(Box::new(blocks)));
                }
            }
        };
        tokio::join!(task.run(std::future::pending()), answering);
    });
    (address, running)
}

fn invented(start: Height, count: u64) -> VariableList<SignedBlock, alys_primitives::typenum::U128> {
    let mut parent = Root::repeat_byte(9);
    let blocks = (0..count).map(|offset| {
        let height = start.saturating_add(offset);
        let header = BlockHeader { height, slot: Slot(height.0), parent_root: parent, ..BlockHeader::default() };
        parent = header.root();
        SignedBlock {
            header,
            body: BlockBody::default(),
            payload: ExecutionPayload::default(),
            author_signature: SignatureBytes::ZERO,
            parent_notarization: VariableList::empty(),
        }
    });
    VariableList::new(blocks.collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_catches_up_beside_a_liar() {
    let key = SecretKey::generate(&[7; 32]).unwrap();
    let files = chain(&key);
    let genesis_root = files.spec.genesis_root();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let identity = RecordIdentity { genesis_root, public_key: key.public_key().to_bytes().into() };
    let record = folders[0].path().join("signing-record");
    drop(SigningRecord::create(&record, &identity, &Watermarks::default()).unwrap());

    let author = NodeBuilder::new(config(folders[0].path(), &[]), files.clone())
        .validator(Validator { key, record })
        .start()
        .await
        .unwrap();
    let mut view = author.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= Height(3))).await.unwrap().unwrap();

    let (lying, task) = liar(genesis_root);
    let peers = [lying, address(&author, folders[0].path()).await];
    let late = NodeBuilder::new(config(folders[1].path(), &peers), files).start().await.unwrap();
    let head = author.view.borrow().head.height;
    let mut view = late.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= head)).await.unwrap().unwrap();
    // The liar's claim is not believed any more, and nothing of its invention was kept.
    let mut sync = late.sync.clone();
    let synced = sync.wait_for(|sync| sync.state == SyncState::Synced && sync.target < Height(1_000_000));
    tokio::time::timeout(PATIENCE, synced).await.unwrap().unwrap();
    let both = late.view.borrow().safe.height.min(author.view.borrow().safe.height);
    let root = |node: &Node| node.store.canonical_root(both).unwrap();
    assert_eq!(root(&late), root(&author));

    task.abort();
    late.shutdown().await;
    author.shutdown().await;
}
