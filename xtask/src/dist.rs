//! `cargo xtask dist`: the release archive, with what a user needs beside the binary.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::run::{output, root, run, target};
use crate::setup;

const BINARY: &str = "alys-node";
/// Beside the binary; folders with all they contain.
const ENCLOSED: [&str; 4] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "docs"];

/// Writes `target/dist/alys-<version>-<host>.tar.gz` and its checksum. Names, owners and times in the archive do not depend
/// on the machine.
pub(crate) fn dist() -> Result<(), Failure> {
    let environment = setup::prepare()?;
    run(environment.cargo().args(["build", "--release", "--locked", "--package", BINARY, "--bin", BINARY]))?;

    let metadata = Metadata::load(&["--no-deps"])?;
    let version = metadata.member(BINARY).map(|package| package.version.clone()).unwrap_or_default();
    let name = format!("alys-{version}-{}-{}", env::consts::ARCH, env::consts::OS);
    let dist = target().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, &error))?;
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
    copy(&target().join("release").join(BINARY), &folder)?;
    for enclosed in ENCLOSED {
        copy(&root().join(enclosed), &folder)?;
    }
    let sums = checksums(&folder)?;
    let path = folder.join("SHA256SUMS");
    fs::write(&path, sums).map_err(|error| Failure::file("write", &path, &error))?;

    let archive = format!("{name}.tar.gz");
    let time = output(Command::new("git").current_dir(root()).args(["log", "-1", "--format=@%ct"]))?;
    run(Command::new("tar")
        .current_dir(&dist)
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+w,go-w,a+rX"])
        .arg(format!("--mtime={}", time.trim()))
        .args(["--use-compress-program=gzip --no-name", "-cf", &archive, &name]))?;
    let sum = output(Command::new("sha256sum").current_dir(&dist).arg(&archive))?;
    let path = dist.join(format!("{archive}.sha256"));
    fs::write(&path, &sum).map_err(|error| Failure::file("write", &path, &error))?;
    println!("{}", dist.join(&archive).display());
    print!("{sum}");
    Ok(())
}

fn copy(from: &Path, into: &Path) -> Result<(), Failure> {
    if !from.exists() {
        return Err(Failure::work(format!("{} is missing", from.display())));
    }
    run(Command::new("cp").arg("--recursive").arg(from).arg(into))
}

/// One line for each file of the folder, checked by `sha256sum --check SHA256SUMS`.
fn checksums(folder: &Path) -> Result<String, Failure> {
    let list = output(Command::new("find").current_dir(folder).args([".", "-type", "f", "-printf", "%P\\n"]))?;
    let mut files: Vec<&str> = list.lines().collect();
    files.sort_unstable();
    output(Command::new("sha256sum").current_dir(folder).args(&files))
}
