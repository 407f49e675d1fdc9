//! Faults that begin and end.

use super::{Ending, Event, World};
use crate::{
    Fault,
    machine::{Fact, Told, Victim},
};
use alys_chain::{
    ChainView, Input, Message,
    testing::{FakeExecutor, StoreModel},
};
use alys_primitives::{Address, Member, VariableList};

/// The fewest nodes of which one may lose its disk.
const FEWEST_DISKS: usize = 4;

/// Faults that begin at a time of the dice's choice; the others happen to messages, writes and members.
const TIMED: [Fault; 12] = [
    Fault::Partition,
    Fault::Crash,
    Fault::ClockSkew,
    Fault::ClockJump,
    Fault::EngineDown,
    Fault::Pause,
    Fault::NoMiner,
    Fault::EpochChange,
    Fault::BitcoinReorg,
    Fault::PegPause,
    Fault::ActorPanic,
    Fault::DiskLoss,
];

impl World {
    pub(super) fn begin_fault(&mut self) {
        if self.calm {
            return;
        }
        let next = self.now + self.dice.between(500, 6_000);
        self.at(next, Event::Fault);
        let possible = |fault: &Fault| self.faults.has(*fault) && (self.maker.has_actors() || !fault.needs_actors());
        let on: Vec<Fault> = TIMED.into_iter().filter(possible).collect();
        let index = self.dice.index(on.len());
        let Some(fault) = on.get(index).copied() else { return };
        let node = self.dice.index(self.nodes.len());
        if self.strike(fault, node) {
            self.note(fault.name(), node, &[]);
            self.fire(fault);
        }
    }

    /// `false` if the fault can't happen now.
    fn strike(&mut self, fault: Fault, node: usize) -> bool {
        match fault {
            Fault::Partition if self.sides.is_none() => {
                let sides = (0..self.nodes.len()).map(|_| self.dice.once_in(2)).collect();
                self.sides = Some(sides);
                let until = self.now + self.dice.between(2_000, 20_000);
                self.at(until, Event::End(Ending::Partition));
                true
            }
            Fault::Crash if self.nodes[node].machine.is_some() => {
                if self.faults.has(Fault::LostWrites) && self.dice.once_in(2) {
                    self.nodes[node].doomed = true;
                } else {
                    self.stop(node);
                }
                true
            }
            Fault::ClockSkew if self.nodes[node].skew.unsigned_abs() <= 450 => {
                let skew = i64::try_from(self.dice.below(901)).unwrap_or(0) - 450;
                self.nodes[node].skew = skew;
                true
            }
            Fault::ClockJump if self.nodes[node].skew.unsigned_abs() <= 450 => {
                let jump = i64::try_from(self.dice.between(3_000, 40_000)).unwrap_or(0);
                self.nodes[node].skew = if self.dice.once_in(2) { jump } else { -jump };
                // Signing suspends while clocks disagree (protocol section 2).
                // A machine with actors notices it by itself.
                self.nodes[node].signer.suspended = !self.maker.has_actors();
                let until = self.now + self.dice.between(1_000, 10_000);
                self.at(until, Event::End(Ending::Clock { node }));
                self.feed(node, Input::Tick);
                true
            }
            Fault::EngineDown if !self.nodes[node].executor.down => {
                self.nodes[node].executor.down = true;
                let until = self.now + self.dice.between(500, 7_000);
                self.at(until, Event::End(Ending::Engine { node }));
                true
            }
            Fault::Pause if self.nodes[node].frozen_until <= self.now => {
                self.nodes[node].frozen_until = self.now + self.dice.between(300, 9_000);
                true
            }
            Fault::NoMiner if !self.no_miner => {
                self.no_miner = true;
                let until = self.now + self.dice.between(30_000, 90_000);
                self.at(until, Event::End(Ending::Mining));
                true
            }
            Fault::EpochChange => self.change_federation(),
            Fault::BitcoinReorg => self.bitcoin_reorganisation(),
            Fault::PegPause => {
                let (pegin_paused, pegout_paused) = (self.dice.once_in(2), self.dice.once_in(2));
                self.decide_pause(pegin_paused, pegout_paused)
            }
            Fault::DiskLoss if self.can_lose_disk(node) => {
                self.stop(node);
                self.lose_disk(node);
                true
            }
            Fault::ActorPanic => {
                let victim = if self.dice.once_in(3) { Victim::Execution } else { Victim::Chain };
                self.tell(node, Fact::Panic(victim)) == Told::Taken
            }
            Fault::Delay
            | Fault::Loss
            | Fault::Duplicate
            | Fault::Partition
            | Fault::Crash
            | Fault::LostWrites
            | Fault::SlowDisk
            | Fault::ClockSkew
            | Fault::ClockJump
            | Fault::EngineDown
            | Fault::Pause
            | Fault::Equivocation
            | Fault::Withholding
            | Fault::DoubleVote
            | Fault::InvalidPayload
            | Fault::ForgedCertificate
            | Fault::ForgedEvidence
            | Fault::LyingMiner
            | Fault::NoMiner
            | Fault::PegTraffic
            | Fault::DiskLoss => false,
        }
    }

