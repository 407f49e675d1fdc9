//! Starting without trusting a block: the most work shows which chain it is, a snapshot brings its state, and the blocks
//! before it follow.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it can't go on")]

mod common;

use alloy_primitives::Address as EvmAddress;
use alys_crypto::SecretKey;
use alys_evm::{Executor, ExecutorConfig, NoTransactions, TransactionSource};
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::execution::Evm;
use alys_node::light::Spool;
use alys_node::snapshot::{Folder, SNAPSHOTS};
use alys_node::{Node, NodeBuilder};
use alys_p2p::{
    BlockRange, BundleProof, LightRecords, OlderBlock, OlderBlocks, PeerAddress, Refusal, Request, Response,
    SnapshotOffer, SnapshotOffers,
};
use alys_primitives::ssz::Encode as _;
use alys_primitives::{
    Address, AuxPowRecord, BlockHeader, Height, LightRecord, Members, Root, SignatureBytes, SignedBlock, Slot,
    TreeHash as _, VariableList, Wei,
};
use alys_store::{Database, Reader, StoreConfig};
use common::nodes::{address, config};
use common::payments::Payments;
use common::peer::peer;
use common::wallet::Wallet;
use common::{PATIENCE, copy_folder, past};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Blocks of the chain: more than a snapshot brings along.
const BLOCKS: u64 = 340;

/// Blocks of the other chain that the same federation signed.
const FEWER: u64 = 300;

fn payments(amount: u64) -> Box<dyn TransactionSource> {
    let mut wallet = Wallet::dev(0);
    let raw = (0..BLOCKS).map(|number| {
        let to = EvmAddress::left_padding_from(&(number + 0x1234).to_be_bytes());
        wallet.transfer(to, amount).0
    });
    Box::new(Payments::new(raw))
}

/// A chain of the past in a folder of its own, whose federation changed once.
struct Past {
    files: ChainFiles,
    folder: tempfile::TempDir,
}

impl Past {
    fn files() -> (SecretKey, ChainFiles) {
        let key = SecretKey::generate(&[7; 32]).unwrap();
        let members = Members::new(vec![member(&key, Address::repeat_byte(1))]).unwrap();
        let files = ChainFiles::dev(members, wall_now().0 / 1000 - BLOCKS - 60, 1).unwrap();
        (key, files)
    }

    async fn make(files: &ChainFiles, key: &SecretKey, blocks: u64, amount: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let next = Members::new(vec![member(key, Address::repeat_byte(9))]).unwrap();
        let plan = past::Plan { change: Some((20, next)), snapshot_at: blocks.checked_sub(40).filter(|at| *at > 100) };
        past::make_with(files, key, folder.path(), blocks, payments(amount), plan).await;
        Self { files: files.clone(), folder }
    }

    /// The snapshot that was made on the way.
    fn snapshot(&self) -> Folder {
        let folders = std::fs::read_dir(self.folder.path().join(SNAPSHOTS)).unwrap();
        Folder::open(&folders.last().unwrap().unwrap().path()).unwrap()
    }

    /// A node that has the chain, and stays connected with `peers`.
    async fn serve(&self, peers: &[PeerAddress]) -> (Node, PeerAddress) {
        let node = NodeBuilder::new(config(self.folder.path(), peers), self.files.clone()).start().await.unwrap();
        let way = address(&node, self.folder.path()).await;
        (node, way)
    }
}

async fn reach(node: &Node, height: Height) {
    let mut view = node.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= height)).await.unwrap().unwrap();
}

async fn have_all(node: &Node) {
    let mut oldest = node.oldest.clone();
    tokio::time::timeout(PATIENCE, oldest.wait_for(|oldest| *oldest == Some(Height(1)))).await.unwrap().unwrap();
}

