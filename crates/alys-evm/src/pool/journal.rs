//! What keeps acknowledged transactions over a crash.

use alloy_primitives::{B256, Bytes};
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};

/// A journalled transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its hash.
    pub hash: B256,
    /// Its EIP-2718 bytes.
    pub raw: Bytes,
}

/// The journal can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database can't be opened.
    #[error("transaction journal {path} can't be opened")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What the database said.
        source: rocksdb::Error,
    },
    /// A write was not made durable. Nothing may be acknowledged after it.
    #[error("transaction journal can't be written")]
    Write(#[source] rocksdb::Error),
    /// A read failed.
    #[error("transaction journal can't be read")]
    Read(#[source] rocksdb::Error),
}

/// Durable storage of acknowledged transactions.
pub trait TransactionJournal: Send + 'static {
    /// Adds entries; they are on disk when this returns. Adding one again changes nothing.
    ///
    /// # Errors
    /// The entries may not be durable; the caller must acknowledge none of them, nor anything later.
    fn append(&mut self, entries: &[JournalEntry]) -> Result<(), JournalError>;

    /// Forgets entries, some time: after a crash they may be back.
    ///
    /// # Errors
    /// The storage failed.
    fn remove(&mut self, hashes: &[B256]) -> Result<(), JournalError>;

    /// All entries in the order in which they were added.
    ///
    /// # Errors
    /// The storage failed.
    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError>;
}

/// A journal in a small database of its own.
pub struct RocksJournal {
    db: DB,
    next: u64,
}

impl RocksJournal {
    /// Opens the journal in folder `path`, which is created if it is missing.
    ///
    /// # Errors
    /// The database can't be opened or read.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(4 * 1024 * 1024);
        options.set_max_write_buffer_number(2);
        options.set_max_total_wal_size(8 * 1024 * 1024);
        options.set_max_open_files(32);
        options.set_keep_log_file_num(2);
        options.set_max_background_jobs(2);
        let db = DB::open(&options, path).map_err(|source| JournalError::Open { path: path.to_owned(), source })?;
        let mut journal = Self { db, next: 0 };
        journal.next = journal.records()?.iter().map(|(number, _)| number.saturating_add(1)).max().unwrap_or(0);
        Ok(journal)
    }

    /// Records with their numbers; those that are damaged are left out, since a hash names its bytes.
    fn records(&self) -> Result<Vec<(u64, JournalEntry)>, JournalError> {
        let mut records = Vec::new();
        for item in self.db.iterator(IteratorMode::Start) {
            let (key, value) = item.map_err(JournalError::Read)?;
            match decode(&key, &value) {
                Some(record) => records.push(record),
                None => tracing::warn!(key = %Bytes::from(key), "damaged transaction in the journal is left out"),
            }
        }
        records.sort_by_key(|(number, _)| *number);
        Ok(records)
    }
}

impl TransactionJournal for RocksJournal {
    fn append(&mut self, entries: &[JournalEntry]) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        for entry in entries {
            let mut value = Vec::with_capacity(entry.raw.len().saturating_add(8));
            value.extend_from_slice(&self.next.to_be_bytes());
            value.extend_from_slice(&entry.raw);
            batch.put(entry.hash, value);
            self.next = self.next.saturating_add(1);
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(JournalError::Write)
    }

    fn remove(&mut self, hashes: &[B256]) -> Result<(), JournalError> {
        let mut batch = WriteBatch::default();
        for hash in hashes {
            batch.delete(hash);
        }
        self.db.write(batch).map_err(JournalError::Write)
    }

    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        Ok(self.records()?.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// A record is `hash -> number (8 bytes, big-endian) || transaction`.
fn decode(key: &[u8], value: &[u8]) -> Option<(u64, JournalEntry)> {
    let (number, raw) = value.split_first_chunk::<8>()?;
    let hash = B256::try_from(key).ok()?;
    (alloy_primitives::keccak256(raw) == hash)
        .then(|| (u64::from_be_bytes(*number), JournalEntry { hash, raw: Bytes::copy_from_slice(raw) }))
}
