//! A Bitcoin Core without wallet, compiled once from the sources that the crate libbitcoinkernel-sys carries.
//!
//! Nothing of the workspace depends on that crate: it is fetched by cargo for a manifest of its own, its checksum compared,
//! and its C++ built with cmake. What comes out is kept in the cache folder, as RocksDB's archive is.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::{Package, cache_folder, ensure_packages, host};
use crate::failure::Failure;
use crate::run::{cargo, on_path, output, run};

const CRATE: &str = "libbitcoinkernel-sys";
const VERSION: &str = "0.4.1";
/// What the registry's index says of that version.
const CHECKSUM: &str = "345d18a1ce19a1becfcaaa066e3a60e9c7813ef5c23ea8c20704ca4ba1a46339";

/// Environment variable that names the binary for tests.
pub(crate) const VARIABLE: &str = "BITCOIND";

const PACKAGES: [Package; 4] = [
    Package { provides: "a C++ compiler", name: "g++", present: || env::var_os("CXX").is_some() || on_path("c++") },
    Package { provides: "cmake", name: "cmake", present: || on_path("cmake") },
    Package { provides: "ninja", name: "ninja-build", present: || on_path("ninja") },
    Package { provides: "Boost's headers", name: "libboost-dev", present: boost_is_there },
];

/// What is left out of the build: everything that a node without a wallet on this machine does not need.
const OPTIONS: [&str; 13] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DENABLE_WALLET=OFF",
    "-DWITH_EMBEDDED_ASMAP=OFF",
    "-DBUILD_TESTS=OFF",
    "-DBUILD_BENCH=OFF",
    "-DBUILD_GUI=OFF",
    "-DWITH_ZMQ=OFF",
    "-DENABLE_IPC=OFF",
    "-DBUILD_BITCOIN_BIN=OFF",
    "-DENABLE_EXTERNAL_SIGNER=OFF",
    "-DWITH_CCACHE=OFF",
    "-DINSTALL_MAN=OFF",
    // The usual level costs a third more time, and regtest has no work for it.
    "-DAPPEND_CXXFLAGS=-O1",
];

/// `cargo xtask bitcoind [--jobs N]`: builds what is missing and prints the path of the binary.
pub(crate) fn bitcoind(args: &[String]) -> Result<(), Failure> {
    let jobs = match args {
        [] => None,
        [flag, number] if flag == "--jobs" => match number.parse::<u16>() {
            Ok(jobs) if jobs > 0 => Some(jobs),
            Ok(_) | Err(_) => return Err(Failure::usage(format!("`{number}` is no number of jobs"))),
        },
        _ => return Err(Failure::usage("bitcoind takes nothing but --jobs N")),
    };
    let binary = binary()?;
    if !binary.is_file() {
        ensure_packages(&PACKAGES)?;
        let store = cache_folder()?.join("bitcoind");
        fs::create_dir_all(&store).map_err(|error| Failure::file("create", &store, &error))?;
        // Held until this function returns: whoever comes second finds the binary of the first.
        let lock_path = store.join("lock");
        let lock = File::create(&lock_path).map_err(|error| Failure::file("create", &lock_path, &error))?;
        lock.lock().map_err(|error| Failure::file("lock", &lock_path, &error))?;
        if !binary.is_file() {
            build(&store, &binary, jobs)?;
        }
    }
    println!("{}", binary.display());
    Ok(())
}

/// The binary that tests should use, if there is one: the named one, else the built one. (They look on the PATH themselves.)
pub(crate) fn found() -> Option<PathBuf> {
    match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(named) => Some(named.into()),
        None => binary().ok().filter(|binary| binary.is_file()),
    }
}

fn binary() -> Result<PathBuf, Failure> {
    Ok(cache_folder()?.join("bitcoind").join(format!("{VERSION}-{}", host()?)).join("bitcoind"))
}

fn build(store: &Path, binary: &Path, jobs: Option<u16>) -> Result<(), Failure> {
    let started = Instant::now();
    eprintln!("building Bitcoin Core once for all tests on this machine (about 7 minutes on two cores), to be kept as");
    eprintln!("  {}", binary.display());
    let sources = sources(store)?;
    let folder = store.join("build");
    run(Command::new("cmake").arg("-S").arg(&sources).arg("-B").arg(&folder).args(["-G", "Ninja"]).args(OPTIONS))?;
    let mut ninja = Command::new("ninja");
    ninja.arg("-C").arg(&folder);
    if let Some(jobs) = jobs {
        ninja.args(["-j", &jobs.to_string()]);
    }
    run(ninja.arg("bitcoind"))?;

    // A folder that exists holds a complete binary: it gets its name only when it does.
    let partial = store.join("partial");
    fs::create_dir_all(&partial).map_err(|error| Failure::file("create", &partial, &error))?;
    let built = folder.join("bin/bitcoind");
    fs::copy(&built, partial.join("bitcoind")).map_err(|error| Failure::file("copy", &built, &error))?;
    run(Command::new("strip").arg(partial.join("bitcoind")))?;
    let target = binary.parent().unwrap_or(store);
    fs::rename(&partial, target).map_err(|error| Failure::file("rename", &partial, &error))?;
    fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, &error))?;
    eprintln!("Bitcoin Core built in {} s", started.elapsed().as_secs());
    Ok(())
}

/// The folder of Bitcoin Core's sources inside the crate, which cargo fetches.
fn sources(store: &Path) -> Result<PathBuf, Failure> {
    let folder = store.join("sources");
    let write =
        |path: PathBuf, text: &str| fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error));
    fs::create_dir_all(folder.join("src")).map_err(|error| Failure::file("create", &folder, &error))?;
    let manifest = folder.join("Cargo.toml");
    write(
        manifest.clone(),
        &format!(
            "[package]\nname = \"bitcoin-core-sources\"\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\n{CRATE} = \"={VERSION}\"\n"
        ),
    )?;
    write(folder.join("src/lib.rs"), "")?;
    run(cargo().args(["fetch", "--manifest-path"]).arg(&manifest))?;

    let lock_path = folder.join("Cargo.lock");
    let lock = fs::read_to_string(&lock_path).map_err(|error| Failure::file("read", &lock_path, &error))?;
    if !lock.contains(CHECKSUM) {
        return Err(Failure::work(format!("{CRATE} {VERSION} is not the one that was tried: its checksum differs")));
    }
    let text = output(cargo().args(["metadata", "--format-version=1", "--offline", "--manifest-path"]).arg(&manifest))?;
    let document: Value =
        serde_json::from_str(&text).map_err(|error| Failure::work("`cargo metadata` wrote no JSON").because(error))?;
    let packages = document.get("packages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let package = packages.iter().find(|package| package.get("name").and_then(Value::as_str) == Some(CRATE));
    let path = package.and_then(|package| package.get("manifest_path")).and_then(Value::as_str).map(Path::new);
    let sources = path.and_then(Path::parent).map(|folder| folder.join("bitcoin"));
    sources
        .filter(|folder| folder.join("CMakeLists.txt").is_file())
        .ok_or_else(|| Failure::work(format!("{CRATE} {VERSION} carries no sources of Bitcoin Core")))
}

fn boost_is_there() -> bool {
    ["/usr/include", "/usr/local/include", "/opt/homebrew/include"]
        .iter()
        .any(|folder| Path::new(folder).join("boost/version.hpp").is_file())
}
