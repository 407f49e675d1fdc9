//! The world of one run: one clock, one queue of events, all nodes. One thread; nothing but the options decides what
//! happens.

mod effects;
mod faults;
mod mining;
mod network;
mod peg;

pub(crate) use peg::MIN_PEGIN;

use crate::{
    Fault, FaultSet, Options, Report, Violation,
    adversary::Forge,
    dice::Dice,
    invariants::{self, Check, Invariant, Truth},
    machine::{Fact, Maker},
    node::SimNode,
    wire::Wire,
};
use alys_chain::{
    Input,
    testing::{Fixture, Plant, SchemeKind},
};
use alys_primitives::{Root, VariableList};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Simulated seconds of calm at the end: everything must heal within them.
const CALM_SECONDS: u64 = 100;

/// More events than this in one simulated millisecond, and a core keeps itself busy.
const MAX_EVENTS_PER_MILLI: u64 = 200_000;

/// Something that happens at a time.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "events are moved in and out of the queue once")]
enum Event {
    /// A message arrives.
    Deliver { from: usize, to: usize, wire: Wire },
    /// A core wants to hear of the time.
    Tick { node: usize, at: u64 },
    /// What was written is on the disk.
    Synced { node: usize, boot: u64 },
    /// A machine stops in the middle of a write.
    Crash { node: usize, boot: u64 },
    /// The engine or the signer answers.
    Answer { node: usize, boot: u64, fact: Box<Fact> },
    /// A node tells a peer of its head.
    Status { node: usize },
    /// A fault begins, of the dice's choice.
    Fault,
    /// A fault ends.
    End(Ending),
    /// A miner looks for work.
    Mine,
    /// Something happens at Bitcoin or among those who use the peg.
    Outside(peg::Outside),
    /// All faults end.
    Calm,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Partition,
    Down { node: usize, boot: u64 },
    Clock { node: usize },
    Engine { node: usize },
    Mining,
}

/// The state of a run.
pub(crate) struct World {
    options: Options,
    faults: FaultSet,
    maker: Box<dyn Maker>,
    fixture: Fixture,
    forge: Forge,
    dice: Dice,
    start: u64,
    now: u64,
    /// When faults end, and when the run does.
    calm_at: u64,
    end_at: u64,
    calm: bool,
    queue: BTreeMap<(u64, u64), Box<Event>>,
    sequence: u64,
    nodes: Vec<SimNode>,
    /// Which side of a partition each node is on.
    sides: Option<Vec<bool>>,
    no_miner: bool,
    /// A node has lost its disk.
    disk_lost: bool,
    /// Who brought the message in hand.
    bringer: Option<usize>,
    records: Vec<alys_primitives::AuxPowRecord>,
    salt: u32,
    /// None for a chain without a peg.
    peg: Option<peg::PegWorld>,
    truth: Truth,
    invariants: Vec<Box<dyn Invariant>>,
    finalized_at_calm: u64,
    fired: BTreeMap<Fault, u64>,
    paths: BTreeMap<&'static str, u64>,
    events: u64,
    events_now: u64,
    bundles: BTreeMap<usize, u64>,
    trace: Sha256,
    story: Option<Vec<String>>,
    violation: Option<Violation>,
}

