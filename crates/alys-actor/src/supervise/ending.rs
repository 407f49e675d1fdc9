//! The end of a supervisor: each child gets its turn and its time.

use std::collections::HashSet;

use super::{Purpose, State, Supervision};
use crate::cell::How;
use crate::error::Exit;
use crate::snapshot::Phase;
use crate::system::SystemRef;

pub(super) struct Ending {
    pub(super) how: How,
    pub(super) exit: Exit,
    /// Added at run time; they end all at once.
    pub(super) dynamic: HashSet<u64>,
    /// Declared ones, the last of which ends next.
    pub(super) rest: Vec<u64>,
}

impl Supervision {
    pub(super) fn end(&mut self, how: How, exit: Exit) {
        if let Some(ending) = &mut self.ending {
            // A drain outranks a halt that is under way.
            if how == How::Drain && ending.how == How::Halt {
                ending.how = how;
                ending.rest = self.entries.iter().filter(|(_, e)| !e.dynamic).map(|(uid, _)| *uid).collect();
                ending.dynamic = self.entries.iter().filter(|(_, e)| e.dynamic).map(|(uid, _)| *uid).collect();
                self.touched = ending.dynamic.iter().copied().collect();
            }
            return;
        }
        if how == How::Drain {
            self.branch.close();
            self.branch.core().set_phase(Phase::Draining);
        }
        self.sequence = None;
        let pick = |dynamic: bool| self.entries.iter().filter(move |(_, e)| e.dynamic == dynamic).map(|(uid, _)| *uid);
        let (dynamic, rest) = (pick(true).collect(), pick(false).collect());
        let dynamic: HashSet<u64> = dynamic;
        self.touched = self.entries.iter().filter(|(_, e)| e.dynamic).map(|(uid, _)| *uid).collect();
        self.ending = Some(Ending { how, exit, dynamic, rest });
    }

    pub(super) fn advance_ending(&mut self, system: &SystemRef) -> bool {
        let Some(mut ending) = self.ending.take() else { return false };
        let how = ending.how;
        for uid in std::mem::take(&mut self.touched) {
            if self.settle(uid, how, system) {
                ending.dynamic.remove(&uid);
            }
        }
        let mut done = ending.dynamic.is_empty();
        while done && let Some(uid) = ending.rest.last().copied() {
            done = self.settle(uid, how, system);
            if done {
                ending.rest.pop();
            }
        }
        self.ending = Some(ending);
        done
    }

    /// Brings a child nearer to its end; true once it is there.
    pub(super) fn settle(&mut self, uid: u64, how: How, system: &SystemRef) -> bool {
        let Some(entry) = self.entries.get_mut(&uid) else { return true };
        match &mut entry.state {
            State::Running | State::Starting => {
                self.stop(uid, how, Purpose::End(how));
                false
            }
            State::Stopping { purpose: Purpose::End(How::Drain) | Purpose::Remove | Purpose::Group, .. } => false,
            State::Stopping { purpose, .. } => {
                if how == How::Drain {
                    *purpose = Purpose::End(how);
                    entry.runner.node().end(how);
                }
                false
            }
            State::Finished => true,
            State::Down | State::Backoff => {
                let has_messages = entry.incarnation > 0 && entry.runner.node().has_messages();
                let exit = entry.last.as_deref().cloned().unwrap_or(Exit::Drained);
                entry.state = State::Down;
                self.set_due(uid, None);
                match how {
                    How::Halt => true,
                    // Once for each child; crashes on the way count.
                    How::Drain if has_messages => {
                        self.start_draining(uid, system);
                        false
                    }
                    How::Drain => {
                        self.finish(uid, &exit);
                        true
                    }
                }
            }
        }
    }
}
