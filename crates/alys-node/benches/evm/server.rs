//! The servers as processes.

use alys_node::chain_files::PRESET_CHAIN_ID;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server, ended when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) rpc: String,
    /// From the start of the process to its first answer.
    pub(crate) start: Duration,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    pub(crate) fn alys() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_alys-node"))
            .args(["dev", "--rpc-port", "0", "--metrics-port", "0", "--slot-duration", "1s", "--data-dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let rpc = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the node ended before it listened");
            if line.starts_with("JSON-RPC") {
                break line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
            }
        };
        // The pipe must not fill up.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        answer(&rpc);
        Self { process, rpc, start: began.elapsed(), _folder: Some(folder) }
    }

    pub(crate) fn anvil(program: &Path, block_seconds: Option<u32>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let began = Instant::now();
        let mut command = Command::new(program);
        command.args(["--silent", "--port", &port.to_string(), "--chain-id", &PRESET_CHAIN_ID.to_string()]);
        if let Some(seconds) = block_seconds {
            command.args(["--block-time", &seconds.to_string()]);
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let rpc = format!("http://127.0.0.1:{port}");
        answer(&rpc);
        Self { process, rpc, start: began.elapsed(), _folder: None }
    }

    /// Memory of the process and of those that it started: npm's launcher is not what is of interest.
    pub(crate) fn resident_mib(&self) -> f64 {
        let mut kib = 0.0;
        let mut open = vec![self.process.id()];
        while let Some(id) = open.pop() {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let own: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
            kib = f64::max(kib, own);
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        kib / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for the first answer.
fn answer(rpc: &str) {
    use std::io::Write as _;
    let address = rpc.trim_start_matches("http://");
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(mut socket) = TcpStream::connect(address) {
            let mut text = String::new();
            if socket.write_all(request.as_bytes()).is_ok()
                && socket.read_to_string(&mut text).is_ok()
                && text.contains("result")
            {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{rpc} does not answer");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
