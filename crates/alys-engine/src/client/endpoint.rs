//! One engine: its addresses, and what the handshake found out about it.

use super::config::{ChainIdentity, ConfigError, EndpointConfig, Timeouts, parse_url};
use super::transport::{Call, CallError, Transport};
use crate::{EngineError, Fork, ForkTimes, JwtSecret};
use alloy_primitives::{B256, U64};
use http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Every `engine_` method that the client may call.
const METHODS: [&str; 13] = [
    "engine_exchangeCapabilities",
    "engine_forkchoiceUpdatedV1",
    "engine_forkchoiceUpdatedV2",
    "engine_forkchoiceUpdatedV3",
    "engine_getPayloadV1",
    "engine_getPayloadV2",
    "engine_getPayloadV3",
    "engine_getPayloadV4",
    "engine_getPayloadV5",
    "engine_newPayloadV1",
    "engine_newPayloadV2",
    "engine_newPayloadV3",
    "engine_newPayloadV4",
];

/// What the handshake compares with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) chain: ChainIdentity,
    pub(super) forks: ForkTimes,
    pub(super) timeouts: Timeouts,
}

/// What an engine said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The Engine API's methods that it has.
    methods: BTreeSet<String>,
    /// Name and version.
    pub(super) client: String,
}

impl Session {
    /// Whether the engine has a method.
    pub(super) fn offers(&self, method: &str) -> bool {
        self.methods.contains(method)
    }
}

/// A block as far as the client looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStub {
    pub(super) hash: B256,
    pub(super) number: U64,
}

#[derive(Deserialize)]
struct EthConfig {
    current: Option<EthForkConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EthForkConfig {
    blob_schedule: Option<BlobSchedule>,
}

#[derive(Deserialize)]
struct BlobSchedule {
    max: u64,
}

pub(super) struct Endpoint {
    engine: Uri,
    secret: JwtSecret,
    rpc: Option<Uri>,
    /// `None` before the handshake and after a failure.
    session: watch::Sender<Option<Arc<Session>>>,
}

impl Endpoint {
    pub(super) fn new(config: &EndpointConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            engine: parse_url(&config.url)?,
            secret: config.secret.clone(),
            rpc: config.rpc_url.as_deref().map(parse_url).transpose()?,
            session: watch::Sender::new(None),
        })
    }

    pub(super) fn name(&self) -> String {
        self.engine.to_string()
    }

    /// Forgets the handshake: whoever answers next may be another client, or one that lost its state.
    pub(super) fn forget(&self) {
        self.session.send_replace(None);
    }

    /// A call without handshake.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        transport: &Transport,
        call: &Call,
    ) -> Result<Option<T>, CallError> {
        let started = Instant::now();
        let answer = match &self.rpc {
            Some(rpc) if !call.method.starts_with("engine_") => transport.call(rpc, None, call).await,
            Some(_) | None => transport.call(&self.engine, Some(&self.secret), call).await,
        };
        let outcome = answer.as_ref().map_or_else(CallError::label, |_| "ok");
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("alys_engine_request_seconds", "method" => call.method, "outcome" => outcome)
            .record(seconds);
        answer
    }

    /// What the engine is, asked only once until [`Self::forget`].
    pub(super) async fn session(&self, transport: &Transport, needs: &Needs) -> Result<Arc<Session>, CallError> {
        if let Some(session) = self.session.borrow().clone() {
            return Ok(session);
        }
        let session = Arc::new(self.handshake(transport, needs).await?);
        tracing::info!(engine = %self.engine, client = session.client, "execution engine is ready");
        self.session.send_replace(Some(session.clone()));
        Ok(session)
    }

    async fn handshake(&self, transport: &Transport, needs: &Needs) -> Result<Session, CallError> {
        let capabilities = Call {
            method: "engine_exchangeCapabilities",
            params: json!([METHODS]),
            limit: needs.timeouts.capabilities,
        };
        let methods: BTreeSet<String> = self.call(transport, &capabilities).await?.unwrap_or_default();
        let chain_id: U64 = self.eth(transport, needs, "eth_chainId", json!([])).await?.unwrap_or_default();
        fits("its chain id", needs.chain.chain_id, chain_id.to::<u64>())?;
        let genesis: Option<BlockStub> =
            self.eth(transport, needs, "eth_getBlockByNumber", json!(["0x0", false])).await?;
        let genesis = genesis.map_or_else(|| "missing".to_owned(), |block| block.hash.to_string());
        fits("its genesis block", needs.chain.genesis_hash.to_string(), genesis)?;
        for method in needed(&needs.forks) {
            if !methods.contains(method) {
                return Err(mismatch("a method", method.to_owned(), "missing".to_owned()));
            }
        }
        match self.eth::<Value>(transport, needs, "eth_getBlockReceipts", json!(["0x0"])).await {
            Err(error) if error.is_missing_method() => {
                return Err(mismatch("a method", "eth_getBlockReceipts".to_owned(), "missing".to_owned()));
            }
            Err(error) if error.is_transient() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.probe_blobs(transport, needs).await?;
        let client = self.eth(transport, needs, "web3_clientVersion", json!([])).await.ok().flatten();
        Ok(Session { methods, client: client.unwrap_or_else(|| "unknown".to_owned()) })
    }

    /// Blobs are invalid on this chain. Engines with `eth_config` (EIP-7910) say what they allow; for the others the
    /// client itself refuses payloads with blobs, built or received.
    async fn probe_blobs(&self, transport: &Transport, needs: &Needs) -> Result<(), CallError> {
        match self.eth::<EthConfig>(transport, needs, "eth_config", json!([])).await {
            Ok(config) => {
                let max = config.and_then(|config| config.current?.blob_schedule).map_or(0, |schedule| schedule.max);
                fits("its most blobs of a block", 0, max)
            }
            Err(error @ (CallError::Unreachable { .. } | CallError::TimedOut { .. } | CallError::Status { .. })) => {
                Err(error)
            }
            Err(error) => {
                tracing::debug!(engine = %self.engine, %error, "the engine does not tell its blob limit");
                Ok(())
            }
        }
    }

    async fn eth<T: DeserializeOwned>(
        &self,
        transport: &Transport,
        needs: &Needs,
        method: &'static str,
        params: Value,
    ) -> Result<Option<T>, CallError> {
        self.call(transport, &Call { method, params, limit: needs.timeouts.eth }).await
    }
}

/// The methods without which the chain can't go on at any of its forks. `engine_getPayloadV5` is used where it is
/// offered.
fn needed(forks: &ForkTimes) -> impl Iterator<Item = &'static str> {
    let last = forks.at(u64::MAX);
    let methods: &[&str] = match last {
        Fork::Paris => &["engine_newPayloadV1", "engine_getPayloadV1", "engine_forkchoiceUpdatedV1"],
        Fork::Shanghai => &["engine_newPayloadV2", "engine_getPayloadV2", "engine_forkchoiceUpdatedV2"],
        Fork::Cancun => &["engine_newPayloadV3", "engine_getPayloadV3", "engine_forkchoiceUpdatedV3"],
        Fork::Prague | Fork::Osaka => &["engine_newPayloadV4", "engine_getPayloadV4", "engine_forkchoiceUpdatedV3"],
    };
    methods.iter().copied()
}

fn fits<T: PartialEq + ToString>(what: &'static str, expected: T, found: T) -> Result<(), CallError> {
    if expected == found { Ok(()) } else { Err(mismatch(what, expected.to_string(), found.to_string())) }
}

fn mismatch(what: &'static str, expected: String, found: String) -> CallError {
    CallError::Mismatch(EngineError::Mismatch { what, expected, found })
}
