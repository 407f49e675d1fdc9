//! A development node as a process, for tools to talk to.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::Failure;
use crate::run::{run, target};
use crate::setup::Environment;

/// A running node; ended when dropped.
pub(crate) struct DevNode {
    process: Child,
    /// Where JSON-RPC is, `http://…`.
    pub(crate) rpc: String,
}

/// Builds the node and gives its program.
pub(crate) fn build(environment: &Environment, debug: bool) -> Result<PathBuf, Failure> {
    let mut command = environment.cargo();
    command.args(["build", "--package", "alys-node", "--bin", "alys-node"]);
    if !debug {
        command.arg("--release");
    }
    run(&mut command)?;
    Ok(target().join(if debug { "debug" } else { "release" }).join("alys-node"))
}

impl DevNode {
    /// Starts one on free ports with all that it writes in `folder`.
    pub(crate) fn start(program: &Path, folder: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
        let path = folder.join("log");
        let log = fs::File::create(&path).map_err(|error| Failure::file("create", &path, &error))?;
        let mut process = Command::new(program)
            .args(["dev", "--rpc-port", "0", "--metrics-port", "0", "--data-dir"])
            .arg(folder.join("chain"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start {}", program.display())).because(error))?;
        let mut lines = BufReader::new(process.stdout.take().ok_or_else(|| Failure::work("the node has no output"))?);
        let mut rpc = None;
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                Ok(read) if read > 0 => {}
                Ok(_) | Err(_) => break,
            }
            if line.starts_with("JSON-RPC") {
                rpc = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
            }
            if line.starts_with("accounts") {
                break;
            }
        }
        let Some(rpc) = rpc else {
            let text = fs::read_to_string(&path).unwrap_or_default();
            return Err(Failure::work("the node ended before it listened").because(text.trim()));
        };
        // The pipe must not fill up; what it says is not of interest here.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(Self { process, rpc })
    }
}

impl Drop for DevNode {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
