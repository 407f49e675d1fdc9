//! `cargo xtask bench [group]`: the benchmarks, which are the `[[bench]]` targets of the workspace.

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::run::run;
use crate::setup;

pub(crate) fn bench(args: &[String]) -> Result<(), Failure> {
    let group = match args {
        [] => None,
        [group] => Some(group),
        [_, other, ..] => return Err(Failure::usage(format!("unexpected argument '{other}'"))),
    };
    let metadata = Metadata::load(&["--no-deps"])?;
    let mut groups = Vec::new();
    for package in metadata.members() {
        for target in package.targets.iter().filter(|target| target.kind == "bench") {
            groups.push((package.name.as_str(), target.name.as_str()));
        }
    }
    let chosen: Vec<_> = groups.iter().filter(|(_, name)| group.is_none_or(|group| group == name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = groups.iter().map(|(_, name)| *name).collect();
        let message = format!("no benchmark group '{}'", group.map_or("", String::as_str));
        return Err(Failure::missing(message, format!("there are: {}", names.join(", "))));
    }
    let environment = setup::prepare()?;
    for (package, name) in chosen {
        run(environment.cargo().args(["bench", "--package", package, "--bench", name]))?;
    }
    Ok(())
}
