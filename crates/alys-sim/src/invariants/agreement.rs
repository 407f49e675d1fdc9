//! S1: no two conflicting safe or finalized blocks, on any nodes, ever. All ancestors of such a block count as such.

use super::{Check, Invariant, Truth};
use alys_chain::ChainView;
use alys_primitives::Root;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Agreement {
    safe: BTreeMap<u64, Root>,
    finalized: BTreeMap<u64, Root>,
}

fn settle(known: &mut BTreeMap<u64, Root>, truth: &Truth, root: Root, height: u64, what: &str) -> Check {
    let mut at = (root, height);
    loop {
        match known.get(&at.1) {
            Some(other) if *other == at.0 => return Ok(()),
            Some(other) => return Err(format!("two {what} blocks at height {}: {other} and {}", at.1, at.0)),
            None => {
                known.insert(at.1, at.0);
            }
        }
        let Some((parent, _)) = truth.parents.get(&at.0) else { return Ok(()) };
        let Some(below) = at.1.checked_sub(1) else { return Ok(()) };
        at = (*parent, below);
    }
}

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "S1 agreement"
    }

    fn view(&mut self, truth: &Truth, _: usize, view: &ChainView) -> Check {
        settle(&mut self.safe, truth, view.safe.root, view.safe.height.0, "safe")?;
        settle(&mut self.finalized, truth, view.finalized.root, view.finalized.height.0, "finalized")
    }
}
