//! The `alys-node` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    alys_node::cli::main()
}