    /// One disk in a run, where enough others keep what is acknowledged.
    fn can_lose_disk(&self, node: usize) -> bool {
        !self.disk_lost && self.nodes.len() >= FEWEST_DISKS && self.nodes[node].machine.is_some()
    }

    /// The operator of a stopped machine keeps its signing record and removes all else.
    fn lose_disk(&mut self, node: usize) {
        self.disk_lost = true;
        self.nodes[node].store = StoreModel::default();
        self.nodes[node].executor = FakeExecutor::new(self.fixture.spec.evm.genesis_hash);
        self.inspect(|invariant, _, _| {
            invariant.disk_lost(node);
            Ok(())
        });
    }

    /// A machine stops, for a moment or for longer.
    pub(super) fn stop(&mut self, node: usize) {
        let unsynced = self.nodes[node].store.unsynced();
        let kept = if self.faults.has(Fault::LostWrites) {
            if unsynced > 0 {
                self.fire(Fault::LostWrites);
            }
            self.dice.index(unsynced + 1)
        } else {
            unsynced
        };
        self.crash(node, kept);
        let longest = if self.dice.once_in(2) { 400 } else { 9_000 };
        let until = self.now + self.dice.between(30, longest);
        let boot = self.nodes[node].boot;
        self.at(until, Event::End(Ending::Down { node, boot }));
    }

    pub(super) fn end_fault(&mut self, ending: Ending) {
        match ending {
            Ending::Partition => self.sides = None,
            Ending::Down { node, boot } => {
                if self.nodes[node].boot == boot {
                    self.restart(node);
                }
            }
            Ending::Clock { node } => {
                self.nodes[node].skew = 0;
                self.nodes[node].signer.suspended = false;
                self.nodes[node].tick_at = None;
                self.feed(node, Input::Tick);
            }
            Ending::Engine { node } => self.nodes[node].executor.down = false,
            Ending::Mining => self.no_miner = false,
        }
    }

    /// Members in another order and with other fee addresses; signed by all.
    fn change_federation(&mut self) -> bool {
        let up = self.up();
        let Some(node) = self.pick(&up) else { return false };
        let Some(chain) = self.nodes[node].chain() else { return false };
        let view = chain.view();
        let (epoch, verifier) = (view.epoch, chain.verifier());
        let mut members: Vec<Member> = view.members.to_vec();
        let turns = self.dice.index(members.len());
        members.rotate_left(turns);
        for member in &mut members {
            member.fee_address = Address::repeat_byte(u8::try_from(self.dice.below(256)).unwrap_or(0));
        }
        let Ok(list) = alys_primitives::Members::new(members.clone()) else { return false };
        let signers = self.signers(&view);
        let genesis_root = view.genesis_root;
        let custody = self.peg.as_mut().and_then(|peg| peg.custodians(&genesis_root, epoch));
        let custody = VariableList::new(custody.into_iter().collect()).unwrap_or_default();
        let root = verifier.federation_signing_root(epoch, &list, &custody);
        let change = self.forge.federation_change(root, epoch, members, custody, &signers);
        self.tell(node, Fact::Message { message: Message::FederationChange(change), peer: None }) != Told::Refused
    }

    /// The nodes of an epoch's members, each with its index.
    pub(super) fn signers(&self, view: &ChainView) -> Vec<(usize, usize)> {
        let members = view.members.iter().enumerate();
        let node_of = |key| self.truth.keys.iter().position(|known| known == key);
        members.filter_map(|(index, member)| Some((node_of(&member.public_key)?, index))).collect()
    }

    /// Ends every fault but members that break the rules.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.sides = None;
        self.no_miner = false;
        for node in 0..self.nodes.len() {
            let machine = &mut self.nodes[node];
            machine.skew = 0;
            machine.signer.suspended = false;
            machine.executor.down = false;
            machine.frozen_until = self.now;
            machine.tick_at = None;
            if machine.machine.is_none() {
                self.restart(node);
            } else {
                self.feed(node, Input::Tick);
            }
        }
        self.resume_peg();
        let finalized = self.nodes.iter().filter_map(|node| node.chain());
        self.finalized_at_calm = finalized.map(|chain| chain.view().finalized.height.0).max().unwrap_or(0);
    }
}
