//! What nodes depend on, as a process behind a proxy: it can go away, come back, and be made to lie.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::proxy::Proxy;
use super::rpc::call_as;
use super::{START, read_text};
use crate::failure::Failure;
use crate::run::shown;

/// Where the coins of regtest blocks go: nobody needs them (BIP-173's example of a regtest address).
const NOBODY: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// How long the regtest may take for a block.
const ANSWER: Duration = Duration::from_secs(2);

/// A process and the way to it.
pub(crate) struct Service {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    proxy: Proxy,
    log: PathBuf,
    process: Option<Child>,
}

impl Service {
    /// Starts `program`, which will listen on `address`.
    fn start(
        name: &'static str,
        program: &Path,
        arguments: Vec<String>,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let mut service = Self {
            name,
            program: program.to_owned(),
            arguments,
            address,
            proxy: Proxy::start(address)?,
            log: folder.join(format!("{name}.log")),
            process: None,
        };
        service.come_back()?;
        Ok(service)
    }

    /// Starts the process and waits until it listens.
    pub(crate) fn come_back(&mut self) -> Result<(), Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::file("write", &self.log, &error))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start `{}`", shown(&command))).because(error))?;
        self.process = Some(process);
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(Some(_))));
            if ended || Instant::now() > deadline {
                return Err(Failure::work(format!("{} does not listen; its log is {}", self.name, self.log.display())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn go_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Makes its answers wrong, or right again: hashes and other long hexadecimal strings are changed on the way.
    pub(crate) fn lie(&self, lying: bool) {
        self.proxy.lie(lying);
    }

    /// Where the nodes reach it.
    fn url(&self) -> String {
        format!("http://{}", self.proxy.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// A regtest Bitcoin that all nodes share.
pub(crate) struct Bitcoin {
    pub(crate) service: Service,
    cookie: PathBuf,
}

impl Bitcoin {
    pub(super) fn start(program: &Path, address: SocketAddr, folder: &Path) -> Result<Self, Failure> {
        let data = folder.join("bitcoin");
        let arguments = vec![
            "bitcoin-regtest".to_owned(),
            format!("--listen={address}"),
            "--log=warn".to_owned(),
            format!("--data-dir={}", data.display()),
        ];
        let service = Service::start("bitcoin", program, arguments, address, folder)?;
        Ok(Self { service, cookie: data.join(".cookie") })
    }

    /// The variables that tell a node where it is.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("ALYS_BITCOIN_URL".to_owned(), self.service.url()),
            ("ALYS_BITCOIN_COOKIE_FILE".to_owned(), self.cookie.display().to_string()),
        ]
    }

    /// Makes one block, past the proxy; whether it did.
    pub(crate) fn mine(&self) -> bool {
        let Ok(cookie) = read_text(&self.cookie) else { return false };
        let credentials = STANDARD.encode(cookie);
        let made = call_as(self.service.address, Some(&credentials), "generatetoaddress", &json!([1, NOBODY]), ANSWER);
        made.is_some()
    }
}

/// An execution client of one node's own.
pub(crate) struct Client {
    pub(crate) service: Service,
    secret: PathBuf,
}

impl Client {
    pub(super) fn start(program: &Path, address: SocketAddr, genesis: &Path, folder: &Path) -> Result<Self, Failure> {
        let secret = folder.join("jwt.hex");
        let arguments = vec![
            "engine".to_owned(),
            "--http-port=0".to_owned(),
            format!("--engine-port={}", address.port()),
            format!("--genesis={}", genesis.display()),
            format!("--data-dir={}", folder.join("execution").display()),
            format!("--jwt-secret={}", secret.display()),
        ];
        let service = Service::start("execution", program, arguments, address, folder)?;
        Ok(Self { service, secret })
    }

    /// The flags that tell a node where it is.
    pub(super) fn arguments(&self) -> [String; 2] {
        [
            format!("--execution-endpoints={}", self.service.url()),
            format!("--execution-jwt-secret={}", self.secret.display()),
        ]
    }
}
