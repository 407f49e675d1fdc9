//! `cargo xtask bench chain`: figures of the chain core with real signatures, and of the simulator. One run, on one
//! core; rates in time on that core, single events as the shortest of a few runs; no disk and no EVM take part.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may stop, and talks")]
#![allow(clippy::wildcard_enum_match_arm, reason = "most effects are of no interest here")]

use alys_chain::{
    Certificates, Chain, ChainConfig, Effect, Input, Message, SignRequest, ValidationCache, ValidationLevel, Verifier,
    testing::{Cluster, FakeExecutor, FakeSigner, Fixture, SchemeKind, mine},
};
use alys_crypto::{Domain, DomainType, SecretKey};
use alys_primitives::{Address, B256, Height, Notarization, SignedBlock, Slot, UnixMillis};
use alys_sim::{FaultSet, Options};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

fn main() {
    // `cargo bench` adds `--bench`; other words select sections.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |section: &str| words.is_empty() || words.iter().any(|word| word == section);
    println!("{:<58} {:>14}   target", "", "measured");
    if wanted("validation") {
        let chain = RealChain::new();
        validation(&chain);
        sync_import(&chain);
    }
    if wanted("production") {
        production();
    }
    if wanted("reads") {
        reads();
    }
    if wanted("reorg") {
        reorganisation();
        finalization();
    }
    if wanted("memory") {
        memory();
    }
    if wanted("simulator") {
        simulator();
    }
}

fn show(name: &str, value: String, target: &str) {
    println!("{name:<58} {value:>14}   {target}");
}

/// Time that this thread was on a core, so that a busy machine does not count; wall time where the system does not tell.
#[derive(Clone, Copy)]
struct Clock {
    wall: Instant,
    ran: Option<u64>,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), ran: on_core() }
    }

    fn elapsed(&self) -> Duration {
        match self.ran.zip(on_core()) {
            Some((before, now)) => Duration::from_nanos(now.saturating_sub(before)),
            None => self.wall.elapsed(),
        }
    }
}

/// Nanoseconds.
fn on_core() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// The shortest of a few runs in wall time: the one that the machine disturbed least. The scheduler's figures are too coarse
/// for what takes milliseconds.
fn shortest(runs: u32, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().unwrap_or_default()
}

