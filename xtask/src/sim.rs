//! `cargo xtask sim`: the simulator in release, with everything behind the command handed on to it.

use crate::failure::Failure;
use crate::run::{cargo, shown};

const PACKAGE: &str = "alys-sim";

/// Exit codes are the simulator's: 1 an invariant broke, 2 wrong usage, 3 nothing broke but an enabled fault never happened.
/// It needs no native library, so there is no set-up.
pub(crate) fn sim(args: &[String]) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", PACKAGE, "--bin", PACKAGE, "--"]).args(args);
    let line = shown(&command);
    eprintln!("$ {line}");
    let status = command.status().map_err(|error| Failure::work(format!("cannot start `{line}`")).because(error))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failure::exit(code, "the simulation did not pass"))
}
