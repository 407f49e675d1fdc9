//! Blocks of an embedded chain in a file, so that the chain survives its process.
//!
//! The file begins with [`MAGIC`]; each record is `length u32 ‖ time u32 ‖ check u32 ‖ block ‖ digest [8]`, little-endian:
//! `time` is the time against which the block was held, `check` covers length and time, `digest` the record up to it
//! (both are beginnings of SHA-256). Records are synced before a block is acknowledged. Opening replays all of them, in
//! order, which gives the same chain again; waiting transactions are not kept, their senders send them again.
//!
//! - A last record that was cut short by a crash (too few bytes, zeros, or a wrong digest right at the end of the file)
//!   was never acknowledged: it is **cut off**, and [`Opened::cut_bytes`] says how much.
//! - Anything else that does not fit, a wrong check or digest before the end or a block that the rules refuse, means
//!   that the disk changed what was written: the file is **refused** with [`LogError::Corrupt`] or
//!   [`LogError::Refused`].
//!
//! After a failed write or sync the log takes nothing more: what the file holds is unknown until it is opened again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{Block, Weight};

use crate::regtest::{BlockError, Limits, Regtest};

/// How a file of blocks begins; the last byte is the format's version.
pub const MAGIC: [u8; 8] = *b"ALYSBTC\x01";
/// The longest block: its weight counts each byte at least once.
pub const MAX_BLOCK_BYTES: u64 = Weight::MAX_BLOCK.to_wu();
const HEAD_BYTES: usize = 12;
const DIGEST_BYTES: usize = 8;

/// Why a log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It does not begin as it must: another file, or of another version.
    #[error("{path} is no block log of this version")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Bytes changed after they were written.
    #[error("{path} is corrupt at byte {offset}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// A block that was taken once is refused now.
    #[error("{path}: the block at byte {offset} is refused: {source}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where its record begins.
        offset: u64,
        /// The rule.
        source: BlockError,
    },
    /// The block is longer than a block may be.
    #[error("a block of {bytes} bytes is too long")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// An earlier write failed.
    #[error("{path} takes nothing more since a write failed")]
    Failed {
        /// The file.
        path: PathBuf,
    },
}

/// What opening gave.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready for more.
    pub log: BlockLog,
    /// The chain that its blocks make.
    pub regtest: Regtest,
    /// Blocks that were replayed.
    pub replayed: u64,
    /// Blocks that do not fit the limits given now; they remain in the file.
    pub skipped: u64,
    /// Bytes of a torn last record that were cut off.
    pub cut_bytes: u64,
}

/// A file to which blocks are appended. It is locked while it is open.
#[derive(Debug)]
pub struct BlockLog {
    file: File,
    path: PathBuf,
    failed: bool,
}

impl BlockLog {
    /// Opens or creates a log and replays its blocks onto a chain with the given limits.
    ///
    /// # Errors
    /// [`LogError`]; a refused file is left as it is.
    pub fn open(path: &Path, limits: Limits) -> Result<Opened, LogError> {
        let io_error = |action| move |source| LogError::Io { action, path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(io_error("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io_error("lock")(source)),
        }
        let length = file.metadata().map_err(io_error("read"))?.len();
        if length < u64::try_from(MAGIC.len()).unwrap_or(u64::MAX) {
            begin(&mut file, path, length)?;
        }
        let mut log = Self { file, path: path.to_owned(), failed: false };
        let length = log.file.metadata().map_err(io_error("read"))?.len();
        let replay = log.replay(length, limits)?;
        if replay.end < length {
            log.file.set_len(replay.end).map_err(io_error("cut"))?;
            log.file.sync_all().map_err(io_error("sync"))?;
        }
        log.file.seek(SeekFrom::Start(replay.end)).map_err(io_error("seek"))?;
        let cut_bytes = length.saturating_sub(replay.end);
        let Replay { regtest, replayed, skipped, .. } = replay;
        Ok(Opened { log, regtest, replayed, skipped, cut_bytes })
    }

    /// Appends blocks, each with the time against which it was held, and syncs once. They are durable when this returns.
    ///
    /// # Errors
    /// [`LogError`]; after an error of the operating system nothing more is taken.
    pub fn append<'b>(&mut self, blocks: impl IntoIterator<Item = (&'b Block, u32)>) -> Result<(), LogError> {
        if self.failed {
            return Err(LogError::Failed { path: self.path.clone() });
        }
        let mut bytes = Vec::new();
        for (block, time) in blocks {
            let block = encode::serialize(block);
            let length = u32::try_from(block.len()).ok().filter(|length| u64::from(*length) <= MAX_BLOCK_BYTES);
            let length = length.ok_or(LogError::TooLong { bytes: block.len() })?;
            let head = head(length, time);
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&block);
            bytes.extend_from_slice(&digest(&head, &block));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| {
            self.failed = true;
            LogError::Io { action: "append to", path: self.path.clone(), source }
        })
    }

    fn replay(&mut self, length: u64, limits: Limits) -> Result<Replay, LogError> {
        let path = self.path.clone();
        let io_error = |source| LogError::Io { action: "read", path: path.clone(), source };
        self.file.seek(SeekFrom::Start(0)).map_err(io_error)?;
        let mut reader = BufReader::new(&mut self.file);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).map_err(io_error)?;
        if magic != MAGIC {
            return Err(LogError::Format { path });
        }
        let end = u64::try_from(MAGIC.len()).unwrap_or(u64::MAX);
        let mut replay = Replay { regtest: Regtest::new(limits), replayed: 0, skipped: 0, end };
        loop {
            let corrupt = || LogError::Corrupt { path: path.clone(), offset: replay.end };
            let left = length.saturating_sub(replay.end);
            let (block, time, size) = match read_record(&mut reader, left).map_err(io_error)? {
                Record::Whole { block, time, size } => (block, time, size),
                Record::Torn => return Ok(replay),
                Record::Corrupt => return Err(corrupt()),
            };
            let block: Block = encode::deserialize(&block).map_err(|_| corrupt())?;
            match replay.regtest.submit(block, time) {
                Ok(_) => replay.replayed = replay.replayed.saturating_add(1),
                Err(error) if error.is_temporary() => replay.skipped = replay.skipped.saturating_add(1),
                Err(source) => return Err(LogError::Refused { path, offset: replay.end, source }),
            }
            replay.end = replay.end.saturating_add(size);
        }
    }
}

