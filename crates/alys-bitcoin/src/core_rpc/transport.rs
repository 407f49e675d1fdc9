//! HTTP to Bitcoin Core: credentials, deadlines, bounded answers, batches.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::port::{PortError, Unavailable};

/// The largest answer that is read: a full block in hex, and some.
pub(super) const MAX_ANSWER_BYTES: usize = 12 << 20;
/// The longest cookie file.
const MAX_COOKIE_BYTES: u64 = 1_024;
/// The longest text of an error that is kept.
const MAX_REASON: usize = 200;

/// How a client shows who it is.
#[derive(Clone)]
pub enum Auth {
    /// The file that Bitcoin Core writes at each start (`.cookie` in its data folder).
    Cookie(PathBuf),
    /// `rpcauth`.
    User {
        /// The name.
        name: String,
        /// The password; never logged.
        password: String,
    },
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cookie(path) => f.debug_tuple("Cookie").field(path).finish(),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
        }
    }
}

/// Where a Bitcoin Core is and how to speak to it.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// `http://host:port`.
    pub url: String,
    /// Credentials.
    pub auth: Auth,
    /// The longest that one call may take.
    pub timeout: Duration,
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no http:// address")]
pub struct CoreConfigError {
    /// The address as given.
    pub url: String,
}

/// An error that Bitcoin Core answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: i64,
    pub(super) reason: String,
}

/// Sends calls.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    url: Uri,
    auth: Auth,
    timeout: Duration,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Transport {
    pub(super) fn new(config: CoreConfig) -> Result<Self, CoreConfigError> {
        let bad = || CoreConfigError { url: config.url.clone() };
        let url: Uri = config.url.parse().map_err(|_| bad())?;
        if url.scheme_str() != Some("http") || url.host().is_none() {
            return Err(bad());
        }
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { url, auth: config.auth, timeout: config.timeout, http })
    }

    /// One call. The outer error is the connection's, the inner one is what the node answered.
    pub(super) async fn call(&self, method: &'static str, params: Value) -> Result<Result<Value, Refused>, PortError> {
        let mut answers = self.batch(method, vec![params]).await?;
        answers.pop().ok_or_else(|| nonsense(method, "no answer"))
    }

    /// Many calls of one method in one exchange; the answers in the order of the calls.
    pub(super) async fn batch(
        &self,
        method: &'static str,
        params: Vec<Value>,
    ) -> Result<Vec<Result<Value, Refused>>, PortError> {
        if params.is_empty() {
            return Ok(Vec::new());
        }
        let exchange = self.exchange(method, &params);
        let document = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(document) => document?,
            Err(_) => {
                let milliseconds = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
                return Err(Unavailable::Timeout { method, milliseconds }.into());
            }
        };
        sort_answers(method, document, params.len())
    }

    async fn exchange(&self, method: &'static str, params: &[Value]) -> Result<Value, PortError> {
        let calls: Vec<Value> = params
            .iter()
            .enumerate()
            .map(|(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let body = Bytes::from(Value::Array(calls).to_string());
        let (status, bytes) = self.post(method, body).await?;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Unavailable::Credentials { reason: format!("HTTP {status}") }.into())
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let reason = format!("HTTP {status}: {}", cut(&String::from_utf8_lossy(&bytes)));
                Err(Unavailable::NotReady { method, code: i64::from(status.as_u16()), reason }.into())
            }
            // Bitcoin Core answers errors of single calls with status 500 and a JSON document.
            _ => serde_json::from_slice(&bytes).map_err(|error| nonsense(method, format!("HTTP {status}, {error}"))),
        }
    }

    async fn post(&self, method: &'static str, body: Bytes) -> Result<(StatusCode, Bytes), PortError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.authorization().await?)
            .body(Full::new(body))
            .map_err(|error| nonsense(method, error))?;
        let lost = |reason: String| Unavailable::Connection { address: self.url.to_string(), reason };
        let response = self.http.request(request).await.map_err(|error| lost(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let bytes = body.map_err(|error| nonsense(method, error))?.to_bytes();
        Ok((status, bytes))
    }

    /// The header. A cookie is read each time: the node writes a new one at each of its starts.
    async fn authorization(&self) -> Result<HeaderValue, PortError> {
        let refused = |reason: String| PortError::from(Unavailable::Credentials { reason });
        let pair = match &self.auth {
            Auth::User { name, password } => format!("{name}:{password}"),
            Auth::Cookie(path) => {
                let path = path.clone();
                let shown = path.display().to_string();
                let read = move || {
                    use std::io::Read as _;
                    let mut text = String::new();
                    std::fs::File::open(path)?.take(MAX_COOKIE_BYTES).read_to_string(&mut text).map(|_| text)
                };
                let text = tokio::task::spawn_blocking(read).await.map_err(|error| refused(error.to_string()))?;
                text.map_err(|error| refused(format!("{shown}: {error}")))?.trim().to_owned()
            }
        };
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
            .map_err(|error| refused(error.to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Answers of a batch come in any order, and a lying node may leave some out or send one twice.
fn sort_answers(method: &'static str, document: Value, count: usize) -> Result<Vec<Result<Value, Refused>>, PortError> {
    let answers = match document {
        Value::Array(answers) => answers,
        single @ Value::Object(_) => vec![single],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(nonsense(method, "neither an object nor a list"));
        }
    };
    if answers.len() != count {
        // One error for the whole batch.
        if let Some(refused) = answers.first().and_then(refusal).filter(|_| answers.len() == 1) {
            return Err(Unavailable::NotReady { method, code: refused.code, reason: refused.reason }.into());
        }
        return Err(nonsense(method, format!("{} answers to {count} calls", answers.len())));
    }
    let mut sorted: Vec<Option<Result<Value, Refused>>> = vec![None; count];
    for mut answer in answers {
        let id = answer.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        let place = id.and_then(|id| sorted.get_mut(id)).filter(|place| place.is_none());
        let place = place.ok_or_else(|| nonsense(method, "an answer to no call, or a second one"))?;
        *place = Some(match refusal(&answer) {
            Some(refused) => Err(refused),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        });
    }
    sorted.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| nonsense(method, "an answer is missing"))
}

fn refusal(answer: &Value) -> Option<Refused> {
    let error = answer.get("error").filter(|error| !error.is_null())?;
    let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
    let reason = cut(error.get("message").and_then(Value::as_str).unwrap_or("no reason given"));
    Some(Refused { code, reason })
}

/// The first words of a text from outside, without control characters.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect()
}

pub(super) fn nonsense(method: &'static str, reason: impl std::fmt::Display) -> PortError {
    Unavailable::Nonsense { method, reason: cut(&reason.to_string()) }.into()
}
