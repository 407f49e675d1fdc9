//! `cargo xtask sim`: the simulators in release, with everything behind the command handed on to them.

use crate::failure::Failure;
use crate::run::{cargo, shown};
use crate::setup;

/// Cores alone: needs no native library, so there is no set-up.
const CORES: &str = "alys-sim";

/// A node's actors around them.
const NODES: &str = "alys-node-sim";

/// Chooses the second one, wherever it stands.
const ACTORS: &str = "--actors";

/// Exit codes are the simulator's: 1 an invariant broke, 2 wrong usage, 3 nothing broke but an enabled fault never happened.
pub(crate) fn sim(args: &[String]) -> Result<(), Failure> {
    let actors = args.iter().any(|arg| arg == ACTORS);
    let (package, mut command) = if actors { (NODES, setup::prepare()?.cargo()) } else { (CORES, cargo()) };
    command.args(["run", "--release", "--quiet", "--package", package, "--bin", package, "--"]);
    command.args(args.iter().filter(|arg| *arg != ACTORS));
    let line = shown(&command);
    eprintln!("$ {line}");
    let status = command.status().map_err(|error| Failure::work(format!("cannot start `{line}`")).because(error))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure::exit(code, "the simulation did not pass"))
}
