//! Transactions that the nodes acknowledged: sent by a process of its own, journalled outside the nodes, and looked for
//! in every node's blocks at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::federation::{Federation, Node, call, signal};
use crate::run::shown;

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(3);

/// How long the last acknowledged transactions may take into a block.
const PATIENCE: Duration = Duration::from_secs(90);

/// Pause between two rounds of looking for what is not there yet.
const PAUSE: Duration = Duration::from_millis(500);

/// The process that sends.
pub(super) struct Load {
    process: Child,
    journal: PathBuf,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) hash: String,
    pub(super) node: u64,
    pub(super) nonce: u64,
}

/// What became of the acknowledged transactions.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    pub(super) violations: Vec<String>,
}

impl Load {
    /// Starts to send `rate` transfers a second to each node.
    pub(super) fn start(program: &Path, federation: &Federation, rate: f64) -> Result<Self, Failure> {
        let urls = federation.nodes.iter().map(|node| format!("http://{}", node.rpc)).collect::<Vec<_>>().join(",");
        let journal = federation.folder.join("acknowledged.jsonl");
        let path = federation.folder.join("load.log");
        let log = File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
        let mut command = Command::new(program);
        command
            .args(["load", "--rpc", &urls, "--rate", &rate.to_string(), "--journal"])
            .arg(&journal)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command
            .spawn()
            .map_err(|error| Failure::work(format!("cannot start `{}`", shown(&command))).because(error))?;
        Ok(Self { process, journal })
    }

    /// Ends it and gives what it noted.
    pub(super) fn stop(mut self) -> Result<Vec<Transaction>, Failure> {
        if let Ok(Some(end)) = self.process.try_wait() {
            return Err(Failure::work(format!("the sender of transactions ended by itself: {end}")));
        }
        signal(self.process.id(), "TERM");
        self.process.wait().map_err(|error| Failure::work("the sender of transactions does not end").because(error))?;
        let text = fs::read_to_string(&self.journal).map_err(|error| Failure::file("read", &self.journal, &error))?;
        Ok(text.lines().filter_map(transaction).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn transaction(line: &str) -> Option<Transaction> {
    let document: Value = serde_json::from_str(line).ok()?;
    Some(Transaction {
        hash: document["hash"].as_str()?.to_owned(),
        node: document["node"].as_u64()?,
        nonce: document["nonce"].as_u64()?,
    })
}

/// Looks for every acknowledged transaction in the blocks of every node: in one block, and in the same one everywhere.
pub(super) fn audit(federation: &Federation, transactions: &[Transaction]) -> Outcome {
    let mut outcome = Outcome { acknowledged: transactions.len(), ..Outcome::default() };
    let deadline = Instant::now() + PATIENCE;
    let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
    for node in &federation.nodes {
        let mut missing: Vec<&Transaction> = transactions.iter().collect();
        loop {
            missing.retain(|transaction| match block_of(node, &transaction.hash) {
                Some(block) => {
                    let known = blocks.entry(&transaction.hash).or_insert_with(|| block.clone());
                    if *known != block {
                        outcome.violations.push(format!(
                            "transaction {} is in block {known}, on node {} in block {block}",
                            transaction.hash, node.index
                        ));
                    }
                    false
                }
                None => true,
            });
            if missing.is_empty() || Instant::now() > deadline {
                break;
            }
            thread::sleep(PAUSE);
        }
        // The others still have what a damaged database lost.
        if node.damaged {
            continue;
        }
        outcome.lost = outcome.lost.max(missing.len());
        if let Some(Transaction { hash, node: by, nonce }) = missing.first() {
            outcome.violations.push(format!(
                "{} acknowledged transactions are in no block of node {}, the first {hash} (nonce {nonce}, taken by node {by})",
                missing.len(),
                node.index
            ));
        }
    }
    outcome
}

/// The block that a node has a transaction in.
fn block_of(node: &Node, hash: &str) -> Option<String> {
    let receipt = call(node.rpc, "eth_getTransactionReceipt", &json!([hash]), ANSWER)?;
    receipt["blockHash"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_no_acknowledgement() {
        let whole = r#"{"hash":"0xaa","node":1,"nonce":7}"#;
        assert_eq!(transaction(whole), Some(Transaction { hash: "0xaa".to_owned(), node: 1, nonce: 7 }));
        assert_eq!(transaction(&whole[..20]), None);
    }
}
