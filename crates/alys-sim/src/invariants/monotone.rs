//! What readers saw never goes back: heads never get shorter, safe and finalized blocks never lower, across restarts.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainView, testing::StoreModel};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Monotone {
    seen: BTreeMap<usize, [u64; 3]>,
}

impl Invariant for Monotone {
    fn name(&self) -> &'static str {
        "monotone pointers"
    }

    fn view(&mut self, _: &Truth, node: usize, view: &ChainView) -> Check {
        let now = [view.head.height.0, view.safe.height.0, view.finalized.height.0];
        let before = self.seen.insert(node, now).unwrap_or_default();
        for ((name, before), now) in ["head", "safe", "finalized"].into_iter().zip(before).zip(now) {
            if now < before {
                return Err(format!("{name} of node {node} went from height {before} back to {now}"));
            }
        }
        if now[2] > now[1] || now[1] > now[0] {
            return Err(format!("node {node} has head, safe, finalized at {now:?}"));
        }
        Ok(())
    }

    fn disk_lost(&mut self, node: usize) {
        self.seen.remove(&node);
    }

    fn restarted(&mut self, truth: &Truth, node: usize, chain: &Chain, _: &StoreModel) -> Check {
        self.view(truth, node, &chain.view())
    }
}
