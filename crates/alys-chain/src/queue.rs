//! Work that waits for an author.

use alys_primitives::{AuxPowRecord, B256, Root};
use std::collections::{BTreeMap, BTreeSet};

/// A checked record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queued {
    pub(crate) record: AuxPowRecord,
    /// Hash of the header that did the work.
    pub(crate) parent_header: B256,
}

/// Records by the hash of their bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuxPowQueue {
    records: BTreeMap<Root, Queued>,
}

impl AuxPowQueue {
    pub(crate) fn contains(&self, hash: &Root) -> bool {
        self.records.contains_key(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn insert(&mut self, hash: Root, queued: Queued) {
        self.records.insert(hash, queued);
    }

    pub(crate) fn remove(&mut self, hash: &Root) -> Option<Queued> {
        self.records.remove(hash)
    }

    pub(crate) fn get(&self, hash: &Root) -> Option<&Queued> {
        self.records.get(hash)
    }

    /// All, by hash.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Root, &Queued)> {
        self.records.iter()
    }

    /// Hashes of the records that follow none of these records.
    pub(crate) fn not_following(&self, live: &BTreeSet<Root>) -> Vec<Root> {
        let dead = |queued: &Queued| !live.contains(&queued.record.bundle.previous_auxpow_root);
        self.records.iter().filter(|(_, queued)| dead(queued)).map(|(hash, _)| *hash).collect()
    }
}
