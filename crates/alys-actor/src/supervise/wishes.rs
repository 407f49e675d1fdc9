//! What handles and probes ask for: restart, recover, remove.

use tokio::time::Instant;

use super::{Purpose, State, Supervision};
use crate::cell::How;
use crate::error::Exit;
use crate::health::Recovery;
use crate::system::SystemRef;

impl Supervision {
    pub(super) fn restart(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        match entry.state {
            State::Running | State::Starting => self.stop(uid, How::Halt, Purpose::Restart),
            State::Backoff if self.ending.is_none() => {
                self.set_due(uid, None);
                self.start(uid, system);
            }
            // In a sequence it is started anyway.
            State::Backoff | State::Down | State::Stopping { .. } | State::Finished => {}
        }
    }

    /// Restarts a child that its probe calls failed; that counts as a crash would.
    pub(super) fn recover(&mut self, uid: u64) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if self.ending.is_some() || !matches!(entry.state, State::Running) {
            return;
        }
        entry.restore = entry.runner.settings().recovery == Recovery::Restore;
        entry.ramp = true;
        let path = entry.runner.node().core().path();
        if self.intensity.allow(Instant::now()) {
            self.stop(uid, How::Halt, Purpose::Restart);
        } else {
            let cause = Box::new(Exit::Failed("its probe failed".to_owned()));
            let how = if self.is_root { How::Drain } else { How::Halt };
            self.end(how, Exit::Escalated { child: path.to_string(), cause });
        }
    }

    pub(super) fn remove(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        match &mut entry.state {
            State::Running | State::Starting => self.stop(uid, How::Drain, Purpose::Remove),
            State::Stopping { purpose, .. } => {
                if !matches!(purpose, Purpose::End(_)) {
                    *purpose = Purpose::Remove;
                    entry.runner.node().end(How::Drain);
                }
            }
            State::Down | State::Backoff => {
                let exit = entry.last.as_deref().cloned().unwrap_or(Exit::Drained);
                if entry.incarnation > 0 && entry.runner.node().has_messages() {
                    self.start_draining(uid, system);
                    if let Some(State::Stopping { purpose, .. }) = self.entries.get_mut(&uid).map(|e| &mut e.state) {
                        *purpose = Purpose::Remove;
                    }
                } else {
                    self.finish(uid, &exit);
                }
            }
            State::Finished => {}
        }
    }
}
