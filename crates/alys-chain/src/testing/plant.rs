//! Mistakes made on purpose. A simulator that does not notice them is broken.

/// One mistake. Only the scheme of simulations can carry one, so that no chain with real signatures ever does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plant {
    /// Bits beyond the members count for a quorum.
    CountStrangers,
    /// Half of the members is a quorum.
    HalfIsQuorum,
    /// What waits for a write to be durable is released at once.
    ReleaseBeforePersist,
    /// Members approve blocks on any parent, and their signing record does not mind.
    ApproveAnything,
    /// Among chains of one length the head is whichever came last.
    NewestHeadWins,
    /// A bundle's predecessor, range and difficulty are not checked.
    BundleUnchecked,
    /// What earlier fees left over is paid and kept.
    CarryTwice,
    /// The work of a proof is not compared with the target.
    WorkUnchecked,
    /// Signatures in proofs of equivocation are not checked.
    EvidenceUnchecked,
    /// A reorganisation writes the height of its newest block only.
    StaleHeights,
    /// Queued work is not written.
    WorkNotKept,
    /// Proofs of equivocation are not written.
    ProofsNotKept,
    /// A deposit that left Bitcoin's best branch and came back is minted again.
    MintAgain,
    /// A burn that a payment pays can go into another payment.
    PayAgain,
    /// What a sweep gives to miners is not counted as lost.
    SweepForFree,
    /// Deposits are credited while a quorum has paused them.
    PauseIgnored,
    /// The store says that a write is durable and never syncs it. Not in the core but in the simulated disk.
    SkippedSync,
    /// The signing record does not survive a crash. Not in the core but in the simulated signer.
    LostSigningRecord,
    /// A write counts as durable as soon as it was handed to storage. Not in the core but in the actor around it, as those below.
    WrittenTooEarly,
    /// What is written while another write is on its way is forgotten.
    BatchForgotten,
    /// A new time to wake the core does not replace the one that it had named before.
    TimerLost,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::CountStrangers,
        Self::HalfIsQuorum,
        Self::ReleaseBeforePersist,
        Self::ApproveAnything,
        Self::NewestHeadWins,
        Self::BundleUnchecked,
        Self::CarryTwice,
        Self::WorkUnchecked,
        Self::EvidenceUnchecked,
        Self::StaleHeights,
        Self::WorkNotKept,
        Self::ProofsNotKept,
        Self::MintAgain,
        Self::PayAgain,
        Self::SweepForFree,
        Self::PauseIgnored,
        Self::SkippedSync,
        Self::LostSigningRecord,
        Self::WrittenTooEarly,
        Self::BatchForgotten,
        Self::TimerLost,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountStrangers => "count-strangers",
            Self::HalfIsQuorum => "half-is-quorum",
            Self::ReleaseBeforePersist => "release-before-persist",
            Self::ApproveAnything => "approve-anything",
            Self::NewestHeadWins => "newest-head-wins",
            Self::BundleUnchecked => "bundle-unchecked",
            Self::CarryTwice => "carry-twice",
            Self::WorkUnchecked => "work-unchecked",
            Self::EvidenceUnchecked => "evidence-unchecked",
            Self::StaleHeights => "stale-heights",
            Self::WorkNotKept => "work-not-kept",
            Self::ProofsNotKept => "proofs-not-kept",
            Self::MintAgain => "mint-again",
            Self::PayAgain => "pay-again",
            Self::SweepForFree => "sweep-for-free",
            Self::PauseIgnored => "pause-ignored",
            Self::SkippedSync => "skipped-sync",
            Self::LostSigningRecord => "lost-signing-record",
            Self::WrittenTooEarly => "written-too-early",
            Self::BatchForgotten => "batch-forgotten",
            Self::TimerLost => "timer-lost",
        }
    }

    /// Whether it is a mistake of the actor around the core, which only a simulation of actors can make.
    pub fn is_of_actors(self) -> bool {
        matches!(self, Self::WrittenTooEarly | Self::BatchForgotten | Self::TimerLost)
    }
}
