//! What peers tell: cheap checks first, then signatures on another thread, then the verdict, then the core.

use super::{ChainActor, ChainMessage, PerformanceTargets, own_key, timed_check};
use crate::actors::signer::Signed;
use alys_actor::{Context, Reply};
use alys_chain::peg::PauseError;
use alys_chain::{Chain, FederationError, Input, Message as Gossip, PeerTag, Verified, Verifier, VerifyError};
use alys_p2p::Verdict;
use alys_primitives::{Approval, Evidence, FederationChange, Notarization, Pause, Root, SignedBlock, Slot};
use alys_store::signing::Duty;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Members that were heard, by slot; older slots make room.
const MAX_HEARD: usize = 8192;

/// Different messages of one member for one slot that are passed on: the second one proves that it broke its promise, a
/// third one proves nothing more.
const MAX_VARIANTS: usize = 2;

/// How far ahead of the clock a message's slot may be, in slots.
const MAX_AHEAD: u64 = 2;

/// A message of gossip whose signatures hold.
#[derive(Debug)]
pub enum Heard {
    /// A proposal.
    Block(Box<Verified<SignedBlock>>),
    /// An approval.
    Approval(Box<Verified<Approval>>),
    /// A certificate.
    Notarization(Box<Verified<Notarization>>),
    /// Proofs of equivocation.
    Evidence(Box<Verified<Evidence>>),
    /// A change of the federation.
    Federation(Box<Verified<FederationChange>>),
    /// A decision about pausing the peg.
    Pause(Box<Verified<Pause>>),
}

/// Why a message of gossip does not hold.
#[derive(Debug, thiserror::Error)]
pub enum NotHeard {
    /// A signature, a form, a certificate.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A change of the federation.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// A decision about pausing the peg.
    #[error(transparent)]
    Pause(#[from] PauseError),
    /// Work does not come this way.
    #[error("work does not come this way")]
    Work,
}

/// Which messages of which members were passed on.
#[derive(Debug, Default)]
pub(super) struct HeardFrom {
    variants: BTreeMap<(Slot, bool, u64), Vec<Root>>,
}

impl HeardFrom {
    /// Whether a message says something new.
    fn is_new(&self, slot: Slot, proposal: bool, member: u64, root: &Root) -> bool {
        self.variants
            .get(&(slot, proposal, member))
            .is_none_or(|known| known.len() < MAX_VARIANTS && !known.contains(root))
    }

    fn note(&mut self, slot: Slot, proposal: bool, member: u64, root: Root) {
        let known = self.variants.entry((slot, proposal, member)).or_default();
        if known.len() < MAX_VARIANTS && !known.contains(&root) {
            known.push(root);
        }
        while self.variants.len() > MAX_HEARD {
            self.variants.pop_first();
        }
    }
}

impl ChainActor {
    /// A message of gossip. The verdict is given as soon as its signatures are checked; what the chain makes of it then
    /// is another matter.
    pub(super) fn hear(&self, message: Gossip, peer: PeerTag, reply: Reply<Verdict>, ctx: &mut Context<ChainMessage>) {
        let Some(chain) = &self.chain else { return };
        if !self.is_wanted(chain, &message) {
            reply.send(Verdict::Ignore);
            return;
        }
        let (verifier, targets) = (chain.verifier(), self.timings.targets);
        ctx.spawn_blocking("verify-gossip", move || ChainMessage::Heard {
            result: verify(&verifier, targets, message),
            peer,
            reply,
        });
    }

    /// Whether it is worth a look at its signatures.
    fn is_wanted(&self, chain: &Chain, message: &Gossip) -> bool {
        let (slot, new) = match message {
            Gossip::Block(block) => {
                let (slot, author) = (block.header.slot, block.header.author_index);
                (slot, self.heard.is_new(slot, true, author, &block.root()))
            }
            Gossip::Approval(approval) => {
                let data = &approval.data;
                let new = self.heard.is_new(data.slot, false, approval.member_index, &data.block_root);
                // One with this member's signature is always looked at: the signer must know of it.
                let open = !chain.is_notarized(&data.block_root) || self.is_own(data.epoch, approval.member_index);
                (data.slot, new && open)
            }
            Gossip::Notarization(certificate) => (certificate.slot, !chain.is_notarized(&certificate.block_root)),
            // Few come, and the core knows which are new.
            Gossip::Evidence(_) => return true,
            Gossip::FederationChange(change) => return change.epoch >= chain.view().epoch,
            Gossip::Pause(pause) => {
                let view = chain.view();
                return pause.epoch >= view.epoch && pause.sequence > view.peg.ledger().pause().sequence;
            }
            // Asked for with `ProcessAuxPow`.
            Gossip::AuxPow(_) => return false,
        };
        let view = chain.view();
        let newest = self.spec.slot_at(self.ports.clock.now()).saturating_add(MAX_AHEAD);
        new && slot > view.finalized.slot && slot <= newest
    }

