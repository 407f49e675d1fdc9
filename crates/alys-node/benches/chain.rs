//! `cargo xtask bench chain`, the part that needs a disk: import of an empty block through the chain actor, beside the
//! floors that it can't go below. Real signatures, a real database, the real actors; an engine that answers at once, since
//! executing nothing has no floor.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may stop, and talks")]

use alys_actor::{Actor, Child, Context, RestartPolicy, Supervisor, System};
use alys_chain::testing::{Cluster, FakeExecutor, Fixture, SchemeKind};
use alys_chain::{ChainEvent, ChainView, ImportOutcome, Message as Gossip};
use alys_crypto::{Domain, DomainType, PublicKey, Signature, SignatureSet, verify_batch};
use alys_engine::EngineInfo;
use alys_node::NodeBitcoin;
use alys_node::actors::chain::{ChainActor, ChainActorConfig, ChainMessage, ChainPorts};
use alys_node::actors::execution::ExecutionMessage;
use alys_node::actors::storage::StorageActor;
use alys_node::actors::{Fatal, HandOver};
use alys_node::clock::WallClock;
use alys_primitives::{B256, ChainSpec, Height, SignedBlock, TreeHash as _};
use alys_store::{Database, StoreConfig};
use std::convert::Infallible;
use std::hint::black_box;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};

/// Blocks of the chain, of which the first ones warm up.
const BLOCKS: u64 = 220;
const WARM_UP: usize = 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if !words.is_empty() && !words.iter().any(|word| word == "actor") {
        return;
    }
    let scene = scene();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut imports, mut floors, reads) = runtime.block_on(run(&scene, folder.path()));
    imports.sort_unstable();
    floors.sort_unstable();
    let (import, floor) = (imports[imports.len() / 2], floors[floors.len() / 2]);
    let millis = |took: Duration| format!("{:.2} ms", took.as_secs_f64() * 1e3);
    let show = |name: &str, value: String, target: &str| println!("{name:<58} {value:>14}   {target}");
    show("two signatures as one batch and a synced write of 4 KiB", millis(floor), "(floor, median)");
    show("import of an empty block through the actor", millis(import), "(median)");
    show("  of the floor", format!("{:.2}", import.as_secs_f64() / floor.as_secs_f64()), "<= 1.5");
    let (import, floor) = (imports[imports.len() / 10], floors[floors.len() / 10]);
    let tenth = format!("{:.2}", import.as_secs_f64() / floor.as_secs_f64());
    show(&format!("  of the fastest tenths ({} of {})", millis(import), millis(floor)), tenth, "");
    show("status reads from the published view meanwhile, a second", format!("{reads:.0}"), ">= 5,000,000");
}

struct Scene {
    fixture: Fixture,
    /// Parsed once, as the node does.
    keys: Vec<PublicKey>,
    blocks: Vec<Arc<SignedBlock>>,
}

/// A chain of four members that was made in the past.
fn scene() -> Scene {
    let mut fixture = Fixture::with_scheme(4, SchemeKind::Bls);
    fixture.spec.genesis_time = 1_700_000_000;
    fixture.spec.max_blocks_without_pow = 1_000;
    fixture.spec.max_bundle_blocks = 1_000;
    let mut cluster = Cluster::new(fixture.clone());
    cluster.run_slots(BLOCKS);
    let store = &cluster.nodes[0].store;
    let block = |height| store.block(&store.canonical(Height(height)).unwrap()).unwrap().0;
    let keys = fixture.spec.members.iter();
    let keys = keys.map(|member| PublicKey::from_bytes(member.public_key.as_slice()).unwrap()).collect();
    Scene { blocks: (1..=store.top().0).map(block).collect(), keys, fixture }
}

