//! Spelling of everything tracked, by a pinned release of typos (`.typos.toml` holds the words it must accept).

use std::path::PathBuf;
use std::process::Command;

use super::Verdict;
use crate::failure::Failure;
use crate::run::{answers, root, run};
use crate::setup::{self, Package};

/// The release from the Python package index, where it comes compiled; from source it takes minutes.
const VERSION: &str = "1.52.0";

const PIP: Package = Package { provides: "pip", name: "python3-pip", present: pip_is_present };

pub(crate) fn check() -> Result<Verdict, Failure> {
    let program = match program() {
        Ok(program) => program,
        Err(failure) => {
            eprintln!("{failure}");
            return Ok(Verdict::NotRun(format!("typos {VERSION} could not be installed")));
        }
    };
    run(Command::new(program).current_dir(root()))?;
    Ok(Verdict::Passed)
}

/// The pinned release in the cache folder, installed where it is missing.
fn program() -> Result<PathBuf, Failure> {
    let folder = setup::cache_folder()?.join(format!("typos-{VERSION}"));
    let program = folder.join("bin/typos");
    if !answers(Command::new(&program).arg("--version")) {
        setup::ensure_packages(&[PIP])?;
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
            .arg(&folder)
            .arg(format!("typos=={VERSION}")))?;
    }
    Ok(program)
}

fn pip_is_present() -> bool {
    answers(Command::new("python3").args(["-m", "pip", "--version"]))
}
