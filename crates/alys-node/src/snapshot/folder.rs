//! Snapshots as folders, and how a restored data folder comes into place.
//!
//! ```text
//! snapshots/<height>-<id>/      manifest, 000001.part, 000002.part, …
//! snapshot.part/<id>/           the same, being fetched: what is there is compared with its hash when it is used
//! restored/                     databases in the making; counts from the moment that restored/complete is there
//! ```

use super::format::{FormatError, Manifest, Part};
use crate::bounded::{ReadError, read_bounded};
use alloy_primitives::keccak256;
use alys_p2p::{MAX_PART_BYTES, SnapshotOffer};
use alys_primitives::{B256, Height};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest";
const RESTORED: &str = "restored";
const COMPLETE: &str = "complete";

/// What a restore makes.
pub(super) const DATABASES: [&str; 2] = ["chain", "evm"];

/// Why a folder is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file can't be read.
    #[error("a file of the snapshot can't be read")]
    Read(#[from] ReadError),
    /// A file can't be written.
    #[error("{path} can't be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{path}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A part is not what the manifest says.
    #[error("{path} is not the part that the manifest names: it is damaged or was exchanged")]
    Part {
        /// The file.
        path: PathBuf,
    },
}

/// A folder with a manifest and its parts.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    id: B256,
    manifest: Manifest,
}

impl Folder {
    /// Reads the manifest in `path`.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let file = path.join(MANIFEST);
        let bytes = read_bounded(&file, u64::try_from(MAX_PART_BYTES).unwrap_or(u64::MAX))?;
        let manifest = Manifest::decode(&bytes).map_err(|source| FolderError::Format { path: file, source })?;
        Ok(Self { path: path.to_owned(), id: keccak256(&bytes), manifest })
    }

    /// Makes a folder for parts that are about to come.
    pub(super) fn begin(path: &Path, manifest: &[u8]) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(|source| FolderError::Write { path: path.to_owned(), source })?;
        write_whole(&path.join(MANIFEST), manifest)?;
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name: the hash of its manifest.
    pub fn id(&self) -> B256 {
        self.id
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What a node says of it to its peers.
    pub fn offer(&self) -> SnapshotOffer {
        let manifest = self.manifest();
        SnapshotOffer {
            anchor: manifest.anchor.root(),
            height: manifest.height(),
            id: self.id(),
            parts: u64::try_from(manifest.parts.len()).unwrap_or(u64::MAX),
            bytes: manifest.bytes(),
        }
    }

    /// The manifest's bytes.
    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.encode()
    }

    /// A part's bytes, compared with its hash.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn part(&self, index: usize) -> Result<Vec<u8>, FolderError> {
        let path = part_path(&self.path, index);
        let part = self.manifest.parts.get(index).ok_or_else(|| FolderError::Part { path: path.clone() })?;
        let bytes = read_bounded(&path, u64::from(part.bytes))?;
        if part.is(&bytes) { Ok(bytes) } else { Err(FolderError::Part { path }) }
    }

    /// Keeps a part that was compared with its hash.
    pub(super) fn keep(&self, index: usize, bytes: &[u8]) -> Result<(), FolderError> {
        write_whole(&part_path(&self.path, index), bytes)
    }

    /// Parts that are not here, or are damaged.
    pub(super) fn missing(&self) -> Vec<(usize, Part)> {
        let parts = self.manifest.parts.iter().copied().enumerate();
        parts.filter(|(index, _)| self.part(*index).is_err()).collect()
    }
}

/// The file of a part, counted from 0; names count from 1.
pub(super) fn part_path(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("{:06}.part", index.saturating_add(1)))
}

/// Name of a finished snapshot's folder.
pub(super) fn name(height: Height, id: B256) -> String {
    format!("{}-{}", height.0, hex::encode(id))
}

/// Finished snapshots under `snapshots`, newest first, by their names.
pub(crate) fn list(snapshots: &Path) -> Vec<(Height, B256, PathBuf)> {
    let Ok(entries) = fs::read_dir(snapshots) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let file_name = entry.file_name();
            let (height, id) = file_name.to_str()?.split_once('-')?;
            Some((Height(height.parse().ok()?), id.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort_by(|one, two| two.cmp(one));
    found
}

/// A file that is there whole or not at all, as long as the machine runs; after a power cut its hash tells.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let failed = |source| FolderError::Write { path: path.to_owned(), source };
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)
}

/// Why a restored data folder does not come into place.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be brought into place")]
pub struct SettleError {
    path: PathBuf,
    source: io::Error,
}

/// Where a restore makes its databases. What an earlier attempt left is thrown away.
pub(super) fn begin_restore(data: &Path) -> Result<PathBuf, SettleError> {
    let path = data.join(RESTORED);
    let failed = |source| SettleError { path: path.clone(), source };
    if path.exists() {
        fs::remove_dir_all(&path).map_err(failed)?;
    }
    fs::create_dir_all(&path).map_err(failed)?;
    Ok(path)
}

/// Says that the databases are complete, and brings them into place.
pub(super) fn complete_restore(data: &Path) -> Result<(), SettleError> {
    let path = data.join(RESTORED);
    let failed = |source| SettleError { path: path.clone(), source };
    sync_folder(&path).map_err(failed)?;
    let file = File::create(path.join(COMPLETE)).map_err(failed)?;
    (&file).write_all(b"complete\n").and_then(|()| file.sync_all()).map_err(failed)?;
    sync_folder(&path).and_then(|()| sync_folder(data)).map_err(failed)?;
    settle(data)
}

/// Finishes a restore that was broken off when everything was on disk; throws one away that was not. To be called before
/// anything in the data folder is opened.
///
/// # Errors
/// [`SettleError`].
pub fn settle(data: &Path) -> Result<(), SettleError> {
    let path = data.join(RESTORED);
    let failed = |source| SettleError { path: path.clone(), source };
    if !path.exists() {
        return Ok(());
    }
    if path.join(COMPLETE).exists() {
        for name in DATABASES {
            let (from, to) = (path.join(name), data.join(name));
            // Already there if an earlier try came so far.
            if from.exists() {
                if to.exists() {
                    fs::remove_dir(&to).map_err(failed)?;
                }
                fs::rename(&from, &to).map_err(failed)?;
            }
        }
        sync_folder(data).map_err(failed)?;
    }
    fs::remove_dir_all(&path).map_err(failed)?;
    sync_folder(data).map_err(failed)
}

/// Whether a data folder holds no chain yet.
pub fn is_empty(data: &Path) -> bool {
    DATABASES.iter().all(|name| fs::read_dir(data.join(name)).map_or(true, |mut entries| entries.next().is_none()))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_restore_is_thrown_away_and_a_complete_one_is_finished_wherever_it_was_broken_off() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let make = || {
            let restored = begin_restore(data).unwrap();
            for name in DATABASES {
                fs::create_dir(restored.join(name)).unwrap();
                fs::write(restored.join(name).join("file"), name).unwrap();
            }
            restored
        };
        make();
        settle(data).unwrap();
        assert!(is_empty(data) && !data.join(RESTORED).exists(), "nothing of it counts");
        let restored = make();
        fs::write(restored.join(COMPLETE), b"").unwrap();
        // The first of two moves was made when the power went.
        fs::rename(restored.join("chain"), data.join("chain")).unwrap();
        settle(data).unwrap();
        for name in DATABASES {
            assert_eq!(fs::read_to_string(data.join(name).join("file")).unwrap(), name);
        }
        assert!(!is_empty(data) && !data.join(RESTORED).exists());
        settle(data).unwrap();
        assert!(!is_empty(data), "a second time changes nothing");
    }
}