fn receipts(node: &Node, block: &SignedBlock) -> Option<Vec<u8>> {
    let Evm::Embedded { reader, .. } = &node.evm else { panic!("the embedded EVM") };
    reader.receipts_rlp(block.payload.block_hash).unwrap()
}

/// Both nodes have the same blocks, with everything that belongs to them.
fn assert_same_blocks(node: &Node, server: &Node) {
    for height in (1..=BLOCKS).map(Height) {
        let (here, there) = (node.store.block_at(height).unwrap().unwrap(), server.store.block_at(height).unwrap());
        assert_eq!(Some(&here), there.as_ref(), "block {height}");
        assert_eq!(receipts(node, &here.block), receipts(server, &here.block), "receipts of {height}");
        let root = here.block.root();
        assert!(node.store.certificate(root).unwrap().is_some(), "certificate of {height}");
        let finalized = server.view.borrow().finalized.height;
        if height <= finalized {
            assert_eq!(
                node.store.bundle_at(height).unwrap(),
                server.store.bundle_at(height).unwrap(),
                "bundle {height}"
            );
        }
    }
    node.store.verify().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_follows_the_work_to_a_snapshot_then_fetches_what_came_before_and_gives_it_on() {
    let (key, files) = Past::files();
    let past = Past::make(&files, &key, BLOCKS, 1_000_000_007).await;
    let snapshot = past.snapshot();
    let anchor = snapshot.manifest().anchor.root();
    let (server, way) = past.serve(&[]).await;
    assert_eq!(server.store.block_at(Height(BLOCKS)).unwrap().unwrap().block.header.epoch.0, 1);

    let target = tempfile::tempdir().unwrap();
    let mut settings = config(target.path(), &[way]);
    settings.sync.by_work = true;
    let node = NodeBuilder::new(settings, files.clone()).start().await.unwrap();
    reach(&node, Height(BLOCKS)).await;
    assert_eq!(node.view.borrow().state_root, server.view.borrow().state_root);
    assert_eq!(node.store.canonical_root(snapshot.manifest().anchor.height).unwrap(), Some(anchor));
    have_all(&node).await;
    assert_same_blocks(&node, &server);
    assert!(!target.path().join("light.part").exists() && !target.path().join("snapshot.part").exists());
    server.shutdown().await;

    // Who began this way can be begun from, by its own snapshot and the older blocks that it fetched.
    let snapshots = target.path().join("snapshots").join(snapshot.path().file_name().unwrap());
    std::fs::create_dir_all(&snapshots).unwrap();
    for entry in std::fs::read_dir(snapshot.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), snapshots.join(entry.file_name())).unwrap();
    }
    let third = tempfile::tempdir().unwrap();
    let mut settings = config(third.path(), &[address(&node, target.path()).await]);
    settings.sync.by_work = true;
    let second = NodeBuilder::new(settings, files).start().await.unwrap();
    reach(&second, Height(BLOCKS)).await;
    have_all(&second).await;
    assert_same_blocks(&second, &node);
    second.shutdown().await;
    node.shutdown().await;
}

/// Everything that a chain of the past would give, as a stranger with its database gives it.
struct Giver {
    _folder: tempfile::TempDir,
    store: Reader,
    records: Vec<LightRecord>,
    offer: SnapshotOffer,
    parts: Vec<Vec<u8>>,
    receipts: Vec<Vec<u8>>,
}

