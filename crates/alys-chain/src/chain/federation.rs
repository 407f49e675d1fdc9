//! Changes of the federation: a record waits for an author, and what follows when epochs change (protocol section 7).

use super::Chain;
use crate::{
    ChainEvent, ChainWrite, Effect, FederationError, InputError, Message, RestoreError, Verified, change,
    federation::Federation, transition,
};
use alys_primitives::{Epoch, FederationChange, Root};
use std::sync::Arc;

/// A checked record that waits for an author.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    change: FederationChange,
    members: Arc<Federation>,
}

impl Chain {
    /// Takes in a record from an operator or a peer. It stays until its epoch ends, so that a change that lapsed or that a
    /// reorganisation dropped is proposed again.
    pub(super) fn federation_change(&mut self, change: Verified<FederationChange>) -> Result<(), InputError> {
        self.check_basis(&change.basis)?;
        let change_root = change::change_root(&change);
        let outcome = self.keep_change(change);
        if let Ok(Some(message)) = &outcome {
            self.journal.later(Effect::Broadcast(Message::FederationChange(message.clone())));
        }
        let outcome = outcome.map(|_| ());
        self.journal.later(Effect::FederationProcessed { change_root, outcome });
        Ok(())
    }

    /// Whether a record could be included by the next block, as far as is known now.
    ///
    /// # Errors
    /// [`FederationError`] with the rule that is broken.
    pub fn check_federation_change(&self, change: &Verified<FederationChange>) -> Result<(), FederationError> {
        let rules = transition::child_rules(&self.constants, self.tree.head());
        transition::check_change(&rules, change)
    }

    /// `Some` if the record is new here.
    fn keep_change(&mut self, change: Verified<FederationChange>) -> Result<Option<FederationChange>, FederationError> {
        if let Some(waiting) = &self.change
            && waiting.change.epoch >= change.epoch
        {
            let same = change::change_root(&waiting.change) == change::change_root(&change);
            return if same { Ok(None) } else { Err(FederationError::InFlight) };
        }
        self.check_federation_change(&change)?;
        let (change, basis) = change.into_parts();
        let Some(members) = basis.next_federation else { return Ok(None) };
        self.forget_change();
        self.sums.add_change(&change);
        self.journal.write(ChainWrite::KeepChange(Box::new(change.clone())));
        self.change = Some(Candidate { change: change.clone(), members });
        Ok(Some(change))
    }

    fn forget_change(&mut self) {
        if let Some(waiting) = self.change.take() {
            self.sums.remove_change(&waiting.change);
            self.journal.write(ChainWrite::DropChange);
        }
    }

    /// Takes back what a store kept; it was verified before it was written.
    pub(super) fn restore_change(&mut self, kept: FederationChange) -> Result<(), RestoreError> {
        let members = change::parse(&kept.members, self.constants.scheme).map_err(|_| RestoreError::Change)?;
        self.sums.add_change(&kept);
        self.change = Some(Candidate { change: kept, members: Arc::new(members) });
        Ok(())
    }

    /// The record that waits for an author.
    pub fn waiting_change(&self) -> Option<&FederationChange> {
        self.change.as_ref().map(|waiting| &waiting.change)
    }

    /// The record that a child of a block with these rules can carry.
    pub(super) fn change_for(&self, rules: &transition::ChildRules) -> Option<(FederationChange, Arc<Federation>)> {
        let candidate = self.change.as_ref()?;
        transition::check_change(rules, &candidate.change).ok()?;
        Some((candidate.change.clone(), Arc::clone(&candidate.members)))
    }

    /// Makes known the members of the epoch that children of a block belong to, so that their messages can be verified.
    pub(super) fn learn_federation(&mut self, parent: &Root) {
        let Some(entry) = self.tree.get(parent) else { return };
        let rules = transition::child_rules(&self.constants, entry);
        if !self.federations.contains_key(&rules.epoch) {
            Arc::make_mut(&mut self.federations).insert(rules.epoch, rules.federation);
        }
    }

    /// Tells when the next block belongs to another epoch than before.
    pub(super) fn epoch_moved(&mut self, before: Epoch) {
        let rules = transition::child_rules(&self.constants, self.tree.head());
        if rules.epoch == before {
            return;
        }
        if self.change.as_ref().is_some_and(|waiting| waiting.change.epoch < rules.epoch) {
            self.forget_change();
        }
        let members = u64::try_from(rules.federation.len()).unwrap_or(u64::MAX);
        let event = ChainEvent::Epoch { epoch: rules.epoch, from: rules.height, members };
        self.journal.later(Effect::Event(event));
    }

    /// Forgets the members of epochs that ended before the finalized block's predecessor: certificates about them can't
    /// be of use any more.
    pub(super) fn forget_epochs(&mut self) {
        let keep = Epoch(self.tree.finalized().state.epoch.0.saturating_sub(1));
        if self.federations.first_key_value().is_some_and(|(oldest, _)| *oldest < keep) {
            let kept = Arc::make_mut(&mut self.federations).split_off(&keep);
            self.federations = Arc::new(kept);
        }
        self.forget_proofs(keep);
    }
}
