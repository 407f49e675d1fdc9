//! Bundles become final one after another, without gap or overlap, the same ones on every node.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite};
use alys_primitives::Root;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Finality {
    /// First height after the newest final bundle.
    next: BTreeMap<usize, u64>,
    /// Bundles and last heights by first height.
    bundles: BTreeMap<u64, (Root, u64)>,
}

impl Invariant for Finality {
    fn name(&self) -> &'static str {
        "continuous finality"
    }

    fn written(&mut self, _: &Truth, node: usize, _: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Finalized { bundle, from, to, .. } = write else { return Ok(()) };
        let next = self.next.entry(node).or_insert(1);
        // After a crash a bundle may become final again.
        if from.0 > *next || to < from {
            return Err(format!("node {node}: heights {from} to {to} are final, {next} is not"));
        }
        *next = (*next).max(to.0 + 1);
        let first = self.bundles.entry(from.0).or_insert((*bundle, to.0));
        if *first == (*bundle, to.0) { Ok(()) } else { Err(format!("two final bundles begin at height {from}")) }
    }
}
