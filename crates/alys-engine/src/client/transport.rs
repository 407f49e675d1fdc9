//! One JSON-RPC call over HTTP: authenticated, bounded in bytes and time, and matched with its answer.

use crate::wire::shorten;
use crate::{EngineError, JwtSecret};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long an idle connection is kept: shorter than servers do, so that no call meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// No connection, or it broke.
    #[error("`{method}`: no connection to {url}: {reason}")]
    Unreachable { url: Box<str>, method: &'static str, reason: String },
    /// No answer in time.
    #[error("`{method}`: {url} did not answer within {}", humantime(.limit))]
    TimedOut { url: Box<str>, method: &'static str, limit: Duration },
    /// Another HTTP status than 200.
    #[error("`{method}`: {url} answered HTTP {status}{}", hint(.status))]
    Status { url: Box<str>, method: &'static str, status: StatusCode },
    /// Not a JSON-RPC answer to this request.
    #[error("`{method}`: {url} answered nonsense: {reason}")]
    Nonsense { url: Box<str>, method: &'static str, reason: String },
    /// An error of JSON-RPC.
    #[error("`{method}`: {} (code {code})", .refusal.text())]
    Rejected { method: &'static str, code: i64, refusal: Box<Refusal> },
    /// The handshake found that the engine does not fit.
    #[error("{0}")]
    Mismatch(EngineError),
}

/// What an error of JSON-RPC says besides its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl Refusal {
    /// Message and data in one bounded line.
    fn text(&self) -> String {
        let detail = match &self.data {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => format!(": {text}"),
            Some(other) => format!(": {other}"),
        };
        shorten(&format!("{}{detail}", self.message)).to_owned()
    }
}

fn humantime(limit: &Duration) -> String {
    format!("{} ms", limit.as_millis())
}

fn hint(status: &StatusCode) -> &'static str {
    match *status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": the JWT secrets differ, or the clocks do",
        _ => "",
    }
}

/// `Payload does not exist / is not available` (execution-apis), and the number that Besu gives it.
const UNKNOWN_PAYLOAD: [i64; 2] = [-38001, -32001];
const INVALID_FORKCHOICE: i64 = -38002;
const INVALID_ATTRIBUTES: i64 = -38003;
const TOO_LARGE: i64 = -38004;
pub(super) const UNSUPPORTED_FORK: i64 = -38005;
const TOO_DEEP_REORG: i64 = -38006;
const INVALID_REQUEST: i64 = -32600;
pub(super) const NO_METHOD: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

impl CallError {
    /// Whether another try, or another endpoint, may do better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Status { .. }
            | Self::Nonsense { .. }
            | Self::Mismatch(_) => true,
            Self::Rejected { code, .. } => !is_final(*code),
        }
    }

    /// Whether the method is not there.
    pub(super) fn is_missing_method(&self) -> bool {
        matches!(self, Self::Rejected { code: NO_METHOD, .. })
    }

    pub(super) fn is_unsupported_fork(&self) -> bool {
        matches!(self, Self::Rejected { code: UNSUPPORTED_FORK | NO_METHOD, .. })
    }

    /// For the metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timeout",
            Self::Status { .. } => "http_status",
            Self::Nonsense { .. } => "nonsense",
            Self::Rejected { .. } => "rejected",
            Self::Mismatch(_) => "mismatch",
        }
    }
}

/// Codes that judge the request; every other one is the engine's own trouble.
fn is_final(code: i64) -> bool {
    UNKNOWN_PAYLOAD.contains(&code)
        || matches!(
            code,
            INVALID_FORKCHOICE
                | INVALID_ATTRIBUTES
                | TOO_LARGE
                | UNSUPPORTED_FORK
                | TOO_DEEP_REORG
                | INVALID_REQUEST
                | NO_METHOD
                | INVALID_PARAMS
        )
}

impl From<CallError> for EngineError {
    fn from(error: CallError) -> Self {
        let reason = error.to_string();
        match error {
            CallError::Unreachable { .. } | CallError::TimedOut { .. } | CallError::Status { .. } => {
                Self::Unavailable { reason }
            }
            CallError::Nonsense { .. } => Self::Broken { reason },
            CallError::Rejected { code: INVALID_ATTRIBUTES, refusal, .. } => {
                Self::InvalidAttributes { reason: refusal.text() }
            }
            CallError::Rejected { code, .. } if is_final(code) => Self::Refused { reason },
            CallError::Rejected { .. } => Self::Unavailable { reason },
            CallError::Mismatch(error) => error,
        }
    }
}

impl CallError {
    /// Whether the engine does not know the payload.
    pub(super) fn is_unknown_payload(&self) -> bool {
        matches!(self, Self::Rejected { code, .. } if UNKNOWN_PAYLOAD.contains(code))
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) params: Value,
    pub(super) limit: Duration,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Answer<T> {
    id: Option<u64>,
    #[serde(default = "none")]
    result: Option<T>,
    error: Option<ErrorObject>,
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

/// Sends calls. Connections are kept and reused, one pool for all endpoints.
pub(super) struct Transport {
    http: Client<HttpConnector, Full<Bytes>>,
    max_response: usize,
    clock: fn() -> u64,
    next_id: AtomicU64,
}

impl Transport {
    pub(super) fn new(max_response: usize, clock: fn() -> u64) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
        Self { http, max_response, clock, next_id: AtomicU64::new(1) }
    }

    /// The result, which may be `null`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        url: &Uri,
        secret: Option<&JwtSecret>,
        call: &Call,
    ) -> Result<Option<T>, CallError> {
        let Call { method, limit, .. } = *call;
        match tokio::time::timeout(limit, self.exchange(url, secret, call)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::TimedOut { url: name(url), method, limit }),
        }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        url: &Uri,
        secret: Option<&JwtSecret>,
        call: &Call,
    ) -> Result<Option<T>, CallError> {
        let method = call.method;
        let unreachable = |reason: String| CallError::Unreachable { url: name(url), method, reason };
        let nonsense = |reason: String| CallError::Nonsense { url: name(url), method, reason };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": call.params }).to_string();
        let mut request =
            Request::builder().method(Method::POST).uri(url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(secret) = secret {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", secret.token((self.clock)())));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| unreachable(with_causes(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.max_response).collect().await;
        let bytes = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(nonsense(format!("more than {} bytes", self.max_response)));
            }
            Err(error) => return Err(unreachable(format!("the answer broke off: {error}"))),
        };
        if status != StatusCode::OK {
            return Err(CallError::Status { url: name(url), method, status });
        }
        let answer: Answer<T> = serde_json::from_slice(&bytes).map_err(|error| nonsense(error.to_string()))?;
        // An engine that could not read the request answers without an id, and with an error.
        match (answer.id, &answer.error) {
            (Some(found), _) if found == id => {}
            (None, Some(_)) => {}
            (found, _) => return Err(nonsense(format!("answers request {found:?}, not {id}"))),
        }
        match (answer.result, answer.error) {
            (result, None) => Ok(result),
            (None, Some(ErrorObject { code, message, data })) => {
                Err(CallError::Rejected { method, code, refusal: Box::new(Refusal { message, data }) })
            }
            (Some(_), Some(_)) => Err(nonsense("both result and error".to_owned())),
        }
    }
}

fn name(url: &Uri) -> Box<str> {
    url.to_string().into()
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
