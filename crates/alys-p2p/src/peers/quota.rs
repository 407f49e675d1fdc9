//! How much one peer may ask and tell, by protocol.

use crate::wire::{Request, Topic};
use std::time::Duration;
use tokio::time::Instant;

/// A bucket: so many at once, refilled by so many a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// The most at once.
    pub(crate) burst: u32,
    /// How many a second.
    pub(crate) rate: u32,
}

impl Allowance {
    /// Messages of a topic from one peer. A slot brings one block, one approval and at most one certificate a member.
    pub(crate) fn of_topic(topic: Topic) -> Self {
        match topic {
            Topic::Block => Self { burst: 16, rate: 4 },
            Topic::Approval | Topic::Notarization => Self { burst: 1024, rate: 256 },
            Topic::AuxPow => Self { burst: 64, rate: 4 },
            Topic::Transaction => Self { burst: 4096, rate: 1000 },
            Topic::Evidence | Topic::Federation | Topic::Pause => Self { burst: 16, rate: 1 },
            // A message for each open payment, a few times and then every quarter of a minute.
            Topic::Peg => Self { burst: 128, rate: 8 },
        }
    }

    /// Requests of one peer.
    pub(crate) fn of_request(request: &Request) -> Self {
        match request {
            Request::Status(_) => Self { burst: 16, rate: 4 },
            Request::BlocksByRange(_) | Request::BlocksByRoot(_) | Request::LightRecords(_) => {
                Self { burst: 32, rate: 16 }
            }
            Request::OlderBlocks(_) => Self { burst: 16, rate: 4 },
            Request::CertificatesByRoot(_) | Request::BundleProof(_) => Self { burst: 16, rate: 8 },
            Request::Snapshots => Self { burst: 8, rate: 1 },
            Request::SnapshotPart(_) => Self { burst: 64, rate: 16 },
        }
    }
}

/// What is left of an allowance, in thousandths.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    allowance: Allowance,
    left: u64,
    filled: Instant,
}

impl Quota {
    pub(crate) fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, left: u64::from(allowance.burst).saturating_mul(1000), filled: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(3600));
        let millis = u64::try_from(passed.as_millis()).unwrap_or(0);
        if millis > 0 {
            let fresh = millis.saturating_mul(self.allowance.rate.into());
            self.left = self.left.saturating_add(fresh).min(u64::from(self.allowance.burst).saturating_mul(1000));
            self.filled = now;
        }
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let start = Instant::now();
        let mut quota = Quota::new(Allowance { burst: 3, rate: 2 }, start);
        assert_eq!((0..10).filter(|_| quota.take(start)).count(), 3);
        assert!(!quota.take(start + Duration::from_millis(499)));
        assert!(quota.take(start + Duration::from_millis(500)));
        let later = start + Duration::from_secs(86_400);
        assert_eq!((0..10).filter(|_| quota.take(later)).count(), 3, "no more than the burst after a long pause");
    }

    #[test]
    fn asking_often_does_not_lose_the_rate() {
        let start = Instant::now();
        let mut quota = Quota::new(Allowance { burst: 1, rate: 1 }, start);
        assert!(quota.take(start));
        let taken = (1..=10_000u64).filter(|millis| quota.take(start + Duration::from_millis(*millis))).count();
        assert_eq!(taken, 10);
    }
}
