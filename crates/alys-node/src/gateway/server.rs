//! The JSON-RPC server.

use super::wire::{WireLayer, WirePolicy};
use crate::config::RpcSection;
use alys_evm::rpc::HexIds;
use jsonrpsee::server::middleware::http::HostFilterLayer;
use jsonrpsee::server::{BatchRequestConfig, Methods, PingConfig, Server, ServerConfig, ServerHandle};
use std::net::SocketAddr;

/// What the server is started with.
pub type GatewayConfig = RpcSection;

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
        let hosts = HostFilterLayer::new(config.hosts.iter().map(String::as_str))
            .map_err(|error| GatewayError::Hosts { hosts: config.hosts.clone(), reason: error.to_string() })?;
        let max_body = usize::try_from(config.max_body_bytes).unwrap_or(usize::MAX);
        let max_batch = usize::try_from(config.max_batch).unwrap_or(usize::MAX);
        let wire = WireLayer::new(WirePolicy { max_body, max_batch, origins: config.origins.clone() });
        let settings = ServerConfig::builder()
            .max_request_body_size(config.max_body_bytes)
            .max_response_body_size(config.max_response_bytes)
            .max_connections(config.max_connections)
            .max_subscriptions_per_connection(config.max_subscriptions)
            .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
            .enable_ws_ping(PingConfig::new())
            .set_id_provider(HexIds)
            .build();
        let bind = |source| GatewayError::Bind { address: config.listen, source };
        let server = Server::builder()
            .set_config(settings)
            .set_http_middleware(tower::ServiceBuilder::new().layer(hosts).layer(wire))
            .build(config.listen)
            .await
            .map_err(bind)?;
        let address = server.local_addr().map_err(bind)?;
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
