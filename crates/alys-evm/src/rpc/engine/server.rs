//! The listener of the Engine API: nothing is read of a request without a good token.

use alys_engine::JwtSecret;
use http::{StatusCode, header};
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, Methods, Server, ServerConfig, ServerHandle,
};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};
use tower::{BoxError, Layer, Service};

/// The largest request and answer: a block of 10 MiB in hexadecimal, with room.
const MAX_BYTES: u32 = 64 << 20;

/// The most calls of one batch.
const MAX_BATCH: u32 = 64;

/// Where and with which secret the Engine API is served.
#[derive(Clone, Debug)]
pub struct EngineServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The secret that consensus clients share.
    pub secret: JwtSecret,
    /// The most connections at once.
    pub max_connections: u32,
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
            .max_connections(config.max_connections)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .set_id_provider(crate::rpc::HexIds)
            .build();
        let server = Server::builder()
            .set_config(settings)
            .set_http_middleware(tower::ServiceBuilder::new().layer(JwtLayer(config.secret.clone())))
            .build(config.listen)
            .await
            .map_err(failed)?;
        let address = server.local_addr().map_err(failed)?;
        Ok(Self { address, handle: server.start(methods) })
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

/// Lets requests pass that carry a good token.
#[derive(Clone, Debug)]
struct JwtLayer(JwtSecret);

impl<S> Layer<S> for JwtLayer {
    type Service = JwtGate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JwtGate { inner, secret: self.0.clone() }
    }
}

#[derive(Clone, Debug)]
struct JwtGate<S> {
    inner: S,
    secret: JwtSecret,
}

impl<S> JwtGate<S> {
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
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        match self.check(&request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(reason) => {
                tracing::debug!(reason, "request without authority refused");
                let mut refusal = HttpResponse::new(HttpBody::from(reason));
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                Box::pin(async move { Ok(refusal) })
            }
        }
    }
}
