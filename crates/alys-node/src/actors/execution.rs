//! The execution actor: the one place from which the engine is driven, in order.

use crate::execution::{EngineFailure, history::payload_of};
use alys_actor::{Actor, Context, Message, Reply};
use alys_chain::{Built, ExecutionOutcome, ForkchoiceUpdate, PayloadAttributes, Unavailable};
use alys_engine::{Attributes, EngineError, EngineInfo, ExecutionEngine, ForkchoiceState, PayloadStatus};
use alys_primitives::{B256, SignedBlock};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Requests to the engine.
#[derive(Debug)]
pub enum ExecutionMessage {
    /// Who the engine is and where it stands.
    Info {
        /// Its answer.
        reply: Reply<Result<EngineInfo, EngineError>>,
    },
    /// Builds a payload on a notarized block.
    Build {
        /// Hash of the parent EVM block.
        parent: B256,
        /// What the payload must contain.
        attributes: Box<PayloadAttributes>,
        /// The payload.
        reply: Reply<Result<Box<Built>, Unavailable>>,
    },
    /// Executes a block's payload.
    Execute {
        /// The block.
        block: Arc<SignedBlock>,
        /// What the engine says of it.
        reply: Reply<ExecutionOutcome>,
    },
    /// Moves head, safe and finalized.
    Forkchoice(ForkchoiceUpdate),
}

impl Message for ExecutionMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Info { .. } => "info",
            Self::Build { .. } => "build",
            Self::Execute { .. } => "execute",
            Self::Forkchoice(_) => "forkchoice",
        }
    }
}

/// Drives an engine.
pub struct ExecutionActor<E> {
    engine: E,
    forkchoice: ForkchoiceState,
    /// Between asking for a payload and taking it.
    build_time: Duration,
    failure: Option<Arc<watch::Sender<EngineFailure>>>,
}

impl<E: ExecutionEngine> ExecutionActor<E> {
    /// An actor that drives `engine`, whose genesis block has the hash `genesis`.
    ///
    /// Until it is told which blocks are safe and final it names none: what an earlier incarnation had told the engine stands.
    pub fn new(engine: E, genesis: B256) -> Self {
        let forkchoice = ForkchoiceState { head: genesis, safe: B256::ZERO, finalized: B256::ZERO };
        Self { engine, forkchoice, build_time: Duration::ZERO, failure: None }
    }

    /// Gives the engine this long to fill a payload: external ones begin with an empty one and add to it.
    #[must_use]
    pub fn build_time(self, build_time: Duration) -> Self {
        Self { build_time, ..self }
    }

    /// Publishes there whether the engine answers.
    #[must_use]
    pub fn failure(self, failure: Arc<watch::Sender<EngineFailure>>) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// Notes whether the engine gave an answer; what it refuses or does not know is one.
    fn noted<T>(&self, answer: Result<T, EngineError>) -> Result<T, EngineError> {
        let failure = match &answer {
            Err(
                error @ (EngineError::Unavailable { .. } | EngineError::Mismatch { .. } | EngineError::Broken { .. }),
            ) => Some(error.to_string()),
            Ok(_)
            | Err(
                EngineError::UnknownPayload { .. }
                | EngineError::UnknownBlock { .. }
                | EngineError::InvalidAttributes { .. }
                | EngineError::Refused { .. },
            ) => None,
        };
        if let Some(sender) = &self.failure {
            sender.send_if_modified(|current| {
                let changed = *current != failure;
                if current.is_some() != failure.is_some() {
                    match &failure {
                        Some(failure) => tracing::warn!(failure, "the engine gives no answer: no building, no votes"),
                        None => tracing::info!("the engine answers again"),
                    }
                }
                *current = failure;
                changed
            });
        }
        answer
    }

