//! Health, the probes that judge it, and what is done about it.

use std::time::Duration;

use serde::Serialize;

/// How an actor feels, by its own account or by its probe.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase", tag = "status", content = "reason")]
pub enum Health {
    /// Does its work.
    #[default]
    Healthy,
    /// Does it badly.
    Degraded(String),
    /// Does not do it.
    Failed(String),
}

impl Health {
    const fn rank(&self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Degraded(_) => 1,
            Self::Failed(_) => 2,
        }
    }

    /// The worse of two; the first if they are equally bad.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

/// From which value on a measure counts as degraded, and from which as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold<T> {
    /// Degraded from here.
    pub degraded: T,
    /// Failed from here.
    pub failed: T,
}

impl<T: PartialOrd + Copy + std::fmt::Debug> Threshold<T> {
    fn judge(&self, what: &str, value: T) -> Health {
        if value >= self.failed {
            Health::Failed(format!("{what} {value:?}"))
        } else if value >= self.degraded {
            Health::Degraded(format!("{what} {value:?}"))
        } else {
            Health::Healthy
        }
    }
}

/// What of an actor is looked at, without asking it. Everything is off unless set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Messages that wait.
    pub depth: Option<Threshold<usize>>,
    /// How long the oldest of them has waited.
    pub age: Option<Threshold<Duration>>,
    /// Smoothed time per message, and the time that the one in hand has taken so far.
    pub handle: Option<Threshold<Duration>>,
    /// Errors that the actor counts ([`Context::count_error`](crate::Context::count_error)), in thousandths of the messages handled since
    /// the last look.
    pub errors_permille: Option<Threshold<u64>>,
    /// Memory that the actor reports ([`Context::set_memory`](crate::Context::set_memory)).
    pub memory_bytes: Option<Threshold<u64>>,
    /// Looks in a row that must agree before a worse verdict counts; 0 is taken as 1.
    pub patience: u32,
}

/// What a look at an actor saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measures {
    pub(crate) depth: usize,
    pub(crate) age: Duration,
    pub(crate) handle: Duration,
    pub(crate) errors_permille: u64,
    pub(crate) memory_bytes: u64,
}

impl Probe {
    pub(crate) fn judge(&self, seen: &Measures) -> Health {
        let judged = [
            self.depth.map(|t| t.judge("inbox depth", seen.depth)),
            self.age.map(|t| t.judge("oldest message", seen.age)),
            self.handle.map(|t| t.judge("handle time", seen.handle)),
            self.errors_permille.map(|t| t.judge("errors per thousand", seen.errors_permille)),
            self.memory_bytes.map(|t| t.judge("memory bytes", seen.memory_bytes)),
        ];
        judged.into_iter().flatten().fold(Health::Healthy, Health::worse)
    }
}

/// What is done about an actor that its probe, or it itself, calls failed, and how it comes back after a crash.
///
/// A restart by a probe counts against the intensity of the supervisor, as a crash does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Recovery {
    /// A failed probe shows in the tree only. A crash is followed by a restart.
    #[default]
    Report,
    /// Restarts it.
    Restart,
    /// Restarts it, and says [`StartCause::Restore`](crate::StartCause::Restore): take an older checkpoint than the newest. Crashes in a row do
    /// the same from the second one on.
    Restore,
    /// Restarts it, then lets in a share of the messages that are not essential, which grows to all of them.
    Gradual {
        /// How long that takes.
        over: Duration,
    },
    /// Lets in essential messages only, until it is healthy. It is not restarted by the probe.
    Degraded,
}

#[cfg(test)]
mod tests {
    use super::{Health, Measures, Probe, Threshold};

    #[test]
    fn the_worst_measure_decides() {
        let probe = Probe {
            depth: Some(Threshold { degraded: 10, failed: 100 }),
            memory_bytes: Some(Threshold { degraded: 1, failed: 2 }),
            ..Probe::default()
        };
        let seen = |depth, memory_bytes| Measures { depth, memory_bytes, ..Measures::default() };
        assert_eq!(probe.judge(&seen(9, 0)), Health::Healthy);
        assert_eq!(probe.judge(&seen(10, 0)), Health::Degraded("inbox depth 10".into()));
        assert_eq!(probe.judge(&seen(10, 2)), Health::Failed("memory bytes 2".into()));
    }
}
