//! When to dial a peer again.

use std::time::Duration;
use tokio::time::Instant;

/// First pause after a failure.
const FIRST: Duration = Duration::from_millis(250);

/// Doubles from [`FIRST`] up to a limit; every pause is shortened by up to half, so that two nodes do not dial each other
/// in step for ever.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    due: Instant,
    pause: Duration,
    longest: Duration,
    /// Changes with each pause; differs between peers.
    seed: u64,
}

impl Backoff {
    /// Due at once.
    pub(crate) fn new(now: Instant, longest: Duration, seed: u64) -> Self {
        Self { due: now, pause: FIRST, longest, seed }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// An attempt began or failed: not again before the pause is over.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // At most 127/256: up to half.
        let off = u32::try_from(self.seed >> 57).unwrap_or(0);
        let shortened = self.pause.saturating_sub(self.pause.saturating_mul(off) / 256);
        self.due = now + shortened;
        self.pause = self.pause.saturating_mul(2).min(self.longest);
    }

    /// The peer is there.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.pause = FIRST;
        self.due = now + FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_limit_and_begin_again_after_success() {
        let start = Instant::now();
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::new(start, longest, 7);
        assert!(backoff.is_due(start));
        let mut now = start;
        for _ in 0..20 {
            backoff.wait(now);
            assert!(!backoff.is_due(now + FIRST / 2 - Duration::from_millis(1)), "never at once");
            now += longest;
            assert!(backoff.is_due(now), "never longer than the limit");
        }
        backoff.wait(now);
        assert!(!backoff.is_due(now + longest / 2 - Duration::from_millis(1)), "long pauses after many failures");
        backoff.reset(now);
        assert!(backoff.is_due(now + FIRST));
    }

    #[test]
    fn two_peers_do_not_keep_step() {
        let now = Instant::now();
        let (mut one, mut two) =
            (Backoff::new(now, Duration::from_secs(5), 1), Backoff::new(now, Duration::from_secs(5), 2));
        let differ = (0..8).any(|_| {
            one.wait(now);
            two.wait(now);
            one.due != two.due
        });
        assert!(differ);
    }
}
