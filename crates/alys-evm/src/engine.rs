//! The execution port over an executor on a thread of its own.

use crate::{Executor, SampleBlock};
use alloy_primitives::B256;
use alys_engine::{
    Attributes, BlockFees, BuiltPayload, EngineError, EngineInfo, ExecutionEngine, ForkchoiceOutcome, ForkchoiceState,
    NewPayload, PayloadId, PayloadStatus,
};
use alys_primitives::Burns;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the executor at most; more wait for room.
const QUEUE: usize = 64;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// What an executor is asked.
#[derive(Debug)]
pub enum EngineRequest {
    /// [`Executor::info`].
    Info(Reply<EngineInfo>),
    /// [`Executor::forkchoice_updated`].
    Forkchoice(ForkchoiceState, Option<Box<Attributes>>, Reply<ForkchoiceOutcome>),
    /// [`Executor::get_payload`].
    GetPayload(PayloadId, Reply<BuiltPayload>),
    /// [`Executor::new_payload`].
    NewPayload(Box<NewPayload>, Reply<PayloadStatus>),
    /// [`Executor::build_sample`].
    BuildSample(Box<SampleBlock>, Reply<BuiltPayload>),
    /// [`Executor::block_fees`].
    BlockFees(B256, Reply<BlockFees>),
    /// [`Executor::block_burns`].
    BlockBurns(B256, Reply<Burns>),
}

impl Executor {
    /// Carries out one request. An asker that is gone loses only the answer.
    pub fn handle(&mut self, request: EngineRequest) {
        // A failed send means that nobody waits any more.
        match request {
            EngineRequest::Info(reply) => drop(reply.send(Ok(self.info()))),
            EngineRequest::Forkchoice(state, attributes, reply) => {
                drop(reply.send(self.forkchoice_updated(state, attributes.as_deref())));
            }
            EngineRequest::GetPayload(id, reply) => drop(reply.send(self.get_payload(id))),
            EngineRequest::NewPayload(payload, reply) => drop(reply.send(self.new_payload(&payload))),
            EngineRequest::BuildSample(sample, reply) => drop(reply.send(self.build_sample(*sample))),
            EngineRequest::BlockFees(hash, reply) => drop(reply.send(self.block_fees(hash))),
            EngineRequest::BlockBurns(hash, reply) => drop(reply.send(self.block_burns(hash))),
        }
    }

    /// Carries out requests until every sender is gone, or the database has failed.
    pub fn serve(&mut self, requests: &mut mpsc::Receiver<EngineRequest>) {
        while let Some(request) = requests.blocking_recv() {
            self.handle(request);
            if self.storage_failure().is_some() {
                return;
            }
        }
    }
}

/// The thread of a spawned executor.
#[derive(Debug)]
pub struct ExecutorThread(JoinHandle<Executor>);

impl ExecutorThread {
    /// Waits for the thread to end, which it does when every [`EmbeddedEngine`] of it is gone.
    ///
    /// # Errors
    /// [`EngineError::Broken`] if the thread panicked.
    pub fn join(self) -> Result<Executor, EngineError> {
        self.0.join().map_err(|_| EngineError::Broken { reason: "the executor's thread panicked".to_owned() })
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// Puts an executor on its own thread.
///
/// # Errors
/// [`EngineError::Unavailable`] if the system gives no thread.
pub fn spawn(mut executor: Executor) -> Result<(EmbeddedEngine, ExecutorThread), EngineError> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new()
        .name("alys-evm".to_owned())
        .spawn(move || {
            executor.serve(&mut receiver);
            executor
        })
        .map_err(|error| EngineError::Unavailable { reason: error.to_string() })?;
    Ok((EmbeddedEngine::new(sender), ExecutorThread(thread)))
}

/// A cheap handle to an executor elsewhere; implements the execution port.
#[derive(Clone, Debug)]
pub struct EmbeddedEngine {
    requests: mpsc::Sender<EngineRequest>,
}

impl EmbeddedEngine {
    /// A handle to whoever receives the other end and calls [`Executor::handle`].
    pub const fn new(requests: mpsc::Sender<EngineRequest>) -> Self {
        Self { requests }
    }

    /// [`Executor::build_sample`], in its turn.
    ///
    /// # Errors
    /// As there, and [`EngineError::Unavailable`] if the executor has stopped.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn build_sample(&self, sample: SampleBlock) -> Result<BuiltPayload, EngineError> {
        self.ask(|reply| EngineRequest::BuildSample(Box::new(sample), reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> EngineRequest) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::Unavailable { reason: "the executor has stopped".to_owned() };
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// # Cancel safety
/// A dropped future either never reached the executor, or the request is carried out and its answer is lost.
impl ExecutionEngine for EmbeddedEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.ask(EngineRequest::Info).await
    }

    async fn forkchoice_updated(
        &self,
        state: ForkchoiceState,
        attributes: Option<Attributes>,
    ) -> Result<ForkchoiceOutcome, EngineError> {
        let attributes = attributes.map(Box::new);
        self.ask(|reply| EngineRequest::Forkchoice(state, attributes, reply)).await
    }

    async fn get_payload(&self, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        self.ask(|reply| EngineRequest::GetPayload(id, reply)).await
    }

    async fn new_payload(&self, payload: NewPayload) -> Result<PayloadStatus, EngineError> {
        self.ask(|reply| EngineRequest::NewPayload(Box::new(payload), reply)).await
    }

    async fn block_fees(&self, block_hash: B256) -> Result<BlockFees, EngineError> {
        self.ask(|reply| EngineRequest::BlockFees(block_hash, reply)).await
    }

    async fn block_burns(&self, block_hash: B256) -> Result<Burns, EngineError> {
        self.ask(|reply| EngineRequest::BlockBurns(block_hash, reply)).await
    }
}
