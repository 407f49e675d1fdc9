//! The steps of one child: started, told to stop, killed, finished.

use tokio::time::Instant;

use super::{GRACE, Purpose, State, Supervision};
use crate::actor::StartCause;
use crate::cell::How;
use crate::error::{AskError, Exit};
use crate::health::Recovery;
use crate::inbox::Admission;
use crate::incarnation::Launch;
use crate::panics::caught;
use crate::snapshot::Phase;
use crate::system::SystemRef;

impl Supervision {
    pub(super) fn start(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.incarnation = entry.incarnation.saturating_add(1);
        let node = entry.runner.node();
        let cause = match entry.last.take().map(|exit| *exit) {
            None => StartCause::First,
            Some(exit) => {
                let core = node.core();
                core.count_restart();
                metrics::counter!("alys_actor_restarts_total", "actor" => core.path().to_string()).increment(1);
                if std::mem::take(&mut entry.restore) { StartCause::Restore(exit) } else { StartCause::Restart(exit) }
            }
        };
        if std::mem::take(&mut entry.ramp) {
            match entry.runner.settings().recovery {
                Recovery::Report | Recovery::Restart | Recovery::Restore => {}
                Recovery::Gradual { over } => {
                    node.set_admission(Admission::Ramp { since: Instant::now(), over, count: 0 });
                }
                // Until the next look finds it healthy.
                Recovery::Degraded => node.set_admission(Admission::Essential),
            }
        }
        entry.state = State::Starting;
        let due = entry.runner.settings().startup.and_then(|d| Instant::now().checked_add(d));
        entry.kill = entry.runner.start(Launch {
            system: system.clone(),
            uid,
            incarnation: entry.incarnation,
            cause,
            events: self.branch.events.clone(),
        });
        self.set_due(uid, due);
    }

    /// Starts an incarnation only to handle what waits.
    pub(super) fn start_draining(&mut self, uid: u64, system: &SystemRef) {
        self.start(uid, system);
        self.stop(uid, How::Drain, Purpose::End(How::Drain));
    }

    pub(super) fn stop(&mut self, uid: u64, how: How, purpose: Purpose) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Stopping { purpose, killed: false };
        entry.runner.node().end(how);
        let due = Instant::now().checked_add(entry.runner.settings().shutdown);
        self.set_due(uid, due);
    }

    pub(super) fn down_for_now(&mut self, uid: u64, exit: &Exit) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Down;
        let node = entry.runner.node();
        node.core().set_phase(Phase::Restarting);
        node.core().tell_monitors(exit, false);
    }

    pub(super) fn finish(&mut self, uid: u64, exit: &Exit) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Finished;
        let dynamic = entry.dynamic;
        let node = entry.runner.node();
        let _ = caught(|| node.finish());
        node.core().tell_monitors(exit, true);
        self.set_due(uid, None);
        if dynamic {
            self.branch.remove(uid);
            let entry = self.entries.remove(&uid);
            // The factory is dropped with it, which is code of the user's.
            let _ = caught(move || drop(entry));
        }
    }

    pub(super) fn on_time(&mut self, system: &SystemRef) {
        let now = Instant::now();
        while let Some((at, uid)) = self.dues.first().copied()
            && at <= now
        {
            self.dues.remove(&(at, uid));
            // The next advance looks at the pause of the group.
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            entry.due = None;
            let node = entry.runner.node();
            let path = node.core().path();
            match &mut entry.state {
                State::Backoff => self.start(uid, system),
                State::Starting => {
                    tracing::error!(actor = %path, "start took too long");
                    entry.kill.kill();
                    entry.state = State::Stopping { purpose: Purpose::Startup, killed: true };
                    self.set_due(uid, now.checked_add(GRACE));
                }
                State::Stopping { killed, .. } if !*killed => {
                    *killed = true;
                    tracing::error!(actor = %path, handling = node.core().kind_in_hand(), "killed: did not stop in time");
                    system.shared.note_killed(&path);
                    entry.kill.kill();
                    self.set_due(uid, now.checked_add(GRACE));
                }
                State::Stopping { .. } => {
                    tracing::error!(actor = %path, handling = node.core().kind_in_hand(), "stuck: left behind");
                    system.shared.note_stuck(&path);
                    // Whatever it still does, it is no longer the one that has the inbox.
                    entry.incarnation = entry.incarnation.saturating_add(1);
                    node.core().begin_incarnation(entry.incarnation);
                    if let Some(ask) = node.core().hold(None) {
                        let ends = self.ending.is_some()
                            || matches!(entry.state, State::Stopping { purpose: Purpose::Remove, .. });
                        ask.fail(if ends { AskError::Stopped } else { AskError::Restarting });
                    }
                    node.core().note_exit(&Exit::Killed);
                    self.on_exited(uid, Exit::Killed, system);
                }
                State::Down | State::Running | State::Finished => {}
            }
        }
    }
}
