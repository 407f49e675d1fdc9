//! How long the chain's operations take: `alys_chain_operation_seconds{operation, outcome}`.
//!
//! | operation | from | to |
//! | --- | --- | --- |
//! | `validate` | a block's checks begin on their thread | the verdict |
//! | `import` | a verified block reaches the actor | its outcome is decided, which for an imported one means durable |
//! | `produce` | the payload is asked for | the proposal is signed, the wait for its slot apart |
//! | `process_auxpow` | verified work reaches the actor | it is queued durably, or refused |
//! | `finalize`, `reorg` | the input that causes it | every effect has been handed on |
//! | `status`, `broadcast`, `update_federation` | the request | the answer |

use super::targets::PerformanceTargets;
use alys_chain::{ChainEvent, ImportOutcome, SignId};
use alys_primitives::Root;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Operations that can be timed at once; what comes beyond that is not timed.
const MAX_TIMED: usize = 1024;

/// Records one duration.
pub(super) fn record(operation: &'static str, outcome: &'static str, took: Duration) {
    metrics::histogram!("alys_chain_operation_seconds", "operation" => operation, "outcome" => outcome)
        .record(took.as_secs_f64());
}

/// A proposal under way.
#[derive(Clone, Copy, Debug)]
struct Proposal {
    began: Instant,
    /// When its payload came; from then on it waits for its slot.
    built: Option<Instant>,
    /// The question for its signature, and when it was asked.
    asked: Option<(SignId, Instant)>,
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Timings {
    pub(super) targets: PerformanceTargets,
    imports: BTreeMap<Root, Instant>,
    proofs: BTreeMap<Root, Instant>,
    proposal: Option<Proposal>,
    /// What the input in hand has caused so far.
    caused: Vec<&'static str>,
}

impl Timings {
    pub(super) fn new(targets: PerformanceTargets) -> Self {
        Self { targets, imports: BTreeMap::new(), proofs: BTreeMap::new(), proposal: None, caused: Vec::new() }
    }

    pub(super) fn import_began(&mut self, root: Root) {
        begin(&mut self.imports, root);
    }

    pub(super) fn import_ended(&mut self, root: &Root, outcome: &ImportOutcome) {
        let outcome = match outcome {
            ImportOutcome::Imported { .. } => "imported",
            ImportOutcome::AlreadyKnown => "known",
            ImportOutcome::Rejected(_) => "rejected",
            // It is decided later.
            ImportOutcome::Pending(_) => return,
        };
        if let Some(began) = self.imports.remove(root) {
            self.targets.judge_since("import", outcome, began);
        }
    }

    pub(super) fn proof_began(&mut self, hash: Root) {
        begin(&mut self.proofs, hash);
    }

    pub(super) fn proof_ended(&mut self, hash: &Root, taken: bool) {
        if let Some(began) = self.proofs.remove(hash) {
            record("process_auxpow", if taken { "queued" } else { "rejected" }, began.elapsed());
        }
    }

    pub(super) fn build_began(&mut self) {
        self.proposal = Some(Proposal { began: Instant::now(), built: None, asked: None });
    }

    pub(super) fn built(&mut self) {
        if let Some(proposal) = &mut self.proposal {
            proposal.built = Some(Instant::now());
        }
    }

    pub(super) fn proposal_asked(&mut self, id: SignId) {
        if let Some(proposal) = &mut self.proposal {
            proposal.asked = Some((id, Instant::now()));
        }
    }

    pub(super) fn signed(&mut self, id: SignId, done: bool) {
        if let Some(Proposal { began, built, asked: Some((asked, at)) }) = self.proposal
            && asked == id
        {
            self.proposal = None;
            let waited = built.map(|built| at.saturating_duration_since(built)).unwrap_or_default();
            let took = began.elapsed().saturating_sub(waited);
            self.targets.judge("produce", if done { "signed" } else { "refused" }, took);
        }
    }

    pub(super) fn saw(&mut self, event: &ChainEvent) {
        if matches!(event, ChainEvent::Finalized { .. }) {
            self.caused.push("finalize");
        } else if matches!(event, ChainEvent::Reorg { .. }) {
            self.caused.push("reorg");
        }
    }

    /// The input that began at `began` has had all its effects.
    pub(super) fn fed(&mut self, began: Instant) {
        for operation in self.caused.drain(..) {
            self.targets.judge_since(operation, "done", began);
        }
    }
}

fn begin(under_way: &mut BTreeMap<Root, Instant>, key: Root) {
    if under_way.len() < MAX_TIMED {
        under_way.entry(key).or_insert_with(Instant::now);
    }
}
