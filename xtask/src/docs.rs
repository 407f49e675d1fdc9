//! `cargo xtask docs`: the API documentation of the workspace's own crates.

use crate::failure::Failure;
use crate::run::run;
use crate::setup;

pub(crate) fn docs(args: &[String]) -> Result<(), Failure> {
    let open = match args {
        [] => false,
        [flag] if flag == "--open" => true,
        [other, ..] => return Err(Failure::usage(format!("unexpected argument '{other}'"))),
    };
    let mut command = setup::prepare()?.cargo();
    command.args(["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-D warnings");
    if open {
        command.arg("--open");
    }
    run(&mut command)
}
