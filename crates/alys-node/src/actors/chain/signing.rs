//! Whether the clocks allow signing.

use crate::clock::{ClockGuard, wall_now};
use tokio::time::Instant;

/// Closed while wall and monotonic time disagree (protocol section 2).
pub(super) struct SigningGate(ClockGuard);

impl SigningGate {
    /// Trusts the clocks as they stand; `max_drift` is in milliseconds.
    pub(super) fn new(max_drift: u64) -> Self {
        Self(ClockGuard::new(wall_now(), Instant::now(), max_drift))
    }

    /// Looks at both clocks.
    pub(super) fn is_open(&mut self) -> bool {
        let agrees = self.0.agrees(wall_now(), Instant::now());
        if !agrees {
            metrics::counter!("alys_chain_clock_disagreements_total").increment(1);
            tracing::warn!("wall and monotonic clock disagree: signing is suspended");
        }
        agrees
    }
}
