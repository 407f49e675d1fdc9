//! What a simulator of the actor needs: chains of another scheme, a look at the core, mistakes made on purpose.

use super::{ChainActor, ChainActorConfig, ChainPorts};
use alys_chain::testing::Plant;
use alys_chain::{Chain, RestoreError, Restored};
use alys_primitives::ChainSpec;
use std::sync::Arc;

/// A moment at which the simulator looks at the core.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// It was made of what storage holds, and was fed nothing yet.
    Restored(&'a Chain),
    /// It was fed, and its effects have been handed on.
    Fed(&'a Chain),
}

/// Makes a chain of what storage holds.
type Restore = dyn Fn(Restored) -> Result<Chain, RestoreError> + Send + Sync;

/// Looks at the core, in the actor's task.
type Look = dyn Fn(Seen<'_>) + Send + Sync;

/// The simulator's side of one actor.
#[derive(Clone)]
pub struct Simulation {
    restore: Arc<Restore>,
    look: Arc<Look>,
    plant: Option<Plant>,
}

impl Simulation {
    /// Chains are made by `restore`; `look` sees the core, and makes the actor panic if it panics; the actor makes the mistake
    /// of `plant`, if it is one of an actor.
    pub fn new(
        restore: impl Fn(Restored) -> Result<Chain, RestoreError> + Send + Sync + 'static,
        look: impl Fn(Seen<'_>) + Send + Sync + 'static,
        plant: Option<Plant>,
    ) -> Self {
        Self { restore: Arc::new(restore), look: Arc::new(look), plant }
    }

    pub(super) fn restore(&self, restored: Restored) -> Result<Chain, RestoreError> {
        let chain = (self.restore)(restored)?;
        (self.look)(Seen::Restored(&chain));
        Ok(chain)
    }
}

impl ChainActor {
    /// An actor in a simulator.
    pub fn simulated(
        spec: Arc<ChainSpec>,
        config: ChainActorConfig,
        ports: ChainPorts,
        simulation: Simulation,
    ) -> Self {
        Self { simulation: Some(simulation), ..Self::new(spec, config, ports) }
    }

    pub(super) fn show(&self) {
        if let (Some(simulation), Some(chain)) = (&self.simulation, &self.chain) {
            (simulation.look)(Seen::Fed(chain));
        }
    }

    /// Whether a mistake is made on purpose.
    pub(super) fn makes(&self, plant: Plant) -> bool {
        self.simulation.as_ref().is_some_and(|simulation| simulation.plant == Some(plant))
    }
}
