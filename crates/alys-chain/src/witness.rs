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

#[cfg(test)]
mod tests {
    use super::*;
    use alys_primitives::{ApprovalData, BlockHeader, Root, SignatureBytes};

    fn vote(slot: u64, block: u8) -> Approval {
        let data = ApprovalData { block_root: Root::repeat_byte(block), slot: Slot(slot), epoch: Epoch(1) };
        Approval { data, member_index: 2, signature: SignatureBytes::ZERO }
    }

    fn proposal(slot: u64, body: u8) -> SignedHeader {
        let body_root = Root::repeat_byte(body);
        let header =
            BlockHeader { slot: Slot(slot), epoch: Epoch(1), author_index: 2, body_root, ..Default::default() };
        SignedHeader { header, author_signature: SignatureBytes::ZERO }
    }

    #[test]
    fn slots_up_to_the_finalized_one_are_forgotten_and_no_others() {
        let mut witness = Witness::default();
        for slot in 3..=5 {
            assert_eq!(witness.vote(&vote(slot, 1), 8), None);
            assert_eq!(witness.proposal(&proposal(slot, 1), 8), None);
        }
        witness.prune(Slot(4));
        for (slot, known) in [(3, false), (4, false), (5, true)] {
            assert_eq!(witness.vote(&vote(slot, 2), 8).is_some(), known, "slot {slot}");
            assert_eq!(witness.proposal(&proposal(slot, 2), 8).is_some(), known, "slot {slot}");
        }
        witness.prune(Slot(5));
        assert!(witness.votes.is_empty() && witness.proposals.is_empty(), "no member without a message");
    }

    #[test]
    fn a_share_is_filled_before_anything_makes_room() {
        let mut witness = Witness::default();
        for slot in [3, 4] {
            witness.vote(&vote(slot, 1), 2);
        }
        assert!(witness.vote(&vote(3, 2), 2).is_some(), "both are known");
        witness.vote(&vote(5, 1), 2);
        assert_eq!(witness.vote(&vote(3, 2), 2), None, "the oldest made room");
        assert!(witness.vote(&vote(5, 2), 2).is_some());
    }

    #[test]
    fn the_same_message_again_is_no_contradiction() {
        let mut witness = Witness::default();
        for _ in 0..3 {
            assert_eq!(witness.vote(&vote(3, 1), 8), None);
            assert_eq!(witness.proposal(&proposal(3, 1), 8), None);
        }
        assert!(matches!(witness.vote(&vote(3, 2), 8), Some(Proof::Vote(_))));
        assert!(matches!(witness.proposal(&proposal(3, 2), 8), Some(Proof::Proposal(_))));
    }
}
