//! `alys-node engine` and `alys-node evm-test` as processes.

#![allow(clippy::unwrap_used)]

use alys_engine::JwtSecret;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const PROGRAM: &str = env!("CARGO_BIN_EXE_alys-node");

/// A running `alys-node engine`, killed when dropped.
struct Engine {
    child: Child,
    http: String,
    engine: String,
    head: String,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    fn start(vectors: &Path, folder: &Path, import: bool) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("engine").arg("--genesis").arg(vectors.join("genesis.json"));
        command.arg("--data-dir").arg(folder.join("data")).arg("--jwt-secret").arg(folder.join("jwt.hex"));
        command.args(["--http-port", "0", "--engine-port", "0"]);
        if import {
            command.arg("--import").arg(vectors.join("chain.rlp"));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let address = |line: &str| line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let (http, engine) = (address(&line()), address(&line()));
        let head = line();
        Self { child, http, engine, head }
    }

    /// Asks it to stop, as a service manager does, and gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

/// Status and body of the answer.
fn post(address: &str, token: Option<&str>, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let length = body.len();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{authorization}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

fn call(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[test]
fn an_execution_client_imports_a_chain_serves_it_and_has_it_after_a_restart() {
    let Some(vectors) = alys_vectors::find("engine/execution-apis/tests") else { return };
    let folder = tempfile::tempdir().unwrap();
    let running = Engine::start(&vectors, folder.path(), true);
    assert!(running.head.contains("54 0xd226371d"), "{}", running.head);
    let (status, answer) = post(&running.http, None, &call("eth_blockNumber", json!([])));
    assert!(status == 200 && answer.contains("\"0x36\""), "{status} {answer}");
    let (_, answer) = post(&running.http, None, &call("engine_exchangeCapabilities", json!([[]])));
    assert!(answer.contains("-32601"), "the Engine API is served on its own port only: {answer}");
    let question = call("engine_exchangeCapabilities", json!([[]]));
    assert_eq!(post(&running.engine, None, &question).0, 401);
    let secret = JwtSecret::read(&folder.path().join("jwt.hex")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (status, answer) = post(&running.engine, Some(&secret.token(now)), &question);
    assert!(status == 200 && answer.contains("engine_newPayloadV4"), "{status} {answer}");
    let asker = json!({ "code": "LH", "name": "Lighthouse", "version": "v7", "commit": "0x01020304" });
    let question = call("engine_getClientVersionV1", json!([asker]));
    let (status, answer) = post(&running.engine, Some(&secret.token(now)), &question);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["result"][0]["name"]), (200, &json!("Alys")), "{answer}");
    let nobody = call("engine_getClientVersionV1", json!([{ "code": "LH", "commit": "0x01" }]));
    let (_, answer) = post(&running.engine, Some(&secret.token(now)), &nobody);
    assert!(answer.contains("-32602"), "{answer}");
    assert_eq!(running.stop(), Some(0));
    let running = Engine::start(&vectors, folder.path(), false);
    assert!(running.head.contains("54 0xd226371d"), "{}", running.head);
}

fn evm_test(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("evm-test").args(arguments).output().unwrap()
}

#[test]
fn fixtures_are_counted_and_what_fails_is_named() {
    let Some(vectors) = alys_vectors::find("engine/eest-state/cancun/eip1153_tstore") else { return };
    let path = vectors.to_str().unwrap();
    let good = evm_test(&[path]);
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success() && text.trim_end().ends_with("0 failed, 0 skipped"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let one = std::fs::read_dir(&vectors).unwrap().next().unwrap().unwrap().path();
    let mut cases: Value = serde_json::from_slice(&std::fs::read(one).unwrap()).unwrap();
    for case in cases.as_object_mut().unwrap().values_mut() {
        for posts in case["post"].as_object_mut().unwrap().values_mut() {
            posts[0]["hash"] = json!(format!("0x{}", "11".repeat(32)));
        }
    }
    let changed = folder.path().join("changed.json");
    std::fs::write(&changed, cases.to_string()).unwrap();
    let bad = evm_test(&[changed.to_str().unwrap()]);
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(text.starts_with("FAIL ") && text.contains("state root") && text.contains("1 failed"), "{text}");
    let report = evm_test(&["--json", changed.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["failed"], report["failures"].as_array().map(Vec::len)), (&json!(1), Some(1)), "{report}");
}

#[test]
fn what_can_not_be_read_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    let fixtures = evm_test(&[missing]);
    let engine = Command::new(PROGRAM)
        .args(["engine", "--genesis", missing, "--data-dir", missing, "--jwt-secret", missing])
        .output()
        .unwrap();
    for output in [fixtures, engine] {
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with("error: ") && text.contains(missing), "{text}");
    }
}
