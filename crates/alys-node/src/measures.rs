//! The metrics by name, with their units and what they mean, for `# HELP` in what Prometheus reads. Where a number is counted
//! or measured it is named again; a test holds both lists against each other.

use metrics::Unit;

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Kind, name, unit and meaning of every metric.
const METRICS: &[(Kind, &str, Unit, &str)] = &[
    (Histogram, "alys_actor_handle_seconds", Unit::Seconds, "Time that an actor took for a message."),
    (Gauge, "alys_actor_inbox_depth", Unit::Count, "Messages that wait in an actor's inbox, once there were any."),
    (Counter, "alys_actor_restarts_total", Unit::Count, "Restarts of an actor by its supervisor."),
    (Counter, "alys_anomalies_total", Unit::Count, "Times that a measure of an actor left its usual band."),
    (Gauge, "alys_anomaly", Unit::Count, "1 while a measure of an actor is outside of its usual band."),
    (Counter, "alys_auxpow_accepted_total", Unit::Count, "Merged-mining proofs that were taken."),
    (Gauge, "alys_auxpow_queued", Unit::Count, "Merged-mining proofs that wait for a block."),
    (Gauge, "alys_auxpow_records", Unit::Count, "Merged-mining proofs in the chain up to the head."),
    (Counter, "alys_auxpow_rejected_total", Unit::Count, "Merged-mining proofs that were refused."),
    (Counter, "alys_auxpow_templates_total", Unit::Count, "Work that was handed to miners."),
    (Counter, "alys_backfill_blocks_total", Unit::Count, "Blocks from before this node's snapshot that were fetched."),
    (
        Counter,
        "alys_chain_clock_disagreements_total",
        Unit::Count,
        "Times that wall and monotonic clock disagreed, so that nothing was signed.",
    ),
    (Counter, "alys_chain_equivocations_total", Unit::Count, "Proofs that a member signed two things for one slot."),
    (Gauge, "alys_chain_height", Unit::Count, "Height of the block with a tag: head, safe, finalized."),
    (
        Counter,
        "alys_chain_late_answers_total",
        Unit::Count,
        "Answers of the execution engine that came after their slot.",
    ),
    (
        Histogram,
        "alys_chain_notarized_seconds",
        Unit::Seconds,
        "Time from the start of a block's slot to its certificate on this node.",
    ),
    (Histogram, "alys_chain_operation_seconds", Unit::Seconds, "Time that an operation of the chain took, by outcome."),
    (Counter, "alys_chain_rejected_total", Unit::Count, "Blocks and messages that the rules refuse."),
    (Counter, "alys_chain_reorgs_total", Unit::Count, "Changes of the head to another branch."),
    (
        Counter,
        "alys_chain_safety_violations_total",
        Unit::Count,
        "Conflicts with a safe block: more members are malicious than the protocol bears.",
    ),
    (Counter, "alys_chain_target_missed_total", Unit::Count, "Operations that took longer than their target."),
    (Gauge, "alys_chain_target_seconds", Unit::Seconds, "Target of an operation."),
    (Counter, "alys_engine_failovers_total", Unit::Count, "Changes from one execution client to another."),
    (
        Histogram,
        "alys_engine_request_seconds",
        Unit::Seconds,
        "Time that an execution client took for a request, by outcome.",
    ),
    (Gauge, "alys_p2p_banned", Unit::Count, "Peers that are kept out for a while."),
    (
        Counter,
        "alys_p2p_commands_dropped_total",
        Unit::Count,
        "Verdicts and requests that the network had no room for.",
    ),
    (Counter, "alys_p2p_dials_total", Unit::Count, "Connections that were begun, by outcome."),
    (Counter, "alys_p2p_gossip_total", Unit::Count, "Gossip messages that arrived, by topic and outcome."),
    (Counter, "alys_p2p_incoming_failed_total", Unit::Count, "Incoming connections that came to nothing."),
    (Counter, "alys_p2p_offences_total", Unit::Count, "Offences that peers were blamed for."),
    (
        Counter,
        "alys_p2p_outgoing_missed_total",
        Unit::Count,
        "Messages that were not sent, as the network could not keep up.",
    ),
    (Gauge, "alys_p2p_peers", Unit::Count, "Connected peers."),
    (Gauge, "alys_p2p_peers_ready", Unit::Count, "Peers of this chain that have told their status."),
    (Counter, "alys_p2p_published_total", Unit::Count, "Gossip messages of this node, by topic and outcome."),
    (Histogram, "alys_p2p_request_seconds", Unit::Seconds, "Time that a peer took for an answer."),
    (Counter, "alys_p2p_requests_total", Unit::Count, "Questions among peers, by kind, direction and outcome."),
    (Counter, "alys_p2p_slow_peer_total", Unit::Count, "Times that a peer took messages too slowly."),
    (
        Counter,
        "alys_p2p_unjudged_total",
        Unit::Count,
        "Gossip messages that were ignored, as too many were being judged.",
    ),
    (Counter, "alys_p2p_verdicts_total", Unit::Count, "Verdicts about gossip messages."),
    (Counter, "alys_peg_bitcoin_failures_total", Unit::Count, "Questions to Bitcoin without a usable answer."),
    (Counter, "alys_peg_signatures_refused_total", Unit::Count, "Custodians' signatures that were refused."),
    (Counter, "alys_peg_signer_failures_total", Unit::Count, "Requests that the own custody signer failed or refused."),
    (Gauge, "alys_peg_sweeps_open", Unit::Count, "Sweeps to the newest custody that are not settled."),
    (Counter, "alys_peg_sweeps_total", Unit::Count, "Sweeps that settled while this node looked on."),
    (Counter, "alys_peg_swept_sats_total", Unit::Count, "Satoshis that those sweeps moved."),
    (Gauge, "alys_peg_unswept_sats", Unit::Count, "Satoshis with custodies that are no longer the newest."),
    (
        Counter,
        "alys_peg_withheld_approvals_total",
        Unit::Count,
        "Approvals withheld, as the own Bitcoin does not show what a block relies on.",
    ),
    (Gauge, "alys_signer_doppelganger", Unit::Count, "1 once another process was seen to sign with this member's key."),
    (Counter, "alys_signer_refused_total", Unit::Count, "Signatures that the signing record ruled out, by reason."),
    (Counter, "alys_snapshots_made_total", Unit::Count, "Snapshots of the state that were made."),
    (Histogram, "alys_storage_write_seconds", Unit::Seconds, "Time of a synced write to the chain's database."),
    (
        Gauge,
        "alys_supply_invariant_wei",
        Unit::Count,
        "What the peg's books lack or have too much, in wei; 0 when they are right.",
    ),
    (Counter, "alys_sync_blocks_total", Unit::Count, "Blocks that were imported from peers."),
    (
        Gauge,
        "alys_sync_may_sign",
        Unit::Count,
        "1 while this node may sign: it has caught up and its clock is its peers'.",
    ),
];

