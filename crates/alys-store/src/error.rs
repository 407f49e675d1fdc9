//! What can go wrong with the database.

use crate::{CodecError, Column};
use alys_primitives::Root;
use std::io;
use std::path::PathBuf;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works in the folder.
    #[error("the folder {} is in use by another process", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The database was written by a newer version of the software.
    #[error("the database in {} has schema version {found}; this version supports up to {supported}", folder.display())]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// The schema version on disk.
        found: u32,
        /// The newest schema version known here.
        supported: u32,
    },
    /// The database is older than the oldest version that can be migrated.
    #[error("the database in {} has schema version {found}, which no migration leads on from", folder.display())]
    TooOld {
        /// The folder.
        folder: PathBuf,
        /// The schema version on disk.
        found: u32,
    },
    /// The database belongs to another chain.
    #[error("the database in {} holds chain {found}, not chain {expected}", folder.display())]
    OtherChain {
        /// The folder.
        folder: PathBuf,
        /// Genesis root of the chain that is stored.
        found: Root,
        /// Genesis root of the chain that was asked for.
        expected: Root,
    },
    /// A stored record is damaged. It is never served.
    #[error("damaged record {} in {column}: {damage}", hex::encode(key))]
    Corrupt {
        /// Where the record is.
        column: Column,
        /// Its key.
        key: Vec<u8>,
        /// What is wrong with it.
        damage: Damage,
    },
    /// RocksDB found its own files damaged.
    #[error("the database files are damaged")]
    CorruptFiles(#[source] rocksdb::Error),
    /// A file beside RocksDB's is damaged or missing.
    #[error("{} is damaged or missing", path.display())]
    CorruptFolder {
        /// The file.
        path: PathBuf,
    },
    /// Writes that were acknowledged are gone: the database lost its end.
    #[error("writes up to number {acknowledged} were acknowledged, the database holds only those up to {found}")]
    LostWrites {
        /// Number of the last acknowledged write.
        acknowledged: u64,
        /// Number of the last write that is there.
        found: u64,
    },
    /// RocksDB has forgotten column families.
    #[error("{found} of {expected} column families are left")]
    MissingColumns {
        /// How many there are.
        found: usize,
        /// How many there were.
        expected: usize,
    },
    /// Writes in the middle are gone.
    #[error("commit {missing} is missing from the database")]
    MissingCommit {
        /// Number of the first missing commit.
        missing: u64,
    },
    /// The disk is full. Whether the write is durable is unknown: the process must stop.
    #[error("the disk is full")]
    DiskFull(#[source] rocksdb::Error),
    /// The disk failed under RocksDB. After a failed write or sync the process must stop.
    #[error("the database's disk failed")]
    Disk(#[source] rocksdb::Error),
    /// A file beside RocksDB's could not be read or written.
    #[error("I/O on {} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// RocksDB refused for another reason.
    #[error("the database refused")]
    Engine(#[source] rocksdb::Error),
    /// A value could not be encoded.
    #[error("a value could not be encoded")]
    Encode(#[source] CodecError),
    /// An earlier write failed; nothing is written any more until the process restarts.
    #[error("an earlier write failed, the process must restart")]
    Stopped,
}

/// What is wrong with a stored record.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The checksum does not match, or there is none.
    #[error("checksum mismatch")]
    Checksum,
    /// The key has the wrong form.
    #[error("malformed key")]
    Key,
    /// The bytes are not SSZ of the expected type.
    #[error("not valid SSZ: {0:?}")]
    Ssz(alys_primitives::ssz::DecodeError),
    /// The bytes are not what the codec writes.
    #[error("{0}")]
    Codec(CodecError),
    /// The value's own root is not its key.
    #[error("its root is {found}")]
    Root {
        /// The root of what is stored.
        found: Root,
    },
    /// The value's fixed-size part has the wrong length.
    #[error("wrong length")]
    Length,
    /// An index points at a record that is not there.
    #[error("names {0}, which is not stored")]
    Dangling(Root),
    /// An index points at a record of another height.
    #[error("names a block of height {0}")]
    Height(u64),
}

impl StoreError {
    /// True if the disk or RocksDB failed. After such an error of a write it is not known what is durable: the process
    /// must stop, and never tries the sync again. (Every other error of a write stops the writer as well, since a
    /// decision that can't be written can't be taken back.)
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::DiskFull(_)
            | Self::Disk(_)
            | Self::Io { .. }
            | Self::Engine(_)
            | Self::CorruptFiles(_)
            | Self::Stopped => true,
            Self::Corrupt { .. }
            | Self::CorruptFolder { .. }
            | Self::LostWrites { .. }
            | Self::MissingColumns { .. }
            | Self::MissingCommit { .. }
            | Self::Locked { .. }
            | Self::Newer { .. }
            | Self::TooOld { .. }
            | Self::OtherChain { .. }
            | Self::Encode(_) => false,
        }
    }

    /// True if bytes on disk are damaged: the node must resync or be restored, a restart alone does not help.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Corrupt { .. }
            | Self::CorruptFiles(_)
            | Self::CorruptFolder { .. }
            | Self::LostWrites { .. }
            | Self::MissingColumns { .. }
            | Self::MissingCommit { .. } => true,
            Self::Locked { .. }
            | Self::Newer { .. }
            | Self::TooOld { .. }
            | Self::OtherChain { .. }
            | Self::DiskFull(_)
            | Self::Disk(_)
            | Self::Io { .. }
            | Self::Engine(_)
            | Self::Encode(_)
            | Self::Stopped => false,
        }
    }
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        use rocksdb::ErrorKind;
        let text: &str = error.as_ref();
        if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
            return Self::DiskFull(error);
        }
        // RocksDB hands a status over as text, so its kind is only as sure as that text.
        let kind = error.kind();
        if kind == ErrorKind::Corruption {
            Self::CorruptFiles(error)
        } else if kind == ErrorKind::IOError {
            Self::Disk(error)
        } else {
            Self::Engine(error)
        }
    }
}
