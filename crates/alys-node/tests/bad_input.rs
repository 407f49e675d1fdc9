//! What a running node answers to input that is wrong, and what keeps one from starting.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use common::{DevNode, PATIENCE, alys_node, number};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

#[test]
fn bad_requests_get_typed_errors_and_the_node_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = DevNode::start(&folder.path().join("chain"), &["--slot-duration", "1s"], &folder.path().join("log"));
    let height = number(&node.status()["head"]["height"]);
    let code = |body: &[u8]| {
        let (status, answer) = node.post("", body);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{status}: {answer}"));
        (status, answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}")))
    };
    let call = |method: &str, params: Value| {
        code(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string().as_bytes())
    };

    // Text that is no request.
    let nested = "[".repeat(100_000);
    for body in ["", "{", "nonsense", "\u{0}", &nested, "{\"jsonrpc\":\"2.0\",\"id\":1,"] {
        assert_eq!(code(body.as_bytes()), (200, -32700), "{:.40}", body);
    }
    assert_eq!(code(b"{\"method\":\"\xff\xfe\"}"), (200, -32700), "not UTF-8");
    for body in ["5", "\"eth_chainId\"", "null", "{}", "[]", "{\"jsonrpc\":\"2.0\",\"id\":1}"] {
        assert_eq!(code(body.as_bytes()).1, -32600, "{body}");
    }

    // Calls that can't be answered.
    assert_eq!(call("eth_nonsense", json!([])).1, -32601);
    assert_eq!(call("admin_stopNode", json!([])).1, -32601);
    for (method, params) in [
        ("eth_getBalance", json!([5])),
        ("eth_getBalance", json!(["0x12", "latest"])),
        ("eth_getBalance", json!(["0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "newest"])),
        ("eth_getBalance", json!({"address": true})),
        ("eth_getBlockByNumber", json!(["0x1g", false])),
        ("eth_getBlockByNumber", json!(["0x1", "yes"])),
        ("eth_call", json!(["text"])),
        ("eth_getTransactionReceipt", json!(["0x00"])),
        ("eth_getLogs", json!([{"fromBlock": "latest", "address": 7}])),
        ("eth_sendRawTransaction", json!([17])),
        ("alys_blockByHeight", json!([])),
        ("alys_blockByHeight", json!([-1])),
        ("alys_blockByHeight", json!(["0x1ffffffffffffffffff"])),
        ("alys_blockByRoot", json!(["0xabcd"])),
        ("alys_notarization", json!([{}])),
    ] {
        assert_eq!(call(method, params.clone()).1, -32602, "{method} {params}");
    }
    for raw in ["0x", "0x00", "0x02c0", "0xf8ff", &format!("0x02f8{}", "ff".repeat(3000))] {
        let (status, refused) = call("eth_sendRawTransaction", json!([raw]));
        assert_eq!(status, 200);
        assert!(refused == -32602 || refused == -32000, "{refused} for {raw:.20}");
    }

    // More than is taken.
    let (status, answer) = node.post("", &vec![b' '; 3 << 20]);
    assert_eq!(status, 413, "{answer}");
    let one = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"});
    for calls in [1001, 5000] {
        let batch = Value::Array(vec![one.clone(); calls]).to_string();
        assert_eq!(code(batch.as_bytes()), (200, -32600), "a batch of {calls}");
    }
    let batch = Value::Array(vec![one.clone(); 1000]).to_string();
    let (_, answer) = node.post("", batch.as_bytes());
    let answers: Vec<Value> = serde_json::from_str(&answer).unwrap();
    assert!(answers.len() == 1000 && answers.iter().all(|answer| answer["result"].is_string()), "{answer:.200}");

    // Clients that send a little and then nothing hold nobody up.
    let address = node.rpc.trim_start_matches("http://");
    let half = ["", "POST / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\""];
    let slow: Vec<std::net::TcpStream> = half
        .iter()
        .cycle()
        .take(60)
        .map(|text| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(call("eth_nonsense", json!([])).1, -32601);
    assert_eq!(node.call("eth_chainId", json!([])).unwrap(), json!("0x88d7"));
    drop(slow);

    // Pages and names from elsewhere.
    assert_eq!(node.post("Origin: http://evil.example\r\n", b"{}").0, 403);
    assert_eq!(node.get("/nothing").0, 404);
    let (ready, text) = node.get("/readyz");
    assert_eq!((ready, text.as_str()), (200, "ready\n"));

    node.until("more blocks", |status| number(&status["head"]["height"]) > height + 1);
    assert!(node.terminate().success());
}

/// Runs a command that must fail, and gives exit code and stderr.
fn refused(arguments: &[&str]) -> (i32, String) {
    let mut process = alys_node().args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            process.kill().unwrap();
            panic!("{arguments:?} was not refused");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let Output { status, stderr, .. } = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert!(text.contains("error: "), "{arguments:?} said: {text}");
    (status.code().unwrap(), text)
}

fn init(folder: &Path) -> String {
    let made = alys_node().args(["init", "--preset", "dev", "--data-dir"]).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder.join("member-0/alys.toml").display().to_string()
}

#[test]
fn a_node_does_not_start_with_files_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let config = init(folder.path());
    let member = folder.path().join("member-0");
    let run =
        |extra: &[&str]| refused(&[&["run", "--config", &config, "--metrics-listen", "127.0.0.1:0"], extra].concat());
    let with = |file: &str, bytes: &[u8], check: &dyn Fn()| {
        let path = member.join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        check();
        std::fs::write(&path, before).unwrap();
    };

    // Configuration: unknown key with the nearest known one, wrong type, not TOML, not text, absent.
    with("alys.toml", b"[rpc]\nlissten = \"127.0.0.1:1\"\n", &|| {
        let (code, text) = run(&[]);
        assert!(code == 2 && text.contains("`rpc.lissten`") && text.contains("`rpc.listen`"), "{code}: {text}");
    });
    for bytes in [&b"[rpc]\nlisten = 5\n"[..], b"[rpc", b"\xff\xfe", &vec![b'#'; 300 << 10]] {
        with("alys.toml", bytes, &|| assert_eq!(run(&[]).0, 2));
    }
    let (code, text) = refused(&["run", "--config", "/nonexistent/alys.toml"]);
    assert!(code == 2 && text.contains("/nonexistent/alys.toml"), "{text}");
    assert_eq!(run(&["--rpc-max-batch", "many"]).0, 2);

    // Keystore: damaged, empty, of another password.
    let keystore = std::fs::read(member.join("keystore.json")).unwrap();
    let mut keystore: Value = serde_json::from_slice(&keystore).unwrap();
    keystore["crypto"]["cipher"]["message"] = json!("00".repeat(32));
    let damaged = keystore.to_string();
    for bytes in [&b""[..], b"{}", b"[1]", damaged.as_bytes(), &vec![b' '; 1 << 20]] {
        with("keystore.json", bytes, &|| {
            let (code, text) = run(&[]);
            assert!(code == 1 && text.contains("keystore.json"), "{code}: {text}");
        });
    }
    with("password", b"something else", &|| assert_eq!(run(&[]).0, 1));
    with("password", b"", &|| assert_eq!(run(&[]).0, 1));

    // Signing record: gone, damaged.
    with("data/signing-record", &[0xa5; 200], &|| {
        let (code, text) = run(&[]);
        assert!(code == 65 && text.contains("signing-record") && !text.contains("`chain`"), "{code}: {text}");
    });
    let record = member.join("data/signing-record");
    let moved = member.join("data/elsewhere");
    std::fs::rename(&record, &moved).unwrap();
    let (code, text) = run(&[]);
    assert!(code == 1 && text.contains("refusing to sign without history"), "{code}: {text}");
    std::fs::rename(&moved, &record).unwrap();

    // Chain spec of another chain than the genesis, or none.
    let spec = std::fs::read_to_string(folder.path().join("chain.json")).unwrap();
    let other = spec.replacen("\"chain_id\": 35031", "\"chain_id\": 35032", 1);
    assert_ne!(other, spec);
    for bytes in [&b"{"[..], b"{}", other.as_bytes()] {
        with("../chain.json", bytes, &|| assert_eq!(run(&[]).0, 2));
    }
}

#[test]
fn a_newer_database_and_a_taken_port_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("chain");
    let log = folder.path().join("log");
    let node = DevNode::start(&chain, &["--slot-duration", "1s"], &log);
    node.until("a block", |status| number(&status["head"]["height"]) > 0);

    // A second node on the same port.
    let port = node.rpc.rsplit(':').next().unwrap().to_owned();
    let other = folder.path().join("other").display().to_string();
    let (code, text) = refused(&["dev", "--data-dir", &other, "--metrics-port", "0", "--rpc-port", &port]);
    assert!(code == 1 && text.contains(&format!("127.0.0.1:{port}")), "{code}: {text}");
    // A second node on the same folder.
    let same = chain.display().to_string();
    let (code, text) = refused(&["dev", "--data-dir", &same, "--metrics-port", "0", "--rpc-port", "0"]);
    assert!(code == 1 && text.contains("in use"), "{code}: {text}");
    assert!(node.terminate().success());

    // The same folder after a newer program wrote to it.
    let format = chain.join("member-0/data/chain/format");
    let text = std::fs::read_to_string(&format).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let known: u32 = words[1].parse().unwrap();
    let line = format!("{} {} {}", words[0], known + 1, words[2]);
    std::fs::write(&format, format!("{line} {:08x}\n", crc32fast::hash(line.as_bytes()))).unwrap();
    let (code, text) = refused(&["dev", "--data-dir", &same, "--metrics-port", "0", "--rpc-port", "0"]);
    let told = format!("schema version {}; this version supports up to {known}", known + 1);
    assert!(code == 1 && text.contains(&told), "{code}: {text}");
}
