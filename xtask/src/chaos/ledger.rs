//! What the nodes acknowledged, kept outside of them and compared with what they say later.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::signatures::Signatures;
use crate::federation::{Federation, Node, Status, call};

/// How long an audit's question may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Acknowledged blocks of one node that are looked up in one audit: the newest ones, which a crash could lose.
const LOOKED_UP: usize = 12;

/// Everything that was acknowledged.
#[derive(Default)]
pub(super) struct Ledger {
    /// Roots that any node called safe, by height. Safe and finalized never revert, so they must agree for ever.
    safe: BTreeMap<u64, String>,
    finalized: BTreeMap<u64, String>,
    /// Blocks that a node called safe itself: it must have them for ever.
    by_node: BTreeMap<usize, BTreeMap<u64, String>>,
    /// The greatest heights that each node showed: safe and finalized never go back.
    reached: BTreeMap<usize, (u64, u64)>,
    /// Whether there is one member, and the greatest height of its head.
    alone: bool,
    head: u64,
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    pub(super) looked_up: u64,
    pub(super) signatures: Signatures,
    pub(super) violations: Vec<String>,
}

impl Ledger {
    /// Nothing acknowledged yet, in a federation of so many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { alone: nodes == 1, ..Self::default() }
    }

    /// Takes in what the nodes say now.
    pub(super) fn observe(&mut self, statuses: &[Option<Status>]) {
        for (index, status) in statuses.iter().enumerate() {
            if let Some(status) = status {
                self.observe_one(index, status);
            }
        }
    }

    /// Takes in what one node says.
    pub(super) fn observe_one(&mut self, index: usize, status: &Status) {
        self.agree("safe", index, status.safe, &status.safe_root);
        self.agree("finalized", index, status.finalized, &status.finalized_root);
        let (safe, finalized) = self.reached.entry(index).or_default();
        if status.safe < *safe || status.finalized < *finalized {
            self.violations.push(format!(
                "node {index} went back from safe {safe}, finalized {finalized} to {}, {}",
                status.safe, status.finalized
            ));
        }
        if self.alone {
            // Nobody else could have made another branch: what its only member notarized stays.
            if status.head < self.head {
                self.violations.push(format!("node {index} went back from head {} to {}", self.head, status.head));
            }
            self.head = self.head.max(status.head);
        }
        (*safe, *finalized) = ((*safe).max(status.safe), (*finalized).max(status.finalized));
        let own = self.by_node.entry(index).or_default();
        if own.insert(status.safe, status.safe_root.clone()).is_none() {
            self.acknowledged += 1;
        }
    }

    /// A node was given empty databases: it begins again and may show less than before.
    pub(super) fn begins_anew(&mut self, index: usize) {
        self.reached.remove(&index);
    }

    fn agree(&mut self, tag: &str, index: usize, height: u64, root: &str) {
        let known = if tag == "safe" { &mut self.safe } else { &mut self.finalized };
        let known = known.entry(height).or_insert_with(|| root.to_owned());
        if known != root {
            let violation =
                format!("node {index} calls {root} {tag} at height {height}, where {known} was {tag} before");
            self.violations.push(violation);
        }
    }

    /// Asks every node for what it acknowledged, and for what it noticed itself.
    pub(super) fn audit(&mut self, federation: &Federation) {
        for node in &federation.nodes {
            let own: Vec<(u64, String)> = self
                .by_node
                .get(&node.index)
                .into_iter()
                .flat_map(|own| own.iter().rev().take(LOOKED_UP))
                .map(|(height, root)| (*height, root.clone()))
                .collect();
            for (height, root) in own.into_iter().filter(|(height, _)| *height > 0) {
                self.looked_up += 1;
                let block = call(node.rpc, "alys_blockByHeight", &json!([height]), ANSWER);
                let found = block.as_ref().and_then(|block| block["root"].as_str());
                if let Some(block) = &block {
                    self.signatures.observe(block);
                }
                // Damaged bytes may be gone; they may not be served as something else.
                if found.is_none() && node.damaged {
                    continue;
                }
                if found != Some(root.as_str()) {
                    self.lost += 1;
                    self.violations.push(format!(
                        "node {} acknowledged block {root} at height {height} and now has {found:?}",
                        node.index
                    ));
                }
            }
            for name in ["alys_chain_safety_violations_total", "alys_chain_equivocations_total"] {
                if let Some(count) = metric(node, name).filter(|count| *count > 0.0) {
                    self.violations.push(format!("node {} counts {name} {count}", node.index));
                }
            }
        }
        self.violations.dedup();
    }
}

/// A counter of a node's metrics; none if it does not exist (yet).
fn metric(node: &Node, name: &str) -> Option<f64> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect_timeout(&node.metrics, ANSWER).ok()?;
    socket.set_read_timeout(Some(ANSWER)).ok()?;
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", node.metrics);
    socket.write_all(head.as_bytes()).ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(safe: u64, root: &str) -> Option<Status> {
        Some(Status {
            head: safe + 1,
            safe,
            safe_root: root.to_owned(),
            finalized: 0,
            finalized_root: "0x00".to_owned(),
            peers: 3,
            stalled: false,
            synced: true,
        })
    }

    #[test]
    fn two_safe_blocks_of_one_height_are_a_violation_whenever_they_were_seen() {
        let mut ledger = Ledger::default();
        ledger.observe(&[status(5, "0xaa"), status(4, "0x99")]);
        ledger.observe(&[None, status(5, "0xbb")]);
        assert_eq!(ledger.violations.len(), 1);
        assert_eq!(ledger.acknowledged, 3);
    }

    #[test]
    fn a_node_that_goes_back_is_a_violation() {
        let mut ledger = Ledger::default();
        ledger.observe(&[status(5, "0xaa")]);
        ledger.begins_anew(0);
        ledger.observe(&[status(3, "0x88")]);
        assert!(ledger.violations.is_empty());
        ledger.observe(&[status(2, "0x77")]);
        assert_eq!(ledger.violations.len(), 1);
    }
}
