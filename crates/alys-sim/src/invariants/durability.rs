//! S6: what was acknowledged survives. The height index always names the head's chain.

use super::{Acknowledged, Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite, Offence, testing::StoreModel};
use alys_primitives::{Height, Root};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Durability {
    blocks: BTreeMap<usize, BTreeSet<Root>>,
    /// Blocks that a node dropped: the word of an import may come after that, when one sync covers both.
    dropped: BTreeMap<usize, BTreeSet<Root>>,
    work: BTreeMap<usize, BTreeSet<Root>>,
    /// Told proofs of equivocation, the change and the decision about pausing that wait.
    proofs: BTreeMap<usize, BTreeSet<Offence>>,
    changes: BTreeMap<usize, Root>,
    pauses: BTreeMap<usize, Root>,
}

impl Durability {
    fn compare(&self, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        for root in self.blocks.get(&node).into_iter().flatten() {
            if store.block(root).is_none() {
                return Err(format!("node {node} lost the block {root} that it had acknowledged"));
            }
        }
        let queued: BTreeSet<Root> = chain.queued_auxpow().map(|(hash, _)| *hash).collect();
        if let Some(lost) = self.work.get(&node).into_iter().flatten().find(|hash| !queued.contains(*hash)) {
            return Err(format!("node {node} lost the work {lost} that it had acknowledged"));
        }
        let known = chain.known_proofs().collect::<BTreeSet<_>>();
        if let Some(lost) = self.proofs.get(&node).into_iter().flatten().find(|proof| !known.contains(*proof)) {
            return Err(format!("node {node} lost the proof of {lost:?} that it had told of"));
        }
        let waiting = chain.waiting_change().map(alys_chain::change_root);
        if let Some(lost) = self.changes.get(&node).filter(|change| waiting != Some(**change)) {
            return Err(format!("node {node} lost the change {lost} that it had acknowledged"));
        }
        let waiting = chain.waiting_pause().map(alys_chain::peg::pause_root);
        if let Some(lost) = self.pauses.get(&node).filter(|pause| waiting != Some(**pause)) {
            return Err(format!("node {node} lost the decision {lost} about pausing that it had acknowledged"));
        }
        let head = chain.view().head;
        if store.top() != head.height || (head.height > Height(0) && store.canonical(head.height) != Some(head.root)) {
            return Err(format!("node {node}: the index ends at {}, the head is at {}", store.top(), head.height));
        }
        let mut above = None;
        for height in (chain.view().finalized.height.0..=head.height.0).rev().filter(|height| *height > 0) {
            let at = store.canonical(Height(height));
            let block = at.and_then(|root| store.block(&root)).map(|(block, _)| block);
            if at.is_none() || above.is_some_and(|parent| Some(parent) != at) {
                return Err(format!("node {node}: the index names {at:?} at height {height}"));
            }
            above = block.map(|block| block.header.parent_root);
        }
        Ok(())
    }
}

impl Invariant for Durability {
    fn name(&self) -> &'static str {
        "S6 acknowledged is durable"
    }

    fn acknowledged(&mut self, node: usize, what: Acknowledged) -> Check {
        match what {
            Acknowledged::Block(root) => {
                let dropped = self.dropped.get(&node).is_some_and(|dropped| dropped.contains(&root));
                !dropped && self.blocks.entry(node).or_default().insert(root)
            }
            Acknowledged::Work(hash) => self.work.entry(node).or_default().insert(hash),
            Acknowledged::Proof(offence) => self.proofs.entry(node).or_default().insert(offence),
            Acknowledged::Change(change) => self.changes.insert(node, change).is_none(),
            Acknowledged::Pause(pause) => self.pauses.insert(node, pause).is_none(),
        };
        Ok(())
    }

    fn written(&mut self, _: &Truth, node: usize, _: &Chain, write: &ChainWrite) -> Check {
        match write {
            ChainWrite::DropBlock { root } => {
                self.blocks.entry(node).or_default().remove(root);
                self.dropped.entry(node).or_default().insert(*root);
            }
            ChainWrite::DropAuxPow { hash } => {
                self.work.entry(node).or_default().remove(hash);
            }
            ChainWrite::DropProof { offence } => {
                self.proofs.entry(node).or_default().remove(offence);
            }
            ChainWrite::DropChange => {
                self.changes.remove(&node);
            }
            ChainWrite::DropPause => {
                self.pauses.remove(&node);
            }
            ChainWrite::Block { root, .. } => {
                self.dropped.entry(node).or_default().remove(root);
            }
            ChainWrite::Certificate(_)
            | ChainWrite::KeepProof { .. }
            | ChainWrite::KeepChange(_)
            | ChainWrite::KeepPause(_)
            | ChainWrite::QueueAuxPow { .. }
            | ChainWrite::Canonical { .. }
            | ChainWrite::Decanonical { .. }
            | ChainWrite::Pointers(_)
            | ChainWrite::Finalized { .. }
            | ChainWrite::Checkpoint(_) => {}
        }
        Ok(())
    }

    fn disk_lost(&mut self, node: usize) {
        self.blocks.remove(&node);
        self.dropped.remove(&node);
        self.work.remove(&node);
        self.proofs.remove(&node);
        self.changes.remove(&node);
        self.pauses.remove(&node);
    }

    fn restarted(&mut self, _: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        self.compare(node, chain, store)
    }

    fn ended(&mut self, _: &Truth, node: usize, chain: &Chain, store: &StoreModel) -> Check {
        self.compare(node, chain, store)
    }
}
