//! Signatures of this member's key that come from elsewhere, on their way to the signer, which compares them with its record.

use super::ChainActor;
use crate::actors::signer::{Signed, SignerMessage};
use alys_chain::Verifier;
use alys_primitives::{Epoch, Notarization, PublicKeyBytes, SignedBlock, Slot};
use alys_store::signing::Duty;

/// The newest signatures that the signer was told of: an older slot tells it nothing more.
#[derive(Debug)]
pub(super) struct OwnKey {
    /// The slot in which this node started.
    started: Slot,
    proposal: Option<Slot>,
    approval: Option<Slot>,
}

impl OwnKey {
    pub(super) fn new(started: Slot) -> Self {
        Self { started, proposal: None, approval: None }
    }

    fn is_news(&mut self, signed: Signed) -> bool {
        let newest = match signed.duty {
            Duty::Proposal => &mut self.proposal,
            Duty::Approval => &mut self.approval,
        };
        let news = newest.is_none_or(|newest| signed.slot > newest);
        if news {
            *newest = Some(signed.slot);
        }
        news
    }
}

/// What a key signed of a block: the block itself, and the approvals in its parent's certificate.
pub(super) fn in_block(verifier: &Verifier, key: &PublicKeyBytes, block: &SignedBlock) -> Vec<Signed> {
    let header = &block.header;
    let authored = verifier.index_of(header.epoch, key) == Some(header.author_index);
    let mut met: Vec<Signed> =
        block.parent_notarization.iter().filter_map(|certificate| in_certificate(verifier, key, certificate)).collect();
    if authored {
        met.push(Signed { duty: Duty::Proposal, slot: header.slot });
    }
    met
}

/// Whether a key is among a certificate's signers.
pub(super) fn in_certificate(verifier: &Verifier, key: &PublicKeyBytes, certificate: &Notarization) -> Option<Signed> {
    let index = usize::try_from(verifier.index_of(certificate.epoch, key)?).ok()?;
    let signed = certificate.bitfield.get(index).unwrap_or(false);
    signed.then_some(Signed { duty: Duty::Approval, slot: certificate.slot })
}

impl ChainActor {
    /// Whether a message claims to be this member's own.
    pub(super) fn is_own(&self, epoch: Epoch, index: u64) -> bool {
        let (Some(chain), Some(key)) = (&self.chain, &self.config.member_key) else { return false };
        chain.verifier().index_of(epoch, key) == Some(index)
    }

    /// Tells the signer that this member signed twice: this node's record lets it sign once.
    pub(super) fn contradicted(&self, epoch: Epoch, member: u64, slot: Slot, proposal: bool) {
        let own = self.is_own(epoch, member);
        // Older proofs are of what was settled before this node started.
        if let Some(signer) = self.ports.signer.as_ref().filter(|_| own && slot >= self.own_key.started) {
            let duty = if proposal { Duty::Proposal } else { Duty::Approval };
            drop(signer.try_tell(SignerMessage::Contradicted(Signed { duty, slot })));
        }
    }

    /// Tells the signer of checked messages, of which `find` picks what this member's key signed.
    pub(super) async fn met(&mut self, find: impl FnOnce(&Verifier, &PublicKeyBytes) -> Vec<Signed>) {
        let (Some(chain), Some(key), Some(signer)) = (&self.chain, &self.config.member_key, &self.ports.signer) else {
            return;
        };
        let mut met = find(&chain.verifier(), key);
        // The newest slot says it all.
        met.sort_by_key(|signed| std::cmp::Reverse(signed.slot));
        for signed in met {
            // The signer is below this actor and never waits for it; one that has stopped signs nothing.
            if self.own_key.is_news(signed) && signer.tell(SignerMessage::Met(signed)).await.is_err() {
                tracing::debug!("the signer has stopped");
            }
        }
    }
}