/// Imports every block through the actor; before each, its floors are measured. Both in the order of the blocks. A thread
/// reads the published view all the while: how often in a second of reading.
async fn run(scene: &Scene, folder: &std::path::Path) -> (Vec<Duration>, Vec<Duration>, f64) {
    let spec = Arc::new(scene.fixture.spec.clone());
    let database = Database::open(&folder.join("chain"), spec.genesis_root(), &StoreConfig::default()).unwrap();
    let mut file = std::fs::File::create(folder.join("floor")).unwrap();
    let mut root = Supervisor::new("root");
    let (fatal, _raised) = Fatal::new();
    let database = HandOver::new(database);
    let storage = Child::new("storage", move || StorageActor::new(database.take(), fatal.clone()));
    let storage = root.add(storage.restart(RestartPolicy::Temporary).blocking());
    let engine = Engine { spec: spec.clone(), executor: FakeExecutor::new(spec.evm.genesis_hash) };
    let execution = root.add(Child::new("execution", move || engine.clone()));
    let genesis = scene.fixture.genesis(scene.fixture.config(None));
    let (view, readers) = watch::channel(genesis.view());
    let ports = ChainPorts {
        storage,
        execution,
        signer: None,
        view: Arc::new(view),
        events: broadcast::channel::<ChainEvent>(1024).0,
        gossip: broadcast::channel::<Gossip>(1024).0,
        may_sign: None,
        bitcoin: Arc::new(NodeBitcoin::Absent),
        clock: WallClock::default(),
        engine_is_external: false,
    };
    let chain = root.add(Child::new("chain", {
        let spec = spec.clone();
        move || ChainActor::new(spec.clone(), ChainActorConfig::default(), ports.clone())
    }));
    let system = System::builder("bench").start(root).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let done = done.clone();
        move || read(&readers, &done)
    });
    let (mut imports, mut floors) = (Vec::new(), Vec::new());
    for (position, block) in scene.blocks.iter().enumerate() {
        let begun = Instant::now();
        verify(scene, block);
        file.rewind().unwrap();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        let floor = begun.elapsed();
        let block = Box::new(block.as_ref().clone());
        let begun = Instant::now();
        let outcome = chain.ask(|reply| ChainMessage::ImportBlock { block, reply }).await.unwrap();
        let import = begun.elapsed();
        assert!(matches!(outcome, Ok(ImportOutcome::Imported { .. })), "{outcome:?}");
        if position >= WARM_UP {
            imports.push(import);
            floors.push(floor);
        }
    }
    done.store(true, Ordering::Relaxed);
    let reads = reader.join().unwrap();
    system.shutdown().await;
    (imports, floors, reads)
}

/// Reads now and then a burst, so that the import has the cores to itself meanwhile.
fn read(view: &watch::Receiver<ChainView>, done: &AtomicBool) -> f64 {
    let (mut reads, mut took) = (0u32, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for _ in 0..10_000 {
            black_box(view.borrow().head.height);
        }
        took += begun.elapsed();
        reads += 10_000;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    f64::from(reads) / took.as_secs_f64()
}

/// The author's signature and the parent's certificate as one batch.
fn verify(scene: &Scene, block: &SignedBlock) {
    let spec = &scene.fixture.spec;
    let root = |kind, object| Domain::new(kind, [0, 0, 0, 1], spec.genesis_root()).signing_root(object);
    let keys = &scene.keys;
    let author = Signature::from_bytes(block.author_signature.as_slice()).unwrap();
    let mut sets = vec![SignatureSet {
        key: &keys[usize::try_from(block.header.author_index).unwrap()],
        root: root(DomainType::Proposal, block.root()),
        signature: &author,
    }];
    let Some(certificate) = block.parent_notarization.first() else { return };
    let aggregate = Signature::from_bytes(certificate.aggregate_signature.as_slice()).unwrap();
    let signers = certificate.bitfield.iter().zip(keys).filter(|(signed, _)| *signed).map(|(_, key)| key);
    let signer = PublicKey::sum(signers).unwrap();
    sets.push(SignatureSet {
        key: &signer,
        root: root(DomainType::Approval, certificate.data().tree_hash_root()),
        signature: &aggregate,
    });
    verify_batch(&sets, &[5; 32]).unwrap();
}

/// An engine that takes no time.
#[derive(Clone)]
struct Engine {
    spec: Arc<ChainSpec>,
    executor: FakeExecutor,
}

impl Actor for Engine {
    type Message = ExecutionMessage;
    type Error = Infallible;

    async fn handle(&mut self, message: ExecutionMessage, _: &mut Context<ExecutionMessage>) -> Result<(), Infallible> {
        match message {
            ExecutionMessage::Info { reply } => {
                let hash: B256 = self.spec.evm.genesis_hash;
                reply.send(Ok(EngineInfo {
                    client: "bench".to_owned(),
                    chain_id: self.spec.evm.chain_id,
                    genesis_hash: hash,
                    head: hash,
                    head_number: 0,
                }));
            }
            ExecutionMessage::Build { parent, attributes, reply } => {
                reply.send(self.executor.build(parent, &attributes).map(Box::new));
            }
            ExecutionMessage::Execute { block, reply } => reply.send(self.executor.execute(&block)),
            ExecutionMessage::Forkchoice(_) => {}
        }
        Ok(())
    }
}
