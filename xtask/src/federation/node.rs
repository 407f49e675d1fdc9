//! One `alys-node` process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::disk::SmallDisk;
use super::power::Lost;
use super::preload::Preload;
use super::rpc::{Status, status};
use crate::chance::Random;
use crate::failure::Failure;

/// How long a status may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Bytes that a node whose memory is limited can still get.
const SPARE_MEMORY: u64 = 2 << 20;

/// A member's process, which can be ended and started again.
pub(crate) struct Node {
    pub(crate) index: usize,
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) rpc: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) log: PathBuf,
    process: Option<Child>,
    /// Whether bytes of its databases were changed that it has not noticed yet.
    pub(crate) damaged: bool,
    pub(super) environment: Vec<(String, String)>,
    pub(super) preload: Option<Preload>,
    pub(super) disk: Option<SmallDisk>,
}

impl Node {
    pub(super) fn new(
        index: usize,
        program: PathBuf,
        arguments: Vec<String>,
        rpc: SocketAddr,
        metrics: SocketAddr,
        log: PathBuf,
    ) -> Self {
        Self {
            index,
            program,
            arguments,
            rpc,
            metrics,
            log,
            process: None,
            damaged: false,
            environment: Vec::new(),
            preload: None,
            disk: None,
        }
    }

    /// Starts the process; its log is appended to.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| Failure::file("write", &self.log, &error))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(preload) = &self.preload {
            preload.apply(&mut command)?;
        }
        let process = command
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start node {}", self.index)).because(error))?;
        self.process = Some(process);
        Ok(())
    }

    /// Sets its wall clock so many milliseconds ahead.
    pub(crate) fn set_clock(&self, millis: i64) -> Result<(), Failure> {
        self.preload.as_ref().map_or(Ok(()), |preload| preload.set_clock(millis))
    }

    /// Makes its syncs fail, or work again.
    pub(crate) fn fail_syncs(&self, failing: bool) -> Result<(), Failure> {
        self.preload.as_ref().map_or(Ok(()), |preload| preload.fail_syncs(failing))
    }

    /// Lets it have little more address space than it has now, or any again.
    pub(crate) fn limit_memory(&self, limited: bool) -> Result<(), Failure> {
        let Some(process) = &self.process else { return Ok(()) };
        // The soft limit alone: whoever lowers the other one can't raise it again without a right of its own.
        let limit =
            if limited { (address_space(process.id())? + SPARE_MEMORY).to_string() } else { "unlimited".to_owned() };
        let set = Command::new("prlimit")
            .args(["--pid", &process.id().to_string(), &format!("--as={limit}:")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Of a process that has ended there is nothing to limit.
        if !set.is_ok_and(|set| set.success()) && address_space(process.id()).is_ok() {
            return Err(Failure::work(format!("the memory of node {} can't be limited, or freed again", self.index)));
        }
        Ok(())
    }

    /// Takes from its files what was not synced, after it was killed.
    pub(crate) fn lose_unsynced(&self, random: &mut Random) -> Result<Lost, Failure> {
        self.preload.as_ref().map_or(Ok(Lost::default()), |preload| preload.lose_unsynced(random))
    }

    /// Fills its disk.
    pub(crate) fn fill_disk(&self) -> Result<(), Failure> {
        self.disk.as_ref().map_or(Ok(()), SmallDisk::fill)
    }

    /// Frees its disk.
    pub(crate) fn free_disk(&self) -> Result<(), Failure> {
        self.disk.as_ref().map_or(Ok(()), SmallDisk::free)
    }

    /// Starts it again if it has ended; gives its exit.
    pub(crate) fn start_if_ended(&mut self) -> Result<Option<String>, Failure> {
        let Some(end) = self.ended() else { return Ok(None) };
        println!("         node {} had ended ({end})", self.index);
        self.start()?;
        Ok(Some(end))
    }

    /// Its exit, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let ended = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        Some(ended.to_string())
    }

    /// Likewise, but it still counts as one that runs.
    pub(crate) fn exit(&mut self) -> Option<String> {
        Some(self.process.as_mut()?.try_wait().ok()??.to_string())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            signal(process.id(), name);
        }
    }

    /// Waits for the end, then kills. Gives the exit.
    pub(super) fn end_within(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        while self.process.is_some() && Instant::now() < deadline {
            if let Some(end) = self.ended() {
                return Some(end);
            }
            thread::sleep(Duration::from_millis(50));
        }
        let late = self.process.is_some();
        self.kill();
        late.then(|| format!("did not end within {} s and was killed", patience.as_secs()))
    }

    pub(crate) fn status(&self) -> Option<Status> {
        self.process.as_ref()?;
        status(self.rpc, ANSWER)
    }

    /// Its first answer, which comes before it can have learned much from others.
    pub(crate) fn until_answers(&mut self, patience: Duration) -> Result<Status, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.status() {
                return Ok(status);
            }
            if Instant::now() > deadline || self.exit().is_some() {
                let log = self.log.display();
                return Err(Failure::work(format!("node {} does not answer; its log is {log}", self.index)));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Bytes of address space of a process (Linux's `/proc/PID/statm` counts pages of 4 KiB).
fn address_space(process: u32) -> Result<u64, Failure> {
    let path = PathBuf::from(format!("/proc/{process}/statm"));
    let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let pages: Option<u64> = text.split(' ').next().and_then(|pages| pages.parse().ok());
    Ok(pages.unwrap_or(0).saturating_mul(4096))
}

/// Sends a signal by name to one process.
pub(crate) fn signal(process: u32, name: &str) {
    // The process may have ended; `kill` says so and nothing is lost.
    let _ = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// What a node wrote about its blocks.
#[derive(Default)]
pub(crate) struct Log {
    /// Milliseconds from the start of a block's slot to its certificate, by block.
    pub(crate) notarized: Vec<u64>,
    /// Lines of level WARN and ERROR.
    pub(crate) alarms: Vec<String>,
}

impl Log {
    /// Reads a log of JSON lines; other lines are passed over.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        let mut log = Self::default();
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            if matches!(entry["level"].as_str(), Some("WARN" | "ERROR")) {
                log.alarms.push(line.clone());
            }
            let fields = &entry["fields"];
            if fields["message"] == "notarized" {
                log.notarized.extend(fields["millis"].as_u64());
            }
        }
        Ok(log)
    }
}
