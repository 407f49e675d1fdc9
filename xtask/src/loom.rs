//! `cargo xtask loom`: every interleaving of the hand-written synchronisation, within a bound on preemptions.
//!
//! A crate takes part by declaring a feature `loom`, which swaps its own primitives for loom's; its models live in
//! `tests/loom.rs`, or in a module `loom` of the library.

use std::env;

use crate::failure::Failure;
use crate::metadata::{Metadata, Package};
use crate::run::{cargo, output, run};

/// Loom's models explode with the number of preemptions; three find what these small primitives can get wrong.
const PREEMPTIONS: &str = "3";
const BOUND_VARIABLE: &str = "LOOM_MAX_PREEMPTIONS";

pub(crate) fn loom() -> Result<(), Failure> {
    let metadata = Metadata::load(&["--no-deps"])?;
    let modelled = |package: &&Package| package.declared_features.iter().any(|feature| feature == "loom");
    for package in metadata.members().filter(modelled) {
        let file = package.targets.iter().any(|target| target.kind == "test" && target.name == "loom");
        let mut arguments = vec!["test", "--package", &package.name, "--features", "loom"];
        arguments.extend(if file { ["--test", "loom"] } else { ["--lib", "loom"] });
        // A filter that matches nothing would pass without a word.
        let list = output(cargo().args(&arguments).args(["--", "--list"]))?;
        if !list.lines().any(|line| line.ends_with(": test")) {
            eprintln!("NOT RUN: {} declares the feature `loom` but has no models", package.name);
            continue;
        }
        let bound = env::var_os(BOUND_VARIABLE).unwrap_or_else(|| PREEMPTIONS.into());
        run(cargo().args(&arguments).env(BOUND_VARIABLE, bound))?;
    }
    Ok(())
}
