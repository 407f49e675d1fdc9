//! `alys-node engine` as a process beside the node, and a proxy that lies about what it says.

use super::alys_node;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A running execution client; killed when dropped.
pub struct Engine {
    process: Child,
    genesis: PathBuf,
    folder: PathBuf,
    /// Address of the Engine API, `host:port`.
    pub engine: String,
}

impl Engine {
    /// Starts a client on free ports, with everything it writes in `folder`.
    pub fn start(genesis: &Path, folder: &Path) -> Self {
        Self::on(genesis, folder, "0")
    }

    fn on(genesis: &Path, folder: &Path, port: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut process = alys_node()
            .args(["engine", "--http-port", "0", "--engine-port", port, "--genesis"])
            .arg(genesis)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--jwt-secret")
            .arg(folder.join("jwt.hex"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let engine = loop {
            let line = lines.next().expect("the engine ended before it listened").unwrap();
            if line.starts_with("Engine API") {
                break line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, genesis: genesis.to_owned(), folder: folder.to_owned(), engine }
    }

    pub fn secret(&self) -> PathBuf {
        self.folder.join("jwt.hex")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.engine)
    }

    /// Sends SIGKILL; [`Stopped::start`] brings it back on the same port.
    pub fn kill(mut self) -> Stopped {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let port = self.engine.rsplit(':').next().unwrap().to_owned();
        Stopped { genesis: self.genesis.clone(), folder: self.folder.clone(), port }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is left of a killed client.
pub struct Stopped {
    genesis: PathBuf,
    folder: PathBuf,
    port: String,
}

impl Stopped {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn secret(&self) -> PathBuf {
        self.folder.join("jwt.hex")
    }

    pub fn lose_data(&self) {
        std::fs::remove_dir_all(self.folder.join("data")).unwrap();
    }

    pub fn start(&self) -> Engine {
        Engine::on(&self.genesis, &self.folder, &self.port)
    }
}

/// What the proxy does with answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// They pass.
    Honest,
    /// Verdicts are of another block.
    Lies,
    /// Bytes that are no answer, each time others.
    Garbage,
    /// The chain has another id.
    OtherChain,
    /// Payloads come when the slot that they are for is over.
    Slow,
    /// Transactions that were taken have another hash.
    OtherHash,
}

/// Stands between a node and its client.
pub struct Proxy {
    pub url: String,
    mode: Arc<AtomicU8>,
    verdicts: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    pub fn before(engine: &Engine, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mode = Arc::new(AtomicU8::new(mode as u8));
        let (verdicts, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let target = engine.engine.clone();
        let shared = (mode.clone(), verdicts.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (target, shared) = (target.clone(), shared.clone());
                // A connection that breaks is one more thing the node must bear.
                std::thread::spawn(move || serve(stream, &target, &shared));
            }
        });
        Self { url, mode, verdicts, requests }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Verdicts and fork choices asked for so far.
    pub fn verdicts(&self) -> usize {
        self.verdicts.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

type Shared = (Arc<AtomicU8>, Arc<AtomicUsize>, Arc<AtomicUsize>);

fn serve(mut stream: TcpStream, target: &str, (mode, verdicts, requests): &Shared) -> Option<()> {
    let (head, body) = read_message(&mut stream)?;
    let authorization =
        head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:")).unwrap_or("x: y");
    let text = String::from_utf8(body).ok()?;
    let count = requests.fetch_add(1, Ordering::SeqCst);
    if text.contains("engine_newPayload") || text.contains("engine_forkchoiceUpdated") {
        verdicts.fetch_add(1, Ordering::SeqCst);
    }
    let mut upstream = TcpStream::connect(target).ok()?;
    let length = text.len();
    write!(
        upstream,
        "POST / HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\ncontent-type: application/json\r\n{authorization}\r\ncontent-length: {length}\r\n\r\n{text}"
    )
    .ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    let (_, answer) = split(&answer)?;
    let honest = String::from_utf8(answer.to_vec()).ok()?;
    let mode = mode.load(Ordering::SeqCst);
    if mode == Mode::Slow as u8 && text.contains("engine_getPayload") {
        std::thread::sleep(std::time::Duration::from_millis(1500));
    }
    let answer = if mode == Mode::Lies as u8 && text.contains("engine_newPayload") {
        lie(&honest, count)
    } else if mode == Mode::OtherHash as u8 && text.contains("eth_sendRawTransaction") {
        honest.replace("\"result\":\"0x", "\"result\":\"0x00")
    } else if mode == Mode::Garbage as u8 && text.contains("engine_") {
        garbage(&honest, count)
    } else if mode == Mode::OtherChain as u8 && text.contains("eth_chainId") {
        honest.replace("\"result\":\"0x", "\"result\":\"0x7")
    } else {
        honest
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    )
    .ok()?;
    stream.shutdown(Shutdown::Both).ok()
}

/// A well-formed verdict that is not about the block in question.
fn lie(honest: &str, count: usize) -> String {
    let mut answer: serde_json::Value = serde_json::from_str(honest).unwrap();
    let other = format!("0x{}", "5a".repeat(32));
    answer["result"] = match count % 4 {
        0 => serde_json::json!({ "status": "VALID", "latestValidHash": other }),
        1 => serde_json::json!({ "status": "VALID" }),
        2 => serde_json::json!({ "status": "Valid", "latestValidHash": answer["result"]["latestValidHash"] }),
        _ => serde_json::json!({ "status": "ACCEPTED" }),
    };
    answer.to_string()
}

fn garbage(honest: &str, count: usize) -> String {
    match count % 5 {
        0 => "<html>502 Bad Gateway</html>".to_owned(),
        1 => honest.chars().take(honest.len() / 2).collect(),
        2 => String::new(),
        3 => "[".repeat(10_000),
        _ => "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"payloadStatus\":{\"status\":\"VALID\"}}}".to_owned(),
    }
}

fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = split(&bytes) {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length? {
                return Some((head.to_owned(), body.to_vec()));
            }
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]))
}
