//! `cargo xtask lint`: everything that can be said about the code without running it.

mod dependencies;
mod floors;
mod licences;
mod spelling;
mod wording;

use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::run::{cargo, run};
use crate::setup;

/// What a check found.
pub(crate) enum Verdict {
    Passed,
    /// The check could not be made on this machine; the reason.
    NotRun(String),
}

type Check = (&'static str, fn() -> Result<Verdict, Failure>);

const CHECKS: [Check; 9] = [
    ("format", format),
    ("lockfile", lockfile),
    ("floors", || with_metadata(floors::check)),
    ("dependencies", || with_metadata(dependencies::check)),
    ("licences", licences::check),
    ("wording", wording::check),
    ("spelling", spelling::check),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
];

/// Runs all checks, or those named, and reports every failure rather than the first.
pub(crate) fn lint(names: &[String]) -> Result<(), Failure> {
    let known: BTreeSet<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(format!("unknown check '{name}'; there are: {}", known.join(", "))));
    }
    let chosen = CHECKS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|chosen| chosen == name));
    let mut summary = Vec::new();
    let mut failed = Vec::new();
    for (name, check) in chosen {
        eprintln!("\n== {name}");
        match check() {
            Ok(Verdict::Passed) => summary.push(format!("{name}: passed")),
            Ok(Verdict::NotRun(reason)) => summary.push(format!("{name}: NOT RUN: {reason}")),
            Err(failure) => {
                eprintln!("{failure}");
                summary.push(format!("{name}: FAILED"));
                failed.push(*name);
            }
        }
    }
    println!();
    for line in summary {
        println!("{line}");
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::work(format!("failed: {}", failed.join(", ")))) }
}

/// Turns a list of findings into a verdict.
pub(crate) fn verdict(findings: &[String]) -> Result<Verdict, Failure> {
    for finding in findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(Verdict::Passed),
        number => Err(Failure::work(format!("{number} found"))),
    }
}

fn with_metadata(check: fn(&Metadata) -> Result<Verdict, Failure>) -> Result<Verdict, Failure> {
    check(&Metadata::load(&["--all-features"])?)
}

fn format() -> Result<Verdict, Failure> {
    setup::ensure_component("rustfmt", "fmt")?;
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    Ok(Verdict::Passed)
}

fn lockfile() -> Result<Verdict, Failure> {
    Metadata::load(&["--locked"])?;
    Ok(Verdict::Passed)
}

fn clippy() -> Result<Verdict, Failure> {
    setup::ensure_component("clippy", "clippy")?;
    let environment = setup::prepare()?;
    run(environment.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(Verdict::Passed)
}

fn rustdoc() -> Result<Verdict, Failure> {
    let mut command = setup::prepare()?.cargo();
    run(command.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Verdict::Passed)
}