    /// A message whose signatures were checked.
    pub(super) async fn heard(
        &mut self,
        result: Result<Heard, NotHeard>,
        peer: PeerTag,
        reply: Reply<Verdict>,
        ctx: &mut Context<ChainMessage>,
    ) {
        let heard = match result {
            Ok(heard) => heard,
            Err(error) => {
                metrics::counter!("alys_chain_rejected_total", "kind" => "gossip").increment(1);
                tracing::debug!(%error, "gossip did not verify");
                reply.send(blame(&error));
                return;
            }
        };
        reply.send(Verdict::Accept);
        self.met(|verifier, key| match &heard {
            Heard::Block(block) => own_key::in_block(verifier, key, block),
            Heard::Approval(approval) => {
                let own = verifier.index_of(approval.data.epoch, key) == Some(approval.member_index);
                own.then_some(Signed { duty: Duty::Approval, slot: approval.data.slot }).into_iter().collect()
            }
            Heard::Notarization(certificate) => {
                own_key::in_certificate(verifier, key, certificate).into_iter().collect()
            }
            Heard::Evidence(_) | Heard::Federation(_) | Heard::Pause(_) => Vec::new(),
        })
        .await;
        let input = match heard {
            Heard::Block(block) => {
                self.heard.note(block.header.slot, true, block.header.author_index, block.root());
                self.timings.import_began(block.root());
                Input::PeerBlock { block: *block, peer }
            }
            Heard::Approval(approval) => {
                self.heard.note(approval.data.slot, false, approval.member_index, approval.data.block_root);
                Input::Approval(*approval)
            }
            Heard::Notarization(certificate) => Input::Notarization(*certificate),
            Heard::Evidence(evidence) => Input::Evidence(*evidence),
            Heard::Federation(change) => Input::FederationChange(*change),
            Heard::Pause(pause) => Input::Pause(*pause),
        };
        if let Err(error) = self.feed(input, ctx).await {
            tracing::debug!(%error, "gossip not taken");
        }
    }
}

fn verify(verifier: &Verifier, targets: PerformanceTargets, message: Gossip) -> Result<Heard, NotHeard> {
    Ok(match message {
        Gossip::Block(block) => Heard::Block(Box::new(timed_check(verifier, targets, Arc::unwrap_or_clone(block))?)),
        Gossip::Approval(approval) => Heard::Approval(Box::new(verifier.approval(approval)?)),
        Gossip::Notarization(certificate) => Heard::Notarization(Box::new(verifier.notarization(certificate)?)),
        Gossip::Evidence(evidence) => Heard::Evidence(Box::new(verifier.evidence(evidence)?)),
        Gossip::FederationChange(change) => Heard::Federation(Box::new(verifier.federation_change(change)?)),
        Gossip::Pause(pause) => Heard::Pause(Box::new(verifier.pause(pause)?)),
        Gossip::AuxPow(_) => return Err(NotHeard::Work),
    })
}

/// An epoch that this node does not know (yet) says nothing about the message.
fn blame(error: &NotHeard) -> Verdict {
    match error {
        NotHeard::Verify(VerifyError::UnknownEpoch { .. })
        | NotHeard::Federation(FederationError::Epoch { .. } | FederationError::InFlight)
        | NotHeard::Pause(PauseError::Epoch { .. } | PauseError::Sequence { .. } | PauseError::Waiting { .. })
        | NotHeard::Work => Verdict::Ignore,
        NotHeard::Verify(_) | NotHeard::Federation(_) | NotHeard::Pause(_) => Verdict::Reject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_variants_of_a_member_are_passed_on_and_no_third() {
        let mut heard = HeardFrom::default();
        let root = Root::repeat_byte;
        for (byte, expected) in [(1, true), (1, false), (2, true), (3, false)] {
            assert_eq!(heard.is_new(Slot(7), true, 0, &root(byte)), expected, "variant {byte}");
            heard.note(Slot(7), true, 0, root(byte));
        }
        assert!(heard.is_new(Slot(7), false, 0, &root(1)), "approvals are counted apart");
        assert!(heard.is_new(Slot(7), true, 1, &root(1)), "members are counted apart");
        assert!(heard.is_new(Slot(8), true, 0, &root(1)), "slots are counted apart");
    }

    #[test]
    fn old_slots_make_room() {
        let mut heard = HeardFrom::default();
        for slot in 0..20_000 {
            heard.note(Slot(slot), true, 0, Root::ZERO);
        }
        assert_eq!(heard.variants.len(), MAX_HEARD);
        assert!(!heard.is_new(Slot(19_999), true, 0, &Root::ZERO));
    }
}
