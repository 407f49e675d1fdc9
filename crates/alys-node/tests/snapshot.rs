//! Snapshots: made, checked, restored, fetched from peers of whom some lie.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alloy_primitives::Address as EvmAddress;
use alys_crypto::SecretKey;
use alys_evm::{Executor, ExecutorConfig, NoTransactions, TransactionSource};
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::execution::Evm;
use alys_node::snapshot::{
    Created, Folder, FolderError, RestoreError, Sources, create, is_empty, join, restore, settle,
};
use alys_node::{Node, NodeBuilder};
use alys_p2p::{Identity, PeerAddress, Refusal, Request, Response, SnapshotOffers};
use alys_primitives::{Address, Height, Members, Root, VariableList};
use alys_store::{Database, StoreConfig};
use common::nodes::{address, config};
use common::payments::Payments;
use common::peer::{network, peer};
use common::wallet::Wallet;
use common::{PATIENCE, alys_node, past};
use std::path::Path;
use std::time::Duration;

/// Blocks of the chain that snapshots are made of; a bundle every ten.
const BLOCKS: u64 = 48;

fn payments() -> Box<dyn TransactionSource> {
    let mut wallet = Wallet::dev(0);
    let raw = (0..BLOCKS).map(|number| {
        let to = EvmAddress::left_padding_from(&(number + 0x1234).to_be_bytes());
        wallet.transfer(to, 1_000_000_007).0
    });
    Box::new(Payments::new(raw))
}

/// A chain of the past in a folder of its own.
struct Past {
    files: ChainFiles,
    folder: tempfile::TempDir,
}

impl Past {
    async fn make() -> Self {
        let key = SecretKey::generate(&[7; 32]).unwrap();
        let members = Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap();
        let files = ChainFiles::dev(members, wall_now().0 / 1000 - BLOCKS - 60, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        past::make(&files, &key, folder.path(), BLOCKS, payments()).await;
        Self { files, folder }
    }

    fn snapshot(&self) -> Created {
        let path = self.folder.path();
        let genesis_root = self.files.spec.genesis_root();
        let database = Database::open(&path.join("chain"), genesis_root, &StoreConfig::default()).unwrap();
        let none = Box::new(NoTransactions);
        let executor =
            Executor::open(&path.join("evm"), self.files.genesis.clone(), ExecutorConfig::default(), none).unwrap();
        let sources = Sources { genesis_root, store: database.reader(), evm: executor.reader() };
        let created = create(&sources, &path.join("snapshots"), |_| {}).unwrap();
        let again = create(&sources, &path.join("snapshots"), |_| {}).unwrap();
        assert_eq!(again.folder.id(), created.folder.id(), "the same block gives the same snapshot");
        created
    }

    fn restore(&self, snapshot: &Folder, trusted: Root, data: &Path) -> Result<Height, RestoreError> {
        restore(snapshot, &self.files, trusted, data, &mut |_, _, _| true).map(|restored| restored.height)
    }

    async fn serve(&self) -> (Node, PeerAddress) {
        let node = NodeBuilder::new(config(self.folder.path(), &[]), self.files.clone()).start().await.unwrap();
        let way = address(&node, self.folder.path()).await;
        (node, way)
    }
}

/// The node in `data` has everything that the node in `past` has, state included.
async fn check_joined(past: &Past, data: &Path, way: PeerAddress, server: &Node) {
    let node = NodeBuilder::new(config(data, &[way]), past.files.clone()).start().await.unwrap();
    let mut view = node.view.clone();
    let head = server.view.borrow().head;
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= head.height)).await.unwrap().unwrap();
    assert_eq!(node.view.borrow().state_root, server.view.borrow().state_root);
    let account = |node: &Node| {
        let to = EvmAddress::left_padding_from(&0x1234_u64.to_be_bytes());
        let Evm::Embedded { reader, .. } = &node.evm else { panic!("the embedded EVM") };
        let block = reader.heads().latest.hash;
        reader.account(block.into(), to).unwrap().map(|account| account.balance)
    };
    assert_eq!(account(&node), account(server));
    assert!(account(&node).is_some_and(|balance| !balance.is_zero()));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_from_a_restored_snapshot_and_wrong_ones_are_refused() {
    let past = Past::make().await;
    let Created { folder, anchor } = past.snapshot();
    let height = folder.manifest().height();
    assert!(height > Height(10) && height < Height(BLOCKS), "{height}");
    let target = tempfile::tempdir().unwrap();
    let data = target.path();

    let other = Root::repeat_byte(3);
    assert!(
        matches!(past.restore(&folder, other, data), Err(RestoreError::Untrusted { expected, .. }) if expected == other)
    );
    assert!(is_empty(data), "nothing counts");

    // A flipped byte in the last part: the state.
    let last = folder.manifest().parts.len();
    let path = folder.path().join(format!("{last:06}.part"));
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let damaged = past.restore(&folder, anchor, data);
    assert!(matches!(damaged, Err(RestoreError::Folder(FolderError::Part { .. }))), "{damaged:?}");

    // The same with a manifest that goes with it: the state root tells.
    let forged = forge(&folder, &flipped, &target.path().join("forged"));
    let refused = past.restore(&forged, anchor, data);
    assert!(matches!(refused, Err(RestoreError::State(_) | RestoreError::Format { .. })), "{refused:?}");
    assert!(is_empty(data));
    std::fs::write(&path, &whole).unwrap();

    assert_eq!(past.restore(&folder, anchor, data).unwrap(), height);
    assert!(matches!(past.restore(&folder, anchor, data), Err(RestoreError::NotEmpty)));
    let (server, way) = past.serve().await;
    check_joined(&past, data, way, &server).await;
    server.shutdown().await;
}

