//! What a stranger on the Engine API's port can do, which is nothing, and what a careless client gets to hear.

#![allow(clippy::unwrap_used)]

mod common;

use alys_engine::JwtSecret;
use common::genesis;
use common::node::{Node, SECRET};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Status and body of the answer to `body`.
async fn post(port: u16, token: Option<&str>, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let head = format!(
        "POST / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-type: application/json\r\n{authorization}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses by the head alone may have closed already.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.as_bytes().to_vec()).unwrap_or_default();
    (status, body)
}

fn request(method: &str) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] }).to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_token_of_the_secret_nothing_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis()).listen(0).await;
    let port = node.port();
    let call = request("eth_chainId");
    let refused = [
        None,
        Some(String::new()),
        Some("nonsense".to_owned()),
        Some(JwtSecret::new([1; 32]).token(now())),
        Some(SECRET.token(now() - 100)),
        Some(SECRET.token(now() + 100)),
    ];
    for token in refused {
        let (status, body) = post(port, token.as_deref(), &call).await;
        assert_eq!(status, 401, "{token:?}");
        assert!(!body.is_empty(), "it says why");
    }
    let (status, body) = post(port, Some(&SECRET.token(now())), &call).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8(body).unwrap().contains("0x33c99"));
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_and_others_are_served_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), genesis()).listen(0).await;
    let port = node.port();
    let token = SECRET.token(now());
    // A client that never finishes its request.
    let mut slow = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-le").await.unwrap();
    let code = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["error"]["code"].clone();
    let invalid_utf8 = [&b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_\xff\xfe\"}"[..], &[0xff; 64]];
    for body in invalid_utf8.into_iter().chain([&b""[..], b"{", b"[", b"null", b"7"]) {
        let (status, answer) = post(port, Some(&token), body).await;
        assert!(status == 200 || status == 400, "{status} for {body:?}");
        let code = code(&answer);
        assert!(code == -32700 || code == -32600, "{code} for {body:?}");
    }
    let deep = "[".repeat(100_000);
    let (_, answer) = post(port, Some(&token), deep.as_bytes()).await;
    assert!(code(&answer).as_i64().is_some_and(|code| code < 0));
    let batch: Vec<Value> =
        (0..3_000).map(|id| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_blockNumber", "params": [] })).collect();
    let (_, answer) = post(port, Some(&token), json!(batch).to_string().as_bytes()).await;
    assert_eq!(code(&answer), -32010, "{}", String::from_utf8_lossy(&answer));
    let (_, answer) = post(port, Some(&token), json!(batch[..20]).to_string().as_bytes()).await;
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&answer).unwrap().len(), 20);
    let (status, _) = post(port, Some(&token), &vec![b' '; 65 << 20]).await;
    assert!(status == 413 || status == 0, "{status}");
    for params in [json!([]), json!([{}]), json!([null, null]), json!([{ "headBlockHash": "0x" }]), json!("x")] {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "engine_forkchoiceUpdatedV3", "params": params });
        let (_, answer) = post(port, Some(&token), call.to_string().as_bytes()).await;
        let found = code(&answer);
        assert!(
            found == -32602 || found == -32600 || found == -32700,
            "{params}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    let (status, _) = post(port, Some(&token), &request("eth_blockNumber")).await;
    assert_eq!(status, 200);
    drop(slow);
    node.kill().await;
}
