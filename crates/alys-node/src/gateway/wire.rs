//! What stands between a socket and the JSON-RPC server: origin check, body limit, and the dialects of older clients.
//!
//! Mining software speaks JSON-RPC 1.0 as Bitcoin Core does: no `jsonrpc` member, any content type, and answers that
//! carry both `result` and `error`. The server behind this layer speaks 2.0 only, so requests are completed here and
//! the answers to 1.0 requests get the missing `null`.

use alys_evm::rpc::ids::{is_known, set_aside};
use alys_evm::rpc::listener::{read_body, refusal};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Layer, Service};

/// Limits and permissions of one listener.
#[derive(Clone, Debug)]
pub(super) struct WirePolicy {
    /// The largest request body in bytes.
    pub(super) max_body: usize,
    /// How long a client may take to send it.
    pub(super) body_timeout: Duration,
    /// The most calls of one batch.
    pub(super) max_batch: usize,
    /// Origins (scheme://host[:port], or a scheme ending in `://*`) whose pages may call. Requests without an `Origin`
    /// header do not come from a web page and are not concerned.
    pub(super) origins: Vec<String>,
}

impl WirePolicy {
    fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(prefix) => origin.starts_with(prefix),
            None => origin == allowed,
        })
    }
}

/// Makes [`Wire`] services.
#[derive(Clone, Debug)]
pub(super) struct WireLayer(Arc<WirePolicy>);

impl WireLayer {
    /// A layer with this policy.
    pub(super) fn new(policy: WirePolicy) -> Self {
        Self(Arc::new(policy))
    }
}

impl<S> Layer<S> for WireLayer {
    type Service = Wire<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wire { inner, policy: self.0.clone() }
    }
}

/// The service of a [`WireLayer`].
#[derive(Clone, Debug)]
pub(super) struct Wire<S> {
    inner: S,
    policy: Arc<WirePolicy>,
}

impl<S> Service<HttpRequest> for Wire<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let mut inner = self.inner.clone();
        let policy = self.policy.clone();
        Box::pin(async move {
            let origin = match request.headers().get(header::ORIGIN) {
                None => None,
                Some(origin) if origin.to_str().is_ok_and(|text| policy.allows_origin(text)) => Some(origin.clone()),
                Some(origin) => {
                    tracing::debug!(?origin, "request of a foreign origin refused");
                    return Ok(refusal(StatusCode::FORBIDDEN, -32600, "origin not allowed: see rpc.origins"));
                }
            };
            let mut response = if *request.method() == Method::OPTIONS && origin.is_some() {
                HttpResponse::new(HttpBody::empty())
            } else if *request.method() == Method::POST {
                answer_post(&mut inner, &policy, request).await?
            } else {
                inner.call(request).await?
            };
            if let Some(origin) = origin {
                permit(response.headers_mut(), origin);
            }
            Ok(response)
        })
    }
}

fn permit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}

async fn answer_post<S>(inner: &mut S, policy: &WirePolicy, request: HttpRequest) -> Result<HttpResponse, BoxError>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let bytes = match read_body(body, policy.max_body, policy.body_timeout).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(error.refusal()),
    };
    // The look below skips arguments, and with them whether they are text.
    if std::str::from_utf8(&bytes).is_err() {
        return Ok(refusal(StatusCode::OK, -32700, "parse error: the request is not UTF-8"));
    }
    if is_plain(&bytes) {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return inner.call(HttpRequest::from_parts(parts, HttpBody::new(Full::new(bytes)))).await;
    }
    let (bytes, aside) = match set_aside(&bytes) {
        Some((bytes, aside)) => (bytes, Some(aside)),
        None => (bytes.to_vec(), None),
    };
    let mut document: Value = match serde_json::from_slice(&bytes) {
        Ok(document) => document,
        Err(error) => return Ok(refusal(StatusCode::OK, -32700, &format!("parse error: {error}"))),
    };
    if !is_request(&document) {
        let message = "a request is an object with a `method`, a batch an array of requests";
        return Ok(refusal(StatusCode::OK, -32600, message));
    }
    if document.as_array().is_some_and(|calls| calls.len() > policy.max_batch) {
        let message = format!("batch too large: at most {} calls", policy.max_batch);
        return Ok(refusal(StatusCode::OK, -32600, &message));
    }
    let legacy = complete(&mut document);
    let body = if legacy { serde_json::to_vec(&document)? } else { bytes };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let response = inner.call(HttpRequest::from_parts(parts, HttpBody::from(body))).await?;
    let response = if legacy { as_version_one(response).await? } else { response };
    match aside {
        Some(aside) => aside.restore(response).await,
        None => Ok(response),
    }
}

/// Whether it is one call in JSON-RPC 2.0's own form with an id that the server knows: it needs no completion. Nothing is
/// kept of what is read: the server reads it again.
fn is_plain(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Call<'a> {
        jsonrpc: &'a str,
        #[serde(rename = "method")]
        _method: &'a str,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Call<'_>>(bytes).is_ok_and(|call| call.jsonrpc == "2.0" && call.id.is_none_or(is_known))
}

/// Whether it can be a call or a batch; what the calls of a batch lack, each answer tells by itself.
fn is_request(document: &Value) -> bool {
    match document {
        Value::Object(call) => call.get("method").is_some_and(Value::is_string),
        Value::Array(calls) => !calls.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Adds what a 1.0 request lacks; tells whether anything was missing.
fn complete(document: &mut Value) -> bool {
    let complete_one = |call: &mut Map<String, Value>| {
        let version_one = call.get("jsonrpc").is_none_or(|version| version == "1.0" || version == "1.1");
        if version_one && call.contains_key("method") {
            call.insert("jsonrpc".to_owned(), json!("2.0"));
            call.entry("id").or_insert(Value::Null);
        }
        version_one
    };
    match document {
        Value::Object(call) => complete_one(call),
        Value::Array(calls) => {
            let mut any = false;
            for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                any |= complete_one(call);
            }
            any
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Puts `"error": null` beside a result and `"result": null` beside an error.
async fn as_version_one(response: HttpResponse) -> Result<HttpResponse, BoxError> {
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let Ok(mut document) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(HttpResponse::from_parts(parts, HttpBody::from(bytes.to_vec())));
    };
    let finish = |answer: &mut Map<String, Value>| {
        answer.entry("result").or_insert(Value::Null);
        answer.entry("error").or_insert(Value::Null);
    };
    match &mut document {
        Value::Object(answer) => finish(answer),
        Value::Array(answers) => answers.iter_mut().filter_map(Value::as_object_mut).for_each(finish),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    let body = serde_json::to_vec(&document)?;
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(HttpResponse::from_parts(parts, HttpBody::from(body)))
}
