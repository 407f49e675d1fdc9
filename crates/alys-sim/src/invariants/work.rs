//! No block carries work that was not done.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite};
use alys_primitives::TreeHash as _;

#[derive(Debug, Default)]
pub(crate) struct Work;

impl Invariant for Work {
    fn name(&self) -> &'static str {
        "work is real"
    }

    fn written(&mut self, truth: &Truth, node: usize, _: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::QueueAuxPow { record, .. } = write else { return Ok(()) };
        if truth.forged_work.contains(&record.tree_hash_root()) {
            return Err(format!("node {node} took a proof that its miner had made wrong"));
        }
        Ok(())
    }
}
