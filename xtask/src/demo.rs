//! `cargo xtask demo peg`: a story played on a development chain, which fails if an amount is off.

use crate::failure::Failure;
use crate::run::{run, target};
use crate::setup;

pub(crate) fn demo(args: &[String]) -> Result<(), Failure> {
    let flags = match args {
        [name, flags @ ..] if name == "peg" => flags,
        [] => return Err(Failure::usage("no story named; there is: peg")),
        [other, ..] => return Err(Failure::usage(format!("unknown story '{other}'; there is: peg"))),
    };
    let environment = setup::prepare()?;
    if flags.is_empty() {
        return run(environment.cargo().args(["run", "--package", "alys-node", "--example", "peg_demo"]));
    }
    // Flags are about a federation of processes, which are started from the binary beside the example.
    run(environment.cargo().args(["build", "--package", "alys-node", "--bin", "alys-node"]))?;
    let binary = target().join("debug/alys-node");
    run(environment
        .cargo()
        .args(["run", "--package", "alys-node", "--example", "peg_federation", "--", "--binary"])
        .arg(binary)
        .args(flags))
}
