//! A file system of its own for each member's data, small enough to be filled.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Room for the databases of a short run.
const SIZE: &str = "size=256m";

/// Bytes that are written at once while a disk is filled.
const CHUNK: usize = 1 << 20;

/// A mounted file system; unmounted when dropped.
pub(super) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Moves what is in `folder` to a new file system that is mounted there. Needs the right to mount.
    pub(super) fn mount(folder: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file("move", folder, &error);
        let aside = folder.with_extension("before");
        fs::rename(folder, &aside).map_err(failed)?;
        fs::create_dir(folder).map_err(failed)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "alys-chaos"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            return Err(Failure::missing(
                format!("no file system can be mounted at {}", folder.display()),
                "run as root, or leave out the fault disk-full",
            ));
        }
        let disk = Self { folder: folder.to_owned() };
        for entry in fs::read_dir(&aside).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What `init` writes into a data folder is files.
            fs::copy(entry.path(), folder.join(entry.file_name())).map_err(failed)?;
        }
        fs::remove_dir_all(&aside).map_err(failed)?;
        Ok(disk)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) -> Result<(), Failure> {
        let path = self.filler();
        let mut file = fs::File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
        let (mut size, bytes) = (CHUNK, vec![0; CHUNK]);
        while size > 0 {
            match file.write_all(bytes.get(..size).unwrap_or_default()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(Failure::file("fill", &path, &error)),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn free(&self) -> Result<(), Failure> {
        let path = self.filler();
        fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A folder that stays mounted is the operating system's to name.
        let _ = Command::new("umount").arg(&self.folder).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
