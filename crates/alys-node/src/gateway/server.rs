//! The JSON-RPC server.

use super::deadline::DeadlineLayer;
use super::wire::{WireLayer, WirePolicy};
use crate::config::RpcSection;
use alys_evm::rpc::HexIds;
use alys_evm::rpc::listener::{ConnectionLimits, Listener};
use jsonrpsee::server::middleware::http::HostFilterLayer;
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{BatchRequestConfig, Methods, PingConfig, Server, ServerConfig, ServerHandle, stop_channel};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a client may take to send a request's headers, and then its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client may take to take an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a call, or a batch of calls, may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the server is started with.
pub type GatewayConfig = RpcSection;

/// What clients are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Of each connection.
    pub connections: ConnectionLimits,
    /// The longest that a call may take, or a batch as a whole.
    pub call: Duration,
}

impl GatewayLimits {
    /// The usual times, and `places` connections at once.
    pub const fn new(places: u32) -> Self {
        let connections =
            ConnectionLimits { places, header: REQUEST_TIMEOUT, body: REQUEST_TIMEOUT, answer: ANSWER_TIMEOUT };
        Self { connections, call: CALL_TIMEOUT }
    }
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address can't be bound.
    #[error("JSON-RPC can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A `Host` pattern can't be read.
    #[error("`rpc.hosts` holds {hosts:?}, of which one is not a host pattern: {reason}")]
    Hosts {
        /// The patterns.
        hosts: Vec<String>,
        /// Why.
        reason: String,
    },
}

/// A running JSON-RPC server.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Gateway {
    /// Binds and starts answering.
    ///
    /// # Errors
    /// The address can't be bound, or a host pattern is malformed.
    pub async fn start(config: &GatewayConfig, methods: impl Into<Methods>) -> Result<Self, GatewayError> {
        Self::start_with(config, GatewayLimits::new(config.max_connections), methods).await
    }

    /// [`Self::start`] with other limits than `rpc.max_connections` and the usual times.
    ///
    /// # Errors
    /// The address can't be bound, or a host pattern is malformed.
    pub async fn start_with(
        config: &GatewayConfig,
        limits: GatewayLimits,
        methods: impl Into<Methods>,
    ) -> Result<Self, GatewayError> {
        let hosts = HostFilterLayer::new(config.hosts.iter().map(String::as_str))
            .map_err(|error| GatewayError::Hosts { hosts: config.hosts.clone(), reason: error.to_string() })?;
        let max_body = usize::try_from(config.max_body_bytes).unwrap_or(usize::MAX);
        let max_batch = usize::try_from(config.max_batch).unwrap_or(usize::MAX);
        let body_timeout = limits.connections.body;
        let wire = WireLayer::new(WirePolicy { max_body, body_timeout, max_batch, origins: config.origins.clone() });
        let settings = ServerConfig::builder()
            .max_request_body_size(config.max_body_bytes)
            .max_response_body_size(config.max_response_bytes)
            .max_connections(limits.connections.places)
            .max_subscriptions_per_connection(config.max_subscriptions)
            .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
            .enable_ws_ping(PingConfig::new())
            .set_id_provider(HexIds)
            .build();
        let bind = |source| GatewayError::Bind { address: config.listen, source };
        let listener = Listener::bind(config.listen, limits.connections).await.map_err(bind)?;
        let address = listener.address();
        let (stop, handle) = stop_channel();
        let max_response = usize::try_from(config.max_response_bytes).unwrap_or(usize::MAX);
        let deadline = DeadlineLayer { limit: limits.call, max_response };
        let service = Server::builder()
            .set_config(settings)
            .set_rpc_middleware(RpcServiceBuilder::new().layer(deadline))
            .set_http_middleware(tower::ServiceBuilder::new().layer(hosts).layer(wire))
            .to_service_builder()
            .build(methods, stop.clone());
        tokio::spawn(listener.serve("JSON-RPC", service, stop));
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
