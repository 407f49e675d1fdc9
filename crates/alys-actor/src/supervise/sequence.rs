//! Groups: stopped in reverse order, a pause, started in order.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use super::{GROUP, Purpose, State, Supervision};
use crate::cell::How;
use crate::system::SystemRef;

/// Children stopped in reverse order, a pause, children started in order.
#[derive(Default)]
pub(super) struct Sequence {
    pub(super) halting: Vec<u64>,
    pub(super) due: Option<Instant>,
    pub(super) starting: VecDeque<u64>,
}

impl Supervision {
    /// Stops and starts all children from `first` on, and those that a sequence under way has still to start.
    pub(super) fn restart_group(&mut self, first: u64, due: Option<Instant>) {
        let pending: HashSet<u64> = self.sequence.take().map(|s| s.starting.into_iter().collect()).unwrap_or_default();
        let members: Vec<u64> = self.unfinished().filter(|uid| *uid >= first || pending.contains(uid)).collect();
        for uid in &members {
            if let Some(entry) = self.entries.get_mut(uid)
                && matches!(entry.state, State::Backoff)
            {
                entry.state = State::Down;
                self.set_due(*uid, None);
            }
        }
        if let Some(old) = self.dues.iter().find(|(_, uid)| *uid == GROUP).copied() {
            self.dues.remove(&old);
        }
        if let Some(at) = due {
            self.dues.insert((at, GROUP));
        }
        self.sequence = Some(Sequence { halting: members.clone(), due, starting: members.into() });
    }

    /// Goes as far as is possible without waiting; true when the supervisor has ended.
    pub(super) fn advance(&mut self, system: &SystemRef) -> bool {
        if self.ending.is_some() {
            return self.advance_ending(system);
        }
        let Some(mut sequence) = self.sequence.take() else { return false };
        if !self.advance_sequence(&mut sequence, system) {
            self.sequence = Some(sequence);
        }
        false
    }

    pub(super) fn advance_sequence(&mut self, sequence: &mut Sequence, system: &SystemRef) -> bool {
        while let Some(uid) = sequence.halting.last().copied() {
            match self.entries.get(&uid).map(|e| &e.state) {
                Some(State::Running | State::Starting) => {
                    self.stop(uid, How::Halt, Purpose::Group);
                    return false;
                }
                Some(State::Stopping { .. }) => return false,
                Some(State::Down | State::Backoff | State::Finished) | None => {
                    sequence.halting.pop();
                }
            }
        }
        if sequence.due.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        sequence.due = None;
        while let Some(uid) = sequence.starting.front().copied() {
            match self.entries.get(&uid).map(|e| &e.state) {
                Some(State::Down) => {
                    self.start(uid, system);
                    return false;
                }
                Some(State::Starting | State::Backoff | State::Stopping { .. }) => return false,
                Some(State::Running | State::Finished) | None => {
                    sequence.starting.pop_front();
                }
            }
        }
        true
    }
}
