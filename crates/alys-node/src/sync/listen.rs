//! The doppelganger wait: a member that starts listens for its own key before it uses it.

use std::time::Duration;
use tokio::time::Instant;

/// How long this node has listened while as many peers as a quorum takes were there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    length: Duration,
    since: Option<Instant>,
    over: bool,
}

impl Listening {
    /// Listens for `length`; nothing to listen for without a key.
    pub(super) fn new(length: Duration) -> Self {
        Self { length, since: None, over: length.is_zero() }
    }

    /// What is left at `now`; none once it is over. Alone, or with too few peers to hear anything, the wait begins again: a
    /// quorum is out of reach then anyway, so that nobody is held up by it.
    pub(super) fn left(&mut self, heard: bool, now: Instant) -> Option<Duration> {
        if self.over {
            return None;
        }
        if !heard {
            self.since = None;
            return Some(self.length);
        }
        let since = *self.since.get_or_insert(now);
        let left = self.length.saturating_sub(now.saturating_duration_since(since));
        self.over = left.is_zero();
        (!self.over).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(4);

    #[test]
    fn the_wait_counts_while_peers_are_heard_and_ends_for_good() {
        let (mut listening, start) = (Listening::new(LENGTH), Instant::now());
        assert_eq!(listening.left(false, start), Some(LENGTH));
        let heard = start + Duration::from_secs(60);
        assert_eq!(listening.left(true, heard), Some(LENGTH), "time alone does not count");
        assert_eq!(listening.left(true, heard + LENGTH / 4), Some(LENGTH * 3 / 4));
        assert_eq!(listening.left(false, heard + LENGTH / 2), Some(LENGTH), "the peers are gone");
        assert_eq!(listening.left(true, heard + LENGTH), Some(LENGTH));
        assert_eq!(listening.left(true, heard + LENGTH * 2), None);
        assert_eq!(listening.left(false, heard + LENGTH * 3), None, "over for good");
    }

    #[test]
    fn without_a_wait_nothing_is_waited_for() {
        assert_eq!(Listening::new(Duration::ZERO).left(false, Instant::now()), None);
    }
}