impl World {
    pub(crate) fn new(options: Options, maker: Box<dyn Maker>, story: bool) -> Self {
        let mut dice = Dice::new(options.seed);
        let (faults, byzantine) = options.settle(&mut dice);
        let scheme = if options.real_signatures { SchemeKind::Bls } else { SchemeKind::Unproven };
        let mut fixture = Fixture::with_scheme(options.nodes, scheme);
        fixture.plant = options.plant;
        let mut outside = None;
        if faults.iter().any(Fault::needs_peg) {
            let spec = peg::spec();
            outside = peg::PegWorld::new(&spec, options.seed);
            fixture.spec.peg = VariableList::new(vec![spec]).unwrap_or_default();
        }
        let nodes: Vec<SimNode> = (0..options.nodes).map(|index| SimNode::new(&fixture, index, dice.fork())).collect();
        let start = fixture.slot_start(0).0;
        let calm_at = start + options.seconds * 1_000;
        let mut truth = Truth {
            keys: (0..options.nodes).map(|index| fixture.public_key(index)).collect(),
            // The last ones, so that a run with fewer nodes has the same honest ones.
            byzantine: (options.nodes - byzantine..options.nodes).collect(),
            ..Truth::default()
        };
        truth.learn(&fixture.genesis(fixture.config(None)).view());
        let epoch_delay = fixture.spec.epoch_delay;
        let mut world = Self {
            forge: Forge::new(&fixture),
            faults,
            maker,
            fixture,
            dice,
            start,
            now: start,
            calm_at,
            end_at: calm_at + CALM_SECONDS * 1_000,
            calm: false,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes,
            sides: None,
            no_miner: false,
            disk_lost: false,
            bringer: None,
            records: Vec::new(),
            salt: 0,
            truth,
            invariants: invariants::all(outside.as_ref().map(peg::PegWorld::custody), epoch_delay),
            peg: outside,
            finalized_at_calm: 0,
            fired: BTreeMap::new(),
            paths: BTreeMap::new(),
            events: 0,
            events_now: 0,
            bundles: BTreeMap::new(),
            trace: Sha256::new(),
            story: story.then(Vec::new),
            violation: None,
            options,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].signer.any_parent = self.options.plant == Some(Plant::ApproveAnything);
            self.boot(node);
            self.at(self.now, Event::Tick { node, at: self.now });
            self.nodes[node].tick_at = Some(self.now);
            let first = self.now + self.dice.between(1, 3_000);
            self.at(first, Event::Status { node });
        }
        let (fault, mine) = (self.now + self.dice.between(500, 4_000), self.now + self.dice.between(5_000, 15_000));
        self.at(fault, Event::Fault);
        self.at(mine, Event::Mine);
        self.at(self.calm_at, Event::Calm);
        self.begin_peg();
    }

    /// Runs to the end or to the first violation.
    pub(crate) fn run(mut self) -> (Report, Vec<String>) {
        while self.violation.is_none() {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            if at > self.end_at {
                break;
            }
            self.events_now = if at == self.now { self.events_now + 1 } else { 0 };
            self.now = at;
            self.events += 1;
            if self.events_now > MAX_EVENTS_PER_MILLI {
                self.violate("no busy loops", format!("{} events in one millisecond", self.events_now));
            }
            self.happen(*event);
        }
        if self.violation.is_none() {
            self.finish();
        }
        self.report()
    }

    fn happen(&mut self, event: Event) {
        if let Some(event) = self.postpone(event) {
            match event {
                Event::Deliver { from, to, wire } => self.deliver(from, to, wire),
                Event::Tick { node, at } => {
                    if self.nodes[node].tick_at == Some(at) {
                        self.nodes[node].tick_at = None;
                        self.note("tick", node, &[]);
                        self.feed(node, Input::Tick);
                    }
                }
                Event::Synced { node, boot } => self.synced(node, boot),
                Event::Answer { node, boot, fact } => {
                    if self.nodes[node].boot == boot {
                        self.note("answer", node, &[]);
                        self.tell(node, *fact);
                    }
                }
                Event::Crash { node, boot } => {
                    if self.nodes[node].boot == boot && !self.calm {
                        self.stop(node);
                    }
                }
                Event::Status { node } => self.status(node),
                Event::Fault => self.begin_fault(),
                Event::End(ending) => self.end_fault(ending),
                Event::Mine => self.mine(),
                Event::Outside(what) => self.outside(what),
                Event::Calm => self.calm_down(),
            }
        }
    }

    /// What concerns a frozen node happens when it goes on.
    fn postpone(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Deliver { to, .. } => *to,
            Event::Tick { node, .. } | Event::Synced { node, .. } | Event::Answer { node, .. } => *node,
            Event::Status { .. }
            | Event::Crash { .. }
            | Event::Fault
            | Event::End(_)
            | Event::Mine
            | Event::Outside(_)
            | Event::Calm => return Some(event),
        };
        let until = self.nodes[node].frozen_until;
        if until <= self.now {
            return Some(event);
        }
        self.at(until, event);
        None
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), Box::new(event));
    }

    /// Takes something into the trace.
    fn note(&mut self, what: &'static str, node: usize, root: &[u8]) {
        let node_byte = u8::try_from(node).unwrap_or(u8::MAX);
        self.trace.update(self.now.to_le_bytes());
        self.trace.update([node_byte]);
        self.trace.update(what.as_bytes());
        self.trace.update(root);
        let at = self.now - self.start;
        if let Some(story) = &mut self.story {
            let root: String = root.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            story.push(format!("{at:>9} node {node:>2} {what} {root}"));
        }
    }

    fn fire(&mut self, fault: Fault) {
        *self.fired.entry(fault).or_default() += 1;
    }

    fn path(&mut self, name: &'static str) {
        *self.paths.entry(name).or_default() += 1;
    }

    fn is_honest(&self, node: usize) -> bool {
        !self.truth.byzantine.contains(&node)
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what, at_millis: self.now - self.start });
        }
    }

    /// Asks every invariant.
    fn inspect(&mut self, mut ask: impl FnMut(&mut dyn Invariant, &Truth, &[SimNode]) -> Check) {
        let mut invariants = std::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err(what) = ask(invariant.as_mut(), &self.truth, &self.nodes) {
                self.violate(invariant.name(), what);
            }
        }
        self.invariants = invariants;
    }

    /// Lets everything reach the disk, then compares.
    fn finish(&mut self) {
        for node in 0..self.nodes.len() {
            while self.nodes[node].store.unsynced() > 0 {
                let Some(id) = self.nodes[node].store.sync() else { break };
                self.feed(node, Input::Durable { id });
            }
        }
        let honest: Vec<usize> = (0..self.nodes.len()).filter(|node| self.is_honest(*node)).collect();
        for node in &honest {
            self.inspect(|invariant, truth, nodes| match nodes[*node].chain() {
                Some(chain) => invariant.ended(truth, *node, chain, &nodes[*node].store),
                None => Ok(()),
            });
            let restored = self.fixture.restore(self.nodes[*node].config.clone(), self.nodes[*node].store.restored());
            match (restored, self.nodes[*node].chain()) {
                (Ok(again), Some(chain)) if again.state_root() == chain.state_root() => {}
                (Ok(_), _) => self.violate("S7 replay equals the run", format!("node {node} differs after a replay")),
                (Err(error), _) => self.violate("S7 replay equals the run", format!("node {node}: {error}")),
            }
        }
        self.healed(&honest);
    }

    /// Liveness: once the faults stop, all agree on a head and finality goes on.
    fn healed(&mut self, honest: &[usize]) {
        let views: Vec<_> =
            honest.iter().filter_map(|node| self.nodes[*node].chain()).map(|chain| chain.view()).collect();
        if views.len() < honest.len() {
            self.violate("all nodes come back", format!("{} of {} are up", views.len(), honest.len()));
            return;
        }
        let top = views.iter().map(|view| view.head.height.0).max().unwrap_or(0);
        // The newest block may still be on its way.
        if let Some(behind) = views.iter().find(|view| view.head.height.0 + 3 < top) {
            self.violate("all converge", format!("one head is at {}, another at {top}", behind.head.height));
        }
        if let Some(stuck) = views.iter().find(|view| view.finalized.height.0 <= self.finalized_at_calm) {
            let what = format!("finality stays at {} for {CALM_SECONDS} s of calm", stuck.finalized.height);
            self.violate("finality resumes", what);
        }
        if let (Some(node), None) = (honest.first(), self.options.plant) {
            self.pegs_complete(*node);
        }
        if self.options.plant.is_none() {
            self.follow(honest.first().copied().unwrap_or(0));
        }
    }

    /// A node that was never there takes the chain from another one's disk, and has the same state.
    fn follow(&mut self, source: usize) {
        let mut follower = self.fixture.genesis(self.fixture.config(None));
        let mut executor = alys_chain::testing::FakeExecutor::new(self.fixture.spec.evm.genesis_hash);
        let top = self.nodes[source].store.top().0;
        let now = self.nodes[source].clock(self.now).wall();
        for height in 1..=top {
            let store = &self.nodes[source].store;
            let found = store.canonical(alys_primitives::Height(height)).and_then(|root| store.block(&root));
            let Some((block, certificate)) = found else {
                self.violate("S7 replay equals the run", format!("height {height} is missing on node {source}"));
                return;
            };
            let verifier = follower.verifier();
            let mut inputs = Vec::new();
            match verifier.block(block.as_ref().clone()) {
                Ok(block) => inputs.push(Input::Block(block)),
                Err(error) => self.violate("S7 replay equals the run", format!("height {height}: {error}")),
            }
            inputs.extend(certificate.and_then(|it| verifier.notarization(it).ok()).map(Input::Notarization));
            for input in inputs {
                let _ = follower.handle(now, input);
                while let Some(effect) = follower.poll_effect() {
                    let answer = match effect {
                        alys_chain::Effect::Execute { id, block } => {
                            Input::Executed { id, outcome: executor.execute(&block) }
                        }
                        alys_chain::Effect::Persist { id, .. } => Input::Durable { id },
                        alys_chain::Effect::Build { .. }
                        | alys_chain::Effect::Sign { .. }
                        | alys_chain::Effect::Forkchoice(_)
                        | alys_chain::Effect::Broadcast(_)
                        | alys_chain::Effect::Imported { .. }
                        | alys_chain::Effect::AuxPowProcessed { .. }
                        | alys_chain::Effect::FederationProcessed { .. }
                        | alys_chain::Effect::PauseProcessed { .. }
                        | alys_chain::Effect::Event(_) => continue,
                    };
                    let _ = follower.handle(now, answer);
                }
            }
        }
        let root_of =
            |chain: &alys_chain::Chain| chain.state(&chain.view().head.root).map(alys_chain::ChainState::root);
        let live = self.nodes[source].chain().map(|chain| (chain.view().head.root, root_of(chain)));
        if live != Some((follower.view().head.root, root_of(&follower))) {
            let what = format!("a follower of node {source} has another state at height {top}");
            self.violate("S7 replay equals the run", what);
        }
    }

    fn report(mut self) -> (Report, Vec<String>) {
        let mut height = 0;
        let mut finalized = 0;
        let mut reorgs = 0;
        for node in 0..self.nodes.len() {
            let Some(chain) = self.nodes[node].chain() else { continue };
            let view = chain.view();
            height = height.max(view.head.height.0);
            finalized = finalized.max(view.finalized.height.0);
            reorgs += view.counters.reorgs;
            let root: Root = chain.state_root();
            self.trace.update(root);
        }
        let report = Report {
            faults: self.faults,
            byzantine: self.truth.byzantine.len(),
            fired: self.fired,
            events: self.events,
            millis: self.now - self.start,
            height,
            finalized,
            bundles: self.bundles.values().copied().max().unwrap_or(0),
            reorgs,
            paths: self.paths,
            trace: self.trace.finalize().into(),
            violation: self.violation,
        };
        (report, self.story.unwrap_or_default())
    }

    /// Nodes that are up and keep the rules.
    fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.is_honest(*node) && self.nodes[*node].chain().is_some()).collect()
    }

    /// One of the dice's choice of these.
    fn pick(&mut self, from: &[usize]) -> Option<usize> {
        let index = self.dice.index(from.len());
        from.get(index).copied()
    }

    /// All indices but one.
    fn others(&self, node: usize) -> BTreeSet<usize> {
        (0..self.nodes.len()).filter(|other| *other != node).collect()
    }
}
