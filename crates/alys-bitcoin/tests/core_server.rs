//! What the served regtest says to callers that don't speak as the Core client does.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::num::NonZeroUsize;

use alys_bitcoin::core_server::CoreServer;
use alys_bitcoin::{Regtest, RegtestLimits, embedded};
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NOW: u32 = 1_700_000_000;

/// Sends raw bytes; gives status and body.
async fn raw(address: std::net::SocketAddr, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // It may hang up before everything is read.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn head() -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode("alys:secret");
    format!("POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {pair}\r\n")
}

#[tokio::test]
async fn strangers_and_malformed_calls_get_an_answer_and_nothing_else() {
    let (regtest, chain) =
        embedded(Regtest::new(RegtestLimits::default()), None, NonZeroUsize::new(4).unwrap(), || NOW);
    let chain = tokio::spawn(chain);
    let server = CoreServer::bind(([127, 0, 0, 1], 0).into(), regtest, "alys", "secret").await.unwrap();
    let address = server.address().unwrap();
    let server = tokio::spawn(server.run());

    assert_eq!(raw(address, "POST / HTTP/1.1\r\nHost: x\r\n", b"{}").await.0, 401);
    assert_eq!(raw(address, &head().replacen("POST", "GET", 1), b"").await.0, 405);
    assert_eq!(raw(address, &head(), &vec![b' '; (9 << 20) + 1]).await.0, 413);
    let call = |body: Value| async move {
        let (status, text) = raw(address, &head(), body.to_string().as_bytes()).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let (_, text) = raw(address, &head(), b"{\"method\":").await;
    assert!(text.contains("-32700"), "{text}");
    assert_eq!(call(json!(vec![json!({}); 1_001])).await["error"]["code"], -32_600);
    for (method, params, code) in [
        ("stop", json!([]), -32_601),
        ("getblockhash", json!(["one"]), -3),
        ("getblockhash", json!([4_000_000_000u64]), -8),
        ("getblockhash", json!([-1]), -3),
        ("getblock", json!(["zz"]), -8),
        ("getblock", json!(["11".repeat(32)]), -5),
        ("getrawtransaction", json!(["11".repeat(32)]), -5),
        ("sendrawtransaction", json!(["zz"]), -22),
        ("submitblock", json!(["00"]), -22),
        ("generatetoaddress", json!([1, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]), -5),
        ("generatetodescriptor", json!([1, "wpkh(xpub)"]), -5),
        ("generatetodescriptor", json!([1_000_000, "raw(51)"]), -8),
    ] {
        let answer = call(json!({ "id": 7, "method": method, "params": params })).await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &json!(7)), "{method}: {answer}");
    }
    // It still works, in both dialects.
    let blocks = call(json!({ "id": 1, "method": "generatetodescriptor", "params": [2, "raw(51)"] })).await;
    assert_eq!(blocks["result"].as_array().unwrap().len(), 2);
    assert_eq!(blocks["error"], Value::Null);
    let count = call(json!({ "jsonrpc": "2.0", "id": 2, "method": "getblockcount" })).await;
    assert_eq!((&count["result"], count.get("error")), (&json!(2), None));
    server.abort();
    chain.abort();
}
