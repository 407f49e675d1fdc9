//! What threads may see of the core: the published view, and a validation cache whose questions are answered elsewhere.
//! Run under every interleaving by `cargo xtask loom`.
//!
//! The core itself has no locks; what is modelled is how a node uses it. The lock of a model stands for the channel
//! (`watch` for the view, an inbox for everything else) that has its place in the node.

#![cfg(feature = "loom")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::testing::{FakeExecutor, FakeSigner, Fixture, StoreModel};
use alys_chain::{
    BatchId, BlockError, Chain, ChainBatch, ChainView, Effect, Generation, Input, MessageId, ValidationCache,
    ValidationError, ValidationLevel,
};
use alys_primitives::UnixMillis;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc as StdArc;

/// The writer's inbox and its answers.
#[derive(Default)]
struct Port {
    writes: VecDeque<(BatchId, ChainBatch)>,
    durable: Option<BatchId>,
    closed: bool,
}

/// What threads share: the disk, the port to it, and the place of the published view.
struct Shared {
    disk: Mutex<StoreModel>,
    port: Mutex<Port>,
    changed: Condvar,
    view: Mutex<ChainView>,
}

/// The only thread that writes: takes everything that waits, syncs once, answers once.
fn write(shared: &Shared) {
    loop {
        let writes = {
            let mut port = shared.port.lock().unwrap();
            while port.writes.is_empty() && !port.closed {
                port = shared.changed.wait(port).unwrap();
            }
            std::mem::take(&mut port.writes)
        };
        if writes.is_empty() {
            return;
        }
        let newest = {
            let mut disk = shared.disk.lock().unwrap();
            for (id, batch) in writes {
                disk.write(id, batch);
            }
            disk.sync()
        };
        shared.port.lock().unwrap().durable = newest;
        shared.changed.notify_all();
    }
}

/// The owner of a one-member chain: makes the block of a slot, and publishes after every input, as the chain actor does.
struct Owner {
    chain: Chain,
    executor: FakeExecutor,
    signer: FakeSigner,
    open: Option<BatchId>,
}

/// A thread of the model with room for the core on its stack (in words); loom's own stacks are small.
fn spawn(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(1 << 19).spawn(work).unwrap()
}

impl Owner {
    /// Gives the core an input and carries out what can be done at once; gives the writes.
    fn step(&mut self, now: UnixMillis, input: Input) -> Vec<(BatchId, ChainBatch)> {
        let (mut inputs, mut writes) = (VecDeque::from([input]), Vec::new());
        while let Some(input) = inputs.pop_front() {
            self.chain.handle(now, input).unwrap();
            while let Some(effect) = self.chain.poll_effect() {
                match effect {
                    Effect::Build { id, parent_execution_hash, attributes, .. } => {
                        let result = self.executor.build(parent_execution_hash, &attributes);
                        inputs.push_back(Input::Built { id, result });
                    }
                    Effect::Execute { id, block } => {
                        inputs.push_back(Input::Executed { id, outcome: self.executor.execute(&block) });
                    }
                    Effect::Sign { id, request } => {
                        inputs.push_back(Input::Signed { id, result: self.signer.answer(&request) });
                    }
                    Effect::Persist { id, batch } => writes.push((id, batch)),
                    _ => {}
                }
            }
        }
        writes
    }

    fn feed(&mut self, shared: &Shared, now: UnixMillis, input: Input) {
        let writes = self.step(now, input);
        if let Some((id, _)) = writes.last() {
            self.open = Some(*id);
            shared.port.lock().unwrap().writes.extend(writes);
            shared.changed.notify_all();
        }
        *shared.view.lock().unwrap() = self.chain.view();
    }

    /// Waits for the answer to everything written so far.
    fn settle(&mut self, shared: &Shared, now: UnixMillis) {
        while let Some(open) = self.open {
            let durable = {
                let mut port = shared.port.lock().unwrap();
                while port.durable.is_none() {
                    port = shared.changed.wait(port).unwrap();
                }
                port.durable.take().unwrap()
            };
            if durable >= open {
                self.open = None;
            }
            self.feed(shared, now, Input::Durable { id: durable });
        }
    }
}

