//! A direction of the peg that a quorum paused stands still: no deposit is credited, no payment is begun or attempted again.
//! Decisions are numbered without gaps and were really signed.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite, peg::PauseState};
use alys_primitives::{Root, SignedBlock, WithdrawalKind};
use std::collections::BTreeMap;

/// How the directions are after each block, by the blocks' own records.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    after: BTreeMap<Root, PauseState>,
}

/// How the directions are after a block, from how they were before it.
fn next(truth: &Truth, before: PauseState, block: &SignedBlock) -> Result<PauseState, String> {
    let Some(pause) = block.body.pause.first() else { return Ok(before) };
    let epoch = block.header.epoch.0;
    if pause.epoch.0 != epoch || pause.sequence != before.sequence + 1 {
        return Err(format!("decision {} of epoch {} follows {}", pause.sequence, pause.epoch, before.sequence));
    }
    if !truth.decisions.contains(&(epoch, pause.sequence, pause.pegin_paused, pause.pegout_paused)) {
        return Err(format!("nobody signed decision {}", pause.sequence));
    }
    let (pegin_paused, pegout_paused) = (pause.pegin_paused, pause.pegout_paused);
    Ok(PauseState { sequence: pause.sequence, pegin_paused, pegout_paused })
}

impl Invariant for Pauses {
    fn name(&self) -> &'static str {
        "paused is paused"
    }

    fn written(&mut self, truth: &Truth, node: usize, chain: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Block { root, block, .. } = write else { return Ok(()) };
        let before = self.after.get(&block.header.parent_root).copied().unwrap_or_default();
        let after = next(truth, before, block).map_err(|what| format!("{root}: {what}"))?;
        let credits = WithdrawalKind::PegIn.validator_index();
        let credited = block.payload.withdrawals.iter().any(|withdrawal| withdrawal.validator_index == credits);
        if after.pegin_paused && credited {
            return Err(format!("{root} credits a deposit while deposits are held"));
        }
        let body = &block.body;
        if after.pegout_paused && !(body.pegout_batches.is_empty() && body.fee_bumps.is_empty()) {
            return Err(format!("{root} begins or raises a payment while payments are held"));
        }
        if let Some(state) = chain.state(root)
            && *state.peg.ledger().pause() != after
        {
            return Err(format!("node {node}: {root}: {:?}, by the blocks {after:?}", state.peg.ledger().pause()));
        }
        self.after.insert(*root, after);
        Ok(())
    }
}
