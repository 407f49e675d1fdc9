//! Approvals and certificates that arrived before their block.

use crate::verify::Verified;
use alys_primitives::{Approval, Epoch, Notarization, Root, Slot};
use std::collections::BTreeMap;

/// The most certificates that wait for their block.
const MAX_CERTIFICATES: usize = 256;

/// What waits for blocks. A member has one approval per slot here and an equal share of the place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Early {
    approvals: BTreeMap<(Epoch, u64), BTreeMap<Slot, Verified<Approval>>>,
    certificates: BTreeMap<(Slot, Root), Verified<Notarization>>,
}

impl Early {
    /// Keeps an approval; beyond the member's share its oldest one makes room. `false` if this one is the oldest.
    pub(crate) fn keep_approval(&mut self, approval: Verified<Approval>, share: usize) -> bool {
        let slot = approval.data.slot;
        let of_member = self.approvals.entry((approval.data.epoch, approval.member_index)).or_default();
        of_member.entry(slot).or_insert(approval);
        if of_member.len() > share {
            return of_member.pop_first().is_some_and(|(oldest, _)| oldest != slot);
        }
        true
    }

    /// Takes the approvals of a block.
    pub(crate) fn take_approvals(&mut self, root: &Root, epoch: Epoch, slot: Slot) -> Vec<Verified<Approval>> {
        let mut taken = Vec::new();
        for of_member in self.approvals.range_mut((epoch, 0)..=(epoch, u64::MAX)).map(|(_, of_member)| of_member) {
            if of_member.get(&slot).is_some_and(|approval| approval.data.block_root == *root) {
                taken.extend(of_member.remove(&slot));
            }
        }
        taken
    }

    /// Keeps a certificate; the oldest one makes room.
    pub(crate) fn keep_certificate(&mut self, certificate: Verified<Notarization>) {
        self.certificates.insert((certificate.slot, certificate.block_root), certificate);
        if self.certificates.len() > MAX_CERTIFICATES {
            self.certificates.pop_first();
        }
    }

    /// Takes the certificate of a block.
    pub(crate) fn take_certificate(&mut self, root: &Root, slot: Slot) -> Option<Verified<Notarization>> {
        self.certificates.remove(&(slot, *root))
    }

    /// Forgets what is about slots before this one.
    pub(crate) fn prune(&mut self, slot: Slot) {
        for of_member in self.approvals.values_mut() {
            *of_member = of_member.split_off(&slot);
        }
        self.approvals.retain(|_, of_member| !of_member.is_empty());
        self.certificates = self.certificates.split_off(&(slot, Root::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Basis;
    use alys_primitives::{ApprovalData, BitVector, FixedBytes, SignatureBytes};

    fn basis() -> Basis {
        Basis {
            genesis_root: Root::ZERO,
            federations: Vec::new(),
            version: FixedBytes::ZERO,
            parent_header: None,
            next_federation: None,
        }
    }

    fn root(slot: u64) -> Root {
        Root::from(alys_primitives::U256::from(slot))
    }

    fn approval(slot: u64) -> Verified<Approval> {
        let data = ApprovalData { block_root: root(slot), slot: Slot(slot), epoch: Epoch(1) };
        Verified::new(Approval { data, member_index: 0, signature: SignatureBytes::ZERO }, basis())
    }

    fn certificate(slot: u64) -> Verified<Notarization> {
        let certificate = Notarization {
            block_root: root(slot),
            slot: Slot(slot),
            epoch: Epoch(1),
            bitfield: BitVector::new(),
            aggregate_signature: SignatureBytes::ZERO,
        };
        Verified::new(certificate, basis())
    }

    #[test]
    fn what_is_about_slots_past_is_forgotten_and_nothing_else() {
        let mut early = Early::default();
        for slot in 3..=5 {
            assert!(early.keep_approval(approval(slot), 8));
            early.keep_certificate(certificate(slot));
        }
        early.prune(Slot(4));
        for (slot, kept) in [(3, false), (4, true), (5, true)] {
            assert_eq!(early.take_approvals(&root(slot), Epoch(1), Slot(slot)).len(), usize::from(kept), "slot {slot}");
            assert_eq!(early.take_certificate(&root(slot), Slot(slot)).is_some(), kept, "slot {slot}");
        }
        early.prune(Slot(6));
        assert!(early.approvals.is_empty() && early.certificates.is_empty(), "no member without an approval");
    }

    #[test]
    fn approvals_are_taken_once_and_by_their_block_in_its_epoch() {
        let mut early = Early::default();
        early.keep_approval(approval(3), 8);
        assert!(early.take_approvals(&root(4), Epoch(1), Slot(3)).is_empty());
        assert!(early.take_approvals(&root(3), Epoch(2), Slot(3)).is_empty());
        assert_eq!(early.take_approvals(&root(3), Epoch(1), Slot(3)), [approval(3)]);
        assert!(early.take_approvals(&root(3), Epoch(1), Slot(3)).is_empty());
    }
}
