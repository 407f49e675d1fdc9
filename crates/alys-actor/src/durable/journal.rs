//! The port that durable state is kept behind.

use super::Once;
use super::codec::checksum;

/// Why a journal did not do as told.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct JournalError {
    /// What it was doing.
    pub what: &'static str,
    /// Why that failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 for the first since the genesis.
    pub seq: u64,
    /// Version of the encoding.
    pub version: u32,
    /// Names it among those of its sender.
    pub key: Option<Once>,
    /// Root of the state after it, if it was computed.
    pub root: Option<[u8; 32]>,
    /// The input.
    pub bytes: Vec<u8>,
    /// Over all of it.
    pub checksum: u64,
}

impl Record {
    pub(super) fn new(seq: u64, version: u32, key: Option<Once>, root: Option<[u8; 32]>, bytes: Vec<u8>) -> Self {
        let mut record = Self { seq, version, key, root, bytes, checksum: 0 };
        record.checksum = record.sum();
        record
    }

    /// True if nothing of it changed since it was made.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.checksum == self.sum()
    }

    fn sum(&self) -> u64 {
        let key = self.key.map(|k| [k.sender.to_le_bytes(), k.number.to_le_bytes()].concat()).unwrap_or_default();
        let root: &[u8] = self.root.as_ref().map_or(&[], |r| r.as_slice());
        checksum(&[&self.seq.to_le_bytes(), &self.version.to_le_bytes(), &key, root, &self.bytes])
    }
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Inputs applied before it was taken.
    pub seq: u64,
    /// Version of the encoding.
    pub version: u32,
    /// Root of the state.
    pub root: [u8; 32],
    /// The state.
    pub bytes: Vec<u8>,
    /// Over all of it.
    pub checksum: u64,
}

impl Saved {
    pub(super) fn new(seq: u64, version: u32, root: [u8; 32], bytes: Vec<u8>) -> Self {
        let mut saved = Self { seq, version, root, bytes, checksum: 0 };
        saved.checksum = saved.sum();
        saved
    }

    /// True if nothing of it changed since it was made.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.checksum == self.sum()
    }

    fn sum(&self) -> u64 {
        checksum(&[&self.seq.to_le_bytes(), &self.version.to_le_bytes(), &self.root, &self.bytes])
    }
}

/// Where inputs and checkpoints are kept: one actor's, in order.
///
/// After an error the caller stops using it; whether the write took effect is found out by opening it again.
pub trait Journal: Send + 'static {
    /// Adds inputs, all or none. They are durable when this returns.
    fn append(&mut self, records: Vec<Record>) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Up to `max` inputs after number `after`, in order.
    fn read(&mut self, after: u64, max: usize) -> impl Future<Output = Result<Vec<Record>, JournalError>> + Send;

    /// Adds a checkpoint. It is durable when this returns.
    fn save(&mut self, checkpoint: Saved) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// A checkpoint, by age: 0 is the newest.
    fn checkpoint(&mut self, age: usize) -> impl Future<Output = Result<Option<Saved>, JournalError>> + Send;

    /// Keeps the newest `keep` checkpoints, and the inputs after the oldest of those. May do less, and later.
    ///
    /// Inputs since the genesis may go only when `keep` checkpoints exist.
    fn prune(&mut self, keep: usize) -> impl Future<Output = Result<(), JournalError>> + Send;
}
