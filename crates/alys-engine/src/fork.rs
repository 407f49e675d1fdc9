//! Which rules hold when, as far as the Engine API's methods differ by them.

/// A fork at which the Engine API's methods change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// Payloads without withdrawals.
    Paris,
    /// Withdrawals.
    Shanghai,
    /// Blob gas and the parent beacon block root.
    Cancun,
    /// Execution requests.
    Prague,
    /// Cell proofs in blob bundles.
    Osaka,
}

/// When the forks after the merge begin, in seconds since the Unix epoch; `None` if they never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkTimes {
    /// Shanghai.
    pub shanghai: Option<u64>,
    /// Cancun.
    pub cancun: Option<u64>,
    /// Prague.
    pub prague: Option<u64>,
    /// Osaka.
    pub osaka: Option<u64>,
}

impl ForkTimes {
    /// The rules of a block of that time.
    pub fn at(&self, timestamp: u64) -> Fork {
        let began = |time: Option<u64>| time.is_some_and(|time| time <= timestamp);
        if began(self.osaka) {
            Fork::Osaka
        } else if began(self.prague) {
            Fork::Prague
        } else if began(self.cancun) {
            Fork::Cancun
        } else if began(self.shanghai) {
            Fork::Shanghai
        } else {
            Fork::Paris
        }
    }
}
