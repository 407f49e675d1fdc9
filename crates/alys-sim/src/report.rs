//! What a run was.

use crate::{Fault, FaultSet};
use std::collections::BTreeMap;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} at {at_millis} ms: {what}")]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// Simulated time since the start.
    pub at_millis: u64,
}

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The faults that were on.
    pub faults: FaultSet,
    /// Members that broke the rules.
    pub byzantine: usize,
    /// How often each fault happened.
    pub fired: BTreeMap<Fault, u64>,
    /// Events that were handled.
    pub events: u64,
    /// Simulated time in milliseconds.
    pub millis: u64,
    /// Greatest height of a head.
    pub height: u64,
    /// Greatest finalized height.
    pub finalized: u64,
    /// Bundles finalized by the node that finalized most.
    pub bundles: u64,
    /// Reorganisations of all nodes.
    pub reorgs: u64,
    /// Slots, stalls, epochs and other recovery paths that were taken, by name.
    pub paths: BTreeMap<&'static str, u64>,
    /// Hash over every event and effect, in order.
    pub trace: [u8; 32],
    /// The first broken invariant.
    pub violation: Option<Violation>,
}

impl Report {
    /// A run that could not be brought to an end.
    pub(crate) fn broken(violation: Violation) -> Self {
        Self {
            faults: FaultSet::default(),
            byzantine: 0,
            fired: BTreeMap::new(),
            events: 0,
            millis: 0,
            height: 0,
            finalized: 0,
            bundles: 0,
            reorgs: 0,
            paths: BTreeMap::new(),
            trace: [0; 32],
            violation: Some(violation),
        }
    }
}