/// Calls a second of one core.
fn rate(mut call: impl FnMut()) -> f64 {
    let mut calls = 1u32;
    loop {
        let begun = Clock::start();
        for _ in 0..calls {
            call();
        }
        let took = begun.elapsed();
        if took > Duration::from_millis(300) {
            return f64::from(calls) / took.as_secs_f64();
        }
        calls = calls.saturating_mul(2);
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Single verifications a second: the floor.
fn signatures() -> f64 {
    let key = SecretKey::generate(&[1; 32]).unwrap();
    let root = Domain::new(DomainType::Proposal, [0; 4], B256::ZERO).signing_root(B256::repeat_byte(1));
    let bytes = key.sign(root).to_bytes();
    let public = key.public_key();
    let floor = rate(|| {
        let signature = alys_crypto::Signature::from_bytes(black_box(&bytes)).unwrap();
        signature.verify(&public, root).unwrap();
    });
    show("one signature parsed and verified, a second", number(floor), "(floor)");
    floor
}

/// A chain of four members with BLS signatures.
struct RealChain {
    fixture: Fixture,
    blocks: Vec<Arc<SignedBlock>>,
    tip: Notarization,
    verifier: Verifier,
    now: UnixMillis,
    contexts: Vec<(Arc<SignedBlock>, alys_chain::Context)>,
}

impl RealChain {
    fn new() -> Self {
        let mut fixture = Fixture::with_scheme(4, SchemeKind::Bls);
        fixture.spec.max_blocks_without_pow = 1_000;
        fixture.spec.max_bundle_blocks = 1_000;
        let mut cluster = Cluster::new(fixture.clone());
        let mut contexts = Vec::new();
        for _ in 0..160 {
            let parent = cluster.nodes[0].chain.view().head.root;
            let context = cluster.nodes[0].chain.context(&parent);
            cluster.run_slots(1);
            let head = cluster.nodes[0].store.block(&cluster.nodes[0].chain.view().head.root);
            if let Some(((block, _), context)) = head.zip(context) {
                contexts.push((block, context));
            }
        }
        let store = &cluster.nodes[0].store;
        let blocks = (1..=store.top().0)
            .map(|height| store.block(&store.canonical(Height(height)).unwrap()).unwrap().0)
            .collect();
        let tip = store.block(&store.canonical(store.top()).unwrap()).unwrap().1.unwrap();
        Self { fixture, blocks, tip, verifier: cluster.nodes[0].chain.verifier(), now: cluster.now, contexts }
    }
}

fn validation(chain: &RealChain) {
    let floor = signatures();
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % chain.contexts.len();
        &chain.contexts[at]
    };
    let basic = rate(|| {
        black_box(chain.verifier.basic(&next().0).unwrap());
    });
    show("Basic validation, blocks a second", number(basic), ">= 200,000");
    let signed = rate(|| {
        black_box(chain.verifier.signed(&next().0).unwrap());
    });
    // The author's signature and the certificate.
    show("SignatureOnly, blocks a second", number(signed), "");
    show("  of raw verification (two signatures a block)", number(signed * 2.0 / floor), ">= 0.9");
    let consensus = rate(|| {
        let (block, context) = next();
        black_box(context.check(block).unwrap());
    });
    show("ConsensusOnly, blocks a second", number(consensus), "");
    let full = rate(|| {
        let (block, context) = next();
        black_box(chain.verifier.validate(ValidationLevel::Full, block, Some(context)).unwrap());
    });
    show("Full, blocks a second", number(full), "");
    let now = UnixMillis(0);
    let mut cache = ValidationCache::new(4_096, 60_000);
    let mut ids = Vec::new();
    for (number, (block, context)) in (0u64..).zip(&chain.contexts) {
        let id = B256::left_padding_from(&number.to_be_bytes());
        let outcome = chain.verifier.validate(ValidationLevel::Full, block, Some(context)).map(Arc::new);
        let asked = cache.generation();
        cache.insert(id, ValidationLevel::Full, outcome.map_err(Arc::new), asked, now);
        ids.push(id);
    }
    let mut at = 0;
    let cached = rate(|| {
        at = (at + 1) % ids.len();
        black_box(cache.get(&ids[at], ValidationLevel::Full, now).unwrap().unwrap());
    });
    show("cached Full, a second", number(cached), ">= 1,000,000");
}

/// Carries out what follows from an input; writes are durable at once.
fn settle(chain: &mut Chain, executor: &mut FakeExecutor, now: UnixMillis) {
    while let Some(effect) = chain.poll_effect() {
        let answer = match effect {
            Effect::Execute { id, block } => Input::Executed { id, outcome: executor.execute(&block) },
            Effect::Persist { id, .. } => Input::Durable { id },
            _ => continue,
        };
        chain.handle(now, answer).unwrap();
    }
}

fn sync_import(chain: &RealChain) {
    let owned: Vec<SignedBlock> = chain.blocks.iter().map(|block| block.as_ref().clone()).collect();
    let count = f64::from(u32::try_from(owned.len()).unwrap());
    let took = shortest(3, || {
        let begun = Instant::now();
        black_box(chain.verifier.blocks(owned.clone(), &[7; 32]));
        begun.elapsed()
    });
    let batch = count / took.as_secs_f64();
    show("signatures of blocks in one batch, blocks a second", number(batch), "");

    let verified: Vec<_> = chain.verifier.blocks(owned.clone(), &[7; 32]).into_iter().map(Result::unwrap).collect();
    let took = shortest(8, || {
        let mut core = chain.fixture.genesis(ChainConfig::default());
        let mut executor = FakeExecutor::new(chain.fixture.spec.evm.genesis_hash);
        let verified = verified.clone();
        let begun = Instant::now();
        for block in verified {
            core.handle(chain.now, Input::Block(block)).unwrap();
            settle(&mut core, &mut executor, chain.now);
        }
        assert_eq!(core.view().head.height.0 + 1, u64::try_from(chain.blocks.len()).unwrap());
        begun.elapsed()
    });
    let alone = count / took.as_secs_f64();
    show("import of verified blocks by the core, a second", number(alone), "");

    for (certificates, name, target) in [
        (Certificates::All, "sync import of a segment, all certificates, blocks a second", ""),
        (Certificates::Tip, "sync import of a segment by its tip, blocks a second", ">= 2,000"),
    ] {
        let took = shortest(5, || {
            let mut core = chain.fixture.genesis(ChainConfig::default());
            let mut executor = FakeExecutor::new(chain.fixture.spec.evm.genesis_hash);
            let (owned, tip) = (owned.clone(), chain.tip.clone());
            let begun = Instant::now();
            let verified = chain.verifier.segment(owned, tip, certificates, &[9; 32]).unwrap();
            for block in verified.blocks {
                core.handle(chain.now, Input::Block(block)).unwrap();
                settle(&mut core, &mut executor, chain.now);
            }
            core.handle(chain.now, Input::Notarization(verified.tip)).unwrap();
            settle(&mut core, &mut executor, chain.now);
            assert_eq!(core.view().head.height.0, u64::try_from(chain.blocks.len()).unwrap());
            begun.elapsed()
        });
        let segment = count / took.as_secs_f64();
        show(name, number(segment), target);
    }
}

/// From the tick to the signed proposal, without the disk: building, signing, and what the core does between.
fn production() {
    let fixture = Fixture::with_scheme(1, SchemeKind::Bls);
    let mut solo = Solo::new(&fixture);
    let mut slot = 0;
    let took = shortest(18, || {
        slot += 1;
        let begun = Instant::now();
        assert!(solo.slot(&fixture, slot, true));
        begun.elapsed()
    });
    let value = format!("{:.2} ms", took.as_secs_f64() * 1e3);
    show("an empty block of ours, from the tick to its certificate", value, "<= 6 ms + append");
}

/// A core that is its own federation and keeps no store.
struct Solo {
    chain: Chain,
    executor: FakeExecutor,
    signer: FakeSigner,
    salt: u32,
}

impl Solo {
    fn new(fixture: &Fixture) -> Self {
        Self {
            chain: fixture.genesis(fixture.config(Some(0))),
            executor: FakeExecutor::new(fixture.spec.evm.genesis_hash),
            signer: FakeSigner::new(fixture.keys[0].clone(), fixture.scheme),
            salt: 0,
        }
    }

    /// One slot; whether there was a proposal.
    fn slot(&mut self, fixture: &Fixture, slot: u64, durable: bool) -> bool {
        let start = fixture.spec.slot_start_millis(Slot(slot));
        let mut proposed = false;
        for now in [start.saturating_sub(400), start] {
            self.chain.handle(now, Input::Tick).unwrap();
            while let Some(effect) = self.chain.poll_effect() {
                let answer = match effect {
                    Effect::Build { id, parent_execution_hash, attributes, .. } => {
                        Input::Built { id, result: self.executor.build(parent_execution_hash, &attributes) }
                    }
                    Effect::Execute { id, block } => Input::Executed { id, outcome: self.executor.execute(&block) },
                    Effect::Sign { id, request } => {
                        proposed |= matches!(request, SignRequest::Proposal { .. });
                        let result = self.signer.answer(&request);
                        self.signer.signed.clear();
                        Input::Signed { id, result }
                    }
                    Effect::Persist { id, .. } if durable => Input::Durable { id },
                    _ => continue,
                };
                self.chain.handle(now, answer).unwrap();
            }
        }
        proposed
    }

    fn mine(&mut self, now: UnixMillis) {
        let Ok(template) = self.chain.auxpow_template(Address::repeat_byte(1), now) else { return };
        self.salt += 1;
        let record = mine(template.bundle, self.salt);
        let record = self.chain.verifier().auxpow(record).unwrap();
        self.chain.handle(now, Input::AuxPow(record)).unwrap();
        while let Some(effect) = self.chain.poll_effect() {
            if let Effect::Persist { id, .. } = effect {
                self.chain.handle(now, Input::Durable { id }).unwrap();
            }
        }
    }
}

fn reads() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(10);
    let chain = &cluster.nodes[0].chain;
    let view = Arc::new(chain.view());
    let owned = rate(|| {
        black_box(chain.view());
    });
    show("views made by the core, a second", number(owned), "");
    let shared = rate(|| {
        black_box(Arc::clone(&view).head);
    });
    show("views read from a shared snapshot, a second", number(shared), ">= 5,000,000");
}

