//! `cargo xtask dev`: a development chain in the foreground.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::failure::Failure;
use crate::run::{run, shown, target};
use crate::setup;

/// Builds the node and becomes it, so that signals reach it directly. Arguments go to `alys-node dev`.
pub(crate) fn dev(args: &[String]) -> Result<(), Failure> {
    let (debug, args) = match args.split_first() {
        Some((first, rest)) if first == "--debug" => (true, rest),
        Some(_) | None => (false, args),
    };
    let args = match args.split_first() {
        Some((first, rest)) if first == "--" => rest,
        Some(_) | None => args,
    };
    let environment = setup::prepare()?;
    let mut build = environment.cargo();
    build.args(["build", "--package", "alys-node", "--bin", "alys-node"]);
    if !debug {
        build.arg("--release");
    }
    run(&mut build)?;
    let mut node = Command::new(target().join(if debug { "debug" } else { "release" }).join("alys-node"));
    node.arg("dev").args(args);
    eprintln!("$ {}", shown(&node));
    let error = node.exec();
    Err(Failure::work(format!("cannot start `{}`", shown(&node))).because(error))
}
