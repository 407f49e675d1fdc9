//! Records of bundles in a file, from genesis on: what a light start has followed so far.
//!
//! Each record is its length (4 bytes, little endian) and its SSZ. The file is no authority: it is followed again whenever it
//! is opened, and what does not continue the chain is cut off.

use alys_chain::{LightBundle, LightChain, LightError};
use alys_primitives::ssz::{Decode as _, Encode as _};
use alys_primitives::{ChainSpec, Height, LightRecord, Root, Slot, Wei};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The most bytes of one record: more than the largest that a frame can bring.
const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Bytes before each record.
const LENGTH_BYTES: u64 = 4;

/// Records that are read at once.
const GROUP: usize = 256;

/// Why records can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The chain spec makes no chain.
    #[error("the chain spec")]
    Genesis(#[from] alys_chain::GenesisError),
    /// The file fails.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A chain of records and the file that holds them.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: BufWriter<File>,
    chain: LightChain,
    bundles: Vec<LightBundle>,
    /// Bytes of the records.
    bytes: u64,
    /// How many of them are enough.
    limit: u64,
}

impl Spool {
    /// Opens a file and follows what is in it, or begins one. `now` is the slot of this moment; `limit` is the size in bytes
    /// from which on the file [is full](Self::is_full).
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn open(path: &Path, spec: &ChainSpec, now: Slot, limit: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Io { path: path.to_owned(), source };
        let chain = LightChain::genesis(spec.clone())?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        let mut spool = Self { path, file, chain, bundles: Vec::new(), bytes: 0, limit };
        {
            let mut records = Records::open(&spool.path).map_err(failed)?;
            while let Some(record) = records.next() {
                if spool.chain.follow(&record, now).is_err() {
                    break;
                }
                spool.bundles.push(LightBundle::of(&record));
                spool.bytes = records.read;
            }
        }
        spool.file.get_mut().set_len(spool.bytes).map_err(failed)?;
        spool.file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(spool)
    }

    /// Begins anew, whatever the file held.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn create(path: &Path, spec: &ChainSpec, limit: u64) -> Result<Self, SpoolError> {
        File::create(path).map_err(|source| SpoolError::Io { path: path.to_owned(), source })?;
        Self::open(path, spec, Slot(0), limit)
    }

    /// Takes the next record, if it continues the chain.
    ///
    /// # Errors
    /// The file's; inside, why the record does not fit, which changes nothing.
    pub fn push(&mut self, record: &LightRecord, now: Slot) -> Result<Result<(), LightError>, SpoolError> {
        if let Err(error) = self.chain.follow(record, now) {
            return Ok(Err(error));
        }
        let bytes = record.as_ssz_bytes();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let written = self.file.write_all(&length.to_le_bytes()).and_then(|()| self.file.write_all(&bytes));
        written.map_err(|source| self.failed(source))?;
        self.bytes = self.bytes.saturating_add(u64::from(length)).saturating_add(LENGTH_BYTES);
        self.bundles.push(LightBundle::of(record));
        Ok(Ok(()))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub fn flush(&mut self) -> Result<(), SpoolError> {
        self.file.flush().map_err(|source| self.failed(source))
    }

    /// Takes the place of another chain's file.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub(crate) fn move_to(mut self, path: &Path) -> Result<Self, SpoolError> {
        self.flush()?;
        std::fs::rename(&self.path, path).map_err(|source| self.failed(source))?;
        path.clone_into(&mut self.path);
        Ok(self)
    }

    /// The records from the oldest on, in groups of a bounded size.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub(crate) fn groups(&mut self) -> Result<impl Iterator<Item = Vec<LightRecord>> + use<>, SpoolError> {
        self.flush()?;
        let mut records = Records::open(&self.path).map_err(|source| self.failed(source))?;
        Ok(std::iter::from_fn(move || {
            let group: Vec<LightRecord> = std::iter::from_fn(|| records.next()).take(GROUP).collect();
            (!group.is_empty()).then_some(group)
        }))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`SpoolError::Io`].
    pub(crate) fn remove(self) -> Result<(), SpoolError> {
        std::fs::remove_file(&self.path).map_err(|source| self.failed(source))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The chain so far.
    pub fn chain(&self) -> &LightChain {
        &self.chain
    }

    /// Its work.
    pub fn work(&self) -> Wei {
        self.chain.work()
    }

    /// Where the next bundle begins.
    pub fn next(&self) -> Height {
        self.chain.end().height.next()
    }

    /// Whether the file has reached its limit: no more records are to be asked for. What one answer brings on top is kept, so
    /// the file is at most that much larger.
    pub fn is_full(&self) -> bool {
        self.bytes >= self.limit
    }

    /// The size from which on the file is full, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the chain commits to the block `root` at `height`, by the siblings on the way to its bundle.
    pub fn holds(&self, root: Root, height: Height, branch: &[Root]) -> bool {
        let after = self.bundles.partition_point(|bundle| bundle.from <= height);
        let bundle = after.checked_sub(1).and_then(|at| self.bundles.get(at));
        bundle.is_some_and(|bundle| bundle.holds(root, height, branch))
    }

    fn failed(&self, source: std::io::Error) -> SpoolError {
        SpoolError::Io { path: self.path.clone(), source }
    }
}

/// Reads a file's records up to its end, or to the first that is none.
struct Records {
    file: BufReader<File>,
    /// Bytes of the records so far.
    read: u64,
}

impl Records {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), read: 0 })
    }

    fn next(&mut self) -> Option<LightRecord> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length).ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= MAX_RECORD_BYTES)?;
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).ok()?;
        let record = LightRecord::from_ssz_bytes(&bytes).ok()?;
        self.read = self.read.saturating_add(LENGTH_BYTES).saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        Some(record)
    }
}
