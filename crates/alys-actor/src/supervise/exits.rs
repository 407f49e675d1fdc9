//! How a child ended, and what follows from it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Purpose, State, Supervision};
use crate::cell::How;
use crate::error::Exit;
use crate::health::Recovery;
use crate::incarnation::Kill;
use crate::supervisor::Strategy;
use crate::system::SystemRef;

impl Supervision {
    pub(super) fn on_started(&mut self, uid: u64, incarnation: u64) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if entry.incarnation == incarnation && matches!(entry.state, State::Starting) {
            entry.state = State::Running;
            entry.up_since = Some(Instant::now());
            self.set_due(uid, None);
        }
    }

    pub(super) fn on_exited(&mut self, uid: u64, exit: Exit, system: &SystemRef) {
        self.set_due(uid, None);
        if self.ending.as_ref().is_some_and(|e| e.dynamic.contains(&uid)) {
            self.touched.push(uid);
        }
        let now = Instant::now();
        let reset_after = self.backoff.reset_after;
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if entry.up_since.take().is_some_and(|up| now.saturating_duration_since(up) >= reset_after) {
            entry.row = 0;
        }
        entry.last = Some(Box::new(exit.clone()));
        entry.kill = Kill::Nothing;
        let state = std::mem::replace(&mut entry.state, State::Down);
        match state {
            State::Finished => entry.state = State::Finished,
            State::Down | State::Backoff => {}
            State::Starting | State::Running | State::Stopping { purpose: Purpose::Startup, .. } => {
                self.on_failed_or_done(uid, exit, system);
            }
            State::Stopping { purpose: Purpose::Group, .. } => self.down_for_now(uid, &exit),
            State::Stopping { purpose: Purpose::Restart, .. } => {
                self.down_for_now(uid, &exit);
                if self.ending.is_none() {
                    self.start(uid, system);
                }
            }
            State::Stopping { purpose: Purpose::Remove, killed } => {
                if !self.drains_on(uid, &exit, killed, system) {
                    self.finish(uid, &exit);
                }
            }
            State::Stopping { purpose: Purpose::End(How::Drain), killed } => {
                if !self.drains_on(uid, &exit, killed, system) {
                    self.finish(uid, &exit);
                }
            }
            State::Stopping { purpose: Purpose::End(How::Halt), .. } => self.down_for_now(uid, &exit),
        }
    }

    /// A child that crashes while it drains, or had been told to restart before, is started again to handle what it has
    /// acknowledged.
    pub(super) fn drains_on(&mut self, uid: u64, exit: &Exit, killed: bool, system: &SystemRef) -> bool {
        let Some(entry) = self.entries.get(&uid) else { return false };
        let left = entry.runner.node().has_messages();
        let halted = *exit == Exit::Halted;
        let follows = halted || (*exit != Exit::Drained && entry.runner.settings().restart.restarts(exit));
        if killed || !left || !follows || !(halted || self.intensity.allow(Instant::now())) {
            return false;
        }
        self.down_for_now(uid, exit);
        self.start_draining(uid, system);
        true
    }

    pub(super) fn on_failed_or_done(&mut self, uid: u64, exit: Exit, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let settings = entry.runner.settings();
        let path = entry.runner.node().core().path();
        if settings.critical && exit.is_failure() {
            tracing::error!(actor = %path, %exit, "critical actor failed");
            self.finish(uid, &exit);
            system.shared.critical(&path, &exit);
            return;
        }
        if !settings.restart.restarts(&exit) {
            if exit.is_failure() {
                tracing::warn!(actor = %path, %exit, "actor failed and is not restarted");
            }
            self.finish(uid, &exit);
            return;
        }
        if self.ending.is_some() {
            self.down_for_now(uid, &exit);
            return;
        }
        let row = entry.row;
        entry.row = row.saturating_add(1);
        entry.restore = row > 0 && settings.recovery == Recovery::Restore;
        entry.ramp = true;
        self.down_for_now(uid, &exit);
        let now = Instant::now();
        if !self.intensity.allow(now) {
            tracing::error!(actor = %path, supervisor = %self.branch.core().path(), %exit, "restarts used up");
            // Nobody restarts what is above the root, so that its children end in good order.
            let how = if self.is_root { How::Drain } else { How::Halt };
            self.end(how, Exit::Escalated { child: path.to_string(), cause: Box::new(exit) });
            return;
        }
        let delay = self.jitter.as_mut().map_or(Duration::ZERO, |j| self.backoff.delay(row, j));
        let due = now.checked_add(delay).filter(|_| !delay.is_zero());
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(actor = %path, %exit, delay_ms, "restarting");
        match self.strategy {
            Strategy::OneForOne => match due {
                None => self.start(uid, system),
                Some(_) => {
                    if let Some(entry) = self.entries.get_mut(&uid) {
                        entry.state = State::Backoff;
                    }
                    self.set_due(uid, due);
                }
            },
            Strategy::OneForAll => self.restart_group(0, due),
            Strategy::RestForOne => self.restart_group(uid, due),
        }
    }
}
