//! Connections of the JSON-RPC listeners: bounded in number, and in time wherever they wait for the client.
//!
//! The protocol is the work of `jsonrpsee`; connections are accepted here, because its own server reads headers and
//! bodies for as long as the client likes, and counts a connection only once a request has come.

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse, StopHandle};
use serde_json::json;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::{BoxError, Service};

/// Pause after a connection that the system could not give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What a client hears for whom there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The most connections at once, WebSockets among them; one more is told so and closed.
    pub places: u32,
    /// How long a client may take to send a request's headers, counted from the connection or the answer before.
    pub header: Duration,
    /// How long it may take to send a request's body, counted from the headers.
    pub body: Duration,
    /// How long it may take to take an answer, counted from when the system's buffer was full.
    pub answer: Duration,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    limits: ConnectionLimits,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn bind(address: SocketAddr, limits: ConnectionLimits) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, limits })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with `service` until the server of `stop` is stopped; `name` is what its log lines call it. The server's
    /// handle waits for every connection.
    pub async fn serve<S>(self, name: &'static str, service: S, stop: StopHandle)
    where
        S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let places = usize::try_from(self.limits.places).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places));
        let stopped = stop.clone().shutdown();
        tokio::pin!(stopped);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => return,
                accepted = self.socket.accept() => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(listener = name, %error, "a connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::debug!(listener = name, places = self.limits.places, "a connection over the limit refused");
                refuse(socket);
                continue;
            };
            let (limits, service, stop) = (self.limits, service.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = speak(socket, place, limits, service, stop).await {
                    tracing::debug!(listener = name, %error, "connection ended");
                }
            });
        }
    }
}

/// Says why, as far as the socket takes it at once.
fn refuse(socket: TcpStream) {
    if let Ok(mut socket) = socket.into_std() {
        // Whoever does not listen learns it from the end of the connection.
        let _ = io::Write::write(&mut socket, NO_ROOM);
    }
}

/// HTTP/1.1 over one connection, until either side ends it.
async fn speak<S>(
    socket: TcpStream,
    place: OwnedSemaphorePermit,
    limits: ConnectionLimits,
    service: S,
    stop: StopHandle,
) -> Result<(), BoxError>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    socket.set_nodelay(true)?;
    let seat = Seat { socket, limit: limits.answer, waiting: None, _place: place };
    let service = service_fn(move |request: Request<Incoming>| service.clone().call(request.map(HttpBody::new)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .serve_connection(TokioIo::new(seat), service)
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

/// A socket with its place among the connections, which an upgrade to a WebSocket takes along. Writing fails once the
/// other side has not taken everything within the limit.
struct Seat {
    socket: TcpStream,
    limit: Duration,
    /// Since the first write that had to wait, until all is written.
    waiting: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Seat {
    /// Hands on what a write said, unless it has waited too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Seat {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Seat {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Those who write call this when nothing is left to be written.
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if flushed.is_ready() {
            self.waiting = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Why a request's body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It did not come in time.
    #[error("the request's body did not come within {} ms", .limit.as_millis())]
    Slow {
        /// The time it had.
        limit: Duration,
    },
    /// It is longer than is taken.
    #[error("request body over the limit of {limit} bytes")]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// The connection broke, or the framing is wrong.
    #[error("request body broke off")]
    Broken {
        /// What the connection said.
        source: BoxError,
    },
}

impl BodyError {
    /// The answer to the request.
    pub fn refusal(&self) -> HttpResponse {
        let (status, code) = match self {
            Self::Slow { .. } => (StatusCode::REQUEST_TIMEOUT, -32600),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, -32600),
            Self::Broken { .. } => (StatusCode::BAD_REQUEST, -32700),
        };
        tracing::debug!(error = %self, "request refused");
        refusal(status, code, &self.to_string())
    }
}

/// The whole body of a request, of at most `max_bytes` and within `limit`. A length that the headers announce is judged
/// before anything is read.
///
/// # Errors
/// It is too long, too slow, or breaks off.
///
/// # Cancel safety
/// What was read is lost, as is the request.
pub async fn read_body(body: HttpBody, max_bytes: usize, limit: Duration) -> Result<Bytes, BodyError> {
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > max_bytes) {
        return Err(BodyError::TooLarge { limit: max_bytes });
    }
    match tokio::time::timeout(limit, Limited::new(body, max_bytes).collect()).await {
        Err(_) => Err(BodyError::Slow { limit }),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { limit: max_bytes }),
        Ok(Err(source)) => Err(BodyError::Broken { source }),
    }
}

/// An answer to a request that was not understood as JSON-RPC, or not heard.
pub fn refusal(status: StatusCode, code: i64, message: &str) -> HttpResponse {
    let document = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    let mut response = HttpResponse::new(HttpBody::from(document.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
