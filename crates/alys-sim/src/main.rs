//! The simulator of cores.

use std::process::ExitCode;

fn main() -> ExitCode {
    alys_sim::command::main(alys_sim::cores)
}
