//! What decides a run, together with the code: nothing else does.

use crate::{dice::Dice, faults::FaultSet};
use alys_chain::testing::Plant;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The seed of all dice.
    pub seed: u64,
    /// Members of the federation, 1 to 31.
    pub nodes: usize,
    /// How long faults happen, in simulated seconds. A calm end follows, in which everything must heal.
    pub seconds: u64,
    /// The faults; chosen by the seed if absent.
    pub faults: Option<FaultSet>,
    /// Members that break the rules; chosen by the seed, at most f, if absent.
    pub byzantine: Option<usize>,
    /// BLS in place of hashes.
    pub real_signatures: bool,
    /// A mistake made on purpose.
    pub plant: Option<Plant>,
}

/// The most nodes of a run.
pub const MAX_NODES: usize = 31;

impl Options {
    /// A short run of a seed with faults of the seed's choice.
    pub fn short(seed: u64) -> Self {
        Self { seed, nodes: 4, seconds: 120, faults: None, byzantine: None, real_signatures: false, plant: None }
    }

    /// The greatest number of members that may break the rules: floor((n - 1) / 3).
    pub fn tolerated(&self) -> usize {
        self.nodes.saturating_sub(1) / 3
    }

    /// What the seed chooses where nothing is said.
    pub(crate) fn settle(&self, dice: &mut Dice) -> (FaultSet, usize) {
        let swarm = FaultSet::swarm(dice);
        let faults = self.faults.clone().unwrap_or(swarm);
        let rolled = dice.index(self.tolerated().saturating_add(1)).max(self.tolerated().min(1));
        let wanted = if faults.iter().any(crate::Fault::is_byzantine) { rolled } else { 0 };
        (faults, self.byzantine.unwrap_or(wanted).min(self.nodes))
    }
}

impl std::fmt::Display for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--seed {} --nodes {} --seconds {}", self.seed, self.nodes, self.seconds)?;
        if let Some(faults) = &self.faults {
            write!(f, " --faults {faults}")?;
        }
        if let Some(byzantine) = self.byzantine {
            write!(f, " --byzantine {byzantine}")?;
        }
        if self.real_signatures {
            f.write_str(" --real-signatures")?;
        }
        if let Some(plant) = self.plant {
            write!(f, " --plant {}", plant.name())?;
        }
        Ok(())
    }
}
