//! The network: who hears what and when, what nodes ask each other, and what members that break the rules say.

use super::{Event, World};
use crate::{
    Fault,
    machine::{Fact, Told},
    wire::{self, Wire},
};
use alys_chain::{Message, PeerTag};
use alys_primitives::{Root, SignedBlock};
use std::sync::Arc;

/// A node asks for the same block at most once in this time, in milliseconds.
const ASK_PAUSE: u64 = 700;

impl World {
    /// Puts a message on its way, or loses it.
    pub(super) fn send(&mut self, from: usize, to: usize, wire: Wire) {
        if self.sides.as_ref().is_some_and(|sides| sides[from] != sides[to]) {
            return;
        }
        let wild = !self.calm;
        if wild && self.faults.has(Fault::Loss) && self.dice.once_in(20) {
            self.fire(Fault::Loss);
            return;
        }
        let mut latency = self.dice.between(5, 90);
        if wild && self.faults.has(Fault::Delay) && self.dice.once_in(8) {
            self.fire(Fault::Delay);
            latency = self.dice.between(100, 3_000);
        }
        if wild && self.faults.has(Fault::Duplicate) && self.dice.once_in(10) {
            self.fire(Fault::Duplicate);
            let again = self.now + self.dice.between(5, 1_500);
            self.at(again, Event::Deliver { from, to, wire: wire.clone() });
        }
        self.at(self.now + latency, Event::Deliver { from, to, wire });
    }

    fn gossip(&mut self, from: usize, message: &Message) {
        for to in self.others(from) {
            self.send(from, to, Wire::Gossip(message.clone()));
        }
    }

    /// What a core tells its peers.
    pub(super) fn broadcast(&mut self, node: usize, message: Message) {
        if self.is_honest(node) {
            self.gossip(node, &message);
        } else {
            self.misbehave(node, message);
        }
    }

    /// What a member that breaks the rules tells instead.
    fn misbehave(&mut self, node: usize, message: Message) {
        let Message::Block(block) = &message else {
            if self.faults.has(Fault::Withholding) && self.dice.once_in(3) {
                self.fire(Fault::Withholding);
                return;
            }
            self.gossip(node, &message);
            return;
        };
        if self.faults.has(Fault::InvalidPayload) && self.dice.once_in(3) {
            self.fire(Fault::InvalidPayload);
            let invalid = Arc::new(self.forge.with_invalid_payload(node, block));
            self.gossip(node, &Message::Block(invalid));
        } else if self.faults.has(Fault::Equivocation) && self.dice.once_in(2) {
            self.fire(Fault::Equivocation);
            let salt = self.dice.below(u64::MAX);
            let twin = Arc::new(self.forge.twin(node, block, salt));
            // Whoever the dice say hears of the one, the others of the other, some of both.
            for to in self.others(node) {
                let roll = self.dice.below(5);
                if roll < 3 {
                    self.send(node, to, Wire::Gossip(Message::Block(Arc::clone(block))));
                }
                if roll >= 2 {
                    self.send(node, to, Wire::Gossip(Message::Block(Arc::clone(&twin))));
                }
            }
            if self.faults.has(Fault::DoubleVote) {
                self.vote_for(node, block);
                self.vote_for(node, &twin);
            }
        } else if self.faults.has(Fault::Withholding) && self.dice.once_in(3) {
            self.fire(Fault::Withholding);
            for to in self.others(node) {
                if self.dice.once_in(2) {
                    self.send(node, to, Wire::Gossip(message.clone()));
                }
            }
        } else {
            self.gossip(node, &message);
        }
    }

    /// The index that a node has in an epoch.
    fn index_in(&self, node: usize, epoch: u64) -> Option<u64> {
        let key = self.truth.keys.get(node)?;
        let index = self.truth.members.get(&epoch)?.iter().position(|member| member == key)?;
        u64::try_from(index).ok()
    }

    fn vote_for(&mut self, node: usize, block: &SignedBlock) {
        let Some(index) = self.index_in(node, block.header.epoch.0) else { return };
        self.fire(Fault::DoubleVote);
        self.truth.approvals.insert((node, block.root()));
        let approval = self.forge.approval(node, index, &block.header);
        self.gossip(node, &Message::Approval(approval));
    }

