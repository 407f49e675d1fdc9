//! S5, as far as it is about fees: what blocks paid in fees is what was minted again, what is carried over and what waits;
//! recomputed from the payloads alone, at every block.

use super::{Check, Invariant, Truth};
use alys_chain::{Chain, ChainWrite};
use alys_primitives::{Root, Wei, WithdrawalKind};
use std::collections::BTreeMap;

/// Sums over a block and its ancestors.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    fees: Wei,
    minted: Wei,
    withdrawals: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Conservation {
    totals: BTreeMap<Root, Totals>,
}

impl Invariant for Conservation {
    fn name(&self) -> &'static str {
        "S5 conservation"
    }

    fn written(&mut self, _: &Truth, node: usize, chain: &Chain, write: &ChainWrite) -> Check {
        let ChainWrite::Block { root, block, fees, .. } = write else { return Ok(()) };
        let mut totals = self.totals.get(&block.header.parent_root).copied().unwrap_or_default();
        totals.fees = totals.fees.saturating_add(*fees);
        for withdrawal in &block.payload.withdrawals {
            if withdrawal.index != totals.withdrawals {
                return Err(format!("withdrawal {} of {root} should be {}", withdrawal.index, totals.withdrawals));
            }
            totals.withdrawals += 1;
            // Refunds and deposits are the peg's, whose books are `peg.rs`.
            if withdrawal.validator_index < WithdrawalKind::Refund.validator_index() {
                totals.minted = totals.minted.saturating_add(withdrawal.amount.to_wei());
            }
        }
        self.totals.insert(*root, totals);
        // Finality may have passed the block at once.
        let Some(state) = chain.state(root) else { return Ok(()) };
        let ledger = &state.ledger;
        if state.fees_total != totals.fees || ledger.fees_reminted != totals.minted {
            return Err(format!("node {node}: the books of {root} are not the sums of its payloads"));
        }
        if state.next_withdrawal_index != totals.withdrawals {
            return Err(format!("node {node}: {root} counts {} withdrawals", state.next_withdrawal_index));
        }
        let committed = self.totals.get(&state.committed.end.root).map(|end| end.fees).unwrap_or_default();
        if state.committed.fees != committed {
            return Err(format!("node {node}: {root} has committed fees of {}", state.committed.fees));
        }
        if ledger.fees_reminted.saturating_add(state.fee_carry) != committed {
            return Err(format!("node {node}: {root} minted {} of {committed} wei in fees", ledger.fees_reminted));
        }
        Ok(())
    }
}
