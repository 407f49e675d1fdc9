//! An operator's choices for the client.

use crate::{ForkTimes, JwtSecret};
use alloy_primitives::B256;
use http::Uri;
use std::time::Duration;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No engine is named.
    #[error("no execution engine is named")]
    NoEndpoint,
    /// An address that can't be called.
    #[error("`{url}` is not an http:// address of an execution engine")]
    Url {
        /// The address as given.
        url: String,
    },
}

/// One engine.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Address of its Engine API, such as `http://127.0.0.1:8551`.
    pub url: String,
    /// The secret that it shares with this node.
    pub secret: JwtSecret,
    /// Address for `eth_*` where the Engine API's port does not serve them; without authentication.
    pub rpc_url: Option<String>,
}

/// How often and how long a request is tried again when it got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one request, over all endpoints.
    pub attempts: u32,
    /// Pause after every endpoint was tried once.
    pub first_pause: Duration,
    /// The longest pause; each is twice the one before, shortened by up to a half at random.
    pub longest_pause: Duration,
    /// Seed of the randomness.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

/// How long each method may take; the defaults are those of the Engine API's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `engine_newPayload`.
    pub new_payload: Duration,
    /// `engine_forkchoiceUpdated`.
    pub forkchoice: Duration,
    /// `engine_getPayload`.
    pub get_payload: Duration,
    /// `engine_exchangeCapabilities`.
    pub capabilities: Duration,
    /// `eth_*`, for which there is no rule.
    pub eth: Duration,
    /// A user's call that is handed through.
    pub forward: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            new_payload: Duration::from_secs(8),
            forkchoice: Duration::from_secs(8),
            get_payload: Duration::from_secs(1),
            capabilities: Duration::from_secs(1),
            eth: Duration::from_secs(4),
            forward: Duration::from_secs(30),
        }
    }
}

/// What an engine must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainIdentity {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the genesis block.
    pub genesis_hash: B256,
}

/// The client's configuration.
#[derive(Clone, Debug)]
pub struct EngineClientConfig {
    /// The engines, in the order in which they are tried. The first is asked until it gives no answer, then the next, and
    /// so on in a circle: one that answers is kept.
    pub endpoints: Vec<EndpointConfig>,
    /// The chain.
    pub chain: ChainIdentity,
    /// When its rules change.
    pub forks: ForkTimes,
    /// Tries and pauses.
    pub retry: RetryPolicy,
    /// How long each try may take.
    pub timeouts: Timeouts,
    /// The largest answer that is read, in bytes.
    pub max_response_bytes: usize,
    /// The most stored payloads that one request replays to an engine that is behind.
    pub max_replay: usize,
    /// Seconds since the Unix epoch, for the tokens.
    pub clock: fn() -> u64,
}

impl EngineClientConfig {
    /// The defaults for a chain and its engines.
    pub fn new(endpoints: Vec<EndpointConfig>, chain: ChainIdentity, forks: ForkTimes) -> Self {
        Self {
            endpoints,
            chain,
            forks,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            max_response_bytes: 64 << 20,
            max_replay: 1 << 20,
            clock: wall_seconds,
        }
    }
}

/// The system's clock.
fn wall_seconds() -> u64 {
    // A clock before 1970 makes tokens that every engine refuses, with an error that says so.
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An address that can be called.
pub(super) fn parse_url(text: &str) -> Result<Uri, ConfigError> {
    let bad = || ConfigError::Url { url: text.to_owned() };
    let url: Uri = text.parse().map_err(|_| bad())?;
    if url.scheme_str() == Some("http") && url.host().is_some() { Ok(url) } else { Err(bad()) }
}
