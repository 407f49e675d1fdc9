//! What a signing record remembers: the newest of each kind, since everything older is refused.

use super::entry::{Entry, Kind};
use alys_primitives::{B256, Height, Slot};

/// The newest slot that a key signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedSlot {
    /// The slot.
    pub slot: Slot,
    /// What was signed; `None` if it is not known, and then nothing more can be signed for the slot.
    pub signing_root: Option<B256>,
}

/// The newest approval of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedApproval {
    /// Its slot and signing root.
    pub signed: SignedSlot,
    /// The greatest parent height among all approvals.
    pub parent_height: Height,
}

/// How far a key has signed. This is all that a record keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The newest proposal.
    pub proposal: Option<SignedSlot>,
    /// The newest approval.
    pub approval: Option<SignedApproval>,
}

impl Watermarks {
    /// Takes an entry in, or returns false if the entries before it rule it out.
    pub(super) fn advance(&mut self, entry: &Entry) -> bool {
        let signed = SignedSlot { slot: entry.slot, signing_root: Some(entry.signing_root) };
        let floor = SignedSlot { slot: entry.slot, signing_root: known(entry.signing_root) };
        let approval = |signed| SignedApproval { signed, parent_height: entry.parent_height };
        match entry.kind {
            Kind::Proposal => {
                let fits = self.proposal.is_none_or(|last| entry.slot > last.slot);
                self.proposal = if fits { Some(signed) } else { self.proposal };
                fits
            }
            Kind::Approval => {
                let fits = self
                    .approval
                    .is_none_or(|last| entry.slot > last.signed.slot && entry.parent_height >= last.parent_height);
                self.approval = if fits { Some(approval(signed)) } else { self.approval };
                fits
            }
            Kind::ProposalFloor => {
                let fits = self.proposal.is_none_or(|last| entry.slot >= last.slot);
                self.proposal = if fits { Some(floor) } else { self.proposal };
                fits
            }
            Kind::ApprovalFloor => {
                let fits = self
                    .approval
                    .is_none_or(|last| entry.slot >= last.signed.slot && entry.parent_height >= last.parent_height);
                self.approval = if fits { Some(approval(floor)) } else { self.approval };
                fits
            }
        }
    }

    /// The watermarks that refuse whatever either of the two refuses.
    pub fn joined(&self, other: &Self) -> Self {
        let proposal = match (self.proposal, other.proposal) {
            (Some(a), Some(b)) => Some(newer(a, b)),
            (one, None) | (None, one) => one,
        };
        let approval = match (self.approval, other.approval) {
            (Some(a), Some(b)) => Some(SignedApproval {
                signed: newer(a.signed, b.signed),
                parent_height: a.parent_height.max(b.parent_height),
            }),
            (one, None) | (None, one) => one,
        };
        Self { proposal, approval }
    }
}

/// The newer of two; of one slot, the root only if both agree on it.
fn newer(a: SignedSlot, b: SignedSlot) -> SignedSlot {
    match a.slot.cmp(&b.slot) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal => SignedSlot {
            slot: a.slot,
            signing_root: if a.signing_root == b.signing_root { a.signing_root } else { None },
        },
    }
}

fn known(root: B256) -> Option<B256> {
    (!root.is_zero()).then_some(root)
}
