//! One simulated node: a real core, with a disk, a signer, an engine and a clock that can fail.

use crate::dice::Dice;
use alys_chain::{
    Chain, ChainConfig, RestoreError,
    testing::{FakeExecutor, FakeSigner, Fixture, StoreModel},
};
use alys_primitives::{Root, UnixMillis};
use std::collections::BTreeMap;

/// Everything of one machine.
#[derive(Debug)]
pub(crate) struct SimNode {
    /// The core; none while the node is down.
    pub(crate) chain: Option<Chain>,
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
            chain: Some(fixture.genesis(config.clone())),
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

    /// What its clock shows at a true time.
    pub(crate) fn clock(&self, now: u64) -> UnixMillis {
        UnixMillis(now.saturating_add_signed(self.skew))
    }

    /// The true time at which its clock shows `local`.
    pub(crate) fn true_time(&self, local: UnixMillis) -> u64 {
        local.0.saturating_add_signed(self.skew.saturating_neg())
    }

    /// The machine stops. The first `kept` writes that were not synced survive.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.chain = None;
        self.store.crash(kept);
        self.boot += 1;
        self.tick_at = None;
        self.syncing = false;
        self.doomed = false;
        self.asked.clear();
    }

    /// The machine starts again from its disk.
    pub(crate) fn restart(&mut self, fixture: &Fixture) -> Result<(), RestoreError> {
        self.chain = Some(fixture.restore(self.config.clone(), self.store.restored())?);
        Ok(())
    }
}
