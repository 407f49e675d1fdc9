//! Power cuts for one node. The preloaded library notes how much of each file was synced; after a SIGKILL, whatever was
//! written later is taken away in part, as a machine without power may have lost it (a kill alone loses nothing: the
//! operating system keeps what was written).
//!
//! Modelled: lost ends of files; files that were never synced and are gone; ends of RocksDB's logs that read as zeros. Not
//! modelled: lost changes inside the synced part of a file, renames that are undone, and zeros at the ends of other files.
//! File systems that write a file's bytes before its length (ext4, XFS and Btrfs as they are by default) leave no zeros at
//! all; a signing record or a manifest that ends in some can't be told from a damaged one, and is reported as that.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::chance::Random;
use crate::failure::Failure;

/// Bytes of one note: device, inode and synced length, each a native 64-bit number.
pub(super) const NOTE: usize = 24;

/// What a cut took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What identifies a file whatever its name.
type Identity = (u64, u64);

/// Notes that all that lies in `folder` is on the disk: what a machine finds when its power comes back.
pub(super) fn on(folder: &Path, notes: &Path) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for (_, file) in files(folder)? {
        for number in [file.dev(), file.ino(), file.len()] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
    }
    fs::write(notes, bytes).map_err(|error| Failure::file("write", notes, &error))
}

/// Takes away from the files in `folder` a part, by chance, of what was not synced. Nobody may have them open.
pub(super) fn cut(folder: &Path, notes: &Path, random: &mut Random) -> Result<Lost, Failure> {
    let noted = fs::read(notes).map_err(|error| Failure::file("read", notes, &error))?;
    let synced = synced(&noted);
    let mut lost = Lost::default();
    for (path, file) in files(folder)? {
        let kept = synced.get(&(file.dev(), file.ino())).copied();
        let failed = |error: io::Error| Failure::file("cut", &path, &error);
        let length = file.len();
        let least = kept.unwrap_or(0).min(length);
        if kept.is_none() && random.below(4) == 0 {
            fs::remove_file(&path).map_err(failed)?;
            (lost.files, lost.bytes) = (lost.files + 1, lost.bytes + length);
            continue;
        }
        if least == length {
            continue;
        }
        let from = match random.below(4) {
            // The whole rest is there by luck.
            0 => continue,
            1 => least,
            _ => least + random.below(length - least),
        };
        let open = File::options().write(true).open(&path).map_err(failed)?;
        open.set_len(from).map_err(failed)?;
        if random.below(3) == 0 && path.extension().is_some_and(|kind| kind == "log") {
            // The length had reached the disk, the bytes had not.
            open.set_len(length).map_err(failed)?;
        }
        (lost.files, lost.bytes) = (lost.files + 1, lost.bytes + length - from);
    }
    Ok(lost)
}

/// The newest note of each file; a last one that is cut off is none.
fn synced(notes: &[u8]) -> HashMap<Identity, u64> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or(0);
    notes
        .chunks_exact(NOTE)
        .filter_map(|note| {
            let (device, rest) = note.split_at_checked(8)?;
            let (inode, length) = rest.split_at_checked(8)?;
            Some(((number(device), number(inode)), number(length)))
        })
        .collect()
}

/// The files below a folder, in an order of names so that a seed gives its choices again.
fn files(folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error: io::Error| Failure::file("read", &folder, &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                found.push((entry.path(), metadata));
            }
        }
    }
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Lengths of a file of ten bytes, five of them synced or none, after cuts with many seeds.
    fn lengths(synced: bool) -> Result<Vec<Option<usize>>, Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("alys-power-{}-{synced}", std::process::id()));
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let (path, notes) = (data.join("000001.log"), folder.join("notes"));
        let mut found = Vec::new();
        for seed in 0..200 {
            let mut file = File::create(&path)?;
            fs::write(&notes, [])?;
            file.write_all(b"01234")?;
            if synced {
                on(&data, &notes).map_err(|failure| failure.to_string())?;
            }
            file.write_all(b"56789")?;
            cut(&data, &notes, &mut Random::new(seed)).map_err(|failure| failure.to_string())?;
            let left = fs::read(&path).ok();
            if synced {
                assert!(left.as_ref().is_some_and(|left| left.starts_with(b"01234")), "{left:?}");
            }
            found.push(left.map(|left| left.len()));
        }
        fs::remove_dir_all(&folder)?;
        Ok(found)
    }

    #[test]
    fn what_was_synced_stays_and_all_else_can_go() -> Result<(), Box<dyn std::error::Error>> {
        let lengths = lengths(true)?;
        for length in 5..=10 {
            assert!(lengths.contains(&Some(length)), "never {length} bytes");
        }
        Ok(())
    }

    #[test]
    fn a_file_that_was_never_synced_can_be_gone() -> Result<(), Box<dyn std::error::Error>> {
        let lengths = lengths(false)?;
        assert!(lengths.contains(&None) && lengths.contains(&Some(0)) && lengths.contains(&Some(5)), "{lengths:?}");
        Ok(())
    }
}
