//! How long to wait before a restart, and how many restarts are too many.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Waiting time before restarts: none, then growing by a factor, with jitter from the seed of the system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Restarts in a row that don't wait. Default 1.
    pub free: u32,
    /// The first wait. Default 50 ms.
    pub base: Duration,
    /// Each further wait is this many times longer. Default 2.
    pub factor: u32,
    /// No wait is longer. Default 30 s.
    pub max: Duration,
    /// The wait is shortened by up to this share, in thousandths, so that children that failed together do not
    /// come back together. Default 250.
    pub jitter_permille: u32,
    /// Running that long ends the row. Default 30 s.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            free: 1,
            base: Duration::from_millis(50),
            factor: 2,
            max: Duration::from_secs(30),
            jitter_permille: 250,
            reset_after: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// Restarts never wait.
    pub const NONE: Self = Self {
        free: u32::MAX,
        base: Duration::ZERO,
        factor: 1,
        max: Duration::ZERO,
        jitter_permille: 0,
        reset_after: Duration::ZERO,
    };

    /// The wait before the restart that follows `row` others.
    pub(crate) fn delay(&self, row: u32, jitter: &mut Jitter) -> Duration {
        let Some(step) = row.checked_sub(self.free) else { return Duration::ZERO };
        let full =
            self.factor.checked_pow(step).and_then(|f| self.base.checked_mul(f)).map_or(self.max, |d| d.min(self.max));
        let share = jitter.below(u64::from(self.jitter_permille.min(1000)).saturating_add(1));
        let cut = full.as_nanos().saturating_mul(u128::from(share)) / 1000;
        full.saturating_sub(Duration::from_nanos(u64::try_from(cut).unwrap_or(u64::MAX)))
    }
}

/// A small generator (SplitMix64): the same seed and path give the same waits.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64, path: &str) -> Self {
        // FNV-1a tells supervisors apart.
        let hash =
            path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(seed ^ hash)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }
}

/// Restarts counted over a window that slides: one that is `window` old no longer counts.
#[derive(Clone, Debug)]
pub(crate) struct Intensity {
    max: u32,
    window: Duration,
    restarts: VecDeque<Instant>,
}

impl Intensity {
    pub(crate) const fn new(max: u32, window: Duration) -> Self {
        Self { max, window, restarts: VecDeque::new() }
    }

    /// Counts a restart; false if it is one too many.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        while self.restarts.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.window) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        u32::try_from(self.restarts.len()).is_ok_and(|n| n <= self.max)
    }

    pub(crate) fn clear(&mut self) {
        self.restarts.clear();
    }
}
