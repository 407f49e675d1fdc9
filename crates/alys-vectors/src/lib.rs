//! Where tests find other projects' test vectors, and how a test says that it did not run.
//!
//! The vectors are not part of this repository: they lie beside the checkout (`../shared/vectors`) or in the folder that
//! `ALYS_VECTORS` names. A test whose vectors are absent calls [`skip`] and returns, and the runner's summary counts it.
//!
//! For dev-dependencies only; no product code uses it.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::thread;

/// Environment variable that names the folder of vectors.
pub const VECTORS_VARIABLE: &str = "ALYS_VECTORS";
/// Environment variable that names the file to which skipped tests append one line each; `cargo xtask test` sets it.
pub const SKIPPED_FILE_VARIABLE: &str = "ALYS_SKIPPED_FILE";

/// The folder (or file) `name` among the vectors, for example `"auxpow"` or `"bls/sign"`.
///
/// `None` where the vectors are absent; the calling test has then been reported as skipped and should return.
///
/// # Panics
/// When `ALYS_VECTORS` is set and `name` is not in it: whoever asks for vectors by name must not get a silent skip.
#[track_caller]
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    if let Some(root) = env::var_os(VECTORS_VARIABLE) {
        let path = PathBuf::from(root).join(name);
        assert!(path.exists(), "{VECTORS_VARIABLE} is set, but {} does not exist", path.display());
        return Some(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(name);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("no vectors at {name} (set {VECTORS_VARIABLE})"));
    None
}

/// Reports that the calling test does not run and why: prints `skipped: <test>: <reason>`, and appends the same line to
/// the file that `ALYS_SKIPPED_FILE` names, so that the count survives a runner that hides the output of passing tests.
///
/// # Panics
/// When that file is named but cannot be written: a skipped test that nobody counts would look like a passed one.
#[track_caller]
pub fn skip(reason: &str) {
    let location = Location::caller();
    let thread = thread::current();
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        Some(_) | None => format!("{}:{}", location.file(), location.line()),
    };
    let line = format!("skipped: {test}: {}\n", reason.replace('\n', " "));
    print!("{line}");
    if let Some(path) = env::var_os(SKIPPED_FILE_VARIABLE) {
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            panic!("cannot append to {}: {error}", Path::new(&path).display());
        }
    }
}
