//! Starts real `alys-node` processes for tests and speaks to them as users do.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it can't go on")]

pub mod engine;
pub mod nodes;
pub mod past;
pub mod payments;
pub mod peer;
pub mod wallet;

use alys_node::rpc_client::RpcClient;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The longest that a test waits for something a running chain must do.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A command of the binary under test.
pub fn alys_node() -> Command {
    Command::new(env!("CARGO_BIN_EXE_alys-node"))
}

/// Copies a folder and what is in it. Of a running node's files that is what `kill -9` leaves behind.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A running development node; killed when dropped.
pub struct DevNode {
    process: Child,
    pub rpc: String,
    pub metrics: String,
    /// From start to the first answer.
    pub start: Duration,
}

impl DevNode {
    /// Starts a node on free ports. Its log goes to `log`.
    pub fn start(data_dir: &Path, flags: &[&str], log: &Path) -> Self {
        let began = Instant::now();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut process = alys_node()
            .args(["dev", "--rpc-port", "0", "--metrics-port", "0", "--data-dir"])
            .arg(data_dir)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let (mut rpc, mut metrics) = (None, None);
        let mut read = String::new();
        while metrics.is_none() {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the node ended before it listened; it said:\n{read}");
            if line.starts_with("JSON-RPC") {
                rpc = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
            }
            if line.starts_with("metrics") {
                let url = line.split_whitespace().find(|word| word.starts_with("http://"));
                metrics = url.map(|url| url.trim_end_matches("/metrics").to_owned());
            }
            read.push_str(&line);
        }
        // The pipe must not fill up.
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self { process, rpc: rpc.unwrap(), metrics: metrics.unwrap(), start: began.elapsed() }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A call's result, or its error code and message.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, (i64, String)> {
        let client = RpcClient::new(&self.rpc, Duration::from_secs(30)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.call(method, params)).map_err(|error| match error {
            alys_node::rpc_client::RpcClientError::Refused { code, message, .. } => (code, message),
            other => panic!("{method}: {other}"),
        })
    }

    pub fn status(&self) -> Value {
        self.call("alys_status", json!([])).unwrap()
    }

    /// Asks for the status until it is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {status}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        let status = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.process.wait().unwrap()
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Body of a plain GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.metrics.trim_start_matches("http://");
        http(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// What a raw POST to JSON-RPC is answered with.
    pub fn post(&self, headers: &str, body: &[u8]) -> (u16, String) {
        let address = self.rpc.trim_start_matches("http://");
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        http(address, &request)
    }
}

impl Drop for DevNode {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn http(address: &str, request: &[u8]) -> (u16, String) {
    use std::io::Write as _;
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The other side may refuse before it has read everything.
    let _ = socket.write_all(request);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// `../shared/tools/auxminer.py` beside the vectors; `None` (and counted as skipped) where it is absent.
pub fn auxminer() -> Option<PathBuf> {
    let path = alys_vectors::find("auxpow")?.parent()?.parent()?.join("tools/auxminer.py");
    if !path.exists() {
        alys_vectors::skip("auxminer.py is not beside the vectors");
        return None;
    }
    if Command::new("python3").arg("--version").output().is_err() {
        alys_vectors::skip("no python3");
        return None;
    }
    Some(path)
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
