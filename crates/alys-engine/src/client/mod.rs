//! The Engine API client: the execution port over HTTP.
//!
//! A request goes to the active endpoint. Whatever is no answer to it (no connection, no time, nonsense, the engine's
//! own trouble) is tried again, at the next endpoint if there is one, with pauses that grow; a verdict never is.

mod config;
mod endpoint;
mod fees;
mod forward;
mod replay;
mod transport;

pub use config::{ChainIdentity, ConfigError, EndpointConfig, EngineClientConfig, RetryPolicy, Timeouts};
pub use forward::ForwardError;
pub use replay::{HistoryFuture, PayloadHistory};

use crate::wire::{self, Envelope, ForkchoiceResult, Payload, PayloadAttributes, PayloadVersion, Status};
use crate::{
    Attributes, BlockFees, BuiltPayload, EngineError, EngineInfo, ExecutionEngine, Fork, ForkchoiceOutcome,
    ForkchoiceState, NewPayload, PayloadId, PayloadStatus, payload_hash,
};
use alloy_primitives::{B256, FixedBytes};
use alys_primitives::Burns;
use endpoint::{BlockStub, Endpoint, Needs, Session};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use transport::{Call, CallError, Transport};

/// Payloads being built that are remembered.
const MAX_JOBS: usize = 16;

/// EIP-2718 type of blob transactions.
const BLOB_TYPE: u8 = 3;

/// Drives execution clients through the Engine API. Cheap to clone.
#[derive(Clone)]
pub struct EngineClient {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Vec<Endpoint>,
    /// Which endpoint is asked.
    active: AtomicUsize,
    transport: Transport,
    needs: Needs,
    retry: RetryPolicy,
    random: AtomicU64,
    max_replay: usize,
    history: Option<Arc<dyn PayloadHistory>>,
    /// What was asked for under which id.
    jobs: watch::Sender<VecDeque<Job>>,
}

/// A payload that an endpoint builds.
#[derive(Clone, Debug)]
struct Job {
    id: PayloadId,
    endpoint: usize,
    parent: B256,
    attributes: Attributes,
}

impl std::fmt::Debug for EngineClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.inner.endpoints.iter().map(Endpoint::name).collect();
        f.debug_struct("EngineClient").field("endpoints", &names).finish_non_exhaustive()
    }
}

/// An answer and the endpoint that gave it.
struct Answered<T> {
    value: T,
    endpoint: usize,
    url: String,
}

/// For answers that may not be `null`.
fn required<T>(value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| "null".to_owned())
}