/// Tells the installed recorder what every metric means.
pub fn describe_metrics() {
    for (kind, name, unit, meaning) in METRICS {
        match kind {
            Counter => metrics::describe_counter!(*name, *unit, *meaning),
            Gauge => metrics::describe_gauge!(*name, *unit, *meaning),
            Histogram => metrics::describe_histogram!(*name, *unit, *meaning),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The product code of all crates, but for files that repeat the names of metrics.
    pub(crate) fn sources() -> String {
        let crates = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut text = String::new();
        let mut folders: Vec<_> =
            std::fs::read_dir(crates).into_iter().flatten().flatten().map(|it| it.path().join("src")).collect();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let repeats = path.ends_with("gateway/ops.rs") || path.ends_with("src/measures.rs");
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") && !repeats {
                    text.push_str(&std::fs::read_to_string(path).unwrap_or_default());
                }
            }
        }
        text
    }

    #[test]
    fn every_metric_is_described_as_what_it_is() {
        let sources = sources();
        let mut used = BTreeSet::new();
        for (kind, call) in [(Counter, "counter!("), (Gauge, "gauge!("), (Histogram, "histogram!(")] {
            for (at, _) in sources.match_indices(call) {
                let rest = sources[at + call.len()..].trim_start();
                let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                if !name.starts_with("alys_") {
                    continue;
                }
                let described = METRICS.iter().find(|(_, described, ..)| *described == name);
                assert_eq!(described.map(|(kind, ..)| *kind), Some(kind), "{name}");
                used.insert(name);
            }
        }
        for (_, name, ..) in METRICS {
            assert!(used.contains(name), "{name} is described and never measured");
        }
    }
}
