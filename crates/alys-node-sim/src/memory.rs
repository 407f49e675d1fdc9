//! What of a machine survives its power, apart from the disk that the world keeps.

use alys_chain::{ForkchoiceUpdate, SignRequest};
use alys_node::actors::signer::Signed;
use alys_primitives::{B256, Burns, Slot, Wei};
use alys_store::signing::Duty;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The engine's database and the newest slots of the signing record, of one node.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Hash of the genesis block.
    pub(crate) genesis: B256,
    /// The head that the engine follows.
    pub(crate) head: B256,
    /// Executed blocks: number, fees, burns.
    pub(crate) executed: BTreeMap<B256, (u64, Wei, Burns)>,
    /// Numbers of the safe and the finalized block that the engine was told of.
    told: [u64; 2],
    /// Whoever asks the engine next fails.
    pub(crate) fail: bool,
    proposal: Option<Slot>,
    approval: Option<Slot>,
}

/// One that the parts of a machine share.
pub(crate) type Shared = Arc<Mutex<Memory>>;

/// The memory, which no panic leaves half changed.
pub(crate) fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(crate) fn new(genesis: B256) -> Self {
        let executed = BTreeMap::new();
        Self { genesis, head: genesis, executed, told: [0; 2], fail: false, proposal: None, approval: None }
    }

    /// Number of an executed block; zero for others and for genesis.
    pub(crate) fn number(&self, hash: &B256) -> u64 {
        self.executed.get(hash).map_or(0, |(number, _, _)| *number)
    }

    /// The engine's last blocks did not reach its disk: it stands at an ancestor of its head again.
    pub(crate) fn fall_back(&mut self, blocks: u64) {
        self.told = [0; 2];
        let target = self.number(&self.head).saturating_sub(blocks);
        let found = self.executed.iter().find(|(_, (number, _, _))| *number == target).map(|(hash, _)| *hash);
        self.head = found.unwrap_or(self.genesis);
    }

    /// The engine's disk went with the chain's.
    pub(crate) fn lose_engine(&mut self) {
        self.head = self.genesis;
        self.told = [0; 2];
        self.executed.clear();
    }

    /// The engine is told to follow a head. Zero hashes name nothing; safe and finalized never go back.
    pub(crate) fn follow(&mut self, update: &ForkchoiceUpdate) -> Result<(), String> {
        self.head = update.head;
        for (position, (name, hash)) in [("safe", update.safe), ("finalized", update.finalized)].into_iter().enumerate()
        {
            let (now, before) = (self.number(&hash), self.told[position]);
            if hash.is_zero() {
                continue;
            }
            if now < before {
                return Err(format!("the engine's {name} block goes from number {before} back to {now}"));
            }
            self.told[position] = now;
        }
        Ok(())
    }

    /// The signer signed.
    pub(crate) fn signed(&mut self, request: &SignRequest) {
        match request {
            SignRequest::Proposal { slot, .. } => self.proposal = self.proposal.max(Some(*slot)),
            SignRequest::Approval { data, .. } => self.approval = self.approval.max(Some(data.slot)),
        }
    }

    /// Whether a signature of this machine's key may be its own, as far as the signing record goes.
    pub(crate) fn may_be_own(&self, met: &Signed) -> bool {
        let newest = match met.duty {
            Duty::Proposal => self.proposal,
            Duty::Approval => self.approval,
        };
        newest.is_some_and(|newest| met.slot <= newest)
    }
}
