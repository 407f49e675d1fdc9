//! The JSON-RPC server.
//!
//! The protocol is the work of `jsonrpsee`; connections are accepted here, because that server reads a request's headers
//! for as long as the client likes, and counts a connection only once a request has come.

use super::wire::{WireLayer, WirePolicy};
use crate::config::RpcSection;
use alys_evm::rpc::HexIds;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::middleware::http::HostFilterLayer;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, Methods, PingConfig, Server, ServerConfig, ServerHandle,
    StopHandle, stop_channel,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::{BoxError, Service};

/// How long a client may take to send a request's headers, counted from the connection or the answer before.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after a connection that the system could not give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What a client hears for whom there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

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
        Self::start_with(config, methods, HEADER_TIMEOUT).await
    }

    async fn start_with(
        config: &GatewayConfig,
        methods: impl Into<Methods>,
        header_timeout: Duration,
    ) -> Result<Self, GatewayError> {
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
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, handle) = stop_channel();
        let service = Server::builder()
            .set_config(settings)
            .set_http_middleware(tower::ServiceBuilder::new().layer(hosts).layer(wire))
            .to_service_builder()
            .build(methods, stop.clone());
        let places = usize::try_from(config.max_connections).unwrap_or(Semaphore::MAX_PERMITS);
        let limits = Limits { places: places.min(Semaphore::MAX_PERMITS), header_timeout };
        tokio::spawn(accept(listener, limits, service, stop));
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

/// What bounds the connections.
#[derive(Clone, Copy, Debug)]
struct Limits {
    places: usize,
    header_timeout: Duration,
}

/// Accepts connections until the server is stopped; each has a place as long as it speaks HTTP.
async fn accept<S>(listener: TcpListener, limits: Limits, service: S, stop: StopHandle)
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.places));
    let stopped = stop.clone().shutdown();
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a JSON-RPC connection can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!("a JSON-RPC connection over rpc.max_connections refused");
            refuse(socket);
            continue;
        };
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(socket, limits.header_timeout, service, stop).await {
                tracing::debug!(%error, "JSON-RPC connection ended");
            }
            drop(place);
        });
    }
}

/// Says why, as far as the socket takes it at once.
fn refuse(socket: TcpStream) {
    if let Ok(mut socket) = socket.into_std() {
        // Whoever does not listen learns it from the end of the connection.
        let _ = std::io::Write::write(&mut socket, NO_ROOM);
    }
}

async fn serve<S>(socket: TcpStream, header_timeout: Duration, service: S, stop: StopHandle) -> Result<(), BoxError>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    socket.set_nodelay(true)?;
    let service = service_fn(move |request: Request<Incoming>| service.clone().call(request.map(HttpBody::new)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let stopped = stop.shutdown();
    tokio::pin!(connection, stopped);
    tokio::select! {
        ended = &mut connection => Ok(ended?),
        () = &mut stopped => {
            connection.as_mut().graceful_shutdown();
            Ok(connection.await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use jsonrpsee::RpcModule;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn gateway(max_connections: u32, header_timeout: Duration) -> Gateway {
        let mut config = Config::default().rpc;
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.max_connections = max_connections;
        let mut module = RpcModule::new(());
        module.register_method("ping", |_, (), _| "pong").unwrap();
        Gateway::start_with(&config, module, header_timeout).await.unwrap()
    }

    /// The whole answer to one call over a connection of its own.
    async fn ping(gateway: &Gateway) -> String {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            gateway.address(),
            body.len()
        );
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        let mut answer = String::new();
        // One that is refused at once may already be closed when the request is written.
        let _ = socket.write_all(request.as_bytes()).await;
        let _ = socket.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn clients_that_never_end_their_headers_are_closed_and_others_are_served_meanwhile() {
        let gateway = gateway(10, Duration::from_millis(300)).await;
        let address = gateway.address();
        let slow = |bytes: &'static [u8]| async move {
            let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
            let drip = async {
                for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
                    if writer.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let mut rest = Vec::new();
            let closed = async { reader.read_to_end(&mut rest).await };
            tokio::select! {
                () = drip => {}
                _ = closed => {}
            }
        };
        let dripping: Vec<_> =
            [&b"POST / HTTP/1.1\r\nHost: "[..], b"", b"G"].into_iter().map(|bytes| tokio::spawn(slow(bytes))).collect();
        // Silence from the beginning counts too.
        let mut silent = TcpStream::connect(address).await.unwrap();
        let answer = ping(&gateway).await;
        assert!(answer.contains("pong"), "{answer}");
        for client in dripping {
            tokio::time::timeout(PATIENCE, client).await.expect("the client is closed").unwrap();
        }
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent client is closed");
        assert!(ping(&gateway).await.contains("pong"));
        gateway.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_send_nothing_count_and_make_room_when_they_end() {
        let gateway = gateway(2, PATIENCE).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(TcpStream::connect(gateway.address()).await.unwrap());
        }
        let refused = ping(&gateway).await;
        assert!(!refused.contains("pong"), "{refused}");
        held.clear();
        let served = async {
            while !ping(&gateway).await.contains("pong") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.expect("there is room again");
        gateway.stop().await;
    }
}