impl Giver {
    fn of(past: &Past) -> Arc<Self> {
        let snapshot = past.snapshot();
        let (manifest, offer) = (snapshot.manifest(), snapshot.offer());
        let parts = (0..manifest.parts.len()).map(|index| snapshot.part(index).unwrap());
        let parts = std::iter::once(snapshot.manifest_bytes()).chain(parts).collect();
        // The chain's own folder stays free for a node.
        let folder = tempfile::tempdir().unwrap();
        copy_folder(past.folder.path(), folder.path());
        let genesis_root = past.files.spec.genesis_root();
        let database = Database::open(&folder.path().join("chain"), genesis_root, &StoreConfig::default()).unwrap();
        let store = database.reader();
        let (genesis, none) = (past.files.genesis.clone(), Box::new(NoTransactions));
        let executor = Executor::open(&folder.path().join("evm"), genesis, ExecutorConfig::default(), none).unwrap();
        let height = store.canonical_roots(Height(1), usize::MAX).unwrap().len();
        let block = |height| store.block_at(Height(height)).unwrap().unwrap().block;
        let receipts = (1..=u64::try_from(height).unwrap())
            .map(|height| executor.reader().receipts_rlp(block(height).payload.block_hash).unwrap().unwrap())
            .collect();
        let (mut records, mut from) = (Vec::new(), Height(1));
        while let Some(bundle) = store.bundle_at(from).unwrap() {
            let header = |height: Height| -> BlockHeader { block(height.0).header };
            let record: AuxPowRecord =
                store.block(bundle.carrier).unwrap().unwrap().block.body.auxpow.first().unwrap().clone();
            let (start, end) = (header(from), header(bundle.to));
            let began = records.last().map_or(0, |last: &LightRecord| last.end.epoch.0);
            let change = (1..=end.height.0).find_map(|height| block(height).body.federation_change.first().cloned());
            let changes = change.into_iter().filter(|_| end.epoch.0 > began).collect();
            records.push(LightRecord { record, start, end, changes: VariableList::new(changes).unwrap() });
            from = bundle.to.next();
        }
        Arc::new(Self { _folder: folder, store, records, offer, parts, receipts })
    }

    fn answer(&self, request: &Request) -> Option<Response> {
        match request {
            Request::Snapshots => {
                Some(Response::Snapshots(SnapshotOffers { offers: VariableList::new(vec![self.offer]).unwrap() }))
            }
            Request::SnapshotPart(part) => {
                Some(Response::SnapshotPart(self.parts.get(usize::try_from(part.index).unwrap())?.clone()))
            }
            Request::LightRecords(BlockRange { start, count }) => {
                let count = usize::try_from(*count).unwrap();
                let records =
                    self.records.iter().skip_while(|record| record.start.height != *start).take(count).cloned();
                let work = self.store.checkpoint().unwrap().unwrap().state.committed.work;
                let records = VariableList::new(records.collect()).unwrap();
                Some(Response::LightRecords(Box::new(LightRecords { work, records })))
            }
            Request::BundleProof(height) => {
                let bundle = self.store.bundle_at(*height).unwrap()?;
                let roots: Vec<Root> = (bundle.from.0..=bundle.to.0)
                    .map(|height| self.store.canonical_root(Height(height)).unwrap().unwrap())
                    .collect();
                let at = usize::try_from(height.since(bundle.from)).unwrap();
                let branch = alys_chain::proof::bundle_branch(&roots, at).unwrap();
                Some(Response::BundleProof(BundleProof { root: roots[at], branch }))
            }
            Request::OlderBlocks(range) => Some(self.older(range, |_| {})),
            Request::Status(_)
            | Request::BlocksByRange(_)
            | Request::BlocksByRoot(_)
            | Request::CertificatesByRoot(_) => None,
        }
    }

    fn older(&self, range: &BlockRange, change: impl Fn(&mut OlderBlock)) -> Response {
        let mut blocks = Vec::new();
        for height in range.start.0..range.start.0 + range.count {
            let Some(found) = self.store.block_at(Height(height)).unwrap() else { break };
            let receipts = self.receipts[usize::try_from(height - 1).unwrap()].clone();
            let mut older = OlderBlock { block: found.block, receipts: VariableList::new(receipts).unwrap() };
            change(&mut older);
            blocks.push(older);
        }
        Response::OlderBlocks(Box::new(OlderBlocks { blocks: VariableList::new(blocks).unwrap() }))
    }
}

type Answer = Box<dyn FnMut(Request) -> Option<Response> + Send>;