/// A snapshot with another last part, and a manifest that names it.
fn forge(snapshot: &Folder, part: &[u8], path: &Path) -> Folder {
    std::fs::create_dir_all(path).unwrap();
    for entry in std::fs::read_dir(snapshot.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    let count = snapshot.manifest().parts.len();
    std::fs::write(path.join(format!("{count:06}.part")), part).unwrap();
    let mut manifest = snapshot.manifest_bytes();
    let at = manifest.len() - 36;
    manifest[at..at + 4].copy_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
    manifest[at + 4..].copy_from_slice(alloy_primitives::keccak256(part).as_slice());
    std::fs::write(path.join("manifest"), manifest).unwrap();
    Folder::open(path).unwrap()
}

/// How a peer that offers a snapshot lets it down.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Other bytes.
    Wrong,
    /// The right ones, cut.
    Truncated,
    /// It has nothing after all.
    Missing,
    /// No answer.
    Silent,
    /// As many bytes as a part can have.
    Endless,
}

/// A peer that offers `snapshot` and serves it as `lie` says; without a lie it serves what is in the folder.
fn giver(
    genesis_root: Root,
    seed: u8,
    snapshot: Folder,
    lie: Option<Lie>,
) -> (PeerAddress, tokio::task::JoinHandle<()>) {
    peer(genesis_root, seed, move |request| match request {
        Request::Snapshots => Some(Response::Snapshots(offers(&snapshot))),
        Request::SnapshotPart(part) => {
            let right = match part.index.checked_sub(1) {
                None => snapshot.manifest_bytes(),
                Some(index) => snapshot.part(usize::try_from(index).unwrap()).unwrap(),
            };
            match lie.filter(|_| part.index > 0) {
                None => Some(Response::SnapshotPart(right)),
                Some(Lie::Wrong) => Some(Response::SnapshotPart(vec![7; right.len()])),
                Some(Lie::Truncated) => Some(Response::SnapshotPart(right[..right.len() / 2].to_vec())),
                Some(Lie::Missing) => Some(Response::Refused(Refusal::NotHere)),
                Some(Lie::Silent) => None,
                Some(Lie::Endless) => Some(Response::SnapshotPart(vec![7; alys_p2p::MAX_PART_BYTES])),
            }
        }
        Request::Status(_)
        | Request::BlocksByRange(_)
        | Request::BlocksByRoot(_)
        | Request::CertificatesByRoot(_)
        | Request::LightRecords(_)
        | Request::BundleProof(_)
        | Request::OlderBlocks(_) => None,
    })
}

