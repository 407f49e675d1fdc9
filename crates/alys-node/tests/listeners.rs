//! What slow, silent and many clients can do to the JSON-RPC and the Engine API listener, over real sockets: wait until
//! they are sent away, while others are served.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

use alys_engine::JwtSecret;
use alys_evm::rpc::listener::ConnectionLimits;
use alys_evm::rpc::{EngineServer, EngineServerConfig};
use alys_node::config::Config;
use alys_node::gateway::{Gateway, GatewayLimits};
use jsonrpsee::RpcModule;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client has where it is to be sent away.
const SHORT: Duration = Duration::from_millis(300);

/// The pause between two bytes of a client that sends them one by one.
const PACE: Duration = Duration::from_millis(5);

const SECRET: JwtSecret = JwtSecret::new([3; 32]);

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const LARGE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"large"}"#;

/// More than the system's buffers of a connection take.
const LARGE_BYTES: usize = 20 << 20;

const PATIENT: ConnectionLimits = ConnectionLimits { places: 32, header: PATIENCE, body: PATIENCE, answer: PATIENCE };

enum Server {
    Rpc(Gateway),
    Engine(EngineServer),
}

impl Server {
    /// Both kinds, each with these limits.
    async fn both(limits: ConnectionLimits) -> [Self; 2] {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut module = RpcModule::new(());
        module.register_method("ping", |_, (), _| "pong").unwrap();
        module.register_method("large", |_, (), _| "x".repeat(LARGE_BYTES)).unwrap();
        let mut rpc = Config::default().rpc;
        rpc.listen = listen;
        let rpc_limits = GatewayLimits { connections: limits, call: PATIENCE };
        let engine = EngineServerConfig { listen, secret: SECRET, limits };
        [
            Self::Rpc(Gateway::start_with(&rpc, rpc_limits, module.clone()).await.unwrap()),
            Self::Engine(EngineServer::start(engine, module).await.unwrap()),
        ]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Rpc(_) => "JSON-RPC",
            Self::Engine(_) => "Engine API",
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Rpc(server) => server.address(),
            Self::Engine(server) => server.address(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Rpc(server) => server.stop().await,
            Self::Engine(server) => server.stop().await,
        }
    }