/// Starts peers that answer so.
fn peers(genesis_root: Root, answers: Vec<Answer>) -> (Vec<PeerAddress>, Vec<tokio::task::JoinHandle<()>>) {
    (0..).zip(answers).map(|(seed, answer)| peer(genesis_root, 100 + seed, answer)).unzip()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_with_the_most_work_wins_against_the_many_and_against_liars() {
    let (key, files) = Past::files();
    let genesis_root = files.spec.genesis_root();
    let (most, less) =
        (Past::make(&files, &key, BLOCKS, 1_000_000_007).await, Past::make(&files, &key, FEWER, 5_000_000_000).await);
    let (right, wrong) = (Giver::of(&most), Giver::of(&less));
    assert!(right.records.len() > wrong.records.len());
    assert_ne!(right.records[0], wrong.records[0]);

    let honest = |giver: &Arc<Giver>| -> Answer {
        let giver = giver.clone();
        Box::new(move |request| giver.answer(&request))
    };
    // Answers as the right one, but for one kind of question.
    let but = |change: fn(&Giver, &Request) -> Option<Option<Response>>| -> Answer {
        let giver = right.clone();
        Box::new(move |request| change(&giver, &request).unwrap_or_else(|| giver.answer(&request)))
    };
    let claims_more = but(|giver, request| match (request, giver.answer(request)) {
        (Request::LightRecords(_), Some(Response::LightRecords(mut records))) => {
            records.work = Wei::MAX;
            Some(Some(Response::LightRecords(records)))
        }
        _ => None,
    });
    let forges_work = but(|giver, request| match (request, giver.answer(request)) {
        (Request::LightRecords(_), Some(Response::LightRecords(mut records))) => {
            records.work = Wei::MAX;
            records.records.iter_mut().for_each(|record| record.record.bundle.miner_address = Address::ZERO);
            Some(Some(Response::LightRecords(records)))
        }
        _ => None,
    });
    let proves_nothing = but(|giver, request| match (request, giver.answer(request)) {
        (Request::BundleProof(_), Some(Response::BundleProof(mut proof))) => {
            proof.branch[0] = Root::repeat_byte(1);
            Some(Some(Response::BundleProof(proof)))
        }
        _ => None,
    });
    let silent = but(|_, request| matches!(request, Request::LightRecords(_)).then_some(None));
    let refusing = but(|_, _| Some(Some(Response::Refused(Refusal::NotHere))));
    let (addresses, tasks) = peers(
        genesis_root,
        vec![
            honest(&wrong),
            honest(&wrong),
            honest(&wrong),
            claims_more,
            forges_work,
            proves_nothing,
            silent,
            refusing,
            honest(&right),
        ],
    );
    let target = tempfile::tempdir().unwrap();
    let settings =
        common::peer::network(alys_p2p::Identity::from_secret(&[9; 32]).unwrap(), Vec::new(), addresses, genesis_root);
    let joining = alys_node::snapshot::join_by_work(settings, &files, target.path(), u64::MAX);
    let joined = tokio::time::timeout(PATIENCE, joining).await.unwrap().unwrap().unwrap();
    tasks.iter().for_each(|task| task.abort());
    assert_eq!(
        (joined.height, joined.root),
        (right.offer.height, right.store.canonical_root(right.offer.height).unwrap().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_on_disk_have_a_bound_and_are_followed_on_when_it_is_raised() {
    let (key, files) = Past::files();
    let past = Past::make(&files, &key, BLOCKS, 1_000_000_007).await;
    let giver = Giver::of(&past);
    let sizes: Vec<usize> = giver.records.iter().map(|record| record.as_ssz_bytes().len() + 4).collect();
    assert!(sizes.len() > 8);
    let limit = u64::try_from(sizes[..5].iter().sum::<usize>()).unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    // Two records an answer.
    let sparing: Answer = Box::new({
        let (giver, looks) = (giver.clone(), looks.clone());
        move |request| {
            if matches!(request, Request::Snapshots) {
                looks.fetch_add(1, Ordering::Relaxed);
            }
            match giver.answer(&request) {
                Some(Response::LightRecords(mut records)) => {
                    records.records = VariableList::new(records.records.iter().take(2).cloned().collect()).unwrap();
                    Some(Response::LightRecords(records))
                }
                other => other,
            }
        }
    });
    let (addresses, tasks) = peers(files.spec.genesis_root(), vec![sparing]);
    let target = tempfile::tempdir().unwrap();
    let join = |max_records_bytes| {
        let identity = alys_p2p::Identity::from_secret(&[9; 32]).unwrap();
        let settings = common::peer::network(identity, Vec::new(), addresses.clone(), files.spec.genesis_root());
        alys_node::snapshot::join_by_work(settings, &files, target.path(), max_records_bytes)
    };
    let looked = async {
        while looks.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        joined = join(limit) => panic!("without the records that lead to the snapshot: {joined:?}"),
        looked = tokio::time::timeout(PATIENCE, looked) => looked.unwrap(),
    }
    let written = std::fs::metadata(target.path().join("light.part")).unwrap().len();
    assert_eq!(written, u64::try_from(sizes[..6].iter().sum::<usize>()).unwrap(), "one answer above {limit}");
    assert!(!target.path().join("light-other.part").exists());

    let joined = tokio::time::timeout(PATIENCE, join(u64::MAX)).await.unwrap().unwrap().unwrap();
    assert_eq!(joined.height, giver.offer.height);
    tasks.iter().for_each(|task| task.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_trusted_root_fetches_older_blocks_and_liars_cost_only_time() {
    let (key, files) = Past::files();
    let genesis_root = files.spec.genesis_root();
    let past = Past::make(&files, &key, BLOCKS, 1_000_000_007).await;
    let giver = Giver::of(&past);
    let asked: [Arc<AtomicUsize>; 4] = Default::default();
    let lies: [fn(&mut OlderBlock); 4] = [
        |older| older.block.author_signature = SignatureBytes::repeat_byte(1),
        |older| older.receipts = VariableList::new(vec![0xc0]).unwrap(),
        |older| older.block.payload.gas_used += 1,
        |older| older.block.header.slot = Slot(3),
    ];
    let answers = lies.into_iter().zip(asked.clone()).map(|(lie, asked)| -> Answer {
        let giver = giver.clone();
        Box::new(move |request| match &request {
            Request::OlderBlocks(range) => {
                asked.fetch_add(1, Ordering::Relaxed);
                Some(giver.older(range, lie))
            }
            _ => giver.answer(&request),
        })
    });
    let (server, way) = past.serve(&[]).await;
    let target = tempfile::tempdir().unwrap();
    let mut settings = config(target.path(), &[way]);
    settings.sync.checkpoint = Some(giver.offer.anchor);
    settings.sync.backfill = false;
    let node = NodeBuilder::new(settings, files.clone()).start().await.unwrap();
    reach(&node, Height(BLOCKS)).await;
    node.shutdown().await;
    server.shutdown().await;

    // It meets the liars alone, and takes nothing of any.
    let (liars, tasks) = peers(genesis_root, answers.collect());
    let node = NodeBuilder::new(config(target.path(), &liars), files).start().await.unwrap();
    let all_asked = async {
        while asked.iter().any(|asked| asked.load(Ordering::Relaxed) == 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_asked).await.unwrap();
    let oldest = node.store.canonical_roots(Height(1), 1).unwrap()[0].0;
    assert!(oldest > Height(1), "{oldest}");
    let (server, _) = past.serve(&[address(&node, target.path()).await]).await;
    have_all(&node).await;
    assert_same_blocks(&node, &server);
    tasks.iter().for_each(|task| task.abort());
    node.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_shut_down_leaves_its_folder_free_for_the_next() {
    let (key, files) = Past::files();
    let past = Past::make(&files, &key, 60, 1_000_000_007).await;
    for _ in 0..3 {
        let (node, _) = past.serve(&[]).await;
        // Answers to somebody who is gone are still read when the node ends.
        let (store, evm) = (node.store.clone(), node.evm.clone());
        let reading = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop((store, evm));
        });
        node.shutdown().await;
        let (chain, genesis_root) = (past.folder.path().join("chain"), files.spec.genesis_root());
        drop(Database::open(&chain, genesis_root, &StoreConfig::default()).unwrap());
        reading.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_chain_without_snapshots_is_followed_from_genesis() {
    let (key, files) = Past::files();
    let past = Past::make(&files, &key, 60, 1_000_000_007).await;
    let (server, way) = past.serve(&[]).await;
    // Somebody offers what no work commits to.
    let anchor = Root::repeat_byte(1);
    let offer = SnapshotOffer { anchor, height: Height(7), id: Root::repeat_byte(2), parts: 1, bytes: 1 };
    let liar: Answer = Box::new(move |request| match request {
        Request::Snapshots => {
            Some(Response::Snapshots(SnapshotOffers { offers: VariableList::new(vec![offer]).unwrap() }))
        }
        Request::BundleProof(_) => {
            Some(Response::BundleProof(BundleProof { root: anchor, branch: Default::default() }))
        }
        _ => None,
    });
    let (liars, tasks) = peers(files.spec.genesis_root(), vec![liar]);
    let target = tempfile::tempdir().unwrap();
    let mut settings = config(target.path(), &liars.into_iter().chain([way]).collect::<Vec<_>>());
    settings.sync.by_work = true;
    let node = NodeBuilder::new(settings, files).start().await.unwrap();
    tasks.iter().for_each(|task| task.abort());
    reach(&node, Height(60)).await;
    assert_eq!(node.store.canonical_roots(Height(1), 1).unwrap()[0].0, Height(1));
    node.shutdown().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_a_file_are_followed_again_and_a_damaged_end_is_cut_off() {
    let (key, files) = Past::files();
    let past = Past::make(&files, &key, 160, 1_000_000_007).await;
    let giver = Giver::of(&past);
    assert!(giver.records.len() > 4);
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("records");
    let now = Slot(u64::MAX);
    let open = |path: &Path| Spool::open(path, &files.spec, now, u64::MAX).unwrap();
    let mut spool = open(&path);
    let (first, rest) = giver.records.split_first().unwrap();
    assert!(spool.push(&rest[0], now).unwrap().is_err(), "not the first");
    spool.push(first, now).unwrap().unwrap();
    rest.iter().for_each(|record| spool.push(record, now).unwrap().unwrap());
    spool.flush().unwrap();
    let (work, next) = (spool.work(), spool.next());
    drop(spool);
    let again = open(&path);
    assert_eq!((again.work(), again.next()), (work, next));
    let committed = giver.records.last().unwrap().record.bundle.tree_hash_root();
    assert_eq!(again.chain().records(), u64::try_from(giver.records.len()).unwrap());
    assert_ne!(committed, Root::ZERO);
    drop(again);

    let whole = std::fs::read(&path).unwrap();
    for damage in [&whole[..whole.len() - 1], &[&whole[..], &[0xff; 9]].concat(), &[&whole[..], &whole[..]].concat()] {
        std::fs::write(&path, damage).unwrap();
        let cut = open(&path);
        assert!(cut.next() <= next && cut.chain().records() >= u64::try_from(rest.len()).unwrap());
        drop(cut);
        let cut = std::fs::read(&path).unwrap();
        assert!(whole.starts_with(&cut));
    }
    std::fs::write(&path, b"nothing like it").unwrap();
    assert_eq!(open(&path).next(), Height(1));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}
