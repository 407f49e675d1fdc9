//! Approvals: ours and the others' (protocol sections 2 and 4).

use super::{Chain, Signing};
use crate::{Effect, InputError, Message, SignId, SignRequest, Verified};
use alys_primitives::{Approval, ApprovalData, BitVector, Notarization, Root, SignatureBytes};

impl Chain {
    /// Approves a block if the rules allow it: the first valid proposal of its slot, whose parent is the tip of one of
    /// the longest notarized chains seen, never in an epoch that has ended. It descends from the finalized block, or it
    /// would not be in the tree.
    pub(super) fn vote(&mut self, root: &Root) {
        let Some(entry) = self.tree.get(root) else { return };
        let Some(member_index) = self.config.member_key.and_then(|key| entry.federation.index_of(&key)) else { return };
        let Some(parent) = self.tree.get(&entry.header.parent_root) else { return };
        let allowed = entry.certificate.is_none()
            && parent.height() == self.tree.head().height()
            && self.voted.slot.is_none_or(|slot| entry.header.slot > slot)
            && parent.height() >= self.voted.parent_height
            && entry.header.epoch >= self.begun;
        #[cfg(feature = "testing")]
        let allowed = allowed
            || (entry.certificate.is_none() && self.constants.scheme.planted(crate::testing::Plant::ApproveAnything));
        if !allowed {
            return;
        }
        let data = ApprovalData { block_root: *root, slot: entry.header.slot, epoch: entry.header.epoch };
        let signing_root = self.constants.approval_root(entry.height(), &data);
        let parent_height = parent.height();
        self.voted.slot = Some(data.slot);
        self.voted.parent_height = parent_height;
        let id = SignId(self.fresh_id());
        self.signing.insert(id, Signing::Approval { data, member_index });
        let request = SignRequest::Approval { data, parent_height, signing_root };
        self.journal.now(Effect::Sign { id, request });
    }

    pub(super) fn approval_signed(&mut self, data: ApprovalData, member_index: u64, signature: SignatureBytes) {
        self.counters.approved = self.counters.approved.saturating_add(1);
        let approval = Approval { data, member_index, signature };
        self.witness_vote(&approval);
        self.journal.later(Effect::Broadcast(Message::Approval(approval)));
        self.add_vote(&data.block_root, member_index, signature);
    }

    pub(super) fn approval(&mut self, approval: Verified<Approval>) -> Result<(), InputError> {
        self.check_basis(&approval.basis)?;
        self.witness_vote(&approval);
        let root = approval.data.block_root;
        if self.tree.get(&root).is_some() {
            return self.count_approval(&root, approval);
        }
        if approval.data.slot <= self.tree.finalized().header.slot {
            return Err(InputError::UnknownBlock);
        }
        let members = self.tree.head().federation.len().max(1);
        let share = self.config.max_early_approvals.div_ceil(members);
        if self.early.keep_approval(approval, share) { Ok(()) } else { Err(InputError::ApprovalsFull) }
    }

    /// Counts a verified approval of a block in the tree.
    pub(super) fn count_approval(&mut self, root: &Root, approval: Verified<Approval>) -> Result<(), InputError> {
        let (approval, basis) = approval.into_parts();
        let entry = self.tree.get(root).ok_or(InputError::UnknownBlock)?;
        let version = self.constants.spec.fork_version(entry.height());
        let matches = approval.data.slot == entry.header.slot
            && approval.data.epoch == entry.header.epoch
            && basis.version == version;
        if !matches {
            return Err(InputError::BlockMismatch);
        }
        self.add_vote(root, approval.member_index, approval.signature);
        Ok(())
    }

    /// Adds an approval; a quorum of them makes a certificate.
    fn add_vote(&mut self, root: &Root, member_index: u64, signature: SignatureBytes) {
        let finalized = self.tree.finalized().root;
        let Some(entry) = self.tree.get_mut(root) else { return };
        if entry.certificate.is_some() || *root == finalized {
            return;
        }
        entry.votes.insert(member_index, signature);
        if entry.votes.len() < entry.federation.quorum() {
            return;
        }
        let mut bitfield = BitVector::new();
        let mut signatures = Vec::with_capacity(entry.votes.len());
        for (index, signature) in &entry.votes {
            let set = usize::try_from(*index).ok().is_some_and(|bit| bitfield.set(bit, true).is_ok());
            if set {
                signatures.push(*signature);
            }
        }
        // Verified signatures parse, so that this can't fail.
        let Ok(aggregate_signature) = self.constants.scheme.aggregate(&signatures) else { return };
        let certificate = Notarization {
            block_root: *root,
            slot: entry.header.slot,
            epoch: entry.header.epoch,
            bitfield,
            aggregate_signature,
        };
        self.certify(certificate.clone());
        self.journal.later(Effect::Broadcast(Message::Notarization(certificate)));
    }
}