/// A reader that looks twice at any time sees heads that are on the disk, and never an older one after a newer one.
/// Everything that follows from one tick is written before the writer is asked, which keeps the model small.
#[test]
fn what_a_reader_sees_is_durable_and_never_goes_back() {
    let fixture = StdArc::new(Fixture::new(1));
    loom::model(move || {
        let fixture = StdArc::clone(&fixture);
        spawn(move || run(&fixture)).join().unwrap();
    });
}

fn run(fixture: &Fixture) {
    let chain = fixture.genesis(fixture.config(Some(0)));
    let shared = Arc::new(Shared {
        disk: Mutex::new(StoreModel::default()),
        port: Mutex::new(Port::default()),
        changed: Condvar::new(),
        view: Mutex::new(chain.view()),
    });
    let mut owner = Owner {
        chain,
        executor: FakeExecutor::new(fixture.spec.evm.genesis_hash),
        signer: FakeSigner::new(fixture.keys[0].clone(), fixture.scheme),
        open: None,
    };
    let writer = spawn({
        let shared = Arc::clone(&shared);
        move || write(&shared)
    });
    let reader = spawn({
        let shared = Arc::clone(&shared);
        move || read(&shared)
    });
    let now = fixture.slot_start(1);
    owner.feed(&shared, now, Input::Tick);
    owner.settle(&shared, now);
    assert_eq!(shared.view.lock().unwrap().head.height.0, 1, "in the end the block is seen");
    shared.port.lock().unwrap().closed = true;
    shared.changed.notify_all();
    writer.join().unwrap();
    reader.join().unwrap();
}

fn read(shared: &Shared) {
    let mut last = 0;
    for _ in 0..2 {
        let view = shared.view.lock().unwrap().clone();
        let height = view.head.height.0;
        assert!(height >= last && view.safe.height <= view.head.height, "it goes back");
        last = height;
        if height > 0 {
            let disk = shared.disk.lock().unwrap();
            assert!(disk.block(&view.head.root).is_some(), "a head that a power cut would take back");
            assert_eq!(disk.canonical(view.head.height), Some(view.head.root));
        }
    }
}

/// What the federation of the model says about a message.
fn verdict(federation: u64) -> ValidationError {
    match federation {
        0 => ValidationError::Consensus(BlockError::Overflow),
        _ => ValidationError::Consensus(BlockError::ParentCertificate),
    }
}

/// Workers find out about messages while the federation changes: what the cache answers afterwards is what the new
/// federation says, or nothing.
#[test]
fn no_outcome_of_an_earlier_federation_is_kept() {
    const LEVEL: ValidationLevel = ValidationLevel::SignatureOnly;
    const NOW: UnixMillis = UnixMillis(0);
    loom::model(|| {
        // The owner: which federation it asks for, and its cache. The lock is its inbox.
        let owner = Arc::new(Mutex::new((0u64, ValidationCache::new(2, 1_000))));
        let work = |id: u8| {
            let owner = Arc::clone(&owner);
            move || {
                let (federation, asked): (u64, Generation) = {
                    let owner = owner.lock().unwrap();
                    (owner.0, owner.1.generation())
                };
                // Found out on another thread, while anything may happen to the owner.
                let outcome = Err(StdArc::new(verdict(federation)));
                owner.lock().unwrap().1.insert(MessageId::repeat_byte(id), LEVEL, outcome, asked, NOW);
            }
        };
        let workers = [thread::spawn(work(1)), thread::spawn(work(2))];
        {
            let mut owner = owner.lock().unwrap();
            owner.0 = 1;
            owner.1.clear();
        }
        for worker in workers {
            worker.join().unwrap();
        }
        let mut owner = owner.lock().unwrap();
        assert!(owner.1.len() <= 2);
        for id in [1, 2] {
            if let Some(Err(error)) = owner.1.get(&MessageId::repeat_byte(id), LEVEL, NOW) {
                assert_eq!(*error, verdict(1), "an outcome of members who are none any more");
            }
        }
    });
}
