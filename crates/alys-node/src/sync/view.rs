//! How far the sync is, for readers and the log.

use alys_primitives::Height;
use std::time::Duration;
use tokio::time::Instant;

/// How often progress is measured and logged.
const MEASURED: Duration = Duration::from_secs(2);

/// Gaps below this are not worth a line in the log.
const NOTABLE: u64 = 32;

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncState {
    /// Fewer peers than a quorum takes have been heard.
    #[default]
    Waiting,
    /// Behind its peers.
    Syncing,
    /// Level with its peers, listening whether somebody else signs with this member's key.
    Listening,
    /// Level with its peers: it may sign.
    Synced,
}

impl SyncState {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting for peers",
            Self::Syncing => "syncing",
            Self::Listening => "listening for its own key",
            Self::Synced => "synced",
        }
    }
}

/// A snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncView {
    /// Where the node stands.
    pub state: SyncState,
    /// Its head.
    pub head: Height,
    /// The best height that a believed peer claims.
    pub target: Height,
    /// Peers that are believed.
    pub peers: usize,
    /// Blocks a second of late; zero while nothing is fetched.
    pub rate: u64,
    /// Time to the target at that rate.
    pub left: Option<Duration>,
}

/// Measures the rate.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    since: Instant,
    blocks: u64,
    rate: u64,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, blocks: 0, rate: 0 }
    }

    /// Blocks were imported.
    pub(super) fn add(&mut self, blocks: u64, now: Instant) {
        self.blocks = self.blocks.saturating_add(blocks);
        self.measure(now);
    }

    fn measure(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let due = elapsed >= MEASURED;
        if due {
            let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
            self.rate = self.blocks.saturating_mul(1000) / millis;
            self.blocks = 0;
            self.since = now;
        }
        due
    }

    pub(super) fn view(
        &mut self,
        caught_up: bool,
        head: Height,
        target: Height,
        peers: usize,
        now: Instant,
    ) -> SyncView {
        let due = self.measure(now);
        let missing = target.since(head);
        let left = (missing > 0).then(|| missing.checked_div(self.rate).map(Duration::from_secs)).flatten();
        let state = match (caught_up, missing > 1) {
            (true, _) => SyncState::Synced,
            (false, true) => SyncState::Syncing,
            (false, false) => SyncState::Waiting,
        };
        if due && missing >= NOTABLE {
            let left = left.map(|left| left.as_secs());
            tracing::info!(
                head = head.0,
                target = target.0,
                blocks_per_second = self.rate,
                seconds_left = left,
                "syncing"
            );
        }
        SyncView { state, head, target, peers, rate: self.rate, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_was_imported() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        progress.add(500, start + Duration::from_secs(1));
        progress.add(500, start + MEASURED);
        let view = progress.view(false, Height(1000), Height(11_000), 3, start + MEASURED);
        assert_eq!((view.rate, view.left, view.state), (500, Some(Duration::from_secs(20)), SyncState::Syncing));
        let stalled = progress.view(false, Height(1000), Height(11_000), 3, start + MEASURED * 2);
        assert_eq!((stalled.rate, stalled.left), (0, None));
    }
}