fn reorganisation() {
    let mut fixture = Fixture::new(1);
    fixture.spec.max_blocks_without_pow = 1_000;
    fixture.spec.max_bundle_blocks = 1_000;
    let mut one = Cluster::new(fixture);
    one.run_slots(5);
    let mut other = one.clone();
    one.run_slots(100);
    other.now = other.fixture.slot_start(6).saturating_add(1_400);
    for slot in 7..7 + 101 {
        other.run_slot(slot);
    }
    let store = &other.nodes[0].store;
    let at = |height: u64| store.block(&store.canonical(Height(height)).unwrap()).unwrap();
    // Blocks of the other branch, each without news of the newest certificate, which then turns the head.
    let top = store.top().0;
    let now = other.now.max(one.now);
    let depth = one.nodes[0].chain.view().head.height.0 - 5;
    let last = shortest(8, || {
        let mut node = one.nodes[0].clone();
        for height in 6..=top {
            let block = at(height).0;
            let begun = Instant::now();
            node.receive(now, Message::Block(block));
            if node.chain.view().counters.reorgs > 0 {
                return begun.elapsed();
            }
        }
        let certificate = at(top).1.unwrap();
        let begun = Instant::now();
        node.receive(now, Message::Notarization(certificate));
        assert_eq!(node.chain.view().counters.reorgs, 1);
        begun.elapsed()
    });
    let value = format!("{:.2} ms", last.as_secs_f64() * 1e3);
    show(&format!("reorganisation of {depth} blocks, without execution"), value, "<= 50 ms");
}

