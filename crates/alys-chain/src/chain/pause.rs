//! Decisions about pausing the peg: a record waits for an author, as a change of the federation does (protocol section 7).

use super::Chain;
use crate::{
    ChainWrite, Effect, InputError, Message, Verified,
    peg::{PauseError, pause_root},
    transition,
};
use alys_primitives::Pause;

impl Chain {
    /// Takes in a decision from an operator or a peer. It stays until it is final or its epoch ends, so that one that a
    /// reorganisation dropped is proposed again, unless a later one has taken its place.
    pub(super) fn pause(&mut self, pause: Verified<Pause>) -> Result<(), InputError> {
        self.check_basis(&pause.basis)?;
        let (pause, _) = pause.into_parts();
        let pause_root = pause_root(&pause);
        let outcome = self.keep_pause(pause);
        if let Ok(Some(message)) = &outcome {
            self.journal.later(Effect::Broadcast(Message::Pause(message.clone())));
        }
        let outcome = outcome.map(|_| ());
        self.journal.later(Effect::PauseProcessed { pause_root, outcome });
        Ok(())
    }

    /// Whether a decision is the next one, as far as is known now.
    fn check_pause(&self, pause: &Pause) -> Result<(), PauseError> {
        if self.constants.peg.is_none() {
            return Err(PauseError::NoPeg);
        }
        let head = self.tree.head();
        let rules = transition::child_rules(&self.constants, head);
        head.state.peg.ledger().pause().decide(pause, rules.epoch).map(|_| ())
    }

    /// `Some` if the decision is new here.
    fn keep_pause(&mut self, pause: Pause) -> Result<Option<Pause>, PauseError> {
        self.check_pause(&pause)?;
        if let Some(waiting) = &self.pause
            && waiting.epoch == pause.epoch
            && waiting.sequence == pause.sequence
        {
            let same = pause_root(waiting) == pause_root(&pause);
            return if same { Ok(None) } else { Err(PauseError::Waiting { sequence: pause.sequence }) };
        }
        self.forget_pause();
        self.sums.add_pause(&pause);
        self.journal.write(ChainWrite::KeepPause(Box::new(pause.clone())));
        self.pause = Some(pause.clone());
        Ok(Some(pause))
    }

    fn forget_pause(&mut self) {
        if let Some(waiting) = self.pause.take() {
            self.sums.remove_pause(&waiting);
            self.journal.write(ChainWrite::DropPause);
        }
    }

    /// Forgets a decision that is of no use any more: a final one has its number, or other members decide.
    pub(super) fn forget_old_pause(&mut self) {
        let Some(waiting) = &self.pause else { return };
        let rules = transition::child_rules(&self.constants, self.tree.head());
        if waiting.epoch < rules.epoch || waiting.sequence <= self.tree.finalized().state.peg.ledger().pause().sequence
        {
            self.forget_pause();
        }
    }

    /// Takes back what a store kept; it was verified before it was written.
    pub(super) fn restore_pause(&mut self, kept: Pause) {
        self.sums.add_pause(&kept);
        self.pause = Some(kept);
    }

    /// The decision that waits for an author, or for the block that carries it to become final.
    pub fn waiting_pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }
}
