//! Equivocation: noticed, told to the peers, kept for the next proposal, counted (protocol section 4).

use super::Chain;
use crate::{
    ChainEvent, ChainWrite, Effect, InputError, Message, Offence, Verified,
    evidence::{self, Proof},
};
use alys_primitives::{Approval, Epoch, Evidence, SignedBlock, Slot};

impl Chain {
    /// Takes in proofs that a peer brought.
    pub(super) fn evidence(&mut self, brought: Verified<Evidence>) -> Result<(), InputError> {
        self.check_basis(&brought.basis)?;
        for proof in evidence::proofs(&brought) {
            self.keep_proof(proof);
        }
        Ok(())
    }

    /// Looks at a proposal with a checked signature.
    pub(super) fn witness_proposal(&mut self, block: &SignedBlock) {
        if self.is_witnessed(block.header.slot)
            && let Some(proof) = self.witness.proposal(&block.signed_header(), self.witness_share())
        {
            self.keep_proof(proof);
        }
    }

    /// Looks at an approval with a checked signature.
    pub(super) fn witness_vote(&mut self, approval: &Approval) {
        if self.is_witnessed(approval.data.slot)
            && let Some(proof) = self.witness.vote(approval, self.witness_share())
        {
            self.keep_proof(proof);
        }
    }

    /// Slots above the finalized one, up to what clocks may disagree about: others would only take place.
    fn is_witnessed(&self, slot: Slot) -> bool {
        let newest = self.constants.spec.slot_at(self.now.saturating_add(self.constants.spec.max_clock_drift));
        slot > self.tree.finalized().header.slot && slot <= newest
    }

    fn witness_share(&self) -> usize {
        let members = self.tree.head().federation.len().max(1);
        self.config.max_witnessed.div_ceil(members)
    }

    fn keep_proof(&mut self, proof: Proof) {
        let Ok(offence) = proof.offence() else { return };
        if offence.epoch < self.tree.finalized().state.epoch {
            return;
        }
        let slot = proof.slot();
        if !self.found.insert(offence, proof.clone()) {
            return;
        }
        let evidence = evidence::container([&proof]);
        // Found once is found for good: nobody may be asked for the two messages again (protocol section 4).
        self.keep(offence, evidence.clone());
        self.counters.equivocations = self.counters.equivocations.saturating_add(1);
        let event =
            ChainEvent::Equivocation { epoch: offence.epoch, member: offence.member, slot, proposal: offence.proposal };
        self.journal.later(Effect::Event(event));
        self.journal.later(Effect::Broadcast(Message::Evidence(evidence)));
    }

    fn keep(&mut self, offence: Offence, evidence: Evidence) {
        #[cfg(feature = "testing")]
        if self.constants.scheme.planted(crate::testing::Plant::ProofsNotKept) {
            return;
        }
        self.sums.add_proof(&evidence);
        self.journal.write(ChainWrite::KeepProof { offence, proof: Box::new(evidence) });
    }

    /// Forgets proofs about epochs before this one.
    pub(super) fn forget_proofs(&mut self, epoch: Epoch) {
        for (offence, proof) in self.found.prune(epoch) {
            self.sums.remove_proof(&evidence::container([&proof]));
            self.journal.write(ChainWrite::DropProof { offence });
        }
    }

    /// Takes back what a store kept; it was verified before it was written.
    pub(super) fn restore_proofs(&mut self, kept: &[Evidence]) {
        for proof in kept.iter().flat_map(evidence::proofs) {
            if let Ok(offence) = proof.offence() {
                self.sums.add_proof(&evidence::container([&proof]));
                self.found.insert(offence, proof);
            }
        }
    }

    /// What this node holds proofs of.
    pub fn known_proofs(&self) -> impl Iterator<Item = Offence> {
        self.found.offences()
    }

    /// The proofs of equivocation that this node has found or was told, one per member, kind and epoch.
    pub fn known_evidence(&self) -> Evidence {
        evidence::container(self.found.iter())
    }
}
