//! This node's clock beside its peers'.

use alys_p2p::{PeerId, PeerView, Status};
use alys_primitives::UnixMillis;
use std::collections::{BTreeMap, VecDeque};
use tokio::time::Instant;

/// Statuses of a peer that are compared; one comes every second.
const SAMPLES: usize = 8;

/// How far each peer's clock was ahead of this node's, in milliseconds; behind is negative.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    samples: BTreeMap<PeerId, VecDeque<(Instant, i64)>>,
}

impl Clocks {
    /// Takes in what peers said since the last look, and forgets those that are gone.
    pub(super) fn observe<'a>(
        &mut self,
        peers: impl Iterator<Item = (&'a PeerView, &'a Status)>,
        wall: UnixMillis,
        now: Instant,
    ) {
        let mut before = std::mem::take(&mut self.samples);
        for (peer, status) in peers {
            let mut samples = before.remove(&peer.peer).unwrap_or_default();
            if samples.back().is_none_or(|(at, _)| *at < peer.status_at) {
                samples.push_back((peer.status_at, skew(status.time, peer.status_at, wall, now)));
                if samples.len() > SAMPLES {
                    samples.pop_front();
                }
            }
            self.samples.insert(peer.peer, samples);
        }
    }

    /// The median over the peers. Of each peer's samples the greatest counts: what delays a status on its way only makes
    /// its sender's clock look late.
    pub(super) fn median(&self) -> i64 {
        median(self.samples.values().filter_map(|samples| samples.iter().map(|(_, skew)| *skew).max()).collect())
    }
}

fn skew(theirs: UnixMillis, at: Instant, wall: UnixMillis, now: Instant) -> i64 {
    let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    let passed = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
    let theirs = theirs.saturating_add(passed);
    signed(theirs.since(wall)).saturating_sub(signed(wall.since(theirs)))
}

/// Of two in the middle the one nearer to zero, and zero of none. Fewer than half of the peers can't move it beyond what an
/// honest one says.
fn median(mut skews: Vec<i64>) -> i64 {
    skews.sort_unstable();
    let upper = skews.len() / 2;
    let lower = skews.len().saturating_sub(1) / 2;
    let at = |index: usize| skews.get(index).copied().unwrap_or(0);
    if at(lower).unsigned_abs() <= at(upper).unsigned_abs() { at(lower) } else { at(upper) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_minority_of_wrong_clocks_does_not_move_the_median() {
        assert_eq!(median(vec![]), 0);
        assert_eq!(median(vec![3]), 3);
        assert_eq!(median(vec![5, i64::MAX, -4]), 5);
        assert_eq!(median(vec![5, i64::MIN, -4]), -4);
        assert_eq!(median(vec![i64::MAX, 2]), 2, "of two the nearer one");
        assert_eq!(median(vec![-9_000, -9_001, 1]), -9_000, "most peers say that this clock is wrong");
    }

    #[test]
    fn what_was_said_a_while_ago_is_compared_as_of_then() {
        let at = Instant::now();
        let now = at + Duration::from_secs(3);
        assert_eq!(skew(UnixMillis(10_000), at, UnixMillis(13_000), now), 0);
        assert_eq!(skew(UnixMillis(10_000), at, UnixMillis(12_000), now), 1_000);
        assert_eq!(skew(UnixMillis(10_000), at, UnixMillis(14_500), now), -1_500);
    }
}
