//! Between a machine and its surroundings: facts in, wishes carried out, with the latencies of disk, engine and signer.

use super::{Event, World};
use crate::{
    Fault,
    invariants::Acknowledged,
    machine::{Fact, Found, Question, Told, Victim, Wish},
};
use alys_chain::{
    Chain, ChainEvent, ChainWrite, Effect, ImportOutcome, Input, Offence, PendingReason, SignRequest, testing::Plant,
};
use alys_primitives::U256;

impl World {
    /// Gives a machine an answer, a suggestion or the time, and carries out what follows.
    pub(super) fn feed(&mut self, node: usize, input: Input) {
        self.tell(node, Fact::Input(input));
    }

    /// Tells a machine something and carries out what follows.
    pub(super) fn tell(&mut self, node: usize, fact: Fact) -> Told {
        let durable = matches!(fact, Fact::Input(Input::Durable { .. }));
        let tick = matches!(fact, Fact::Input(Input::Tick));
        let clock = self.nodes[node].clock(self.now);
        let Some(machine) = self.nodes[node].machine.as_mut() else { return Told::NotTaken };
        let told = machine.tell(clock, fact);
        if told == Told::NotTaken {
            self.path("inputs refused");
        }
        self.drain(node);
        if durable {
            self.look(node);
        }
        if tick && !self.maker.has_actors() {
            self.rests(node);
        }
        self.arm(node);
        told
    }

    /// Carries out all wishes.
    pub(super) fn drain(&mut self, node: usize) {
        while let Some(wish) = self.nodes[node].machine.as_mut().and_then(|machine| machine.poll_wish()) {
            match wish {
                Wish::Effect(effect) => self.carry_out(node, effect),
                Wish::Read { id, what } => self.read(node, id, what),
                Wish::AskBitcoin { id, blocks } => {
                    let known = self.bitcoin_has(&blocks);
                    let latency = self.nodes[node].dice.between(1, 60);
                    self.answer(node, latency, Fact::Bitcoin { id, known });
                }
                Wish::Restored(chain) => self.restored(node, &chain),
                Wish::Failed(Victim::Chain) => self.path("actors restarted"),
                Wish::Failed(Victim::Execution) => self.path("engine actors restarted"),
                Wish::Ended => {
                    self.path("processes ended");
                    self.stop(node);
                }
                Wish::Broken(what) => {
                    if self.is_honest(node) {
                        self.violate("actors keep their promises", format!("node {node}: {what}"));
                    }
                }
            }
        }
    }

    fn read(&mut self, node: usize, id: u64, what: Question) {
        let store = &self.nodes[node].store;
        let found = match what {
            Question::Everything => Found::Everything(store.restored()),
            Question::Height(height) => Found::Block(store.canonical(height).and_then(|root| store.stored(&root))),
            Question::Root(root) => Found::Block(store.stored(&root)),
        };
        let latency = self.nodes[node].dice.between(1, 20);
        self.answer(node, latency, Fact::Read { id, found: Box::new(found) });
    }

    /// Looks at what readers of a node see.
    pub(super) fn look(&mut self, node: usize) {
        let Some(chain) = self.nodes[node].chain() else { return };
        if !self.is_honest(node) {
            return;
        }
        let view = chain.view();
        self.truth.learn(&view);
        self.inspect(|invariant, truth, _| invariant.view(truth, node, &view));
    }

    /// A core that knows the time wants to hear of a later one, not of this one again.
    fn rests(&mut self, node: usize) {
        let sim = &self.nodes[node];
        let wake = sim.machine.as_ref().and_then(|machine| machine.wake_at(sim.clock(self.now)));
        if wake.is_some_and(|wake| wake <= self.now) {
            self.violate("no busy loops", format!("node {node} was told the time and asks for it at once"));
        }
    }

    /// Makes sure that the core hears of the time when it wants to.
    pub(super) fn arm(&mut self, node: usize) {
        let sim = &self.nodes[node];
        let wake = sim.machine.as_ref().and_then(|machine| machine.wake_at(sim.clock(self.now)));
        let Some(due) = wake.map(|due| due.max(self.now + 1)) else { return };
        if sim.tick_at.is_none_or(|at| due < at) {
            self.nodes[node].tick_at = Some(due);
            self.at(due, Event::Tick { node, at: due });
        }
    }

