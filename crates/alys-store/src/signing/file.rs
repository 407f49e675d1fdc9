//! The file under a signing record, and its lock.

use super::SigningError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Where a signing record keeps its bytes. The simulator's crash model is the second implementation.
///
/// Any error leaves the contents unknown: the record that sees one is poisoned and never touches the file again.
pub trait RecordFile {
    /// Name for messages.
    fn path(&self) -> &Path;

    /// Length in bytes.
    ///
    /// # Errors
    /// The device's.
    fn length(&mut self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The device's, or `UnexpectedEof` past the end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at the end. They may be lost in a crash until [`RecordFile::sync`].
    ///
    /// # Errors
    /// The device's; some of the bytes may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The device's; it must never be tried again after one, since the kernel drops the pages that it could not write.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// The device's.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file on disk, locked against every other process while it is open.
#[derive(Debug)]
pub struct LockedFile {
    file: File,
    path: PathBuf,
}

impl LockedFile {
    /// Makes the file with its first bytes, durable and whole or not at all.
    pub(super) fn create(path: &Path, contents: &[u8]) -> Result<Self, SigningError> {
        let failed = |source| SigningError::Io { path: path.to_path_buf(), source };
        let mut draft_name = path.as_os_str().to_owned();
        draft_name.push(".new");
        let draft = PathBuf::from(draft_name);
        // A draft that is there was left by a crash before it became the record; nothing was ever signed on it.
        match fs::remove_file(&draft) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut options = open_options();
        let file = options.create_new(true).open(&draft).map_err(failed)?;
        let mut locked = Self::lock(file, path)?;
        locked.file.write_all(contents).map_err(failed)?;
        locked.file.sync_all().map_err(failed)?;
        // A link, unlike a rename, never takes the place of an existing record.
        fs::hard_link(&draft, path).map_err(|source| {
            if source.kind() == ErrorKind::AlreadyExists {
                SigningError::Exists { path: path.to_path_buf() }
            } else {
                failed(source)
            }
        })?;
        fs::remove_file(&draft).map_err(failed)?;
        sync_folder_of(path).map_err(failed)?;
        Ok(locked)
    }

    /// Opens the file.
    pub(super) fn open(path: &Path) -> Result<Self, SigningError> {
        let file = open_options().open(path).map_err(|source| {
            if source.kind() == ErrorKind::NotFound {
                SigningError::Missing { path: path.to_path_buf() }
            } else {
                SigningError::Io { path: path.to_path_buf(), source }
            }
        })?;
        Self::lock(file, path)
    }

    fn lock(file: File, path: &Path) -> Result<Self, SigningError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path: path.to_path_buf() }),
            Err(TryLockError::WouldBlock) => Err(SigningError::Locked { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(SigningError::Io { path: path.to_path_buf(), source }),
        }
    }
}

impl RecordFile for LockedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(buffer)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_all()
    }
}

fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the entry of `path` in its folder durable.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
