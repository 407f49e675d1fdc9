//! The system's packages: looked for by what they provide, installed by apt-get when run as root.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::run::{on_path, output, run};

/// Something that the system must provide, and the Debian package that provides it.
pub(crate) struct Package {
    pub(crate) provides: &'static str,
    pub(crate) name: &'static str,
    pub(crate) present: fn() -> bool,
}

/// What building the workspace takes. (The C compiler comes first: `xtask/linker/cc` installs it before xtask exists.)
pub(crate) const BUILD: [Package; 3] = [
    Package { provides: "a C compiler", name: "gcc", present: || env::var_os("CC").is_some() || on_path("cc") },
    Package { provides: "a C++ compiler", name: "g++", present: || env::var_os("CXX").is_some() || on_path("c++") },
    Package { provides: "libclang and its headers", name: "libclang-dev", present: libclang_is_complete },
];

/// Installs those of `packages` that are missing, or says how.
pub(crate) fn ensure(packages: &[Package]) -> Result<(), Failure> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !(package.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let provides = missing.iter().map(|package| package.provides).collect::<Vec<_>>().join(", ");
    let by_hand = format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", names.join(" "));
    if !on_path("apt-get") {
        return Err(Failure::missing(
            format!("missing: {provides}"),
            format!("install the counterparts of these Debian packages: {}", names.join(" ")),
        ));
    }
    if !is_root()? {
        return Err(Failure::missing(format!("missing: {provides}"), by_hand));
    }
    eprintln!("missing: {provides}; installing {}", names.join(" "));
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&names))?;
    match missing.iter().find(|package| !(package.present)()) {
        None => Ok(()),
        Some(package) => Err(Failure::missing(
            format!("{} is installed, but there is still no trace of {}", package.name, package.provides),
            by_hand,
        )),
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Waits for another apt instead of failing, asks nothing, prints little.
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> Result<bool, Failure> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// RocksDB's bindings are generated with libclang, which needs the compiler's own headers beside the library: with
/// `libclang1` alone the build stops at "stdbool.h not found".
fn libclang_is_complete() -> bool {
    if let Some(folder) = env::var_os("LIBCLANG_PATH") {
        return libclang_in(Path::new(&folder));
    }
    let mut complete = on_path("llvm-config") && llvm_config_folder().is_some_and(|folder| has_both(&folder));
    complete |= children(Path::new("/usr/lib"))
        .iter()
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm")))
        .any(|folder| has_both(&folder.join("lib")));
    complete || ["/usr/lib64", "/usr/lib", "/usr/local/lib"].iter().any(|folder| has_both(Path::new(folder)))
}

fn llvm_config_folder() -> Option<PathBuf> {
    output(Command::new("llvm-config").arg("--libdir")).ok().map(|folder| PathBuf::from(folder.trim()))
}

/// Whether `folder` holds libclang, and `folder/clang/<version>/include` the compiler's headers.
fn has_both(folder: &Path) -> bool {
    libclang_in(folder)
        && children(&folder.join("clang")).iter().any(|version| version.join("include/stdbool.h").exists())
}

fn libclang_in(folder: &Path) -> bool {
    children(folder).iter().any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let library = name == "libclang.so" || name.starts_with("libclang.so.") || name.starts_with("libclang-");
        library && name.contains(".so") && !name.starts_with("libclang-cpp") && file.exists()
    })
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
