//! `cargo xtask bench [group [rows]]`: the benchmarks, which are the `[[bench]]` targets of the workspace.
//!
//! A target that is behind a feature is built with it: what only a benchmark compares with is compiled for it alone.

use std::fs;
use std::path::PathBuf;

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::run::run;
use crate::setup;
use crate::tools::npm;

/// What the node is measured beside, pinned.
const ANVIL: &str = "@foundry-rs/anvil@1.7.1";
const ANVIL_FOLDER: &str = "node_modules/@foundry-rs";

pub(crate) fn bench(args: &[String]) -> Result<(), Failure> {
    let (group, rows) = match args {
        [] => (None, args),
        [group, rows @ ..] => (Some(group), rows),
    };
    let metadata = Metadata::load(&["--no-deps"])?;
    let mut groups = Vec::new();
    for package in metadata.members() {
        for target in package.targets.iter().filter(|target| target.kind == "bench") {
            groups.push((package.name.as_str(), target.name.as_str(), target.required_features.join(",")));
        }
    }
    let chosen: Vec<_> = groups.iter().filter(|(_, name, _)| group.is_none_or(|group| group == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = groups.iter().map(|(_, name, _)| *name).collect();
        let message = format!("no benchmark group '{}'", group.map_or("", String::as_str));
        return Err(Failure::missing(message, format!("there are: {}", names.join(", "))));
    }
    let environment = setup::prepare()?;
    // What the node is measured beside.
    let anvil = if chosen.iter().any(|(_, name, _)| *name == "evm") { anvil()? } else { None };
    for (package, name, features) in chosen {
        let mut command = environment.cargo();
        command.envs(anvil.iter().map(|program| ("ALYS_ANVIL", program)));
        command.args(["bench", "--package", package, "--bench", name, "--features", features, "--"]).args(rows);
        run(&mut command)?;
    }
    Ok(())
}

/// anvil's program, from npm; where that can't be reached it is skipped.
fn anvil() -> Result<Option<PathBuf>, Failure> {
    match npm::install("anvil", &[ANVIL])? {
        Ok(folder) => {
            // The program itself: npm's launcher would be measured with it.
            let packages = fs::read_dir(folder.join(ANVIL_FOLDER)).into_iter().flatten().flatten();
            Ok(packages.map(|package| package.path().join("bin/anvil")).find(|program| program.is_file()))
        }
        Err(reason) => {
            println!("skipped: figures beside anvil: {reason}");
            Ok(None)
        }
    }
}