    fn answer(&mut self, node: usize, latency: u64, fact: Fact) {
        let boot = self.nodes[node].boot;
        self.at(self.now + latency, Event::Answer { node, boot, fact: Box::new(fact) });
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Build { id, parent_execution_hash, attributes, .. } => {
                let machine = &mut self.nodes[node];
                machine.executor.next_fees = match machine.dice.below(3) {
                    0 => U256::ZERO,
                    _ => U256::from(machine.dice.below(1_000_000_000_000_000)),
                };
                let result = machine.executor.build(parent_execution_hash, &attributes);
                let latency = machine.dice.between(1, 120);
                self.answer(node, latency, Fact::Input(Input::Built { id, result }));
            }
            Effect::Execute { id, block } => {
                let machine = &mut self.nodes[node];
                let outcome = machine.executor.execute(&block);
                let latency = machine.dice.between(1, 60);
                self.answer(node, latency, Fact::Input(Input::Executed { id, outcome }));
            }
            Effect::Sign { id, request } => {
                let result = self.nodes[node].signer.answer(&request);
                if result.is_ok() {
                    self.signed(node, &request);
                }
                let latency = self.nodes[node].dice.between(1, 8);
                self.answer(node, latency, Fact::Input(Input::Signed { id, result }));
            }
            Effect::Persist { id, batch } => {
                self.note("persist", node, batch.state_root.as_slice());
                for write in &batch.writes {
                    self.written(node, write);
                }
                self.nodes[node].store.write(id, batch);
                self.begin_sync(node);
            }
            Effect::Forkchoice(update) => {
                for hash in [update.head, update.safe, update.finalized] {
                    // Zero names no block (the Engine API's way to say nothing).
                    if self.is_honest(node) && !hash.is_zero() && !self.nodes[node].executor.knows(&hash) {
                        self.violate("only executed payloads are followed", format!("node {node} follows {hash}"));
                    }
                }
            }
            Effect::Broadcast(message) => self.broadcast(node, message),
            Effect::Imported { root, outcome } => {
                self.note("imported", node, root.as_slice());
                match outcome {
                    ImportOutcome::Imported { .. } => {
                        if self.is_honest(node) {
                            self.inspect(|invariant, _, _| invariant.acknowledged(node, Acknowledged::Block(root)));
                        }
                        self.relay(node, root);
                    }
                    ImportOutcome::Pending(PendingReason::Parent(parent)) => self.ask_for(node, parent),
                    ImportOutcome::Rejected(error) if error.is_invalid() => self.path("blocks found invalid"),
                    ImportOutcome::Rejected(_) => self.path("blocks of no use"),
                    ImportOutcome::AlreadyKnown | ImportOutcome::Pending(_) => {}
                }
            }
            Effect::AuxPowProcessed { hash, outcome } => {
                self.note("work", node, hash.as_slice());
                let queued = self.nodes[node]
                    .chain()
                    .is_some_and(|chain| chain.queued_auxpow().any(|(known, _)| *known == hash));
                if outcome.is_ok() && self.is_honest(node) && queued {
                    self.inspect(|invariant, _, _| invariant.acknowledged(node, Acknowledged::Work(hash)));
                }
            }
            Effect::FederationProcessed { change_root, outcome } => {
                self.note("federation", node, change_root.as_slice());
                let waits = self.nodes[node].chain().and_then(alys_chain::Chain::waiting_change);
                let waits = waits.is_some_and(|change| alys_chain::change_root(change) == change_root);
                if outcome.is_ok() && waits && self.is_honest(node) {
                    let what = Acknowledged::Change(change_root);
                    self.inspect(|invariant, _, _| invariant.acknowledged(node, what));
                }
            }
            Effect::PauseProcessed { pause_root, outcome } => {
                self.note("pause", node, pause_root.as_slice());
                let waits = self.nodes[node].chain().and_then(alys_chain::Chain::waiting_pause);
                let waits = waits.is_some_and(|pause| alys_chain::peg::pause_root(pause) == pause_root);
                if outcome.is_ok() && waits && self.is_honest(node) {
                    let what = Acknowledged::Pause(pause_root);
                    self.inspect(|invariant, _, _| invariant.acknowledged(node, what));
                }
            }
            Effect::Event(event) => self.told(node, &event),
        }
    }

    fn signed(&mut self, node: usize, request: &SignRequest) {
        match request {
            SignRequest::Proposal { root, .. } => self.note("proposed", node, root.as_slice()),
            SignRequest::Approval { data, .. } => {
                self.truth.approvals.insert((node, data.block_root));
                self.note("approved", node, data.block_root.as_slice());
            }
        }
        if self.is_honest(node) {
            self.inspect(|invariant, truth, _| invariant.signed(truth, node, request));
        }
    }

    fn written(&mut self, node: usize, write: &ChainWrite) {
        if let ChainWrite::Block { root, block, .. } = write {
            let header = &block.header;
            if self.truth.parents.insert(*root, (header.parent_root, header.height.0)).is_none() {
                self.peg_paths(block);
            }
        }
        if self.is_honest(node) {
            self.inspect(|invariant, truth, nodes| match nodes[node].chain() {
                Some(chain) => invariant.written(truth, node, chain, write),
                None => Ok(()),
            });
        }
    }

    fn begin_sync(&mut self, node: usize) {
        if self.nodes[node].syncing {
            return;
        }
        self.nodes[node].syncing = true;
        let slow = !self.calm && self.faults.has(Fault::SlowDisk) && self.nodes[node].dice.once_in(8);
        let latency = self.nodes[node].dice.between(1, if slow { 2_000 } else { 12 });
        if slow {
            self.fire(Fault::SlowDisk);
        }
        let boot = self.nodes[node].boot;
        if std::mem::take(&mut self.nodes[node].doomed) {
            let at = self.now + self.nodes[node].dice.below(latency + 1);
            self.at(at, Event::Crash { node, boot });
        }
        self.at(self.now + latency, Event::Synced { node, boot });
    }

    pub(super) fn synced(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot != boot {
            return;
        }
        self.nodes[node].syncing = false;
        let Some(id) = self.nodes[node].store.sync() else { return };
        self.note("synced", node, &id.0.to_le_bytes());
        self.feed(node, Input::Durable { id });
        if self.nodes[node].store.unsynced() > 0 {
            self.begin_sync(node);
        }
    }

    /// A machine stops; a planted disk or signer forgets more than it may.
    pub(super) fn crash(&mut self, node: usize, kept: usize) {
        self.note("crash", node, &[]);
        let machine = &mut self.nodes[node];
        machine.crash(kept);
        if self.options.plant == Some(Plant::SkippedSync)
            && let Some(stale) = machine.stale.clone()
        {
            machine.store = stale;
        }
        if self.options.plant == Some(Plant::LostSigningRecord) {
            machine.signer = alys_chain::testing::FakeSigner::new(self.fixture.keys[node].clone(), self.fixture.scheme);
        }
    }

    /// A machine starts again.
    pub(super) fn restart(&mut self, node: usize) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        self.note("restart", node, &[]);
        self.path("restarts");
        if !self.boot(node) {
            return;
        }
        if !self.maker.has_actors() {
            self.compare_with_disk(node, None);
        }
        self.drain(node);
        self.feed(node, Input::Tick);
    }

    /// Starts a machine from its disk; `false` if that is none of a chain.
    pub(super) fn boot(&mut self, node: usize) -> bool {
        if let Err(error) = self.nodes[node].boot(node, self.now, &self.fixture, self.maker.as_mut()) {
            self.violate("S7 replay equals the run", format!("node {node} can't start again: {error}"));
            return false;
        }
        self.nodes[node].stale = Some(self.nodes[node].store.clone());
        true
    }

    /// An actor, or all of them, read the disk and went on from there.
    fn restored(&mut self, node: usize, chain: &Chain) {
        self.path("chains restored");
        self.compare_with_disk(node, Some(chain));
    }

    /// What was acknowledged must be in a chain that was read from the disk: the one given, or the machine's own.
    fn compare_with_disk(&mut self, node: usize, chain: Option<&Chain>) {
        if self.is_honest(node) {
            self.inspect(|invariant, truth, nodes| match chain.or(nodes[node].chain()) {
                Some(chain) => invariant.restarted(truth, node, chain, &nodes[node].store),
                None => Ok(()),
            });
        }
    }

    fn told(&mut self, node: usize, event: &ChainEvent) {
        if !self.is_honest(node) {
            return;
        }
        match event {
            ChainEvent::SafetyViolation { kept, conflicting } => {
                let what = format!("node {node} sees {} against {}", conflicting.root, kept.root);
                self.violate("S1 agreement", what);
            }
            ChainEvent::Finalized { .. } => *self.bundles.entry(node).or_default() += 1,
            ChainEvent::Equivocation { epoch, member, proposal, .. } => {
                self.path("equivocations proven");
                let offence = Offence { epoch: *epoch, member: *member, proposal: *proposal };
                // It may be forgotten again before the word of it is out.
                let known = self.nodes[node].chain().iter().any(|chain| chain.known_proofs().any(|it| it == offence));
                if known {
                    self.inspect(|invariant, _, _| invariant.acknowledged(node, Acknowledged::Proof(offence)));
                }
            }
            ChainEvent::Stalled { .. } => self.path("stalls"),
            ChainEvent::Resumed { .. } => self.path("stalls ended"),
            ChainEvent::Epoch { .. } => self.path("epochs begun"),
            ChainEvent::Reorg { .. } => self.path("reorganisations"),
            ChainEvent::NewBlock(_)
            | ChainEvent::Notarized(_)
            | ChainEvent::Safe(_)
            | ChainEvent::AuxPowQueued { .. } => {}
        }
    }
}
