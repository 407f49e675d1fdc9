//! What members were seen signing, to notice when one of them signs twice.

use crate::evidence::Proof;
use alys_primitives::{Approval, Epoch, ProposalEquivocation, SignedHeader, Slot, VoteEquivocation};
use std::collections::BTreeMap;

type BySlot<T> = BTreeMap<Slot, T>;

/// The first message of each kind by each member for each slot above the finalized one. Every message here carries a
/// checked signature, so only members fill this place, each its own share of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    proposals: BTreeMap<(Epoch, u64), BySlot<SignedHeader>>,
    votes: BTreeMap<(Epoch, u64), BySlot<Approval>>,
}

/// Keeps a message; gives an earlier one for the same slot that says something else.
fn see<T: Clone>(
    seen: &mut BTreeMap<(Epoch, u64), BySlot<T>>,
    member: (Epoch, u64),
    slot: Slot,
    message: &T,
    same: impl Fn(&T) -> bool,
    share: usize,
) -> Option<T> {
    let of_member = seen.entry(member).or_default();
    if let Some(earlier) = of_member.get(&slot) {
        return (!same(earlier)).then(|| earlier.clone());
    }
    of_member.insert(slot, message.clone());
    if of_member.len() > share {
        of_member.pop_first();
    }
    None
}

impl Witness {
    pub(crate) fn proposal(&mut self, signed: &SignedHeader, share: usize) -> Option<Proof> {
        let header = &signed.header;
        let member = (header.epoch, header.author_index);
        let same = |earlier: &SignedHeader| earlier.header == *header;
        let first = see(&mut self.proposals, member, header.slot, signed, same, share)?;
        Some(Proof::Proposal(Box::new(ProposalEquivocation { first, second: signed.clone() })))
    }

    pub(crate) fn vote(&mut self, approval: &Approval, share: usize) -> Option<Proof> {
        let member = (approval.data.epoch, approval.member_index);
        let same = |earlier: &Approval| earlier.data == approval.data;
        let first = see(&mut self.votes, member, approval.data.slot, approval, same, share)?;
        Some(Proof::Vote(Box::new(VoteEquivocation { first, second: approval.clone() })))
    }

    /// Forgets slots up to this one.
    pub(crate) fn prune(&mut self, slot: Slot) {
        let from = slot.next();
        for of_member in self.proposals.values_mut() {
            *of_member = of_member.split_off(&from);
        }
        for of_member in self.votes.values_mut() {
            *of_member = of_member.split_off(&from);
        }
        self.proposals.retain(|_, of_member| !of_member.is_empty());
        self.votes.retain(|_, of_member| !of_member.is_empty());
    }
}
