//! The chain accuses nobody who kept the rules.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite};

#[derive(Debug, Default)]
pub(crate) struct Innocence;

impl Invariant for Innocence {
    fn name(&self) -> &'static str {
        "only the guilty are accused"
    }

    fn written(&mut self, truth: &Truth, node: usize, _: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Block { block, .. } = write else { return Ok(()) };
        let evidence = &block.body.evidence;
        let proposals = evidence.proposals.iter().map(|proof| proof.first.header.author_index);
        let votes = evidence.votes.iter().map(|proof| proof.first.member_index);
        for index in proposals.chain(votes) {
            let accused = usize::try_from(index).ok().and_then(|bit| truth.node_of(block.header.epoch.0, bit));
            if !accused.is_some_and(|accused| truth.byzantine.contains(&accused)) {
                return Err(format!("node {node} took evidence against member {index}, who is innocent"));
            }
        }
        Ok(())
    }
}
