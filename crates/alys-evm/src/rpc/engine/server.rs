//! The listener of the Engine API: nothing is read of a request without a good token.

use crate::rpc::ids::set_aside;
use crate::rpc::listener::{ConnectionLimits, Listener, read_body};
use alys_engine::JwtSecret;
use http::{Method, StatusCode, header};
use http_body_util::Full;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, Methods, PingConfig, Server, ServerConfig, ServerHandle,
    stop_channel,
};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tower::{BoxError, Layer, Service};

/// The largest request and answer: a block of 10 MiB in hexadecimal, with room.
const MAX_BYTES: u32 = 64 << 20;
const MAX_BODY: usize = 64 << 20;

/// The most calls of one batch.
const MAX_BATCH: u32 = 64;

/// What consensus clients are granted. They call once a slot or more often, and keep their connections in between.
const LIMITS: ConnectionLimits = ConnectionLimits {
    places: 64,
    header: Duration::from_secs(60),
    body: Duration::from_secs(20),
    answer: Duration::from_secs(60),
};

/// Where and with which secret the Engine API is served.
#[derive(Clone, Debug)]
pub struct EngineServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The secret that consensus clients share.
    pub secret: JwtSecret,
    /// What a connection is granted.
    pub limits: ConnectionLimits,
}

impl EngineServerConfig {
    /// The usual limits.
    pub fn new(listen: SocketAddr, secret: JwtSecret) -> Self {
        Self { listen, secret, limits: LIMITS }
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[error("the Engine API can't listen on {address}")]
pub struct EngineServerError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// A running Engine API server.
#[derive(Debug)]
pub struct EngineServer {
    address: SocketAddr,
    handle: ServerHandle,
}

impl EngineServer {
    /// Binds and starts answering.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn start(config: EngineServerConfig, methods: impl Into<Methods>) -> Result<Self, EngineServerError> {
        let failed = |source| EngineServerError { address: config.listen, source };
        let settings = ServerConfig::builder()
            .max_request_body_size(MAX_BYTES)
            .max_response_body_size(MAX_BYTES)
            .max_connections(config.limits.places)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .enable_ws_ping(PingConfig::new())
            .set_id_provider(crate::rpc::HexIds)
            .build();
        let listener = Listener::bind(config.listen, config.limits).await.map_err(failed)?;
        let address = listener.address();
        let (stop, handle) = stop_channel();
        let gate = JwtLayer { secret: config.secret, body: config.limits.body };
        let service = Server::builder()
            .set_config(settings)
            .set_http_middleware(tower::ServiceBuilder::new().layer(gate))
            .to_service_builder()
            .build(methods, stop.clone());
        tokio::spawn(listener.serve("Engine API", service, stop));
        Ok(Self { address, handle })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes the calls in hand, and returns when all are answered.
    pub async fn stop(self) {
        // The server may have stopped by itself already; then there is nothing to wait for.
        if self.handle.stop().is_ok() {
            self.handle.stopped().await;
        }
    }
}

/// Lets requests pass that carry a good token, once their body is there.
#[derive(Clone, Debug)]
struct JwtLayer {
    secret: JwtSecret,
    body: Duration,
}

impl<S> Layer<S> for JwtLayer {
    type Service = JwtGate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwtGate { inner, layer: self.clone() }
    }
}

#[derive(Clone, Debug)]
struct JwtGate<S> {
    inner: S,
    layer: JwtLayer,
}

impl JwtLayer {
    fn check(&self, request: &HttpRequest) -> Result<(), String> {
        let header = request.headers().get(header::AUTHORIZATION).ok_or("the request carries no token")?;
        let text = header.to_str().map_err(|_| "the token is no text")?;
        let token = text.strip_prefix("Bearer ").ok_or("the token is no bearer token")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.secret.verify(token.trim(), now).map_err(|error| error.to_string())
    }
}

impl<S> Service<HttpRequest> for JwtGate<S>
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
        if let Err(reason) = self.layer.check(&request) {
            tracing::debug!(reason, "request without authority refused");
            let mut refusal = HttpResponse::new(HttpBody::from(reason));
            *refusal.status_mut() = StatusCode::UNAUTHORIZED;
            return Box::pin(async move { Ok(refusal) });
        }
        if *request.method() != Method::POST {
            return Box::pin(self.inner.call(request));
        }
        let (mut inner, limit) = (self.inner.clone(), self.layer.body);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let bytes = match read_body(body, MAX_BODY, limit).await {
                Ok(bytes) => bytes,
                Err(error) => return Ok(error.refusal()),
            };
            let Some((bytes, aside)) = set_aside(&bytes) else {
                return inner.call(HttpRequest::from_parts(parts, HttpBody::new(Full::new(bytes)))).await;
            };
            parts.headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from(bytes.len()));
            let response = inner.call(HttpRequest::from_parts(parts, HttpBody::from(bytes))).await?;
            aside.restore(response).await
        })
    }
}
