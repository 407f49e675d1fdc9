//! The report: Markdown for people, JSON for tools, JUnit for CI.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::faults::{Fault, Kind};
use super::ledger::Ledger;
use crate::failure::Failure;
use crate::federation::percentile;

/// One fault and how long the federation took to be level and moving again.
struct Entry {
    kind: Kind,
    text: String,
    recovery: Duration,
}

/// What happened.
pub(super) struct Report {
    seed: u64,
    nodes: usize,
    asked: Vec<Kind>,
    entries: Vec<Entry>,
    pub(super) failure: Option<String>,
    violations: Vec<String>,
    acknowledged: u64,
    looked_up: u64,
    lost: u64,
    /// Transactions that were acknowledged, and those of them that are in no block.
    pub(super) transactions: usize,
    pub(super) transactions_lost: usize,
    pub(super) sats: u128,
    /// Damaged databases that a node reported and gave up.
    pub(super) noticed: usize,
    signatures: u64,
    took: Duration,
    unclean_ends: Vec<String>,
}

impl Report {
    pub(super) fn new(seed: u64, nodes: usize, asked: &[Kind]) -> Self {
        Self {
            seed,
            nodes,
            asked: asked.to_vec(),
            entries: Vec::new(),
            failure: None,
            violations: Vec::new(),
            acknowledged: 0,
            looked_up: 0,
            lost: 0,
            transactions: 0,
            transactions_lost: 0,
            sats: 0,
            noticed: 0,
            signatures: 0,
            took: Duration::ZERO,
            unclean_ends: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, fault: &Fault, recovery: Duration) {
        self.entries.push(Entry { kind: fault.kind, text: fault.to_string(), recovery });
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.entries.iter().filter(|entry| entry.kind == kind).count()
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, took: Duration, ends: &[(usize, String)]) {
        self.violations.clone_from(&ledger.violations);
        (self.acknowledged, self.looked_up, self.lost) = (ledger.acknowledged, ledger.looked_up, ledger.lost);
        self.signatures = ledger.signatures.seen;
        self.took = took;
        self.unclean_ends = ends
            .iter()
            .filter(|(_, end)| end != "exit status: 0")
            .map(|(index, end)| format!("node {index}: {end}"))
            .collect();
    }

    fn recoveries(&self) -> Vec<u64> {
        let millis = self.entries.iter().map(|entry| u64::try_from(entry.recovery.as_millis()).unwrap_or(u64::MAX));
        let mut millis: Vec<u64> = millis.collect();
        millis.sort_unstable();
        millis
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Chaos run, seed {}\n\n{} nodes, {} s, {} faults.\n\n| fault | times |\n| --- | --- |\n",
            self.seed,
            self.nodes,
            self.took.as_secs(),
            self.entries.len()
        );
        for kind in &self.asked {
            let _ = writeln!(text, "| {} | {} |", kind.name(), self.count(*kind));
        }
        let millis = self.recoveries();
        let _ = writeln!(
            text,
            "\nRecovery (every node answers, level with the others, the chain moves): p50 {} ms, p99 {} ms, worst {} ms.\n\
             Acknowledged safe blocks: {}; looked up after faults: {}; lost: {}.\n\
             Acknowledged transactions: {}; in no block: {}.\n\
             Satoshis in accounts, equal to the books of every node: {}.\n\
             Signatures compared with the records: {}.\n\
             Damaged databases reported: {}.\n\
             Broken promises: {}.",
            percentile(&millis, 50),
            percentile(&millis, 99),
            millis.last().copied().unwrap_or(0),
            self.acknowledged,
            self.looked_up,
            self.lost,
            self.transactions,
            self.transactions_lost,
            self.sats,
            self.signatures,
            self.noticed,
            self.violations.len()
        );
        for violation in &self.violations {
            let _ = writeln!(text, "- {violation}");
        }
        for end in &self.unclean_ends {
            let _ = writeln!(text, "- did not stop cleanly: {end}");
        }
        if let Some(failure) = &self.failure {
            let _ = writeln!(text, "\nThe run ended early:\n\n```\n{failure}\n```");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "nodes": self.nodes,
            "seconds": self.took.as_secs(),
            "faults": self.entries.iter().map(|entry| json!({
                "kind": entry.kind.name(),
                "what": entry.text,
                "recoveryMillis": u64::try_from(entry.recovery.as_millis()).unwrap_or(u64::MAX),
            })).collect::<Vec<_>>(),
            "acknowledged": self.acknowledged,
            "lookedUp": self.looked_up,
            "lost": self.lost,
            "transactions": self.transactions,
            "transactionsLost": self.transactions_lost,
            "satsAudited": self.sats.to_string(),
            "signatures": self.signatures,
            "damageReported": self.noticed,
            "violations": self.violations,
            "uncleanEnds": self.unclean_ends,
            "failure": self.failure,
        })
    }

    fn junit(&self) -> String {
        let failures = usize::from(!self.violations.is_empty()) + usize::from(self.failure.is_some());
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"chaos\" tests=\"{}\" failures=\"{failures}\" time=\"{}\">\n",
            self.entries.len() + 1,
            self.took.as_secs()
        );
        for entry in &self.entries {
            let _ = writeln!(
                text,
                "  <testcase classname=\"chaos.{}\" name=\"{}\" time=\"{:.3}\"/>",
                entry.kind.name(),
                escaped(&entry.text),
                entry.recovery.as_secs_f64()
            );
        }
        text.push_str("  <testcase classname=\"chaos\" name=\"promises are kept\">\n");
        for reason in self.violations.iter().chain(&self.failure) {
            let _ = writeln!(text, "    <failure>{}</failure>", escaped(reason));
        }
        text.push_str("  </testcase>\n</testsuite>\n");
        text
    }
}

/// Writes `chaos.md`, `chaos.json` and `chaos.xml`.
pub(super) fn write(report: &Report, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file("make", folder, &error))?;
    let files = [
        ("chaos.md", report.markdown()),
        ("chaos.json", format!("{:#}\n", report.json())),
        ("chaos.xml", report.junit()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
