//! An HTTP server that says what a test makes it say.

#![allow(unreachable_pub, clippy::unwrap_used)]

use alloy_primitives::{B256, b256};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub const CHAIN_ID: u64 = 212_121;
pub const GENESIS: B256 = b256!("1111111111111111111111111111111111111111111111111111111111111111");

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// An honest JSON-RPC result.
    Result(Value),
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// Another HTTP status.
    Status(u16),
    /// These bytes as body of a good HTTP answer.
    Body(Vec<u8>),
    /// These bytes on the connection, which then closes.
    Half(Vec<u8>),
    /// The connection closes.
    Close,
    /// Nothing, and the connection stays.
    Nothing,
    /// A body without end, in pieces of as many bytes, as fast as they are taken or with this pause between two.
    Endless(usize, Duration),
}

/// A request as the server read it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub params: Value,
    pub token: String,
}

pub type Script = Arc<dyn Fn(&Request) -> Reaction + Send + Sync>;

pub struct Server {
    port: u16,
    log: watch::Receiver<Vec<Request>>,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, log) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                count.fetch_add(1, Ordering::Relaxed);
                serving.spawn(serve(stream, script.clone(), sender.clone()));
            }
        });
        Self { port, log, connections, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn count(&self, method: &str) -> usize {
        self.log.borrow().iter().filter(|request| request.method == method).count()
    }

    pub fn requests(&self) -> usize {
        self.log.borrow().len()
    }

    pub fn tokens(&self) -> Vec<String> {
        self.log.borrow().iter().map(|request| request.token.clone()).collect()
    }

    #[allow(dead_code)]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Answers a handshake as an engine of the right chain.
pub fn handshake(request: &Request) -> Reaction {
    let genesis = json!({ "hash": GENESIS, "number": "0x0" });
    match request.method.as_str() {
        "engine_exchangeCapabilities" => {
            Reaction::Result(json!(["engine_newPayloadV4", "engine_getPayloadV4", "engine_forkchoiceUpdatedV3",]))
        }
        "eth_chainId" => Reaction::Result(json!(format!("{CHAIN_ID:#x}"))),
        "eth_getBlockByNumber" => Reaction::Result(genesis),
        "eth_getBlockReceipts" => Reaction::Result(json!([])),
        "web3_clientVersion" => Reaction::Result(json!("script/1")),
        _ => Reaction::Error(-32601, "the method does not exist"),
    }
}

async fn serve(mut stream: TcpStream, script: Script, log: Arc<watch::Sender<Vec<Request>>>) {
    loop {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or_default();
        let request = Request {
            method: body["method"].as_str().unwrap().to_owned(),
            params: body["params"].clone(),
            token: token.to_owned(),
        };
        log.send_modify(|log| log.push(request.clone()));
        let id = &body["id"];
        let answer = match script(&request) {
            Reaction::Result(result) => {
                ok(json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string().as_bytes())
            }
            Reaction::Error(code, message) => {
                let error = json!({ "code": code, "message": message });
                ok(json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string().as_bytes())
            }
            Reaction::Status(status) => {
                format!("HTTP/1.1 {status} Because\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes()
            }
            Reaction::Body(body) => ok(&body),
            Reaction::Half(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reaction::Close => return,
            Reaction::Nothing => std::future::pending().await,
            Reaction::Endless(bytes, pause) => {
                let head =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1099511627776\r\n\r\n";
                let mut sent = stream.write_all(head).await;
                let mut pace = tokio::time::interval(pause.max(Duration::from_nanos(1)));
                while sent.is_ok() {
                    pace.tick().await;
                    sent = stream.write_all(&vec![b' '; bytes]).await;
                }
                return;
            }
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                let read = stream.read(&mut chunk).await.ok()?;
                if read == 0 {
                    return None;
                }
                body.extend_from_slice(&chunk[..read]);
            }
            return Some((head, body));
        }
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}
