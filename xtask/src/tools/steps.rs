//! What is done with each tool, as a new user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The second account of the well-known test mnemonic, whose keys everybody knows.
const KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const ACCOUNT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const OTHER: &str = "0x000000000000000000000000000000000000beef";

/// Runs the tools and counts.
pub(super) struct Steps {
    folder: PathBuf,
    rpc: String,
    pub(super) worked: u32,
    pub(super) failed: u32,
}

impl Steps {
    pub(super) fn new(folder: &Path, rpc: &str) -> Self {
        Self { folder: folder.to_owned(), rpc: rpc.to_owned(), worked: 0, failed: 0 }
    }

    pub(super) fn all(&mut self) {
        let artifact = self.folder.join("out/Counter.sol/Counter.json");
        self.step("forge build", &["forge", "build", "--force"], |_| artifact.exists());
        let created = self.step(
            "forge create",
            &[
                "forge",
                "create",
                "--broadcast",
                "--private-key",
                KEY,
                "src/Counter.sol:Counter",
                "--constructor-args",
                "10",
            ],
            |text| text.contains("Deployed to: 0x"),
        );
        let counter = word_after(&created, "Deployed to:").unwrap_or(OTHER).to_owned();
        let rpc = self.rpc.clone();
        let script = ["forge", "script", "--rpc-url", &rpc, "--broadcast", "--slow", "--private-key", KEY];
        let script = [&script[..], &["--sender", ACCOUNT, "script/Deploy.s.sol:Deploy"]].concat();
        self.step("forge script", &script, |text| text.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"));
        self.cast(&counter);
        for script in ["viem.mjs", "ethers.mjs", "metamask.mjs"] {
            self.script(script, "node", &[script], "");
        }
        self.script("hardhat", "node", &["../node_modules/.bin/hardhat", "run", "--no-compile", "run.js"], "hardhat");
    }

    fn cast(&mut self, counter: &str) {
        self.step("cast chain-id", &["cast", "chain-id"], |text| text.trim().parse::<u64>().is_ok());
        self.step("cast block", &["cast", "block", "latest"], |text| text.contains("stateRoot"));
        self.step(
            "cast send, a transfer",
            &["cast", "send", "--private-key", KEY, OTHER, "--value", "1gwei"],
            |text| text.contains("status               1"),
        );
        let sent = self.step(
            "cast send, a contract's call",
            &["cast", "send", "--private-key", KEY, counter, "bump()"],
            |text| text.contains("status               1"),
        );
        let hash = word_after(&sent, "transactionHash").unwrap_or("0x").to_owned();
        self.step("cast call", &["cast", "call", counter, "value()(uint256)"], |text| text.trim() == "11");
        self.step("cast storage", &["cast", "storage", counter, "0"], |text| text.trim().ends_with("0b"));
        self.step("cast logs", &["cast", "logs", "--from-block", "0", "--address", counter], |text| {
            text.to_lowercase().contains(&counter.to_lowercase())
        });
        self.step("cast estimate", &["cast", "estimate", "--from", ACCOUNT, counter, "bump()"], |text| {
            text.trim().parse::<u64>().is_ok_and(|gas| gas > 21_000)
        });
        self.refused(
            "cast estimate of what reverts",
            &["cast", "estimate", "--from", ACCOUNT, counter, "fail()"],
            "never",
        );
        self.step("cast access-list", &["cast", "access-list", "--from", ACCOUNT, counter, "bump()"], |text| {
            text.contains("gas used") && text.to_lowercase().contains(&counter.to_lowercase())
        });
        self.step("cast run", &["cast", "run", &hash], |text| text.contains("successfully executed"));
        self.step("cast receipt", &["cast", "receipt", &hash], |text| text.contains("blockNumber"));
        self.step("cast balance of a finalized block", &["cast", "balance", "--block", "finalized", ACCOUNT], |text| {
            text.trim().parse::<u128>().is_ok()
        });
        self.step("cast proof", &["cast", "proof", counter, "0"], |text| text.contains("storageProof"));
        self.refused("cast publish of nonsense", &["cast", "publish", "0x02c0"], "can't be decoded");
    }

    /// A command that must succeed and say what `holds` looks for; gives what it said.
    fn step(&mut self, name: &str, command: &[&str], holds: impl Fn(&str) -> bool) -> String {
        let (success, text) = self.run(command, "");
        let ok = success && holds(&text);
        self.count(name, ok, &text);
        text
    }

    /// A command that must say why it fails; the launcher of npm may hide the exit code.
    fn refused(&mut self, name: &str, command: &[&str], reason: &str) {
        let (_, text) = self.run(command, "");
        self.count(name, text.contains("Error:") && text.contains(reason), &text);
    }

    /// A script that says `ok …` of each thing that worked.
    fn script(&mut self, name: &str, program: &str, arguments: &[&str], folder: &str) {
        let command: Vec<&str> = std::iter::once(program).chain(arguments.iter().copied()).collect();
        let (success, text) = self.run(&command, folder);
        for line in text.lines().filter_map(|line| line.strip_prefix("ok ")) {
            self.count(&format!("{name}: {line}"), true, "");
        }
        if !success {
            self.count(name, false, &text);
        }
    }

    fn count(&mut self, name: &str, ok: bool, text: &str) {
        if ok {
            self.worked = self.worked.saturating_add(1);
            println!("ok      {name}");
        } else {
            self.failed = self.failed.saturating_add(1);
            println!("FAILED  {name}\n{}", indented(text));
        }
    }

    fn run(&self, command: &[&str], folder: &str) -> (bool, String) {
        let Some((program, arguments)) = command.split_first() else { return (false, String::new()) };
        let installed = self.folder.join("node_modules/.bin").join(program);
        let mut process = if installed.exists() { Command::new(installed) } else { Command::new(program) };
        process
            .args(arguments)
            .current_dir(self.folder.join(folder))
            .env("ETH_RPC_URL", &self.rpc)
            .env("ALYS_RPC", &self.rpc)
            .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        match process.output() {
            Ok(output) => {
                let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                (output.status.success(), text.concat())
            }
            Err(error) => (false, format!("{program} can't be run: {error}")),
        }
    }
}

/// The first word behind a label.
fn word_after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(label)).and_then(|rest| rest.split_whitespace().next())
}

fn indented(text: &str) -> String {
    text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().map(|line| format!("        {line}\n")).collect()
}
