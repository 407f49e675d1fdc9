//! Packages of npm, pinned, in the folder that is kept between checkouts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::setup::cache_folder;

/// A folder with the packages under `node_modules`, or why there is none: no npm, no registry. A folder that is complete is
/// not touched again.
pub(crate) fn install(name: &str, packages: &[&str]) -> Result<Result<PathBuf, String>, Failure> {
    let folder = cache_folder()?.join("npm").join(name);
    let complete = folder.join("complete");
    let wanted = packages.join("\n");
    if fs::read_to_string(&complete).is_ok_and(|text| text == wanted) {
        return Ok(Ok(folder));
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
    eprintln!("npm: {} into {}", packages.join(" "), folder.display());
    let done = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", "."])
        .args(packages)
        .current_dir(&folder)
        .output();
    let output = match done {
        Ok(output) => output,
        Err(error) => return Ok(Err(format!("npm can't be run: {error}"))),
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        return Ok(Err(format!("npm can't install: {line}")));
    }
    fs::write(&complete, wanted).map_err(|error| Failure::file("write", &complete, &error))?;
    Ok(Ok(folder))
}