fn offers(snapshot: &Folder) -> SnapshotOffers {
    SnapshotOffers { offers: VariableList::new(vec![snapshot.offer()]).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_and_silent_peers_cost_time_and_never_correctness() {
    let past = Past::make().await;
    let genesis_root = past.files.spec.genesis_root();
    let Created { folder, anchor } = past.snapshot();
    let target = tempfile::tempdir().unwrap();
    // Two peers agree on a forged state: their snapshot is tried first, and refused at its root.
    let mut part = folder.part(folder.manifest().parts.len() - 1).unwrap();
    let last = part.len() - 1;
    part[last] ^= 1;
    let forged = forge(&folder, &part, &target.path().join("forged"));
    assert_ne!(forged.id(), folder.id());
    let lies = [Lie::Wrong, Lie::Truncated, Lie::Missing, Lie::Silent, Lie::Endless];
    let forgers = (0..7).map(|seed| giver(genesis_root, 100 + seed, forged.clone(), None));
    let liars = (0..).zip(lies).map(|(seed, lie)| giver(genesis_root, 50 + seed, folder.clone(), Some(lie)));
    let (addresses, tasks): (Vec<_>, Vec<_>) =
        forgers.chain(liars).chain([giver(genesis_root, 40, folder.clone(), None)]).unzip();
    let data = target.path().join("data");
    let config = network(Identity::from_secret(&[9; 32]).unwrap(), Vec::new(), addresses, genesis_root);
    let joined = tokio::time::timeout(PATIENCE, join(config, &past.files, anchor, &data)).await.unwrap().unwrap();
    assert_eq!(joined.height, folder.manifest().height());
    tasks.iter().for_each(|task| task.abort());
    assert!(!data.join("snapshot.part").exists());
    let (server, way) = past.serve().await;
    check_joined(&past, &data, way, &server).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_with_a_checkpoint_begins_from_its_peers_snapshot() {
    let past = Past::make().await;
    let Created { folder, anchor } = past.snapshot();
    let (server, way) = past.serve().await;
    let target = tempfile::tempdir().unwrap();
    let mut config = config(target.path(), &[way]);
    config.sync.checkpoint = Some(anchor);
    let node = NodeBuilder::new(config, past.files.clone()).start().await.unwrap();
    let mut view = node.view.clone();
    let synced = view.wait_for(|view| view.head.height >= Height(BLOCKS));
    tokio::time::timeout(PATIENCE, synced).await.unwrap().unwrap();
    let oldest = node.store.canonical_roots(Height(0), 1).unwrap()[0].0;
    assert!(oldest >= Height(1) && oldest <= folder.manifest().height());
    let block = node.store.canonical_root(folder.manifest().anchor.height).unwrap();
    assert_eq!(block, Some(anchor), "the trusted block is on the chain");
    node.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_leaves_an_empty_folder_or_a_complete_one() {
    let past = Past::make().await;
    let Created { folder, anchor } = past.snapshot();
    let target = tempfile::tempdir().unwrap();
    let (spec, genesis) = (target.path().join("chain.json"), target.path().join("genesis.json"));
    std::fs::write(&spec, past.files.spec_json().unwrap()).unwrap();
    std::fs::write(&genesis, past.files.genesis_json().unwrap()).unwrap();
    let data = target.path().join("data");
    let command = |what: &str| {
        let mut command = alys_node();
        command
            .args(["snapshot", what])
            .arg(folder.path())
            .arg(format!("--checkpoint={anchor}"))
            .arg(format!("--node-chain-spec={}", spec.display()))
            .arg(format!("--node-genesis={}", genesis.display()))
            .arg(format!("--node-data-dir={}", data.display()));
        command
    };
    let mut delay = Duration::from_millis(20);
    loop {
        let mut process = command("restore").stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::park_timeout(delay);
        let _ = process.kill();
        let _ = process.wait();
        settle(&data).unwrap();
        if !is_empty(&data) {
            break;
        }
        delay = delay * 3 / 2;
    }
    let output = command("restore").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("holds a chain already"), "{error}");
    let output = command("verify").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("valid: block "), "{text}");
    // What the killed one left is a whole chain.
    let (server, way) = past.serve().await;
    check_joined(&past, &data, way, &server).await;
    server.shutdown().await;
}

#[test]
fn the_id_of_a_snapshot_is_the_hash_of_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Folder::open(folder.path()).is_err(), "there is no manifest");
    std::fs::write(folder.path().join("manifest"), b"ALYSSNAP").unwrap();
    assert!(matches!(Folder::open(folder.path()), Err(FolderError::Format { .. })));
}
