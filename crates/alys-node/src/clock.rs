//! The node's clock: wall time for slots, watched by the monotonic clock.

use alys_primitives::UnixMillis;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How long a jumped wall clock must run evenly before it is believed.
pub const SETTLING: Duration = Duration::from_secs(30);

/// Wall time now; zero before the epoch.
pub fn wall_now() -> UnixMillis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// A machine's wall clock. Its monotonic clock is tokio's.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> UnixMillis + Send + Sync>);

impl WallClock {
    /// One that shows what `read` gives; it may jump.
    pub fn new(read: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What it shows.
    pub fn now(&self) -> UnixMillis {
        (self.0)()
    }
}

/// The system's.
impl Default for WallClock {
    fn default() -> Self {
        Self::new(wall_now)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.now()).finish()
    }
}

/// Tells when wall and monotonic time have parted, which must suspend signing (protocol section 2): a member whose clock
/// jumped ahead would otherwise burn the slots up to there.
///
/// A jump that turns out to be steady for [`SETTLING`] is taken as the new truth, so that no signer is locked out.
#[derive(Clone, Debug)]
pub struct ClockGuard {
    max_drift: i128,
    /// Wall minus monotonic time in milliseconds, as trusted.
    trusted: i128,
    /// The offset after a jump, and since when it has held.
    jumped: Option<(i128, Instant)>,
    origin: Instant,
}

impl ClockGuard {
    /// Trusts the two clocks as they stand; `max_drift` is in milliseconds.
    pub fn new(wall: UnixMillis, monotonic: Instant, max_drift: u64) -> Self {
        Self { max_drift: i128::from(max_drift), trusted: i128::from(wall.0), jumped: None, origin: monotonic }
    }

    /// Compares the clocks; true while they agree.
    pub fn agrees(&mut self, wall: UnixMillis, monotonic: Instant) -> bool {
        let elapsed = monotonic.saturating_duration_since(self.origin).as_millis();
        let offset = i128::from(wall.0) - i128::try_from(elapsed).unwrap_or(i128::MAX);
        if (offset - self.trusted).abs() <= self.max_drift {
            // Slow slewing is how a clock is corrected; only jumps are suspect.
            self.trusted = offset;
            self.jumped = None;
            return true;
        }
        match self.jumped {
            Some((held, since)) if (offset - held).abs() <= self.max_drift => {
                if monotonic.saturating_duration_since(since) < SETTLING {
                    return false;
                }
                self.trusted = offset;
                self.jumped = None;
                true
            }
            Some(_) | None => {
                self.jumped = Some((offset, monotonic));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_suspends_until_it_is_taken_back_or_has_settled() {
        let start = Instant::now();
        let mut guard = ClockGuard::new(UnixMillis(1_000_000), start, 500);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(guard.agrees(UnixMillis(1_002_000), at(2)));
        assert!(!guard.agrees(UnixMillis(2_000_000), at(3)), "jumped ahead");
        assert!(guard.agrees(UnixMillis(1_004_000), at(4)), "taken back");
        assert!(!guard.agrees(UnixMillis(900_000), at(5)), "jumped back");
        assert!(!guard.agrees(UnixMillis(905_000), at(10)));
        assert!(guard.agrees(UnixMillis(935_000), at(40)), "settled");
        assert!(guard.agrees(UnixMillis(936_000), at(41)));
    }

    #[test]
    fn slewing_is_followed() {
        let start = Instant::now();
        let mut guard = ClockGuard::new(UnixMillis(0), start, 500);
        for step in 1..=20u64 {
            // Four tenths of a second too fast in every second.
            assert!(guard.agrees(UnixMillis(step * 1400), start + Duration::from_secs(step)));
        }
    }
}
