//! The simulator of nodes.

use std::process::ExitCode;

fn main() -> ExitCode {
    alys_sim::command::main(alys_node_sim::nodes)
}
