//! A Bitcoin Core that lies, stalls, rambles or is away: always "ask again", never a panic and never "invalid".
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use std::time::Duration;

use alys_bitcoin::core_rpc::{Auth, CoreConfig, CoreRpc};
use alys_bitcoin::{BitcoinPort, PortError, Unavailable};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Txid};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers each request with what `answer` makes of its calls.
async fn server(answer: impl Fn(&Value) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            let calls = loop {
                let mut chunk = [0; 4096];
                let read = socket.read(&mut chunk).await.unwrap_or(0);
                request.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
                if let Ok(calls) = serde_json::from_str::<Value>(&body) {
                    break calls;
                }
                if read == 0 {
                    break Value::Null;
                }
            };
            // The client may hang up first.
            let _ = socket.write_all(&answer(&calls)).await;
        }
    });
    address
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

/// The same result for every call of a batch.
fn all(result: Value) -> impl Fn(&Value) -> Vec<u8> + Send + 'static {
    move |calls| {
        let answers: Vec<Value> =
            calls.as_array().unwrap().iter().map(|call| json!({ "id": call["id"], "result": result })).collect();
        http("200 OK", &Value::Array(answers).to_string())
    }
}

fn refuse(code: i64, message: &'static str) -> impl Fn(&Value) -> Vec<u8> + Send + 'static {
    move |calls| {
        let error = json!({ "code": code, "message": message });
        let answers: Vec<Value> =
            calls.as_array().unwrap().iter().map(|call| json!({ "id": call["id"], "error": error })).collect();
        http("200 OK", &Value::Array(answers).to_string())
    }
}

fn client(url: String) -> CoreRpc {
    let auth = Auth::User { name: "user".to_owned(), password: "word".to_owned() };
    CoreRpc::new(CoreConfig { url, auth, timeout: Duration::from_millis(500) }).unwrap()
}

/// Calls everything; each answer must be a retryable error or one of the harmless ones.
async fn all_retryable(url: String) -> Vec<PortError> {
    let client = client(url);
    let hash = BlockHash::all_zeros();
    let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let errors = vec![
        client.best_block().await.unwrap_err(),
        client.header_at(1).await.unwrap_err(),
        client.headers_after(vec![hash], 5).await.unwrap_err(),
        client.block(hash).await.unwrap_err(),
        client.broadcast(block.txdata[0].clone()).await.unwrap_err(),
        client.find_transaction(Txid::all_zeros()).await.unwrap_err(),
        client.block_template().await.unwrap_err(),
        client.submit_block(block).await.unwrap_err(),
    ];
    for error in &errors {
        assert!(error.is_retryable(), "{error}");
        assert!(error.to_string().len() < 400, "bounded words: {error}");
    }
    errors
}

#[tokio::test]
async fn nonsense_of_every_kind_means_ask_again() {
    let long = "x".repeat(100_000);
    let bodies = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        "[[[[[[".repeat(50_000),
        format!("\"{long}\""),
        r#"[{"id":0},{"id":0},{"id":0}]"#.to_owned(),
        r#"[{"id":7,"result":true}]"#.to_owned(),
        r#"[{"result":true}]"#.to_owned(),
        r#"[{"id":0,"result":{"bestblockhash":"zz","blocks":-1}}]"#.to_owned(),
        r#"[{"id":0,"error":{"code":-28,"message":"Loading block index"}}]"#.to_owned(),
        r#"{"id":0,"error":"not an object"}"#.to_owned(),
    ];
    for body in bodies {
        let shown: String = body.chars().take(60).collect();
        let url = server(move |_| http("200 OK", &body)).await;
        let errors = all_retryable(url).await;
        assert_eq!(errors.len(), 8, "{shown}");
    }
}

#[tokio::test]
async fn results_of_the_wrong_shape_are_not_believed() {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let hex = bitcoin::consensus::encode::serialize_hex(&genesis);
    for result in [json!(3), json!(true), json!({}), json!([1, 2]), json!({ "height": 1e300 })] {
        all_retryable(server(all(result)).await).await;
    }
    // A text is a good answer to `submitblock` only: the reason for a refusal.
    for text in [hex.as_str(), "00ff", ""] {
        let client = client(server(all(json!(text))).await);
        let hash = BlockHash::all_zeros();
        assert!(client.block(hash).await.unwrap_err().is_retryable());
        assert!(client.header_at(1).await.unwrap_err().is_retryable());
        assert!(client.broadcast(genesis.txdata[0].clone()).await.unwrap_err().is_retryable());
        assert!(!client.submit_block(genesis.clone()).await.unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn refusals_that_say_nothing_about_us_mean_ask_again() {
    for (code, message) in [(-28, "Loading block index..."), (-9, "not connected"), (-10, "initial sync"), (-1, "odd")]
    {
        all_retryable(server(refuse(code, message)).await).await;
    }
    let client = client(server(refuse(-26, "min relay fee not met")).await);
    let transaction = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).txdata[0].clone();
    let error = client.broadcast(transaction).await.unwrap_err();
    assert!(!error.is_retryable(), "a broken rule is final: {error}");
    assert!(error.to_string().contains("min relay fee not met"));
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for (status, wanted) in
        [("401 Unauthorized", "credentials"), ("403 Forbidden", "credentials"), ("503 Busy", "refused")]
    {
        let url = server(move |_| http(status, "Work queue depth exceeded")).await;
        let error = client(url).best_block().await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains(wanted), "{status}: {error}");
    }
}

#[tokio::test]
async fn endless_answers_are_cut_off() {
    // Says that it is long, and is.
    let body = "0".repeat(13 << 20);
    let url = server(move |_| http("200 OK", &body)).await;
    let error = client(url).best_block().await.unwrap_err();
    assert!(
        matches!(error, PortError::Unavailable(Unavailable::Nonsense { .. } | Unavailable::Timeout { .. })),
        "{error}"
    );
    // Says that it is long, and says nothing more.
    let url = server(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec()).await;
    let error = client(url).best_block().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_node_that_is_away_or_silent_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Accepts, and never answers.
    let silent = client(format!("http://{address}"));
    let error = silent.best_block().await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(Unavailable::Timeout { milliseconds: 500, .. })), "{error}");
    drop(listener);
    let error = silent.best_block().await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(Unavailable::Connection { .. })), "{error}");
}

#[tokio::test]
async fn a_missing_cookie_is_a_matter_of_time_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join(".cookie");
    let url = server(all(json!({ "bestblockhash": BlockHash::all_zeros(), "blocks": 3 }))).await;
    let config = CoreConfig { url, auth: Auth::Cookie(cookie.clone()), timeout: Duration::from_secs(5) };
    let client = CoreRpc::new(config).unwrap();
    let error = client.best_block().await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(Unavailable::Credentials { .. })), "{error}");
    std::fs::write(&cookie, "__cookie__:secret").unwrap();
    assert_eq!(client.best_block().await.unwrap().height, 3);
    assert!(!format!("{client:?}").contains("secret"));
    let auth = Auth::User { name: "user".to_owned(), password: "secret".to_owned() };
    assert!(!format!("{auth:?}").contains("secret"));
}

#[test]
fn addresses_are_checked() {
    for url in ["", "127.0.0.1:8332", "https://127.0.0.1", "http://", "ftp://x"] {
        let auth = Auth::Cookie("x".into());
        assert!(
            CoreRpc::new(CoreConfig { url: url.to_owned(), auth, timeout: Duration::from_secs(1) }).is_err(),
            "{url}"
        );
    }
}
