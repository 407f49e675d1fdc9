//! One simulated node: a machine, with a disk, a signer, an engine and a clock that can fail.

use crate::{
    dice::Dice,
    machine::{Clock, Machine, Maker, Start},
};
use alys_chain::{
    Chain, ChainConfig,
    testing::{FakeExecutor, FakeSigner, Fixture, StoreModel},
};
use alys_primitives::Root;
use std::collections::BTreeMap;

/// Everything of one machine.
#[derive(Debug)]
pub(crate) struct SimNode {
    /// What runs; none while the node is down.
    pub(crate) machine: Option<Box<dyn Machine>>,
    pub(crate) executor: FakeExecutor,
    pub(crate) signer: FakeSigner,
    pub(crate) store: StoreModel,
    pub(crate) config: ChainConfig,
    /// What its clock shows beyond the true time, in milliseconds.
    pub(crate) skew: i64,
    /// Counts starts; answers to an earlier one are void.
    pub(crate) boot: u64,
    /// When the next tick is due, true time.
    pub(crate) tick_at: Option<u64>,
    /// It stops while its next write is on its way to the disk.
    pub(crate) doomed: bool,
    /// A sync is on its way.
    pub(crate) syncing: bool,
    /// It does nothing before this time.
    pub(crate) frozen_until: u64,
    /// When it last asked a peer for a block's ancestors.
    pub(crate) asked: BTreeMap<Root, u64>,
    /// A copy of the disk that a store which never syncs falls back to.
    pub(crate) stale: Option<StoreModel>,
    /// Rolls for this machine's own latencies.
    pub(crate) dice: Dice,
}

impl SimNode {
    pub(crate) fn new(fixture: &Fixture, index: usize, dice: Dice) -> Self {
        let config = fixture.config(Some(index));
        Self {
            machine: None,
            executor: FakeExecutor::new(fixture.spec.evm.genesis_hash),
            signer: FakeSigner::new(fixture.keys[index].clone(), fixture.scheme),
            store: StoreModel::default(),
            config,
            skew: 0,
            boot: 0,
            tick_at: None,
            doomed: false,
            syncing: false,
            frozen_until: 0,
            asked: BTreeMap::new(),
            stale: None,
            dice,
        }
    }

    /// Its clocks at a true time.
    pub(crate) fn clock(&self, now: u64) -> Clock {
        Clock { now, skew: self.skew }
    }

    /// The core; none while the node is down or starts.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.machine.as_ref().and_then(|machine| machine.core())
    }

    /// The machine stops. The first `kept` writes that were not synced survive.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.machine = None;
        self.store.crash(kept);
        self.boot += 1;
        self.tick_at = None;
        self.syncing = false;
        self.doomed = false;
        self.asked.clear();
    }

    /// The machine starts from its disk.
    pub(crate) fn boot(
        &mut self,
        node: usize,
        now: u64,
        fixture: &Fixture,
        maker: &mut dyn Maker,
    ) -> Result<(), String> {
        let (config, disk) = (self.config.clone(), self.store.restored());
        let (clock, boot) = (self.clock(now), self.boot);
        let seed = self.dice.clone().below(u64::MAX) ^ boot;
        let start = Start { fixture, node, config, disk, clock, boot, seed };
        self.machine = Some(maker.boot(start)?);
        Ok(())
    }
}
