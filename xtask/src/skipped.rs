//! Tests that did not run: they append a line each to a file (crate `alys-vectors`), whatever the runner shows of them.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use crate::failure::Failure;
use crate::run::target;

/// Environment variable by which tests find the file.
pub(crate) const VARIABLE: &str = "ALYS_SKIPPED_FILE";

/// The file of this run.
pub(crate) struct Skipped {
    path: PathBuf,
}

impl Skipped {
    /// Forgets what an earlier run left.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let folder = target();
        fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
        let path = folder.join("skipped-tests");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::file("remove", &path, &error)),
            Ok(()) | Err(_) => Ok(Self { path }),
        }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Adds a part of the suite that could not run.
    pub(crate) fn add(&self, what: &str, reason: &str) -> Result<(), Failure> {
        let line = format!("skipped: {what}: {reason}\n");
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|error| Failure::file("write", &self.path, &error))
    }

    /// Prints the lines and their number.
    pub(crate) fn report(&self) -> Result<(), Failure> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file("read", &self.path, &error)),
        };
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        for line in &lines {
            println!("{line}");
        }
        println!("tests that reported themselves skipped: {}", lines.len());
        Ok(())
    }
}
