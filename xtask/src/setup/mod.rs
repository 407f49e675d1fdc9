//! Set-up: what a fresh machine lacks for building this workspace.
//!
//! Two things are expensive or absent on a bare machine: the system's packages ([`packages`]) and RocksDB's C++
//! ([`rocksdb`]), which is compiled once into the user's cache folder instead of once per profile and checkout. A Bitcoin
//! Core ([`mod@bitcoind`]) is built there only when asked for; tests run against it once it is there. What only some
//! commands take ([`coverage`]) is installed when they first run.

mod bitcoind;
mod coverage;
mod packages;
mod rocksdb;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::run::{answers, cargo, output, run};

pub(crate) use bitcoind::bitcoind;
pub(crate) use coverage::{CoverageTools, coverage_tools};
pub(crate) use packages::{Package, ensure as ensure_packages};

/// Environment variable that names the folder for what is kept between checkouts.
const CACHE_VARIABLE: &str = "ALYS_CACHE_DIR";

/// The environment in which cargo must run so that the build finds what the set-up prepared.
pub(crate) struct Environment {
    variables: Vec<(&'static str, OsString)>,
}

impl Environment {
    /// A cargo command in this environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Finds or installs what the build needs.
pub(crate) fn prepare() -> Result<Environment, Failure> {
    ensure_packages(&packages::BUILD)?;
    let mut variables: Vec<(&'static str, OsString)> = match rocksdb::library_folder()? {
        Some(folder) => vec![("ROCKSDB_LIB_DIR", folder.into()), ("ROCKSDB_STATIC", "1".into())],
        None => Vec::new(),
    };
    variables.extend(bitcoind::found().map(|binary| (bitcoind::VARIABLE, binary.into())));
    Ok(Environment { variables })
}

/// `cargo xtask env`.
pub(crate) fn print_environment() -> Result<(), Failure> {
    for (name, value) in prepare()?.variables {
        println!("export {name}='{}'", value.to_string_lossy());
    }
    Ok(())
}

/// Adds a component of the Rust toolchain where it is missing.
pub(crate) fn ensure_component(component: &str, subcommand: &str) -> Result<(), Failure> {
    if answers(cargo().args([subcommand, "--version"])) {
        return Ok(());
    }
    run(Command::new("rustup").args(["component", "add", component])).map_err(|failure| {
        Failure::missing(format!("`cargo {subcommand}` is missing"), format!("rustup component add {component}"))
            .because(failure)
    })
}

/// The folder for what is kept between checkouts: `ALYS_CACHE_DIR`, else `alys` in the user's cache folder.
pub(crate) fn cache_folder() -> Result<PathBuf, Failure> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(CACHE_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("alys")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/alys")))
        .ok_or_else(|| {
            Failure::missing("no cache folder: HOME is not set", format!("export {CACHE_VARIABLE}=/a/folder"))
        })
}

/// The triple that the compiler builds for by default.
pub(crate) fn host() -> Result<String, Failure> {
    let text = output(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure::work("`rustc -vV` names no host"))
}
