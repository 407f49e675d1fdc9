//! Several nodes with one clock and a network that delivers at once.

use super::{Fixture, Node, mine};
use crate::{ChainConfig, Input, Message};
use alys_primitives::{Address, Slot, UnixMillis};

/// Nodes 0 to n-1 are the members of the fixture's federation.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Spec and keys.
    pub fixture: Fixture,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Nodes that neither send nor receive.
    pub absent: Vec<usize>,
    /// The time.
    pub now: UnixMillis,
    salt: u32,
}

impl Cluster {
    /// All members at genesis.
    pub fn new(fixture: Fixture) -> Self {
        Self::with_config(fixture, |config| config)
    }

    /// All members at genesis, with changed configurations.
    pub fn with_config(fixture: Fixture, change: impl Fn(ChainConfig) -> ChainConfig) -> Self {
        let nodes = (0..fixture.keys.len())
            .map(|index| Node::with_config(&fixture, Some(index), change(fixture.config(Some(index)))))
            .collect();
        let now = fixture.slot_start(0);
        Self { fixture, nodes, absent: Vec::new(), now, salt: 0 }
    }

    /// Lets the time pass to `at`, with every timeout on the way, and delivers everything.
    pub fn run_until(&mut self, at: UnixMillis) {
        for node in self.present() {
            let now = self.now;
            let _ = self.nodes[node].handle(now, Input::Tick);
        }
        self.deliver();
        loop {
            let next = self
                .present()
                .into_iter()
                .filter_map(|node| self.nodes[node].chain.poll_timeout().map(|(due, _)| (due, node)))
                .min();
            match next {
                Some((due, node)) if due <= at => {
                    self.now = self.now.max(due);
                    let now = self.now;
                    let _ = self.nodes[node].handle(now, Input::Tick);
                    self.deliver();
                }
                Some(_) | None => break,
            }
        }
        self.now = self.now.max(at);
    }

    /// Lets the time pass to just before the end of a slot.
    pub fn run_slot(&mut self, slot: u64) {
        self.run_until(self.fixture.slot_start(slot).saturating_add(1_500));
    }

    /// Lets slots pass, the current one not counted.
    pub fn run_slots(&mut self, count: u64) {
        let Slot(first) = self.fixture.spec.slot_at(self.now);
        for slot in 1..=count {
            self.run_slot(first + slot);
        }
    }

    /// Delivers every message to every node that is present.
    pub fn deliver(&mut self) {
        loop {
            let mut messages: Vec<(usize, Message)> = Vec::new();
            for from in 0..self.nodes.len() {
                let out: Vec<_> = self.nodes[from].outgoing.drain(..).collect();
                if !self.absent.contains(&from) {
                    messages.extend(out.into_iter().map(|message| (from, message)));
                }
            }
            if messages.is_empty() {
                break;
            }
            for (from, message) in messages {
                for to in self.present() {
                    if to != from {
                        let now = self.now;
                        self.nodes[to].receive(now, message.clone());
                    }
                }
            }
        }
    }

    /// Mines on the template of a node and gives the record to it. `false` if there is nothing to mine on.
    pub fn mine(&mut self, node: usize) -> bool {
        let payout = Address::repeat_byte(0xaa);
        let Ok(template) = self.nodes[node].chain.auxpow_template(payout, self.now) else { return false };
        self.salt += 1;
        let record = mine(template.bundle, self.salt);
        let now = self.now;
        let accepted = self.nodes[node].receive(now, Message::AuxPow(record));
        self.deliver();
        accepted
    }

    fn present(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| !self.absent.contains(node)).collect()
    }
}
