//! RocksDB's C++, compiled once.
//!
//! Cargo would compile it once per profile and target folder, which is two thirds of a clean build. Here one release archive
//! is kept in the cache folder, under a name that holds everything its content depends on, and every build links it:
//! librocksdb-sys's build script takes an archive that `ROCKSDB_LIB_DIR` and `ROCKSDB_STATIC` name. The compression libraries
//! come from their own crates in either case.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{cache_folder, host};
use crate::failure::Failure;
use crate::metadata::{Metadata, Package};
use crate::run::{cargo, output, shown};

const CRATE: &str = "librocksdb-sys";
const ARCHIVE: &str = "librocksdb.a";
/// How often the long build says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// The folder that holds the archive, which is built first where it is missing; `None` where the workspace has no RocksDB.
pub(super) fn library_folder() -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = env::var_os("ROCKSDB_LIB_DIR") {
        let folder = PathBuf::from(folder);
        if !folder.join(ARCHIVE).is_file() {
            return Err(Failure::missing(
                format!("ROCKSDB_LIB_DIR is {}, where there is no {ARCHIVE}", folder.display()),
                "unset ROCKSDB_LIB_DIR",
            ));
        }
        return Ok(Some(folder));
    }
    let metadata = Metadata::load(&[])?;
    let Some(package) = metadata.packages.iter().find(|package| package.name == CRATE) else { return Ok(None) };

    let store = cache_folder()?.join("rocksdb");
    let folder = store.join(name(package)?);
    if folder.join(ARCHIVE).is_file() {
        return Ok(Some(folder));
    }
    fs::create_dir_all(&store).map_err(|error| Failure::file("create", &store, &error))?;
    // Held until this function returns: whoever comes second finds the archive of the first.
    let lock_path = store.join("lock");
    let lock = File::create(&lock_path).map_err(|error| Failure::file("create", &lock_path, &error))?;
    lock.lock().map_err(|error| Failure::file("lock", &lock_path, &error))?;
    if !folder.join(ARCHIVE).is_file() {
        build(&store, &folder)?;
    }
    Ok(Some(folder))
}

/// Everything that the content of the archive depends on.
fn name(package: &Package) -> Result<String, Failure> {
    let host = host()?;
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let compiler = output(Command::new(compiler).arg("-dumpversion"))?;
    // Which bindings are generated, and by what, does not touch the archive.
    let features: Vec<&str> = package
        .features
        .iter()
        .map(String::as_str)
        .filter(|feature| !feature.starts_with("bindgen") && !feature.ends_with("-sys") && *feature != "static")
        .collect();
    Ok(format!("{}-{host}-{}-c++{}", package.version, features.join("-"), compiler.trim()))
}

fn build(store: &Path, folder: &Path) -> Result<(), Failure> {
    eprintln!("building RocksDB once for all builds on this machine (about 15 minutes on two cores), to be kept in");
    eprintln!("  {}", folder.display());
    let scratch = store.join("build");
    let started = Instant::now();
    let mut command = cargo();
    command
        .args(["build", "--release", "--package", CRATE, "--message-format=json-render-diagnostics", "--target-dir"])
        .arg(&scratch)
        // Debug information would double the archive and slow its compilation.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // RocksDB's own choice for releases; the next level costs more time than it gains.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2")
        .env_remove("ROCKSDB_STATIC")
        .env_remove("CARGO_TARGET_DIR");
    let built = out_folder(command)?.join(ARCHIVE);

    // A folder that exists holds a complete archive: it gets its name only when it does.
    let partial = store.join("partial");
    fs::create_dir_all(&partial).map_err(|error| Failure::file("create", &partial, &error))?;
    fs::copy(&built, partial.join(ARCHIVE)).map_err(|error| Failure::file("copy", &built, &error))?;
    fs::rename(&partial, folder).map_err(|error| Failure::file("rename", &partial, &error))?;
    fs::remove_dir_all(&scratch).map_err(|error| Failure::file("remove", &scratch, &error))?;
    eprintln!("RocksDB built in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Runs the build, says now and then that it is alive, and returns the output folder of the crate's build script.
fn out_folder(mut command: Command) -> Result<PathBuf, Failure> {
    let line = shown(&command);
    eprintln!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::work(format!("cannot start `{line}`")).because(error))?;
    let stdout = child.stdout.take().ok_or_else(|| Failure::work(format!("`{line}` has no output")))?;
    let (sender, messages) = mpsc::channel();
    let reader = thread::spawn(move || {
        for message in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    let mut folder = None;
    loop {
        match messages.recv_timeout(HEARTBEAT) {
            Ok(message) => folder = script_output(&message).or(folder),
            Err(RecvTimeoutError::Timeout) => eprintln!("still building RocksDB: {} s", started.elapsed().as_secs()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(|error| Failure::work(format!("`{line}` was lost")).because(error))?;
    if reader.join().is_err() || !status.success() {
        return Err(Failure::work(format!("`{line}` failed")).because(status));
    }
    folder.ok_or_else(|| Failure::work(format!("`{line}` did not name the output folder of {CRATE}")))
}

fn script_output(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let executed = message.get("reason")?.as_str()? == "build-script-executed";
    let ours = message.get("package_id")?.as_str()?.contains(CRATE);
    (executed && ours).then(|| message.get("out_dir")?.as_str().map(PathBuf::from)).flatten()
}
