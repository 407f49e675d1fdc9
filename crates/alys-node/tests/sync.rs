//! A node that is behind, with an honest peer and one that lies.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_crypto::SecretKey;
use alys_evm::NoTransactions;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::sync::SyncState;
use alys_node::{Node, NodeBuilder};
use alys_p2p::{
    Blocks, Discovery, Event, Identity, NetworkConfig, NetworkLimits, NetworkTask, PeerAddress, Response, Status,
};
use alys_primitives::{
    Address, BlockBody, BlockHeader, Epoch, ExecutionPayload, Height, Members, Root, SignatureBytes, SignedBlock, Slot,
    VariableList,
};
use common::nodes::{address, chain, config, validator};
use common::{PATIENCE, past};

/// Claims a long chain and answers every question for blocks with a run that links but is signed by nobody, or not at all.
fn liar(genesis_root: Root, seed: u8, silent: bool) -> (PeerAddress, tokio::task::JoinHandle<()>) {
    let identity = Identity::from_secret(&[seed; 32]).unwrap();
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
        discovery: Discovery::default(),
    };
    let claimed = Height(1_000_000);
    let status = Status {
        head_height: claimed,
        head_slot: Slot(1_000_000),
        safe_height: claimed,
        ..Status::at_genesis(genesis_root, Default::default(), Root::repeat_byte(6), wall_now())
    };
    let (handle, mut events, task) = NetworkTask::open(config, status).unwrap();
    let running = tokio::spawn(async move {
        let answering = async {
            while let Some(event) = events.next().await {
                if let Event::Request { id, request, .. } = event {
                    let alys_p2p::Request::BlocksByRange(range) = request else { continue };
                    if silent {
                        continue;
                    }
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
async fn a_node_that_is_behind_catches_up_beside_a_liar_and_a_silent_peer() {
    let key = SecretKey::generate(&[7; 32]).unwrap();
    let files = chain(&key);
    let genesis_root = files.spec.genesis_root();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let author_key = validator(&key, &files, folders[0].path());

    let author =
        NodeBuilder::new(config(folders[0].path(), &[]), files.clone()).validator(author_key).start().await.unwrap();
    let mut view = author.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= Height(3))).await.unwrap().unwrap();

    let (lying, lie) = liar(genesis_root, 66, false);
    let (stalling, silence) = liar(genesis_root, 67, true);
    let peers = [lying, stalling, address(&author, folders[0].path()).await];
    let late = NodeBuilder::new(config(folders[1].path(), &peers), files).start().await.unwrap();
    let head = author.view.borrow().head.height;
    let mut view = late.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= head)).await.unwrap().unwrap();
    // Their claims are not believed any more, and nothing invented was kept.
    let mut sync = late.sync.clone();
    let synced = sync.wait_for(|sync| sync.state == SyncState::Synced && sync.target < Height(1_000_000));
    tokio::time::timeout(PATIENCE, synced).await.unwrap().unwrap();
    let both = late.view.borrow().safe.height.min(author.view.borrow().safe.height);
    let root = |node: &Node| node.store.canonical_root(both).unwrap();
    assert_eq!(root(&late), root(&author));

    lie.abort();
    silence.abort();
    late.shutdown().await;
    author.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_syncs_across_a_change_of_the_federation() {
    const BLOCKS: u64 = 110;
    let key = SecretKey::generate(&[7; 32]).unwrap();
    let members = |payout| Members::new(vec![member(&key, Address::repeat_byte(payout))]).unwrap();
    let files = ChainFiles::dev(members(1), wall_now().0 / 1000 - BLOCKS - 60, 1).unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Record and effect lie in one run of blocks.
    let none = Box::new(NoTransactions);
    let plan = past::Plan { change: Some((20, members(3))), ..past::Plan::default() };
    past::make_with(&files, &key, folders[0].path(), BLOCKS, none, plan).await;
    let server = NodeBuilder::new(config(folders[0].path(), &[]), files.clone()).start().await.unwrap();
    let way = address(&server, folders[0].path()).await;
    assert_eq!(server.view.borrow().epoch, Epoch(1), "the change took effect");
    let late = NodeBuilder::new(config(folders[1].path(), &[way]), files).start().await.unwrap();
    let mut view = late.view.clone();
    let synced = view.wait_for(|view| view.head.height == Height(BLOCKS));
    tokio::time::timeout(PATIENCE, synced).await.unwrap().unwrap();
    assert_eq!(late.view.borrow().epoch, Epoch(1));
    late.shutdown().await;
    server.shutdown().await;
}
