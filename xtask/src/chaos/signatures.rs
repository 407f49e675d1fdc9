//! Whether each signature that the chain shows is in the signing record of the member that made it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;
use crate::federation::Federation;

/// The last slots that members were seen to have signed for, by member.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    proposals: BTreeMap<u64, u64>,
    approvals: BTreeMap<u64, u64>,
    pub(super) seen: u64,
}

impl Signatures {
    /// Takes in a block as `alys_blockByHeight` gives it: its author, and who approved its parent.
    pub(super) fn observe(&mut self, block: &Value) {
        if let (Some(author), Some(slot)) = (block["authorIndex"].as_u64(), block["slot"].as_u64()) {
            raise(&mut self.proposals, author, slot);
            self.seen += 1;
        }
        let certificate = &block["parentNotarization"];
        if let (Some(signers), Some(slot)) = (certificate["signers"].as_array(), certificate["slot"].as_u64()) {
            for signer in signers.iter().filter_map(Value::as_u64) {
                raise(&mut self.approvals, signer, slot);
                self.seen += 1;
            }
        }
    }

    /// Compares with the records of the stopped nodes: each must reach as far as what was seen.
    pub(super) fn audit(&self, program: &Path, federation: &Federation) -> Result<Vec<String>, Failure> {
        let mut violations = Vec::new();
        for node in &federation.nodes {
            let member = u64::try_from(node.index).unwrap_or(u64::MAX);
            let record = export(program, &federation.folder.join(format!("chain/member-{member}/alys.toml")))?;
            for (duty, seen) in [("signed_proposals", &self.proposals), ("signed_approvals", &self.approvals)] {
                let Some(seen) = seen.get(&member) else { continue };
                let recorded = last(&record, duty);
                if recorded.is_none_or(|recorded| recorded < *seen) {
                    violations.push(format!(
                        "node {member} signed for slot {seen} ({duty}), its record ends at {recorded:?}"
                    ));
                }
            }
        }
        Ok(violations)
    }
}

fn raise(slots: &mut BTreeMap<u64, u64>, member: u64, slot: u64) {
    let last = slots.entry(member).or_default();
    *last = slot.max(*last);
}

/// The greatest slot under a duty of an interchange document.
fn last(record: &Value, duty: &str) -> Option<u64> {
    let entries = record["data"].as_array()?.iter().filter_map(|history| history[duty].as_array());
    entries.flatten().filter_map(|entry| entry["slot"].as_str()?.parse().ok()).max()
}

fn export(program: &Path, config: &Path) -> Result<Value, Failure> {
    let mut command = Command::new(program);
    command.args(["keys", "history", "export", "--config"]).arg(config);
    let output =
        command.output().map_err(|error| Failure::work("the signing record can't be exported").because(error))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(
            Failure::work(format!("the signing record of {} can't be exported", config.display())).because(text.trim())
        );
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::work("the record is no JSON").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_slot_of_each_member_counts() {
        let mut signatures = Signatures::default();
        let block = |author: u64, slot: u64, signers: &[u64]| json!({ "authorIndex": author, "slot": slot, "parentNotarization": { "slot": slot - 1, "signers": signers } });
        signatures.observe(&block(0, 9, &[0, 1, 2]));
        signatures.observe(&block(1, 10, &[0, 2, 3]));
        signatures.observe(&block(0, 5, &[1]));
        assert_eq!(signatures.proposals, BTreeMap::from([(0, 9), (1, 10)]));
        assert_eq!(signatures.approvals, BTreeMap::from([(0, 9), (1, 8), (2, 9), (3, 9)]));
        assert_eq!(signatures.seen, 10);
    }

    #[test]
    fn a_record_without_a_duty_has_no_last_slot() {
        let record =
            json!({ "data": [{ "signed_proposals": [{ "slot": "12" }, { "slot": "7" }], "signed_approvals": [] }] });
        assert_eq!(last(&record, "signed_proposals"), Some(12));
        assert_eq!(last(&record, "signed_approvals"), None);
    }
}
