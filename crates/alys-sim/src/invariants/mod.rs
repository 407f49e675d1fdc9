//! What must hold, one invariant per file. Each looks at what honest nodes do and keeps its own books.

mod agreement;
mod certificates;
mod conservation;
mod durability;
mod finality;
mod innocence;
mod monotone;
mod pause;
mod peg;
mod replay;
mod signing;
mod work;

use crate::world::MIN_PEGIN;
use alys_chain::{Chain, ChainView, ChainWrite, Offence, SignRequest, testing::StoreModel};
use alys_primitives::{B256, PegOutId, PublicKeyBytes, Root};
use bitcoin::ScriptBuf;
use std::collections::{BTreeMap, BTreeSet};

/// What the world knows and no single node does.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Keys by the node that has them.
    pub(crate) keys: Vec<PublicKeyBytes>,
    /// Members of each epoch, as readers saw them.
    pub(crate) members: BTreeMap<u64, Vec<PublicKeyBytes>>,
    /// Nodes that break the rules.
    pub(crate) byzantine: BTreeSet<usize>,
    /// Approvals that were really signed: node and block.
    pub(crate) approvals: BTreeSet<(usize, Root)>,
    /// Roots of records whose proofs miners made wrong.
    pub(crate) forged_work: BTreeSet<Root>,
    /// What each payment that was broadcast pays, by its transaction (internal byte order); nothing for a sweep.
    pub(crate) payments: BTreeMap<B256, Vec<PegOutId>>,
    /// Decisions about the peg's directions that all members of an epoch signed: epoch, number, deposits held, payments held.
    pub(crate) decisions: BTreeSet<(u64, u64, bool, bool)>,
    /// Parents and heights of all blocks that any honest node imported.
    pub(crate) parents: BTreeMap<Root, (Root, u64)>,
}

impl Truth {
    /// Takes the members of an epoch from a view.
    pub(crate) fn learn(&mut self, view: &ChainView) {
        self.members
            .entry(view.epoch.0)
            .or_insert_with(|| view.members.iter().map(|member| member.public_key).collect());
    }

    /// The node that has an index in an epoch.
    pub(crate) fn node_of(&self, epoch: u64, index: usize) -> Option<usize> {
        let key = self.members.get(&epoch)?.get(index)?;
        self.keys.iter().position(|known| known == key)
    }
}

/// The outcome of a check: what was seen that must not be.
pub(crate) type Check = Result<(), String>;

/// One invariant. `node` is always honest.
#[allow(unused_variables, reason = "most invariants look at few facts")]
pub(crate) trait Invariant {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// What readers of a node see has changed.
    fn view(&mut self, truth: &Truth, node: usize, view: &ChainView) -> Check {
        Ok(())
    }

    /// A node signs.
    fn signed(&mut self, truth: &Truth, node: usize, request: &SignRequest) -> Check {
        Ok(())
    }

    /// A node writes; the core is as after the write.
    fn written(&mut self, truth: &Truth, node: usize, chain: &Chain, write: &ChainWrite) -> Check {
        Ok(())
    }

    /// A node says that a block is imported or work is queued.
    fn acknowledged(&mut self, node: usize, what: Acknowledged) -> Check {
        Ok(())
    }

    /// A node has lost everything but its signing record.
    fn disk_lost(&mut self, node: usize) {}

    /// A node has started again from its store.
    fn restarted(&mut self, truth: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        Ok(())
    }

    /// The run is over and everything was synced.
    fn ended(&mut self, truth: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        Ok(())
    }
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Acknowledged {
    Block(Root),
    Work(Root),
    /// A proof of equivocation was told to subscribers.
    Proof(Offence),
    /// A change of the federation waits; the root of what it decides.
    Change(Root),
    /// A decision about pausing the peg, by what it decides.
    Pause(Root),
}

/// All invariants that need no more than the facts; with a peg, if its deposits pay to a script at first.
pub(crate) fn all(custody: Option<ScriptBuf>, epoch_delay: u64) -> Vec<Box<dyn Invariant>> {
    let mut all: Vec<Box<dyn Invariant>> = vec![
        Box::new(agreement::Agreement::default()),
        Box::new(signing::Signing::default()),
        Box::new(monotone::Monotone::default()),
        Box::new(certificates::Certificates),
        Box::new(durability::Durability::default()),
        Box::new(conservation::Conservation::default()),
        Box::new(finality::Finality::default()),
        Box::new(work::Work),
        Box::new(innocence::Innocence),
        Box::new(replay::Replay),
    ];
    if let Some(custody) = custody {
        all.push(Box::new(peg::Peg::new(custody, MIN_PEGIN, epoch_delay)));
        all.push(Box::new(pause::Pauses::default()));
    }
    all
}
