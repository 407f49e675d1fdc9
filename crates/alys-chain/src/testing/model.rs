//! The core's rules again, slow and obviously right: blocks and certificates in plain maps, everything computed from
//! scratch, straight from the protocol's sentences (sections 2, 4, 5 and 6).

use super::Fixture;
use crate::Message;
use alys_primitives::{Root, SignedBlock};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Members of the federations that [`Model`] is right about.
pub const MODEL_MEMBERS: usize = 4;

/// Approvals that notarize a block there.
pub const MODEL_QUORUM: usize = 3;

/// What follows from the facts that arrived.
#[derive(Clone, Debug)]
pub struct Model {
    genesis: Root,
    depth: u64,
    /// Blocks that have arrived.
    arrived: BTreeMap<Root, Arc<SignedBlock>>,
    approvals: BTreeMap<Root, BTreeSet<u64>>,
    certificates: BTreeSet<Root>,
    /// The newest finalized block.
    finalized: Root,
}

impl Model {
    /// A model that knows nothing but genesis.
    pub fn new(fixture: &Fixture) -> Self {
        let genesis = fixture.spec.genesis_header().root();
        Self {
            genesis,
            depth: fixture.spec.min_finalization_depth,
            arrived: BTreeMap::new(),
            approvals: BTreeMap::new(),
            certificates: BTreeSet::new(),
            finalized: genesis,
        }
    }

    /// Takes in a fact.
    pub fn hear(&mut self, fact: &Message) {
        match fact {
            Message::Block(block) => {
                self.arrived.insert(block.root(), Arc::clone(block));
            }
            Message::Approval(approval) => {
                self.approvals.entry(approval.data.block_root).or_default().insert(approval.member_index);
            }
            Message::Notarization(certificate) => {
                self.certificates.insert(certificate.block_root);
            }
            Message::AuxPow(_) | Message::Evidence(_) | Message::FederationChange(_) | Message::Pause(_) => {}
        }
        let newest =
            self.notarized().into_iter().map(|root| self.finalized_by(root)).max_by_key(|root| self.height(*root));
        if let Some(newest) = newest.filter(|newest| self.height(*newest) > self.height(self.finalized)) {
            self.finalized = newest;
        }
    }

    /// Blocks that have arrived.
    pub fn arrived(&self) -> &BTreeMap<Root, Arc<SignedBlock>> {
        &self.arrived
    }

    /// The newest finalized block.
    pub fn finalized(&self) -> Root {
        self.finalized
    }

    /// Height of a block that has arrived; zero for genesis.
    pub fn height(&self, root: Root) -> u64 {
        self.arrived.get(&root).map_or(0, |block| block.header.height.0)
    }

    fn slot(&self, root: Root) -> u64 {
        self.arrived.get(&root).map_or(0, |block| block.header.slot.0)
    }

    fn parent(&self, root: Root) -> Option<Root> {
        self.arrived.get(&root).map(|block| block.header.parent_root)
    }

    /// Genesis.
    pub fn genesis(&self) -> Root {
        self.genesis
    }

    /// Forgets a block that nobody will hear of.
    pub fn forget(&mut self, root: &Root) {
        self.arrived.remove(root);
    }

    /// From genesis up to a block; `None` if an ancestor has not arrived.
    pub fn chain(&self, tip: Root) -> Option<Vec<Root>> {
        let mut chain = vec![tip];
        let mut at = tip;
        while at != self.genesis {
            at = self.parent(at)?;
            chain.push(at);
        }
        chain.reverse();
        Some(chain)
    }

    /// Blocks with all their ancestors and a quorum: by a certificate, by approvals, or inside a child.
    pub fn notarized(&self) -> BTreeSet<Root> {
        let known = |root: &Root| self.chain(*root).is_some();
        let inside = self.arrived.values().map(|child| child.header.parent_root);
        let counted = self.approvals.iter().filter(|(_, members)| members.len() >= MODEL_QUORUM).map(|(root, _)| *root);
        let mut all: BTreeSet<Root> =
            self.certificates.iter().copied().chain(counted).chain(inside).filter(known).collect();
        all.insert(self.genesis);
        all
    }

    /// The newest block that is safe if `tip` is notarized: the second of three in consecutive slots.
    fn safe_by(&self, tip: Root) -> Root {
        let chain = self.chain(tip).unwrap();
        let runs = chain
            .windows(3)
            .filter(|run| self.slot(run[1]) == self.slot(run[0]) + 1 && self.slot(run[2]) == self.slot(run[1]) + 1);
        runs.map(|run| run[1]).next_back().unwrap_or(self.genesis)
    }

    /// The end of the newest bundle that is final if `tip` is notarized: its carrier is safe and deep enough.
    fn finalized_by(&self, tip: Root) -> Root {
        let chain = self.chain(tip).unwrap();
        let mut newest = self.genesis;
        for at in &chain {
            let (safe, height) = (self.height(self.safe_by(*at)), self.height(*at));
            for carrier in &chain {
                let Some(block) = self.arrived.get(carrier) else { continue };
                let Some(record) = block.body.auxpow.first() else { continue };
                let deep = self.height(*carrier) + self.depth <= height;
                if deep && self.height(*carrier) <= safe && self.height(record.bundle.end_root) > self.height(newest) {
                    newest = record.bundle.end_root;
                }
            }
        }
        newest
    }

    fn work(&self, tip: Root) -> usize {
        let carries = |root: &&Root| self.arrived.get(*root).is_some_and(|block| !block.body.auxpow.is_empty());
        self.chain(tip).unwrap().iter().filter(carries).count()
    }

    /// Tip of the longest notarized chain that contains the finalized block; ties: more work, then the lower root.
    pub fn head(&self) -> Root {
        let candidates =
            self.notarized().into_iter().filter(|root| self.chain(*root).unwrap().contains(&self.finalized));
        candidates.max_by_key(|root| (self.height(*root), self.work(*root), Reverse(*root))).unwrap()
    }

    /// The newest block of the head's chain that any notarized block makes safe, never below the finalized one.
    pub fn safe(&self) -> Root {
        let chain = self.chain(self.head()).unwrap();
        let safe = self.notarized().into_iter().map(|root| self.safe_by(root)).filter(|root| chain.contains(root));
        safe.chain([self.finalized]).max_by_key(|root| self.height(*root)).unwrap()
    }
}