    async fn build(&mut self, parent: B256, attributes: PayloadAttributes) -> Result<Box<Built>, Unavailable> {
        let unavailable = |reason: String| Unavailable { reason };
        let attributes = Attributes {
            timestamp: attributes.timestamp,
            prev_randao: attributes.prev_randao,
            fee_recipient: attributes.fee_recipient,
            withdrawals: attributes.withdrawals,
            parent_beacon_block_root: attributes.parent_beacon_block_root,
        };
        let state = ForkchoiceState { head: parent, ..self.forkchoice };
        let outcome = self.engine.forkchoice_updated(state, Some(attributes)).await;
        let outcome = self.noted(outcome).map_err(|error| unavailable(error.to_string()))?;
        let id = outcome
            .payload_id
            .ok_or_else(|| unavailable(format!("no payload on {parent}: {}", describe(&outcome.status))))?;
        if !self.build_time.is_zero() {
            tokio::time::sleep(self.build_time).await;
        }
        let built = self.engine.get_payload(id).await;
        let built = self.noted(built).map_err(|error| unavailable(error.to_string()))?;
        Ok(Box::new(Built { payload: built.payload, requests: built.execution_requests }))
    }

    async fn execute(&mut self, block: &SignedBlock) -> ExecutionOutcome {
        let hash = block.payload.block_hash;
        let verdict = self.engine.new_payload(payload_of(block.clone())).await;
        match self.noted(verdict) {
            Ok(PayloadStatus::Valid) => match self.noted(self.engine.block_fees(hash).await) {
                Ok(fees) => match self.noted(self.engine.block_burns(hash).await) {
                    Ok(burns) => ExecutionOutcome::Valid { fees: fees.total, burns },
                    Err(error) => ExecutionOutcome::Unavailable { reason: error.to_string() },
                },
                Err(error) => ExecutionOutcome::Unavailable { reason: error.to_string() },
            },
            Ok(PayloadStatus::Invalid { reason, .. }) => ExecutionOutcome::Invalid { reason },
            Ok(PayloadStatus::Syncing | PayloadStatus::Accepted) => ExecutionOutcome::Syncing,
            Err(error) => ExecutionOutcome::Unavailable { reason: error.to_string() },
        }
    }

    async fn forkchoice(&mut self, update: ForkchoiceUpdate) {
        self.forkchoice = ForkchoiceState { head: update.head, safe: update.safe, finalized: update.finalized };
        let outcome = self.engine.forkchoice_updated(self.forkchoice, None).await;
        match self.noted(outcome) {
            Ok(outcome) if outcome.status == PayloadStatus::Valid => {}
            Ok(outcome) => {
                tracing::warn!(head = %update.head, status = describe(&outcome.status), "engine did not follow the head");
            }
            Err(error) => tracing::warn!(head = %update.head, %error, "engine did not take the fork choice"),
        }
    }
}

fn describe(status: &PayloadStatus) -> String {
    match status {
        PayloadStatus::Valid => "valid".to_owned(),
        PayloadStatus::Invalid { reason, .. } => format!("invalid: {reason}"),
        PayloadStatus::Syncing => "syncing".to_owned(),
        PayloadStatus::Accepted => "accepted".to_owned(),
    }
}

impl<E: ExecutionEngine> Actor for ExecutionActor<E> {
    type Message = ExecutionMessage;
    type Error = Infallible;

    async fn handle(&mut self, message: ExecutionMessage, _: &mut Context<ExecutionMessage>) -> Result<(), Infallible> {
        match message {
            ExecutionMessage::Info { reply } => {
                let info = self.engine.info().await;
                reply.send(self.noted(info));
            }
            ExecutionMessage::Build { parent, attributes, reply } => {
                let built = self.build(parent, *attributes).await;
                reply.send(built);
            }
            ExecutionMessage::Execute { block, reply } => {
                let outcome = self.execute(&block).await;
                reply.send(outcome);
            }
            ExecutionMessage::Forkchoice(update) => self.forkchoice(update).await,
        }
        Ok(())
    }
}
