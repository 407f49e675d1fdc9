//! `cargo xtask bench [group [rows]]`: the benchmarks, which are the `[[bench]]` targets of the workspace.
//!
//! A target that is behind a feature is built with it: what only a benchmark compares with is compiled for it alone.

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::run::run;
use crate::setup;

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
    for (package, name, features) in chosen {
        let mut command = environment.cargo();
        command.args(["bench", "--package", package, "--bench", name, "--features", features, "--"]).args(rows);
        run(&mut command)?;
    }
    Ok(())
}
