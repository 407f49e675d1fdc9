//! What measuring line coverage takes: cargo-llvm-cov, and LLVM's tools that read what the compiler's LLVM writes.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Package, cache_folder, ensure_packages};
use crate::failure::Failure;
use crate::run::{answers, cargo, output, root, run};

/// The release of cargo-llvm-cov that is installed where there is none.
const VERSION: &str = "0.9.1";

/// The variable that names the tool to cargo-llvm-cov, and where Debian's package puts the one that fits: the LLVM of
/// Rust 1.95 is 22.
const TOOLS: [(&str, &str); 2] =
    [("LLVM_COV", "/usr/lib/llvm-22/bin/llvm-cov"), ("LLVM_PROFDATA", "/usr/lib/llvm-22/bin/llvm-profdata")];

const LLVM: Package = Package { provides: "LLVM's coverage tools", name: "llvm-22", present: llvm_is_there };

/// Where the tools are.
pub(crate) struct CoverageTools {
    variables: Vec<(&'static str, OsString)>,
}

impl CoverageTools {
    /// A cargo command that finds them.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Finds or installs the tools.
///
/// # Errors
/// What is missing, and how to get it.
pub(crate) fn coverage_tools() -> Result<CoverageTools, Failure> {
    ensure_packages(&[LLVM])?;
    let mut variables = Vec::new();
    if !component_is_there() {
        variables.extend(
            TOOLS.into_iter().filter(|(name, _)| env::var_os(name).is_none()).map(|(name, path)| (name, path.into())),
        );
    }
    if !answers(cargo().args(["llvm-cov", "--version"])) {
        variables.push(("PATH", path_with(&installed()?)?));
    }
    Ok(CoverageTools { variables })
}

/// The folder of the pinned release, which is compiled into the cache folder once.
fn installed() -> Result<PathBuf, Failure> {
    let folder = cache_folder()?.join(format!("cargo-llvm-cov-{VERSION}"));
    let programs = folder.join("bin");
    if !answers(Command::new(programs.join("cargo-llvm-cov")).args(["llvm-cov", "--version"])) {
        // Unoptimised: it compiles in half the time and only starts other programs.
        run(cargo()
            .args(["install", "cargo-llvm-cov", "--locked", "--debug", "--version", VERSION, "--root"])
            .arg(&folder))
        .map_err(|failure| {
            let help = "cargo install cargo-llvm-cov --locked";
            Failure::missing("cargo-llvm-cov could not be installed", help).because(failure)
        })?;
    }
    Ok(programs)
}

fn path_with(folder: &Path) -> Result<OsString, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(env::split_paths(&path));
    env::join_paths(folders).map_err(|error| Failure::work("the cache folder cannot be on the PATH").because(error))
}

fn llvm_is_there() -> bool {
    component_is_there() || TOOLS.iter().all(|(name, path)| env::var_os(name).is_some() || Path::new(path).is_file())
}

/// Whether the toolchain has the component `llvm-tools`, which always fits the compiler.
fn component_is_there() -> bool {
    let folder = output(Command::new("rustc").args(["--print", "target-libdir"]).current_dir(root()));
    folder.is_ok_and(|folder| {
        Path::new(folder.trim()).parent().is_some_and(|folder| folder.join("bin/llvm-cov").is_file())
    })
}