struct Replay {
    regtest: Regtest,
    replayed: u64,
    skipped: u64,
    /// Where the last whole record ends.
    end: u64,
}

enum Record {
    Whole { block: Vec<u8>, time: u32, size: u64 },
    Torn,
    Corrupt,
}

fn read_record(reader: &mut impl Read, left: u64) -> io::Result<Record> {
    let (head_bytes, digest_bytes) = (u64::try_from(HEAD_BYTES), u64::try_from(DIGEST_BYTES));
    let (head_bytes, digest_bytes) = (head_bytes.unwrap_or(u64::MAX), digest_bytes.unwrap_or(u64::MAX));
    if left < head_bytes {
        return Ok(Record::Torn);
    }
    let mut read = [0; HEAD_BYTES];
    reader.read_exact(&mut read)?;
    let [l0, l1, l2, l3, t0, t1, t2, t3, ..] = read;
    let (length, time) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([t0, t1, t2, t3]));
    if read != head(length, time) || u64::from(length) > MAX_BLOCK_BYTES {
        // A file system may have made the file longer before it wrote what was appended.
        return Ok(if read == [0; HEAD_BYTES] && only_zeros(reader)? { Record::Torn } else { Record::Corrupt });
    }
    let size = head_bytes.saturating_add(u64::from(length)).saturating_add(digest_bytes);
    if size > left {
        return Ok(Record::Torn);
    }
    let mut block = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    reader.read_exact(&mut block)?;
    let mut found = [0; DIGEST_BYTES];
    reader.read_exact(&mut found)?;
    if found == digest(&read, &block) {
        return Ok(Record::Whole { block, time, size });
    }
    Ok(if size == left { Record::Torn } else { Record::Corrupt })
}

fn only_zeros(reader: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(true);
        }
        if buffer.iter().take(count).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

fn head(length: u32, time: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (fields, check) = head.split_at_mut(8);
    let (first, second) = fields.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&time.to_le_bytes());
    let hash = sha256::Hash::hash(fields).to_byte_array();
    check.copy_from_slice(hash.split_at(4).0);
    head
}

fn digest(head: &[u8; HEAD_BYTES], block: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut engine = sha256::Hash::engine();
    engine.input(head);
    engine.input(block);
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(sha256::Hash::from_engine(engine).to_byte_array().split_at(DIGEST_BYTES).0);
    digest
}

/// Writes the beginning of a file that has none yet, and makes it and its name durable.
fn begin(file: &mut File, path: &Path, length: u64) -> Result<(), LogError> {
    let io_error = |action| move |source| LogError::Io { action, path: path.to_owned(), source };
    // Only a beginning that was torn is overwritten.
    let mut found = Vec::new();
    file.read_to_end(&mut found).map_err(io_error("read"))?;
    let torn = MAGIC.starts_with(&found) || found.iter().all(|byte| *byte == 0);
    if u64::try_from(found.len()).ok() != Some(length) || !torn {
        return Err(LogError::Format { path: path.to_owned() });
    }
    file.seek(SeekFrom::Start(0)).map_err(io_error("seek"))?;
    file.write_all(&MAGIC).map_err(io_error("write"))?;
    file.sync_all().map_err(io_error("sync"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder of"))
}
