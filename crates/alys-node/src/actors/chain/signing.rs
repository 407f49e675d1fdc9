//! Whether the clocks allow signing.

use crate::clock::{ClockGuard, WallClock};
use tokio::time::Instant;

/// Closed while wall and monotonic time disagree (protocol section 2).
pub(super) struct SigningGate {
    guard: ClockGuard,
    clock: WallClock,
}

impl SigningGate {
    /// Trusts the clocks as they stand; `max_drift` is in milliseconds.
    pub(super) fn new(clock: WallClock, max_drift: u64) -> Self {
        Self { guard: ClockGuard::new(clock.now(), Instant::now(), max_drift), clock }
    }

    /// Looks at both clocks.
    pub(super) fn is_open(&mut self) -> bool {
        let agrees = self.guard.agrees(self.clock.now(), Instant::now());
        if !agrees {
            metrics::counter!("alys_chain_clock_disagreements_total").increment(1);
            tracing::warn!("wall and monotonic clock disagree: signing is suspended");
        }
        agrees
    }
}
