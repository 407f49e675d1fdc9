//! A small JSON-RPC client: what the dev miner, the commands and embedders speak to a node with.

use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::time::Duration;

/// The largest response body that is read, in bytes.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum RpcClientError {
    /// The address can't be called.
    #[error("`{url}` is not an http:// address")]
    BadUrl {
        /// The address as given.
        url: String,
    },
    /// Nothing answers there.
    #[error("no answer from {url}")]
    Unreachable {
        /// The address.
        url: Box<Uri>,
        /// What the connection said.
        source: hyper_util::client::legacy::Error,
    },
    /// It did not answer in time.
    #[error("{url} did not answer `{method}` within {seconds} s")]
    TimedOut {
        /// The address.
        url: Box<Uri>,
        /// The method called.
        method: String,
        /// The limit in seconds.
        seconds: u64,
    },
    /// What came back is no JSON-RPC answer.
    #[error("{url} answered something that is not JSON-RPC ({reason})")]
    Malformed {
        /// The address.
        url: Box<Uri>,
        /// What is wrong with it.
        reason: String,
    },
    /// The node refused the call.
    #[error("`{method}` was refused: {message} (code {code})")]
    Refused {
        /// The method called.
        method: String,
        /// JSON-RPC's error code.
        code: i64,
        /// The node's words.
        message: String,
        /// The rule that was broken, where the node names one (`data.rule`).
        rule: Option<String>,
    },
}

/// Calls one address; connections are kept and reused.
#[derive(Clone, Debug)]
pub struct RpcClient {
    url: Uri,
    http: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl RpcClient {
    /// A client of `url`, each call taking at most `timeout`.
    ///
    /// # Errors
    /// [`RpcClientError::BadUrl`] if it is not an `http://` address.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, RpcClientError> {
        let bad = || RpcClientError::BadUrl { url: url.to_owned() };
        let url: Uri = url.parse().map_err(|_| bad())?;
        if url.scheme_str() != Some("http") || url.host().is_none() {
            return Err(bad());
        }
        Ok(Self { url, http: Client::builder(TokioExecutor::new()).build_http(), timeout })
    }

    /// Calls `method` and gives its `result`.
    ///
    /// # Errors
    /// Every variant but [`RpcClientError::BadUrl`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons the answer; the call may still be carried out.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcClientError> {
        match tokio::time::timeout(self.timeout, self.exchange(method, params)).await {
            Ok(answer) => answer,
            Err(_) => Err(RpcClientError::TimedOut {
                url: Box::new(self.url.clone()),
                method: method.to_owned(),
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    async fn exchange(&self, method: &str, params: Value) -> Result<Value, RpcClientError> {
        let malformed = |reason: String| RpcClientError::Malformed { url: Box::new(self.url.clone()), reason };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| malformed(error.to_string()))?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|source| RpcClientError::Unreachable { url: Box::new(self.url.clone()), source })?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), MAX_RESPONSE)
            .collect()
            .await
            .map_err(|error| malformed(format!("HTTP {status}, {error}")))?
            .to_bytes();
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|error| malformed(format!("HTTP {status}, {error}")))?;
        if let Some(error) = document.get("error").filter(|error| !error.is_null()) {
            return Err(RpcClientError::Refused {
                method: method.to_owned(),
                code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
                rule: error.pointer("/data/rule").and_then(Value::as_str).map(str::to_owned),
                message: error.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
            });
        }
        match document.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(malformed(format!("HTTP {status}, neither result nor error"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_addresses_are_taken() {
        for url in ["127.0.0.1:8545", "ftp://127.0.0.1", "https://127.0.0.1", "http:///x", "", "http://[::1"] {
            assert!(matches!(RpcClient::new(url, Duration::from_secs(1)), Err(RpcClientError::BadUrl { .. })), "{url}");
        }
    }
}
