//! `cargo xtask demo peg`: a story played on a development chain, which fails if an amount is off.

use crate::failure::Failure;
use crate::run::run;
use crate::setup;

pub(crate) fn demo(args: &[String]) -> Result<(), Failure> {
    let example = match args {
        [name] if name == "peg" => "peg_demo",
        [] => return Err(Failure::usage("no story named; there is: peg")),
        [other, ..] => return Err(Failure::usage(format!("unknown story '{other}'; there is: peg"))),
    };
    let environment = setup::prepare()?;
    run(environment.cargo().args(["run", "--package", "alys-node", "--example", example]))
}