impl EngineClient {
    /// A client of the engines in `config`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: EngineClientConfig) -> Result<Self, ConfigError> {
        Self::build(config, None)
    }

    /// A client that gives engines which are behind what they lack, from the node's own store.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn with_history(config: EngineClientConfig, history: Arc<dyn PayloadHistory>) -> Result<Self, ConfigError> {
        Self::build(config, Some(history))
    }

    fn build(config: EngineClientConfig, history: Option<Arc<dyn PayloadHistory>>) -> Result<Self, ConfigError> {
        if config.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        let endpoints = config.endpoints.iter().map(Endpoint::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                endpoints,
                active: AtomicUsize::new(0),
                transport: Transport::new(config.max_response_bytes, config.clock),
                needs: Needs { chain: config.chain, forks: config.forks, timeouts: config.timeouts },
                retry: config.retry,
                random: AtomicU64::new(config.retry.seed),
                max_replay: config.max_replay,
                history,
                jobs: watch::Sender::new(VecDeque::new()),
            }),
        })
    }

    /// Asks the active endpoint, and the others while it gives no answer that `accept` takes.
    async fn ask<T: DeserializeOwned, U>(
        &self,
        choose: impl Fn(&Session) -> Call + Send + Sync,
        accept: impl Fn(Option<T>) -> Result<U, String> + Send + Sync,
    ) -> Result<Answered<U>, EngineError> {
        let inner = &*self.inner;
        let mut last = None;
        for attempt in 0..inner.retry.attempts.max(1) {
            self.pause_before(attempt).await;
            let index = inner.active.load(Ordering::Relaxed);
            let answer = self.ask_endpoint(index, &choose).await.and_then(|Answered { value, endpoint, url }| {
                let method = "an answer";
                match accept(value) {
                    Ok(value) => Ok(Answered { value, endpoint, url }),
                    Err(reason) => Err(CallError::Nonsense { url: url.into(), method, reason }),
                }
            });
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_transient() => {
                    self.give_up_on(index, &error);
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match last {
            Some(error) => Err(error.into()),
            None => Err(EngineError::Unavailable { reason: "no attempt was made".to_owned() }),
        }
    }

    async fn ask_endpoint<T: DeserializeOwned>(
        &self,
        index: usize,
        choose: impl Fn(&Session) -> Call + Send + Sync,
    ) -> Result<Answered<Option<T>>, CallError> {
        let inner = &*self.inner;
        let endpoint = inner.endpoints.get(index).or_else(|| inner.endpoints.first()).ok_or_else(|| {
            CallError::Mismatch(EngineError::Unavailable { reason: "there are no endpoints".to_owned() })
        })?;
        let session = endpoint.session(&inner.transport, &inner.needs).await?;
        let value = endpoint.call(&inner.transport, &choose(&session)).await?;
        Ok(Answered { value, endpoint: index, url: endpoint.name() })
    }

    /// The endpoint must introduce itself again, and the next one is asked.
    fn give_up_on(&self, index: usize, error: &CallError) {
        let inner = &*self.inner;
        let Some(endpoint) = inner.endpoints.get(index) else { return };
        endpoint.forget();
        let next = index.checked_add(1).filter(|next| *next < inner.endpoints.len()).unwrap_or(0);
        // Another request may have moved on already.
        if next != index && inner.active.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            metrics::counter!("alys_engine_failovers_total").increment(1);
        }
        tracing::warn!(engine = endpoint.name(), %error, "execution engine gave no answer");
    }

    /// An engine whose answer does not fit together loses its turn.
    fn trusting<T>(&self, index: usize, answer: Result<T, EngineError>) -> Result<T, EngineError> {
        if let Err(error @ EngineError::Broken { .. }) = &answer {
            self.give_up_on(index, &CallError::Mismatch(error.clone()));
        }
        answer
    }

    async fn pause_before(&self, attempt: u32) {
        let inner = &*self.inner;
        let count = u32::try_from(inner.endpoints.len()).unwrap_or(u32::MAX).max(1);
        if attempt == 0 || !attempt.is_multiple_of(count) {
            return;
        }
        let round = attempt.checked_div(count).unwrap_or(0).saturating_sub(1).min(16);
        let pause = inner.retry.first_pause.saturating_mul(1 << round).min(inner.retry.longest_pause);
        let half = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX);
        let less = self.random().checked_rem(half.saturating_add(1)).unwrap_or(0);
        tokio::time::sleep(pause.saturating_sub(Duration::from_micros(less))).await;
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut word = self.inner.random.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    async fn eth<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<Option<T>, EngineError> {
        let limit = self.inner.needs.timeouts.eth;
        Ok(self.ask(|_| Call { method, params: params.clone(), limit }, Ok).await?.value)
    }

    fn fork(&self, timestamp: u64) -> Fork {
        self.inner.needs.forks.at(timestamp)
    }

    /// `engine_newPayload`, once.
    async fn submit(&self, new: &NewPayload) -> Result<PayloadStatus, EngineError> {
        let fork = self.fork(new.payload.timestamp);
        let method = match fork {
            Fork::Paris => "engine_newPayloadV1",
            Fork::Shanghai => "engine_newPayloadV2",
            Fork::Cancun => "engine_newPayloadV3",
            Fork::Prague | Fork::Osaka => "engine_newPayloadV4",
        };
        let params = wire::new_payload_params(new, fork);
        let limit = self.inner.needs.timeouts.new_payload;
        let verdict = |status: Option<Status>| required(status)?.into_port(new.payload.block_hash);
        Ok(self.ask(|_| Call { method, params: params.clone(), limit }, verdict).await?.value)
    }

    /// `engine_forkchoiceUpdated`, once.
    async fn choose(
        &self,
        state: ForkchoiceState,
        attributes: Option<&Attributes>,
    ) -> Result<ForkchoiceOutcome, EngineError> {
        // Without attributes every version means the same; the newest is the one that all engines of a fork have.
        let fork = attributes.map_or_else(|| self.fork(u64::MAX), |attributes| self.fork(attributes.timestamp));
        let method = match fork {
            Fork::Paris => "engine_forkchoiceUpdatedV1",
            Fork::Shanghai => "engine_forkchoiceUpdatedV2",
            Fork::Cancun | Fork::Prague | Fork::Osaka => "engine_forkchoiceUpdatedV3",
        };
        let wire_attributes = attributes.map(|attributes| PayloadAttributes::from_port(attributes, fork));
        let params = json!([wire::Forkchoice::from(state), wire_attributes]);
        let limit = self.inner.needs.timeouts.forkchoice;
        let verdict = |result: Option<ForkchoiceResult>| {
            let result = required(result)?;
            Ok((result.payload_status.into_port(state.head)?, result.payload_id))
        };
        let answer = self.ask(|_| Call { method, params: params.clone(), limit }, verdict).await?;
        let Answered { value: (status, payload_id), endpoint, .. } = answer;
        let payload_id = match (attributes, payload_id) {
            (Some(attributes), Some(FixedBytes(id))) if status == PayloadStatus::Valid => {
                let id = PayloadId(id);
                let job = Job { id, endpoint, parent: state.head, attributes: attributes.clone() };
                self.inner.jobs.send_modify(|jobs| {
                    jobs.retain(|job| job.id != id);
                    if jobs.len() >= MAX_JOBS {
                        jobs.pop_front();
                    }
                    jobs.push_back(job);
                });
                Some(id)
            }
            _ => None,
        };
        Ok(ForkchoiceOutcome { status, payload_id })
    }

    async fn fetch(&self, job: &Job) -> Result<BuiltPayload, EngineError> {
        let fork = self.fork(job.attributes.timestamp);
        let id = FixedBytes(job.id.0);
        let methods: &[&'static str] = match fork {
            Fork::Paris => &["engine_getPayloadV1"],
            Fork::Shanghai => &["engine_getPayloadV2"],
            Fork::Cancun => &["engine_getPayloadV3"],
            Fork::Prague => &["engine_getPayloadV4"],
            Fork::Osaka => &["engine_getPayloadV5", "engine_getPayloadV4"],
        };
        let unknown = EngineError::UnknownPayload { id: job.id.0 };
        let mut last = unknown.clone();
        // Only the endpoint that builds the payload can give it: it is asked again, but no other is.
        for attempt in 0..self.inner.retry.attempts.max(1) {
            self.pause_before(attempt).await;
            for (place, method) in methods.iter().enumerate() {
                let call = |session: &Session| {
                    let method =
                        if place == 0 && !session.offers(method) { methods.last().unwrap_or(method) } else { method };
                    Call { method, params: json!([id]), limit: self.inner.needs.timeouts.get_payload }
                };
                match self.ask_endpoint::<Value>(job.endpoint, call).await {
                    Ok(answer) => {
                        let built = required(answer.value)
                            .map_err(|reason| EngineError::Broken { reason })
                            .and_then(|envelope| self.check_built(job, fork, envelope));
                        return self.trusting(job.endpoint, built);
                    }
                    Err(error) if error.is_unknown_payload() => return Err(unknown),
                    Err(error) if error.is_unsupported_fork() => last = error.into(),
                    Err(error) if error.is_transient() => {
                        self.give_up_on(job.endpoint, &error);
                        last = error.into();
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(last)
    }

    /// What was built must be what was asked for, under the hash that it makes.
    fn check_built(&self, job: &Job, fork: Fork, answer: Value) -> Result<BuiltPayload, EngineError> {
        let broken = |reason: String| EngineError::Broken { reason: format!("built payload: {reason}") };
        let envelope: Envelope = if fork == Fork::Paris {
            let execution_payload: Payload =
                serde_json::from_value(answer).map_err(|error| broken(error.to_string()))?;
            Envelope {
                execution_payload,
                block_value: alloy_primitives::U256::ZERO,
                blobs_bundle: None,
                should_override_builder: None,
                execution_requests: None,
            }
        } else {
            serde_json::from_value(answer).map_err(|error| broken(error.to_string()))?
        };
        let payload = envelope
            .execution_payload
            .into_port(PayloadVersion::of(fork))
            .map_err(|error| broken(error.to_string()))?;
        let execution_requests = wire::requests_into_port(envelope.execution_requests.unwrap_or_default())
            .map_err(|error| broken(error.to_string()))?;
        let asked = &job.attributes;
        let differs = [
            ("parent", payload.parent_hash != job.parent),
            ("timestamp", payload.timestamp != asked.timestamp),
            ("prevRandao", payload.prev_randao != asked.prev_randao),
            ("feeRecipient", payload.fee_recipient != asked.fee_recipient),
            ("withdrawals", fork >= Fork::Shanghai && payload.withdrawals[..] != asked.withdrawals[..]),
            ("blob gas", holds_blobs(&payload)),
        ];
        if let Some((what, _)) = differs.iter().find(|(_, differs)| *differs) {
            return Err(broken(format!("its {what} is not what was asked for")));
        }
        let new = NewPayload { payload, parent_beacon_block_root: asked.parent_beacon_block_root, execution_requests };
        if payload_hash(&new, fork) != Some(new.payload.block_hash) {
            return Err(broken(format!("its fields do not make its hash {}", new.payload.block_hash)));
        }
        Ok(BuiltPayload {
            payload: new.payload,
            execution_requests: new.execution_requests,
            block_value: envelope.block_value,
        })
    }
}

/// Blob transactions are invalid on this chain (protocol section 3), whatever the engine's schedule says.
fn holds_blobs(payload: &alys_primitives::ExecutionPayload) -> bool {
    payload.blob_gas_used != 0 || payload.transactions.iter().any(|transaction| transaction.first() == Some(&BLOB_TYPE))
}

/// # Cancel safety
/// Every request is idempotent: the engine carries out what it received, and asking again gives the same answer.
impl ExecutionEngine for EngineClient {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let latest = json!(["latest", false]);
        let call = |_: &Session| Call {
            method: "eth_getBlockByNumber",
            params: latest.clone(),
            limit: self.inner.needs.timeouts.eth,
        };
        let Answered { value: head, endpoint, .. } = self.ask::<BlockStub, _>(call, required).await?;
        let inner = &*self.inner;
        let client = match inner.endpoints.get(endpoint) {
            Some(endpoint) => endpoint
                .session(&inner.transport, &inner.needs)
                .await
                .map_or_else(|_| "unknown".to_owned(), |session| session.client.clone()),
            None => "unknown".to_owned(),
        };
        Ok(EngineInfo {
            chain_id: inner.needs.chain.chain_id,
            genesis_hash: inner.needs.chain.genesis_hash,
            head: head.hash,
            head_number: head.number.to(),
            client,
        })
    }

    async fn forkchoice_updated(
        &self,
        state: ForkchoiceState,
        attributes: Option<Attributes>,
    ) -> Result<ForkchoiceOutcome, EngineError> {
        let outcome = self.choose(state, attributes.as_ref()).await?;
        let lacks = matches!(outcome.status, PayloadStatus::Syncing | PayloadStatus::Accepted);
        if lacks && self.replay(state.head, None).await? {
            return self.choose(state, attributes.as_ref()).await;
        }
        Ok(outcome)
    }

    async fn get_payload(&self, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        let job = self.inner.jobs.borrow().iter().find(|job| job.id == id).cloned();
        match job {
            Some(job) => self.fetch(&job).await,
            None => Err(EngineError::UnknownPayload { id: id.0 }),
        }
    }

    async fn new_payload(&self, payload: NewPayload) -> Result<PayloadStatus, EngineError> {
        if holds_blobs(&payload.payload) {
            let reason = "blob transactions are invalid on this chain".to_owned();
            return Ok(PayloadStatus::Invalid { latest_valid_hash: None, reason });
        }
        let status = self.submit(&payload).await?;
        let lacks = matches!(status, PayloadStatus::Syncing | PayloadStatus::Accepted);
        let parent = (payload.payload.parent_hash, payload.payload.block_number.checked_sub(1));
        if lacks && self.replay(parent.0, parent.1).await? {
            return self.submit(&payload).await;
        }
        Ok(status)
    }

    async fn block_fees(&self, block_hash: B256) -> Result<BlockFees, EngineError> {
        let active = self.inner.active.load(Ordering::Relaxed);
        self.trusting(active, self.fees(block_hash).await)
    }

    async fn block_burns(&self, block_hash: B256) -> Result<Burns, EngineError> {
        let active = self.inner.active.load(Ordering::Relaxed);
        self.trusting(active, self.burned(block_hash).await)
    }
}
