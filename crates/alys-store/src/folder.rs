//! The folder of the database: its lock, its format file, and the mark of what was acknowledged.
//!
//! ```text
//! lock           held exclusively while the folder is in use
//! format         the schema version that a program must know to open the folder, and how many columns there are
//! acknowledged   number of the last write that was acknowledged
//! rocksdb/       RocksDB's own files
//! ```

use crate::StoreError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Exclusive use of a folder, given up when it is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    folder: PathBuf,
}

impl FolderLock {
    /// Takes the folder, which is made if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process, or another lock of this one, has it; [`StoreError::Io`].
    pub fn acquire(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        let failed = |source| StoreError::Io { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file, folder: folder.to_path_buf() }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { folder: folder.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// First word of the format file.
const FORMAT_NAME: &str = "alys-database";

/// No format file is longer.
const MAX_FORMAT_BYTES: usize = 128;

/// What the format file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// The schema version that a program must know.
    pub(crate) version: u32,
    /// How many column families there are at least. RocksDB's manifest can lose its end without a word, and forgets
    /// columns with it.
    pub(crate) columns: usize,
}

impl Format {
    fn line(self) -> String {
        let Self { version, columns } = self;
        let line = format!("{FORMAT_NAME} {version} {columns}");
        let checksum = crc32fast::hash(line.as_bytes());
        format!("{line} {checksum:08x}\n")
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
        let format = Self { version: words.next()?.parse().ok()?, columns: words.next()?.parse().ok()? };
        // Whoever wrote it would have written exactly the same bytes: the checksum in them is the test.
        (format.line().as_bytes() == line).then_some(format)
    }
}

/// Reads the format file; `None` in a new folder.
pub(crate) fn read_format(folder: &Path) -> Result<Option<Format>, StoreError> {
    let path = folder.join("format");
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FORMAT_BYTES).unwrap_or(u64::MAX);
    match File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { path, source }),
    }
    match Format::parse(&bytes) {
        Some(format) => Ok(Some(format)),
        None => Err(StoreError::CorruptFolder { path }),
    }
}

/// Replaces the format file, durably and at once.
pub(crate) fn write_format(folder: &Path, format: Format) -> Result<(), StoreError> {
    let path = folder.join("format");
    let draft = folder.join("format.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(format.line().as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| StoreError::Io { path: path.clone(), source })
}

/// Distance of the mark's two places: each is written alone, and a disk writes a sector whole or not at all.
const PLACE_BYTES: usize = 512;

/// Bytes in use of each place: number, checksum.
const MARK_BYTES: usize = 12;

/// The number of the last acknowledged write, kept beside RocksDB so that a log that lost its end is noticed.
///
/// It is written after the sync of what it counts and not synced itself: it may lag behind after a power cut, and is
/// never ahead.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    number: u64,
    /// Which place is written next.
    is_second_next: bool,
}

impl Mark {
    /// Makes the mark of a new folder, at zero.
    pub(crate) fn create(folder: &Path) -> Result<(), StoreError> {
        let path = folder.join("acknowledged");
        let create = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            let mut contents = [0; 2 * PLACE_BYTES];
            contents[..MARK_BYTES].copy_from_slice(&encode_mark(0));
            contents[PLACE_BYTES..PLACE_BYTES + MARK_BYTES].copy_from_slice(&encode_mark(0));
            file.write_all(&contents)?;
            file.sync_all()?;
            File::open(folder)?.sync_all()
        };
        create().map_err(|source| StoreError::Io { path: path.clone(), source })
    }

    /// Opens the mark. One place may be torn by a power cut, then the other counts.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("acknowledged");
        let mut contents = [0; 2 * PLACE_BYTES];
        let opened = OpenOptions::new().read(true).write(true).open(&path).and_then(|mut file| {
            file.read_exact(&mut contents)?;
            Ok(file)
        });
        let file = match opened {
            Ok(file) => file,
            Err(source) if source.kind() == ErrorKind::NotFound || source.kind() == ErrorKind::UnexpectedEof => {
                return Err(StoreError::CorruptFolder { path });
            }
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let (first, second) = contents.split_at(PLACE_BYTES);
        let (number, is_second_next) = match (decode_mark(first), decode_mark(second)) {
            (Some(first), Some(second)) => (first.max(second), first >= second),
            (Some(first), None) => (first, true),
            (None, Some(second)) => (second, false),
            (None, None) => return Err(StoreError::CorruptFolder { path }),
        };
        Ok(Self { file, path, number, is_second_next })
    }

    /// The number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Moves the mark on.
    pub(crate) fn advance(&mut self, number: u64) -> Result<(), StoreError> {
        let place = if self.is_second_next { u64::try_from(PLACE_BYTES).unwrap_or(u64::MAX) } else { 0 };
        self.file
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.file.write_all(&encode_mark(number)))
            .map_err(|source| StoreError::Io { path: self.path.clone(), source })?;
        self.number = number;
        self.is_second_next = !self.is_second_next;
        Ok(())
    }

    /// Makes it durable.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|source| StoreError::Io { path: self.path.clone(), source })
    }
}

fn encode_mark(number: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    // Not the plain checksum of the number: a place full of zeros must not pass for the number zero.
    let checksum = !crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode_mark(place: &[u8]) -> Option<u64> {
    let (number, _) = place.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    place.starts_with(&encode_mark(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_one_torn_place() {
        let folder = tempfile::tempdir().expect("a folder");
        Mark::create(folder.path()).expect("made");
        let mut mark = Mark::open(folder.path()).expect("opens");
        assert_eq!(mark.number(), 0);
        for number in [3, 8, 9] {
            mark.advance(number).expect("written");
        }
        drop(mark);
        assert_eq!(Mark::open(folder.path()).expect("opens").number(), 9);

        let path = folder.path().join("acknowledged");
        let whole = fs::read(&path).expect("readable");
        for place in [0, PLACE_BYTES] {
            let mut torn = whole.clone();
            torn[place..place + MARK_BYTES].fill(0);
            fs::write(&path, &torn).expect("written");
            let mut mark = Mark::open(folder.path()).expect("opens");
            assert!(mark.number() == 9 || mark.number() == 8, "{}", mark.number());
            mark.advance(10).expect("written");
            assert_eq!(Mark::open(folder.path()).expect("opens").number(), 10);
        }
        fs::write(&path, [0; 2 * PLACE_BYTES]).expect("written");
        assert!(matches!(Mark::open(folder.path()), Err(StoreError::CorruptFolder { .. })));
    }

    #[test]
    fn a_damaged_format_file_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read_format(folder.path()).expect("readable"), None);
        let format = Format { version: 41, columns: 12 };
        write_format(folder.path(), format).expect("written");
        assert_eq!(read_format(folder.path()).expect("readable"), Some(format));
        let path = folder.path().join("format");
        let good = fs::read(&path).expect("readable");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).expect("written");
            assert!(matches!(read_format(folder.path()), Err(StoreError::CorruptFolder { .. })), "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).expect("written");
        assert!(read_format(folder.path()).is_err());
    }
}
