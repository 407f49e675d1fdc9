//! The engine behind the execution actor: what executing gives, the world says.

use crate::memory::{self, Shared};
use crate::mirror::MADE_TO_FAIL;
use crate::ports::{Out, Outbox};
use alys_chain::{ExecutionOutcome, ForkchoiceUpdate, PayloadAttributes};
use alys_engine::{
    Attributes, BlockFees, BuiltPayload, EngineError, EngineInfo, ExecutionEngine, ForkchoiceOutcome, ForkchoiceState,
    NewPayload, PayloadId, PayloadStatus,
};
use alys_primitives::{B256, Burns, Wei};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// The engine of one machine.
pub(crate) struct SimEngine {
    outbox: Outbox,
    memory: Shared,
    chain_id: u64,
    built: Mutex<BTreeMap<u64, BuiltPayload>>,
}

impl SimEngine {
    pub(crate) fn new(outbox: Outbox, memory: Shared, chain_id: u64) -> Self {
        Self { outbox, memory, chain_id, built: Mutex::default() }
    }

    fn built(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, BuiltPayload>> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the actor that asks fail, if the world wants it.
    fn may_fail(&self) {
        if std::mem::take(&mut memory::lock(&self.memory).fail) {
            self.outbox.push(Out::Failed);
            panic!("{MADE_TO_FAIL}");
        }
    }

    fn executed(&self, hash: B256) -> Result<(Wei, Burns), EngineError> {
        let memory = memory::lock(&self.memory);
        let found = memory.executed.get(&hash).map(|(_, fees, burns)| (*fees, burns.clone()));
        found.ok_or(EngineError::UnknownBlock { hash })
    }
}

/// The machine stopped with the question.
fn gone<E>(_: E) -> EngineError {
    EngineError::Unavailable { reason: "stopped".to_owned() }
}

impl ExecutionEngine for SimEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let memory = memory::lock(&self.memory);
        Ok(EngineInfo {
            chain_id: self.chain_id,
            genesis_hash: memory.genesis,
            head: memory.head,
            head_number: memory.number(&memory.head),
            client: "simulated".to_owned(),
        })
    }

    async fn forkchoice_updated(
        &self,
        state: ForkchoiceState,
        attributes: Option<Attributes>,
    ) -> Result<ForkchoiceOutcome, EngineError> {
        let update = ForkchoiceUpdate { head: state.head, safe: state.safe, finalized: state.finalized };
        self.may_fail();
        if let Err(what) = memory::lock(&self.memory).follow(&update) {
            self.outbox.push(Out::Broken(what));
        }
        self.outbox.push(Out::Forkchoice(update));
        let Some(attributes) = attributes else {
            return Ok(ForkchoiceOutcome { status: PayloadStatus::Valid, payload_id: None });
        };
        let attributes = PayloadAttributes {
            timestamp: attributes.timestamp,
            prev_randao: attributes.prev_randao,
            fee_recipient: attributes.fee_recipient,
            withdrawals: attributes.withdrawals,
            parent_beacon_block_root: attributes.parent_beacon_block_root,
        };
        let (reply, answer) = oneshot::channel();
        self.outbox.push(Out::Build { parent: state.head, attributes, reply });
        let built = answer.await.map_err(gone)?;
        let built = built.map_err(|error| EngineError::Unavailable { reason: error.reason })?;
        let payload =
            BuiltPayload { payload: built.payload, execution_requests: built.requests, block_value: Wei::ZERO };
        let mut kept = self.built();
        let id = kept.last_key_value().map_or(0, |(newest, _)| newest + 1);
        kept.insert(id, payload);
        Ok(ForkchoiceOutcome { status: PayloadStatus::Valid, payload_id: Some(PayloadId(id.to_be_bytes())) })
    }

    async fn get_payload(&self, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        let number = u64::from_be_bytes(id.0);
        self.built().get(&number).cloned().ok_or(EngineError::UnknownPayload { id: id.0 })
    }

    async fn new_payload(&self, payload: NewPayload) -> Result<PayloadStatus, EngineError> {
        self.may_fail();
        let (hash, number) = (payload.payload.block_hash, payload.payload.block_number);
        let (reply, answer) = oneshot::channel();
        self.outbox.push(Out::Execute { payload: payload.payload, reply });
        match answer.await.map_err(gone)? {
            ExecutionOutcome::Valid { fees, burns } => {
                memory::lock(&self.memory).executed.insert(hash, (number, fees, burns));
                Ok(PayloadStatus::Valid)
            }
            ExecutionOutcome::Invalid { reason } => Ok(PayloadStatus::Invalid { latest_valid_hash: None, reason }),
            ExecutionOutcome::Syncing => Ok(PayloadStatus::Syncing),
            ExecutionOutcome::Unavailable { reason } => Err(EngineError::Unavailable { reason }),
        }
    }

    async fn block_fees(&self, block_hash: B256) -> Result<BlockFees, EngineError> {
        self.executed(block_hash).map(|(total, _)| BlockFees { total })
    }

    async fn block_burns(&self, block_hash: B256) -> Result<Burns, EngineError> {
        self.executed(block_hash).map(|(_, burns)| burns)
    }
}