    /// What a member that breaks the rules does about a block of another.
    fn react(&mut self, node: usize, block: &SignedBlock) {
        if self.faults.has(Fault::DoubleVote) && self.dice.once_in(2) {
            self.vote_for(node, block);
        }
        if self.faults.has(Fault::ForgedCertificate)
            && self.dice.once_in(6)
            && let Some(index) = self.index_in(node, block.header.epoch.0)
        {
            self.fire(Fault::ForgedCertificate);
            self.truth.approvals.insert((node, block.root()));
            let certificate = self.forge.certificate(node, index, &block.header, self.options.nodes);
            self.gossip(node, &Message::Notarization(certificate));
        }
        if self.faults.has(Fault::ForgedEvidence) && self.dice.once_in(10) {
            self.fire(Fault::ForgedEvidence);
            let accusation = self.forge.accusation(block, &mut self.dice);
            self.gossip(node, &Message::Evidence(accusation));
        }
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, wire: Wire) {
        if self.nodes[to].machine.is_none() {
            return;
        }
        self.bringer = Some(from);
        match wire {
            Wire::Gossip(message) => {
                if let (false, Message::Block(block)) = (self.is_honest(to), &message) {
                    let block = Arc::clone(block);
                    self.react(to, &block);
                }
                self.take(from, to, message);
            }
            Wire::Ask { root, above } => {
                let machine = &self.nodes[to];
                let answer = machine.chain().and_then(|chain| wire::answer(chain, &machine.store, root, above));
                if let Some(answer) = answer {
                    self.path("syncs answered");
                    self.send(to, from, answer);
                }
            }
            Wire::Blocks { blocks, certificate } if self.maker.has_actors() => {
                self.note("blocks", to, &[]);
                if self.tell(to, Fact::Blocks { blocks, certificate, peer: tag(from) }) == Told::Refused {
                    self.path("messages refused");
                }
            }
            Wire::Blocks { blocks, certificate } => {
                for block in blocks {
                    self.take(from, to, Message::Block(block));
                }
                if let Some(certificate) = certificate {
                    self.take(from, to, Message::Notarization(certificate));
                }
            }
        }
        self.bringer = None;
    }

    /// Gives a machine a message.
    fn take(&mut self, from: usize, to: usize, message: Message) {
        let (name, root) = match &message {
            Message::Block(block) => ("block", Some(block.root())),
            Message::Approval(_) => ("approval", None),
            Message::Notarization(_) => ("certificate", None),
            Message::AuxPow(_) => ("record", None),
            Message::Evidence(_) => ("evidence", None),
            Message::FederationChange(_) => ("change", None),
            Message::Pause(_) => ("pause", None),
        };
        self.note(name, to, &[]);
        match self.tell(to, Fact::Message { message, peer: Some(tag(from)) }) {
            Told::Taken | Told::NotTaken => {}
            Told::Refused => self.path("messages refused"),
            Told::UnknownEpoch => {
                // Who fell behind by an epoch can't verify what is new, and must ask for what is between.
                self.path("behind by an epoch");
                self.path("messages refused");
                if let Some(root) = root {
                    self.ask_for(to, root);
                }
            }
        }
    }

    /// Asks for a block that is missing, with its ancestors.
    pub(super) fn ask_for(&mut self, node: usize, root: Root) {
        let asked = self.nodes[node].asked.get(&root).copied();
        if asked.is_some_and(|at| at + ASK_PAUSE > self.now) {
            return;
        }
        if self.nodes[node].asked.len() > 256 {
            self.nodes[node].asked.clear();
        }
        self.nodes[node].asked.insert(root, self.now);
        let others: Vec<usize> = self.others(node).into_iter().collect();
        let Some(to) = self.bringer.or_else(|| self.pick(&others)) else { return };
        let Some(chain) = self.nodes[node].chain() else { return };
        let above = chain.view().finalized.height;
        self.send(node, to, Wire::Ask { root, above });
    }

    /// Passes a new block on to a peer, as gossip does.
    pub(super) fn relay(&mut self, node: usize, root: Root) {
        let others: Vec<usize> = self.others(node).into_iter().collect();
        if let (Some(to), Some((block, _))) = (self.pick(&others), self.nodes[node].store.block(&root)) {
            self.send(node, to, Wire::Gossip(Message::Block(block)));
        }
    }

    /// A node tells a peer of its head, so that who missed something asks for it.
    pub(super) fn status(&mut self, node: usize) {
        let next = self.now + self.dice.between(2_000, 4_000);
        self.at(next, Event::Status { node });
        let others: Vec<usize> = self.others(node).into_iter().collect();
        let Some(chain) = self.nodes[node].chain() else { return };
        let head = chain.view().head.root;
        let Some((block, certificate)) = self.nodes[node].store.block(&head) else { return };
        let Some(to) = self.pick(&others) else { return };
        self.send(node, to, Wire::Gossip(Message::Block(block)));
        if let Some(certificate) = certificate {
            self.send(node, to, Wire::Gossip(Message::Notarization(certificate)));
        }
    }
}

/// A node as its peers know it.
fn tag(node: usize) -> PeerTag {
    PeerTag(u64::try_from(node).unwrap_or(u64::MAX))
}
