//! What can go wrong, and which of it goes wrong in a run.

use crate::dice::Dice;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Messages take up to three seconds instead of a tenth.
    Delay,
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplicate,
    /// The nodes fall into two groups that do not hear of each other.
    Partition,
    /// A node stops at once and starts again later.
    Crash,
    /// A crash takes writes with it that were not synced.
    LostWrites,
    /// Syncs take up to two seconds.
    SlowDisk,
    /// Clocks are wrong by less than the rules allow.
    ClockSkew,
    /// A clock jumps by many slots; the signer is suspended meanwhile.
    ClockJump,
    /// A node's execution engine gives no answers.
    EngineDown,
    /// A node does nothing for a while, then everything at once.
    Pause,
    /// A member proposes two blocks for one slot.
    Equivocation,
    /// A member keeps what it should tell, from all or from some.
    Withholding,
    /// A member approves every block it sees.
    DoubleVote,
    /// A member proposes payloads that can't be executed.
    InvalidPayload,
    /// A member makes certificates without a quorum, with bits of nobody.
    ForgedCertificate,
    /// A member accuses others with evidence that it made up.
    ForgedEvidence,
    /// Miners bring proofs that are wrong in every way they know.
    LyingMiner,
    /// Miners go away until the chain stalls.
    NoMiner,
    /// The federation changes.
    EpochChange,
    /// People deposit and burn; no fault, but what else goes wrong must not hurt them.
    PegTraffic,
    /// Another Bitcoin branch replaces up to six blocks, and with them what was confirmed.
    BitcoinReorg,
    /// A quorum pauses the peg's directions and resumes them.
    PegPause,
    /// A node's chain or execution actor panics in the middle of its work; only where the machines have actors.
    ActorPanic,
    /// One node's disk is damaged, which is noticed: it begins again with nothing but its signing record.
    DiskLoss,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Delay,
        Self::Loss,
        Self::Duplicate,
        Self::Partition,
        Self::Crash,
        Self::LostWrites,
        Self::SlowDisk,
        Self::ClockSkew,
        Self::ClockJump,
        Self::EngineDown,
        Self::Pause,
        Self::Equivocation,
        Self::Withholding,
        Self::DoubleVote,
        Self::InvalidPayload,
        Self::ForgedCertificate,
        Self::ForgedEvidence,
        Self::LyingMiner,
        Self::NoMiner,
        Self::EpochChange,
        Self::PegTraffic,
        Self::BitcoinReorg,
        Self::PegPause,
        Self::ActorPanic,
        Self::DiskLoss,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::LostWrites => "lost-writes",
            Self::SlowDisk => "slow-disk",
            Self::ClockSkew => "clock-skew",
            Self::ClockJump => "clock-jump",
            Self::EngineDown => "engine-down",
            Self::Pause => "pause",
            Self::Equivocation => "equivocation",
            Self::Withholding => "withholding",
            Self::DoubleVote => "double-vote",
            Self::InvalidPayload => "invalid-payload",
            Self::ForgedCertificate => "forged-certificate",
            Self::ForgedEvidence => "forged-evidence",
            Self::LyingMiner => "lying-miner",
            Self::NoMiner => "no-miner",
            Self::EpochChange => "epoch-change",
            Self::PegTraffic => "peg-traffic",
            Self::BitcoinReorg => "bitcoin-reorg",
            Self::PegPause => "peg-pause",
            Self::ActorPanic => "actor-panic",
            Self::DiskLoss => "disk-loss",
        }
    }

    /// Whether it takes a chain with a peg.
    pub fn needs_peg(self) -> bool {
        matches!(self, Self::PegTraffic | Self::BitcoinReorg | Self::PegPause)
    }

    /// Whether it takes machines with actors.
    pub fn needs_actors(self) -> bool {
        self == Self::ActorPanic
    }

    /// Whether it takes a member that breaks the rules.
    pub fn is_byzantine(self) -> bool {
        matches!(
            self,
            Self::Equivocation
                | Self::Withholding
                | Self::DoubleVote
                | Self::InvalidPayload
                | Self::ForgedCertificate
                | Self::ForgedEvidence
        )
    }
}

/// The kinds that are on in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(BTreeSet<Fault>);

impl FaultSet {
    /// Every kind.
    pub fn all() -> Self {
        Self(Fault::ALL.into_iter().collect())
    }

    /// A random half, as each seed picks its own.
    pub fn swarm(dice: &mut Dice) -> Self {
        // These have dice of their own: a seed without them is the run that it was before there were any.
        let mut own = dice.clone().fork();
        let is_later = |fault: &Fault| fault.needs_peg() || matches!(fault, Fault::ActorPanic | Fault::DiskLoss);
        let on = |fault: &Fault| if is_later(fault) { own.once_in(2) } else { dice.once_in(2) };
        Self(Fault::ALL.into_iter().filter(on).collect())
    }

    /// Whether a kind is on.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// All that are on.
    pub fn iter(&self) -> impl Iterator<Item = Fault> + '_ {
        self.0.iter().copied()
    }

    /// The same without one kind.
    pub fn without(&self, fault: Fault) -> Self {
        Self(self.0.iter().copied().filter(|other| *other != fault).collect())
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<&str> = self.0.iter().map(|fault| fault.name()).collect();
        f.write_str(&names.join(","))
    }
}

/// A name that is no fault's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called '{0}'; there are: all, none, {known}", known = FaultSet::all())]
pub struct UnknownFault(String);

impl FromStr for FaultSet {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        match text {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::default()),
            _ => {}
        }
        let mut set = BTreeSet::new();
        for name in text.split(',') {
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            set.insert(fault.ok_or_else(|| UnknownFault(name.to_owned()))?);
        }
        Ok(Self(set))
    }
}