fn finalization() {
    let mut fixture = Fixture::new(1);
    fixture.spec.max_blocks_without_pow = 2_000;
    fixture.spec.max_bundle_blocks = 2_000;
    let mut finalized = Height(0);
    let longest = shortest(4, || {
        let mut solo = Solo::new(&fixture);
        for slot in 1..=1_001 {
            solo.slot(&fixture, slot, true);
        }
        solo.mine(fixture.slot_start(1_001).saturating_add(1_000));
        let mut slot = 1_002;
        loop {
            let begun = Instant::now();
            solo.slot(&fixture, slot, true);
            finalized = solo.chain.view().finalized.height;
            if finalized > Height(0) {
                return begun.elapsed();
            }
            slot += 1;
        }
    });
    let value = format!("{:.2} ms", longest.as_secs_f64() * 1e3);
    show(&format!("the slot in which {finalized} blocks become final"), value, "<= 5 ms");
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

fn memory() {
    // First the one that takes little: what it frees would hide in the other one's figure.
    let (unfinalized, held, _) = grow(true);
    show(&format!("memory after 100000 blocks, {unfinalized} of them not final"), megabytes(held), "<= 32 MB");
    let (unfinalized, held, rate) = grow(false);
    show(&format!("memory with {unfinalized} unfinalized headers"), megabytes(held), "<= 256 MB");
    show("  blocks produced and imported meanwhile, a second", number(rate), "");
}

/// 100,000 blocks with work now and then. Where nothing is to become final there are never three consecutive slots, so that
/// nothing becomes safe. Gives the blocks that are not final, the bytes that are held, and blocks a second.
fn grow(finality: bool) -> (usize, u64, f64) {
    let mut fixture = Fixture::new(1);
    fixture.spec.max_blocks_without_pow = 100;
    fixture.spec.max_bundle_blocks = 100;
    let mut solo = Solo::new(&fixture);
    let before = resident();
    let (mut blocks, mut mined, mut slot) = (0u32, 0u32, 0u64);
    let begun = Instant::now();
    while blocks < 100_000 {
        slot += if slot % 3 == 1 && !finality { 2 } else { 1 };
        if solo.chain.view().blocks_without_pow >= 25 && blocks >= mined + 25 {
            mined = blocks;
            solo.mine(fixture.slot_start(slot).saturating_sub(900));
        }
        blocks += u32::from(solo.slot(&fixture, slot, true));
    }
    let rate = f64::from(blocks) / begun.elapsed().as_secs_f64();
    (solo.chain.view().unfinalized_blocks, resident().saturating_sub(before), rate)
}

fn simulator() {
    let options = Options { seconds: 3_600, faults: Some(FaultSet::default()), ..Options::short(1) };
    let begun = Instant::now();
    let report = alys_sim::run(&options);
    assert_eq!(report.violation, None);
    let seconds = begun.elapsed().as_secs_f64();
    let millis = f64::from(u32::try_from(report.millis).unwrap());
    show("simulator, 4 nodes, simulated seconds a second", number(millis / 1e3 / seconds), ">= 1,000");
    let events = f64::from(u32::try_from(report.events).unwrap());
    show("  events a second", number(events / seconds), "");
}
