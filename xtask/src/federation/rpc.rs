//! JSON-RPC over a plain socket: a call, and the status that everything is judged by.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// The largest answer that is read.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Calls a method and gives its result; none if there is no answer or a refusal.
pub(crate) fn call(node: SocketAddr, method: &str, params: &Value, patience: Duration) -> Option<Value> {
    call_as(node, None, method, params, patience)
}

/// Likewise, with credentials for HTTP's basic authentication, encoded already.
pub(super) fn call_as(
    node: SocketAddr,
    credentials: Option<&str>,
    method: &str,
    params: &Value,
    patience: Duration,
) -> Option<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut socket = TcpStream::connect_timeout(&node, patience).ok()?;
    socket.set_read_timeout(Some(patience)).ok()?;
    socket.set_write_timeout(Some(patience)).ok()?;
    let authorization = credentials.map(|encoded| format!("Authorization: Basic {encoded}\r\n")).unwrap_or_default();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {node}\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER).read_to_end(&mut answer).ok()?;
    let text = String::from_utf8(answer).ok()?;
    let (_, content) = text.split_once("\r\n\r\n")?;
    let document: Value = serde_json::from_str(content).ok()?;
    document.get("result").cloned()
}

/// What `alys_status` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) head: u64,
    pub(crate) safe: u64,
    pub(crate) safe_root: String,
    pub(crate) finalized: u64,
    pub(crate) finalized_root: String,
    pub(crate) peers: u64,
    pub(crate) stalled: bool,
    pub(crate) synced: bool,
}

/// A node's status.
pub(super) fn status(node: SocketAddr, patience: Duration) -> Option<Status> {
    let answer = call(node, "alys_status", &json!([]), patience)?;
    let height = |tag: &str| answer[tag]["height"].as_u64();
    let root = |tag: &str| answer[tag]["root"].as_str().map(str::to_owned);
    Some(Status {
        head: height("head")?,
        safe: height("safe")?,
        safe_root: root("safe")?,
        finalized: height("finalized")?,
        finalized_root: root("finalized")?,
        peers: answer["peers"].as_u64()?,
        stalled: answer["stalled"].as_bool()?,
        synced: answer["sync"]["state"] == "synced",
    })
}