    /// The headers of a request whose body has `length` bytes.
    fn head(&self, length: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            self.address(),
            SECRET.token(now)
        )
    }

    fn request(&self, body: &str) -> String {
        format!("{}{body}", self.head(body.len()))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends `request` over a new connection until there is room for it; gives the connection and the answer's first bytes.
    async fn enter(&self, request: &str) -> (TcpStream, [u8; 12]) {
        let mut begin = [0; 12];
        loop {
            let mut socket = self.connect().await;
            // What was refused at once may already be closed.
            let sent = socket.write_all(request.as_bytes()).await.is_ok();
            if sent && socket.read_exact(&mut begin).await.is_ok() && !begin.ends_with(b"429") {
                return (socket, begin);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether an honest client is served over a connection of its own.
    async fn serves(&self) -> bool {
        let mut socket = self.connect().await;
        // One that is refused at once may already be closed when the request is written.
        let _ = socket.write_all(self.request(PING).as_bytes()).await;
        read_answer(&mut socket).await.contains("pong")
    }

    /// Sends `at_once`, then `slowly` byte by byte and for ever `x`, until the server closes. Gives what it said. Meanwhile
    /// every other client is served.
    async fn drip(&self, at_once: &str, slowly: &str) -> String {
        let (mut reader, mut writer) = self.connect().await.into_split();
        writer.write_all(at_once.as_bytes()).await.unwrap();
        let drip = async {
            let mut pace = tokio::time::interval(PACE);
            for byte in slowly.bytes().chain(std::iter::repeat(b'x')) {
                pace.tick().await;
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        let others = async {
            loop {
                assert!(self.serves().await, "{}: others are served", self.name());
            }
        };
        let mut answer = Vec::new();
        let closed = async {
            // A reset is a close too.
            let _ = reader.read_to_end(&mut answer).await;
        };
        tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                () = closed => {}
                () = drip => {}
                () = others => {}
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{}: a slow client is not sent away", self.name()));
        String::from_utf8(answer).unwrap()
    }

    /// Waits until an honest client is served.
    async fn until_served(&self, why: &str) {
        let served = async {
            while !self.serves().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.unwrap_or_else(|_| panic!("{}: {why}", self.name()));
    }
}

/// One answer whose end its length tells, or whatever came until the connection closed.
async fn read_answer(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if length.is_some_and(|length| body.len() >= length) {
                return text;
            }
        }
        match socket.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            Ok(_) | Err(_) => return text,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_end_their_headers_are_sent_away() {
    for server in Server::both(ConnectionLimits { header: SHORT, ..PATIENT }).await {
        let head = server.head(5);
        for (at_once, slowly) in [("", ""), ("", head.as_str()), ("POST / HTTP/1.1\r\nHost: ", "")] {
            let answer = server.drip(at_once, slowly).await;
            assert!(!answer.contains("200 OK"), "{}: {answer}", server.name());
        }
        // Silence from the beginning counts too.
        let mut silent = server.connect().await;
        let closed = tokio::time::timeout(PATIENCE, read_answer(&mut silent)).await;
        assert!(closed.is_ok(), "{}", server.name());
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_must_come_in_time_like_the_first() {
    for server in Server::both(ConnectionLimits { header: SHORT, ..PATIENT }).await {
        // Several requests over one connection, the last of which never ends.
        let twice = server.request(PING).repeat(2);
        let answer = server.drip(&twice, "POST / HTTP/1.1\r\nHost: ").await;
        assert_eq!(answer.matches("pong").count(), 2, "{}: {answer}", server.name());
        // Nothing after the first.
        let mut silent = server.connect().await;
        silent.write_all(server.request(PING).as_bytes()).await.unwrap();
        let mut answers = String::new();
        let closed = tokio::time::timeout(PATIENCE, silent.read_to_string(&mut answers)).await;
        assert!(closed.is_ok() && answers.contains("pong"), "{}: {answers}", server.name());
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_come_byte_by_byte_are_not_waited_for() {
    for server in Server::both(ConnectionLimits { body: SHORT, ..PATIENT }).await {
        let chunked = server.head(7).replace("Content-Length: 7", "Transfer-Encoding: chunked");
        let chunks = "1\r\n{\r\n".repeat(10_000);
        for (head, body) in [(server.head(100_000), PING), (server.head(100_000), ""), (chunked, chunks.as_str())] {
            let answer = server.drip(&head, body).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{}: {answer}", server.name());
            assert!(answer.contains("did not come within 300 ms"), "{}: {answer}", server.name());
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answer_gives_its_place_back() {
    for server in Server::both(ConnectionLimits { places: 1, answer: SHORT, ..PATIENT }).await {
        let mut deaf = server.connect().await;
        deaf.write_all(server.request(LARGE).as_bytes()).await.unwrap();
        // The answer has begun, so that the only place is taken.
        assert_eq!(deaf.read_u8().await.unwrap(), b'H');
        server.until_served("the place is given back").await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, deaf.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.len() < LARGE_BYTES, "{}: the rest was dropped", server.name());
        // One that takes it gets it whole.
        let (mut keen, _) = server.enter(&server.request(LARGE)).await;
        let mut all = Vec::new();
        while all.len() < LARGE_BYTES {
            assert!(keen.read_buf(&mut all).await.unwrap() > 0, "{}", server.name());
        }
        drop(keen);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_from_the_beginning_and_websockets_to_the_end() {
    for server in Server::both(ConnectionLimits { places: 2, ..PATIENT }).await {
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(server.connect().await);
        }
        let mut third = server.connect().await;
        let answer = tokio::time::timeout(PATIENCE, read_answer(&mut third)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 429 "), "{}: {answer}", server.name());
        held.clear();
        server.until_served("there is room again").await;

        let upgrade = server.head(0).replace("POST", "GET").replace(
            "Content-Length: 0",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        );
        for _ in 0..2 {
            let (socket, begin) = server.enter(&upgrade).await;
            assert_eq!(&begin, b"HTTP/1.1 101", "{}", server.name());
            held.push(socket);
        }
        assert!(!server.serves().await, "{}: two WebSockets are two connections", server.name());
        held.clear();
        server.until_served("WebSockets that ended make room").await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_length_is_judged_before_anything_is_read() {
    for server in Server::both(PATIENT).await {
        let mut socket = server.connect().await;
        socket.write_all(server.head(1 << 40).as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, read_answer(&mut socket)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{}: {answer}", server.name());
        assert!(server.serves().await);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_waits_for_slow_clients_no_longer_than_they_have() {
    for server in Server::both(ConnectionLimits { header: SHORT, body: SHORT, ..PATIENT }).await {
        let mut clients = Vec::new();
        for bytes in [server.head(500), "POST / HT".to_owned(), String::new()] {
            let mut socket = server.connect().await;
            socket.write_all(bytes.as_bytes()).await.unwrap();
            clients.push(socket);
        }
        assert!(server.serves().await, "{}", server.name());
        let name = server.name();
        assert!(tokio::time::timeout(PATIENCE, server.stop()).await.is_ok(), "{name}: it stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_take_too_long_are_given_up_and_the_rest_of_their_batch_with_them() {
    let mut rpc = Config::default().rpc;
    rpc.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut module = RpcModule::new(());
    module.register_method("ping", |_, (), _| "pong").unwrap();
    module.register_async_method("never", |_, _, _| std::future::pending::<&str>()).unwrap();
    let limits = GatewayLimits { connections: PATIENT, call: SHORT };
    let server = Server::Rpc(Gateway::start_with(&rpc, limits, module).await.unwrap());
    let answer = async |body: String| {
        let mut socket = server.connect().await;
        socket.write_all(server.request(&body).as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, read_answer(&mut socket)).await.unwrap();
        serde_json::from_str::<Value>(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let call = |id: u32, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let timed_out =
        |id: u32| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32002, "message": "request timed out" } });
    assert_eq!(answer(call(7, "never").to_string()).await, timed_out(7));
    let batch = json!([call(1, "ping"), call(2, "never"), call(3, "ping"), call(4, "never"), 5]);
    let pong = json!({ "jsonrpc": "2.0", "id": 1, "result": "pong" });
    let answers = answer(batch.to_string()).await;
    assert_eq!(answers[0], pong, "{answers}");
    assert_eq!(answers.as_array().unwrap()[1..4], [timed_out(2), timed_out(3), timed_out(4)]);
    assert_eq!(answers[4]["error"]["code"], -32600);
    assert!(server.serves().await);
    server.stop().await;
}
