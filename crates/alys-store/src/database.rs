//! The database: opening, committing, closing.

use crate::column::{database_options, descriptors};
use crate::folder::{FolderLock, Format, Mark, read_format, write_format};
use crate::record::{seal, unseal};
use crate::schema::Schema;
use crate::{Column, Damage, Reader, StoreConfig, StoreError};
use alys_primitives::Root;
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// How many commits the log keeps. More than fit into RocksDB's write-ahead log, so that a hole in that one is noticed.
pub const LOG_KEPT: u64 = 65_536;

const GENESIS_KEY: &[u8] = b"genesis_root";

/// The database's one writer. It has no clone: one actor owns it and everyone else reads through a [`Reader`].
#[derive(Debug)]
pub struct Database {
    shared: Arc<Shared>,
    mark: Mark,
    /// Number of the last commit.
    commits: u64,
}

/// What writer and readers share: RocksDB, which synchronises itself, and whether a write has failed.
pub(crate) struct Shared {
    db: DB,
    is_stopped: AtomicBool,
    /// Held until the last reader is gone.
    lock: FolderLock,
    /// Goes last: without it the folder is free.
    mark: Arc<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("folder", &self.lock.folder()).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database of the chain `genesis_root` in `folder`, or makes it. An older schema is migrated.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::TooOld`], [`StoreError::OtherChain`]; damage that
    /// shows at open ([`StoreError::is_corruption`]); the disk's errors.
    pub fn open(folder: &Path, genesis_root: Root, config: &StoreConfig) -> Result<Self, StoreError> {
        Self::open_as(folder, genesis_root, config, &Schema::CURRENT)
    }

    /// [`Database::open`] by a program that knows `schema`.
    pub(crate) fn open_as(
        folder: &Path,
        genesis_root: Root,
        config: &StoreConfig,
        schema: &Schema,
    ) -> Result<Self, StoreError> {
        let lock = FolderLock::acquire(folder)?;
        let files = folder.join("rocksdb");
        let format = match read_format(folder)? {
            Some(Format { version: found, .. }) if found > schema.version => {
                return Err(StoreError::Newer { folder: folder.to_path_buf(), found, supported: schema.version });
            }
            Some(format) => format,
            None if files.exists() => return Err(StoreError::CorruptFolder { path: folder.join("format") }),
            None => {
                // The mark first: a folder with a format file has one.
                Mark::create(folder)?;
                write_format(folder, schema.format())?;
                schema.format()
            }
        };
        let mark = Mark::open(folder)?;

        // Where something was acknowledged, missing files are damage and not a reason to begin anew.
        let is_fresh = mark.number() == 0;
        let options = database_options(config, is_fresh);
        let current = files.join("CURRENT");
        let existing = match current.exists() {
            true => DB::list_cf(&options, &files)?,
            false if is_fresh => Vec::new(),
            false => return Err(StoreError::CorruptFolder { path: current }),
        };
        if !is_fresh && existing.len() < format.columns {
            return Err(StoreError::MissingColumns { found: existing.len(), expected: format.columns });
        }
        let names: BTreeSet<&str> = existing.iter().map(String::as_str).chain(Column::ALL.map(Column::name)).collect();
        let db = DB::open_cf_descriptors(&options, &files, descriptors(config, names))?;
        let shared = Arc::new(Shared { db, is_stopped: AtomicBool::new(false), lock, mark: Arc::default() });

        let commits = shared.check_log()?;
        let mut database = Self { shared, mark, commits };
        database.check_acknowledged()?;
        schema.migrate(&mut database)?;
        database.check_genesis(genesis_root)?;
        Ok(database)
    }

    /// A handle for readers: cheap to clone, usable from any thread, alive as long as anyone holds it.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Number of the last commit.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Syncs everything and gives the folder up, unless a reader still holds it.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shared.check_running()?;
        self.shared.db.flush_wal(true).map_err(|error| self.shared.stop(error))?;
        self.mark.sync()
    }

    /// Rewrites RocksDB's files without what was overwritten or deleted. Takes as long as writing everything once.
    pub fn compact(&self) {
        for column in Column::ALL {
            self.shared.db.compact_range_cf(self.shared.family(column), None::<&[u8]>, None::<&[u8]>);
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.shared.lock.folder()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Commits `changes`: atomic, synced, numbered. `state_root` goes to the log.
    ///
    /// After an error nothing is known about the changes and every later call fails: the process must stop.
    pub(crate) fn commit(&mut self, mut changes: Changes<'_>, state_root: Root) -> Result<(), StoreError> {
        self.shared.check_running()?;
        let number = self.commits + 1;
        changes.put(Column::Log, &number.to_be_bytes(), state_root.as_slice());
        if let Some(old) = number.checked_sub(LOG_KEPT) {
            changes.delete(Column::Log, &old.to_be_bytes());
        }
        self.shared.write(changes)?;
        self.commits = number;
        self.mark.advance(self.shared.db.latest_sequence_number()).inspect_err(|_| self.shared.set_stopped())
    }

    fn check_acknowledged(&mut self) -> Result<(), StoreError> {
        let (acknowledged, found) = (self.mark.number(), self.shared.db.latest_sequence_number());
        if found < acknowledged {
            return Err(StoreError::LostWrites { acknowledged, found });
        }
        Ok(())
    }

    fn check_genesis(&mut self, expected: Root) -> Result<(), StoreError> {
        match self.shared.get(Column::Meta, GENESIS_KEY)? {
            Some(bytes) => {
                let found = root_of(Column::Meta, GENESIS_KEY, &bytes)?;
                if found == expected {
                    return Ok(());
                }
                Err(StoreError::OtherChain { folder: self.folder().to_path_buf(), found, expected })
            }
            None => {
                let shared = Arc::clone(&self.shared);
                let mut changes = Changes::new(&shared);
                changes.put(Column::Meta, GENESIS_KEY, expected.as_slice());
                self.commit(changes, Root::ZERO)
            }
        }
    }
}

impl Shared {
    pub(crate) fn open_mark(&self) -> Weak<()> {
        Arc::downgrade(&self.mark)
    }

    /// The value of `key`, unsealed.
    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_opt(column, key, &ReadOptions::default())
    }

    /// Several reads of one state of the database.
    pub(crate) fn at_once<T>(&self, read: impl FnOnce(&ReadOptions) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let snapshot = self.db.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        read(&options)
    }

    pub(crate) fn get_opt(
        &self,
        column: Column,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.db.get_pinned_cf_opt(self.family(column), key, options)? {
            Some(sealed) => unseal(column, key, &sealed).map(|value| Some(value.to_vec())),
            None => Ok(None),
        }
    }

    /// Whether a record is there.
    pub(crate) fn has(&self, column: Column, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.db.get_pinned_cf(self.family(column), key)?.is_some())
    }

    /// Visits records in the order of their keys, from the first not below `from`, until the visitor breaks.
    pub(crate) fn scan<B>(
        &self,
        column: Column,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<B>, StoreError>,
    ) -> Result<Option<B>, StoreError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        for record in self.db.iterator_cf_opt(self.family(column), options, mode) {
            let (key, sealed) = record?;
            if let ControlFlow::Break(found) = visit(&key, unseal(column, &key, &sealed)?)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Visits keys in order, from the first not below `from`, until the visitor breaks; values are not looked at.
    pub(crate) fn keys(
        &self,
        column: Column,
        from: &[u8],
        mut visit: impl FnMut(&[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        for record in self.db.iterator_cf_opt(self.family(column), options, mode) {
            let (key, _) = record?;
            if visit(&key)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last record whose key is not above `key`.
    pub(crate) fn last_until(&self, column: Column, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        let mode = IteratorMode::From(key, Direction::Reverse);
        let Some(record) = self.db.iterator_cf(self.family(column), mode).next() else { return Ok(None) };
        let (key, sealed) = record?;
        let value = unseal(column, &key, &sealed)?.to_vec();
        Ok(Some((key.into_vec(), value)))
    }

    /// Writes `changes` atomically and synced.
    pub(crate) fn write(&self, changes: Changes<'_>) -> Result<(), StoreError> {
        self.check_running()?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        #[cfg(feature = "canary")]
        match std::env::var("ALYS_PLANTED").as_deref() {
            // Readable, and gone with the process.
            Ok("forgetful-store") => {
                options.set_sync(false);
                options.disable_wal(true);
            }
            // Gone with the machine's power.
            Ok("unsynced-store") => options.set_sync(false),
            Ok(_) | Err(_) => {}
        }
        self.db.write_opt(changes.batch, &options).map_err(|error| self.stop(error))
    }

    /// Fails after a failed write.
    pub(crate) fn check_running(&self) -> Result<(), StoreError> {
        if self.is_stopped.load(Ordering::Acquire) { Err(StoreError::Stopped) } else { Ok(()) }
    }

    /// Remembers that a write failed.
    fn stop(&self, error: rocksdb::Error) -> StoreError {
        self.set_stopped();
        error.into()
    }

    fn set_stopped(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Checks that no commit is missing among those that the log keeps. The number of the last one.
    fn check_log(&self) -> Result<u64, StoreError> {
        let mut ends: Option<(u64, u64)> = None;
        self.scan::<()>(Column::Log, &[], |key, value| {
            let number = number_of(Column::Log, key)?;
            root_of(Column::Log, key, value)?;
            ends = Some(match ends {
                Some((_, last)) if number != last + 1 => return Err(StoreError::MissingCommit { missing: last + 1 }),
                Some((first, _)) => (first, number),
                None => (number, number),
            });
            Ok(ControlFlow::Continue(()))
        })?;
        let Some((first, last)) = ends else { return Ok(0) };
        let expected = last.saturating_sub(LOG_KEPT) + 1;
        if first != expected {
            return Err(StoreError::MissingCommit { missing: expected });
        }
        Ok(last)
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        match self.db.cf_handle(column.name()) {
            Some(family) => family,
            // Open asks for every column, and RocksDB opens all or fails.
            None => unreachable!("column family {column} was opened"),
        }
    }
}

/// A record's key and its value, unsealed.
pub(crate) type KeyValue = (Vec<u8>, Vec<u8>);

/// Writes that will be committed together.
pub(crate) struct Changes<'a> {
    shared: &'a Shared,
    batch: WriteBatch,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, batch: WriteBatch::default() }
    }

    pub(crate) fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        self.batch.put_cf(self.shared.family(column), key, seal(column, key, value));
    }

    pub(crate) fn delete(&mut self, column: Column, key: &[u8]) {
        self.batch.delete_cf(self.shared.family(column), key);
    }
}

/// A key or value that is one big-endian number.
pub(crate) fn number_of(column: Column, key: &[u8]) -> Result<u64, StoreError> {
    match <[u8; 8]>::try_from(key) {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Key }),
    }
}

/// A value that is one root.
pub(crate) fn root_of(column: Column, key: &[u8], value: &[u8]) -> Result<Root, StoreError> {
    match Root::try_from(value) {
        Ok(root) => Ok(root),
        Err(_) => Err(StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Length }),
    }
}
