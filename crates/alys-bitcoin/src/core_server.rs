//! An embedded regtest served as Bitcoin Core serves one: JSON-RPC over HTTP with Core's method names, so that several
//! nodes share one Bitcoin, each through [`CoreRpc`](crate::CoreRpc), and a development federation needs no Bitcoin Core.
//!
//! For machines of one's own: no TLS, one user, blocks on demand for whoever knows the password. Every request is bounded
//! before it is read, connections are counted, and a call that can't be answered gets Core's error code.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::embedded::RegtestHandle;
use calls::Refusal;

mod calls;

/// The largest request: a full block in hex, and some.
const MAX_REQUEST_BYTES: usize = 9 << 20;
/// The most calls of one request.
const MAX_CALLS: usize = 1_000;
/// The most connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// `RPC_PARSE_ERROR`.
const PARSE_ERROR: i64 = -32_700;
/// `RPC_INVALID_REQUEST`.
const INVALID_REQUEST: i64 = -32_600;

/// A listener that is not served yet.
#[derive(Debug)]
pub struct CoreServer {
    listener: TcpListener,
    service: Arc<Service>,
}

#[derive(Debug)]
struct Service {
    regtest: RegtestHandle,
    authorization: String,
}

impl CoreServer {
    /// Listens. Callers must log in as `user` with `password`.
    ///
    /// # Errors
    /// What the system says of the address.
    pub async fn bind(
        address: SocketAddr,
        regtest: RegtestHandle,
        user: &str,
        password: &str,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Ok(Self { listener, service: Arc::new(Service { regtest, authorization }) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections; calls in hand may have been carried out.
    pub async fn run(self) -> Infallible {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await;
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let service = self.service.clone();
                    connections.spawn(async move {
                        service.connection(stream).await;
                        drop(place);
                    });
                }
                // Too many open files, or a peer that is gone already.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

impl Service {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let answer = service_fn(move |request| {
            let service = self.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        // A peer that breaks off ends its own connection only.
        drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "JSON-RPC takes POST");
        }
        let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
        if given != Some(self.authorization.as_bytes()) {
            return plain(StatusCode::UNAUTHORIZED, "wrong user or password");
        }
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
        let bytes = match tokio::time::timeout(READ_DEADLINE, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request did not arrive"),
        };
        let document = match serde_json::from_slice(&bytes) {
            Ok(Value::Array(calls)) if calls.len() > MAX_CALLS => {
                failure(&Value::Null, true, &Refusal::new(INVALID_REQUEST, "too many calls in one request"))
            }
            Ok(Value::Array(calls)) => {
                let mut answers = Vec::with_capacity(calls.len());
                for call in &calls {
                    answers.push(self.call(call).await);
                }
                Value::Array(answers)
            }
            Ok(call) => self.call(&call).await,
            Err(error) => failure(&Value::Null, true, &Refusal::new(PARSE_ERROR, error.to_string())),
        };
        let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
        response
    }

    async fn call(&self, call: &Value) -> Value {
        let id = call.get("id").cloned().unwrap_or_default();
        let is_second = call.get("jsonrpc").and_then(Value::as_str) == Some("2.0");
        let params = match call.get("params") {
            None | Some(Value::Null) => Some(&[][..]),
            Some(params) => params.as_array().map(Vec::as_slice),
        };
        let (Some(method), Some(params)) = (call.get("method").and_then(Value::as_str), params) else {
            let refusal = Refusal::new(INVALID_REQUEST, "a method and a list of parameters are needed");
            return failure(&id, is_second, &refusal);
        };
        match calls::answer(&self.regtest, method, params).await {
            Ok(result) if is_second => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Ok(result) => json!({ "id": id, "result": result, "error": Value::Null }),
            Err(refusal) => failure(&id, is_second, &refusal),
        }
    }
}

fn failure(id: &Value, is_second: bool, refusal: &Refusal) -> Value {
    let error = json!({ "code": refusal.code, "message": refusal.message });
    if is_second {
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    } else {
        json!({ "id": id, "result": Value::Null, "error": error })
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
