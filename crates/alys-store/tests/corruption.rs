//! Damaged files: an error with a name, or the right data. Never wrong data.

mod support;

use alys_store::{Database, StoreConfig, StoreError};
use std::fs;
use std::path::{Path, PathBuf};
use support::{GENESIS, assert_chain, import, open};

const HEIGHT: u64 = 12;

/// What is done to a part of a file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Flip,
    Zero,
    /// The bytes of another part of the file.
    Misplace,
    CutOff,
}

const FAULTS: [Fault; 4] = [Fault::Flip, Fault::Zero, Fault::Misplace, Fault::CutOff];

fn damage(path: &Path, at: usize, length: usize, fault: Fault) -> bool {
    let old = fs::read(path).expect("readable");
    let mut new = old.clone();
    let end = (at + length).min(new.len());
    match fault {
        Fault::Flip => new[at] ^= 0x10,
        Fault::Zero => new[at..end].fill(0),
        Fault::Misplace => {
            let from = (at + new.len() / 2) % (new.len() - (end - at)).max(1);
            new.copy_within(from..from + (end - at), at);
        }
        Fault::CutOff => new.truncate(at),
    }
    fs::write(path, &new).expect("writable");
    new != old
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Opens a damaged database and reads everything. `Ok` if all of it was right.
fn read_all(folder: &Path) -> Result<(), StoreError> {
    let database = Database::open(folder, GENESIS, &StoreConfig::default())?;
    let restored = database.load()?;
    let reader = database.reader();
    reader.verify()?;
    for height in 1..=HEIGHT {
        reader.block_at(alys_primitives::Height(height))?;
    }
    // No error: then nothing may be missing or changed.
    assert_eq!(restored.blocks.len(), usize::try_from(HEIGHT).expect("small"), "acknowledged blocks are missing");
    assert_chain(&reader, HEIGHT);
    Ok(())
}

/// Damages every file of `pristine` in `steps` places and counts what was noticed.
fn try_faults(pristine: &Path, steps: usize) -> (usize, usize) {
    let scratch = tempfile::tempdir().expect("a folder");
    let (mut noticed, mut harmless) = (0, 0);
    for file in files(pristine) {
        let name = file.strip_prefix(pristine).expect("inside");
        let size = fs::metadata(&file).expect("there").len();
        let size = usize::try_from(size).expect("small");
        for step in 0..steps.min(size) {
            let at = size * step / steps.min(size);
            let fault = FAULTS[(step + name.as_os_str().len()) % FAULTS.len()];
            let folder = scratch.path().join("copy");
            copy(pristine, &folder);
            if damage(&folder.join(name), at, 64, fault) {
                // Shown if an assertion fails.
                println!("{} of {size} bytes at {at}: {fault:?}", name.display());
                match read_all(&folder) {
                    Ok(()) => harmless += 1,
                    Err(error) => {
                        noticed += 1;
                        let known = error.is_corruption()
                            || matches!(
                                error,
                                StoreError::Newer { .. }
                                    | StoreError::OtherChain { .. }
                                    | StoreError::Disk(_)
                                    | StoreError::Engine(_)
                            );
                        assert!(known, "{} at {at} {fault:?}: {error:?}", name.display());
                    }
                }
            }
            fs::remove_dir_all(&folder).expect("removed");
        }
    }
    (noticed, harmless)
}

#[test]
fn damage_to_the_write_ahead_log_is_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    for height in 1..=HEIGHT {
        database.apply(&import(height)).expect("written");
    }
    // Left as a killed process leaves it: nothing is flushed.
    let crashed = tempfile::tempdir().expect("a folder");
    copy(folder.path(), crashed.path());
    drop(database);
    let (noticed, harmless) = try_faults(crashed.path(), 12);
    assert!(noticed > 20, "{noticed} faults were noticed, {harmless} were harmless");
}

#[test]
fn damage_to_table_files_is_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    for height in 1..=HEIGHT {
        database.apply(&import(height)).expect("written");
    }
    database.close().expect("closed");
    // Recovery at open flushes the log into table files.
    open(folder.path()).close().expect("closed");
    assert!(files(folder.path()).iter().any(|path| path.extension().is_some_and(|kind| kind == "sst")));
    let (noticed, harmless) = try_faults(folder.path(), 8);
    assert!(noticed > 20, "{noticed} faults were noticed, {harmless} were harmless");
}

#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = open(folder.path());
    for height in 1..=HEIGHT {
        database.apply(&import(height)).expect("written");
    }
    let crashed = tempfile::tempdir().expect("a folder");
    copy(folder.path(), crashed.path());
    drop(database);
    let log = files(crashed.path()).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "log"));
    let log = log.expect("a write-ahead log");
    let length = fs::metadata(&log).expect("there").len();
    fs::File::options().write(true).open(&log).and_then(|file| file.set_len(length - 1)).expect("cut");
    let error = Database::open(crashed.path(), GENESIS, &StoreConfig::default()).expect_err("a commit is lost");
    assert!(matches!(error, StoreError::LostWrites { .. }), "{error:?}");
    // And it stays so: the first attempt must not have healed it into a shorter history.
    let error = Database::open(crashed.path(), GENESIS, &StoreConfig::default()).expect_err("a commit is lost");
    assert!(matches!(error, StoreError::LostWrites { .. }), "{error:?}");
}

#[test]
fn missing_files_are_not_a_new_database() {
    for name in ["rocksdb/CURRENT", "format", "acknowledged", "rocksdb"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut database = open(folder.path());
        database.apply(&import(1)).expect("written");
        database.close().expect("closed");
        let path = folder.path().join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("removed");
        let error = Database::open(folder.path(), GENESIS, &StoreConfig::default()).expect_err("damaged");
        assert!(matches!(error, StoreError::CorruptFolder { .. }), "{name}: {error:?}");
    }
}
