//! S2: at most one proposal and one approval per slot, approvals in rising slots on parents that never get lower; across
//! crashes and restarts.

use super::{Check, Invariant, Truth};
use alys_chain::SignRequest;
use alys_primitives::Root;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Signing {
    proposals: BTreeMap<(usize, u64), Root>,
    approvals: BTreeMap<(usize, u64), Root>,
    /// Newest approval: slot and height of the parent.
    newest: BTreeMap<usize, (u64, u64)>,
}

impl Invariant for Signing {
    fn name(&self) -> &'static str {
        "S2 no double signing"
    }

    fn signed(&mut self, _: &Truth, node: usize, request: &SignRequest) -> Check {
        match request {
            SignRequest::Proposal { slot, root, .. } => {
                let first = self.proposals.entry((node, slot.0)).or_insert(*root);
                if first == root { Ok(()) } else { Err(format!("node {node} proposed twice in slot {slot}")) }
            }
            SignRequest::Approval { data, parent_height, .. } => {
                let first = self.approvals.entry((node, data.slot.0)).or_insert(data.block_root);
                if *first != data.block_root {
                    return Err(format!("node {node} approved twice in slot {}", data.slot));
                }
                let (slot, height) = self.newest.entry(node).or_insert((data.slot.0, parent_height.0));
                if data.slot.0 < *slot || parent_height.0 < *height {
                    return Err(format!("node {node} approved slot {} after slot {slot}", data.slot));
                }
                (*slot, *height) = (data.slot.0, parent_height.0);
                Ok(())
            }
        }
    }
}
