//! The `alys-node` command.
fn main() {}
