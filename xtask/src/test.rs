//! `cargo xtask test`: the default test suite.

use std::time::Instant;

use crate::coverage;
use crate::failure::Failure;
use crate::loom;
use crate::run::{answers, run};
use crate::setup::{self, Environment};
use crate::skipped::{self, Skipped};
use crate::tools;

/// The crates whose tests also run in the release profile: supervision depends on panics that unwind, which only that
/// profile's settings can break, and the simulator runs hundreds of seeds only where they take seconds.
const RELEASE_TESTED: [&str; 2] = ["alys-actor", "alys-sim"];

type Suite = fn(&Environment, &Skipped) -> Result<(), Failure>;

/// Sets up and runs the suite; with arguments, only the tests that the runner selects by them.
pub(crate) fn test(args: &[String]) -> Result<(), Failure> {
    if let [first, rest @ ..] = args
        && first == "--tools"
    {
        return tools::test(rest);
    }
    let started = Instant::now();
    let environment = setup::prepare()?;
    let skipped = Skipped::begin()?;
    eprintln!("set-up took {} s", started.elapsed().as_secs());

    let suites: [(&str, Suite); 5] = [
        ("unit and integration tests", |environment, skipped| unit_and_integration(environment, skipped, &[])),
        ("documentation tests", documentation),
        ("models of synchronisation", |_, _| loom::loom()),
        ("release profile", release),
        ("line coverage", |_, skipped| line_coverage(skipped)),
    ];
    let mut failed = Vec::new();
    if args.is_empty() {
        for (name, suite) in suites {
            eprintln!("\n== {name}");
            if let Err(failure) = suite(&environment, &skipped) {
                eprintln!("{failure}");
                failed.push(name);
            }
        }
    } else if let Err(failure) = unit_and_integration(&environment, &skipped, args) {
        eprintln!("{failure}");
        failed.push("selected tests");
    }

    println!();
    skipped.report()?;
    println!("total time, builds included: {} s", started.elapsed().as_secs());
    if failed.is_empty() { Ok(()) } else { Err(Failure::work(format!("failed: {}", failed.join(", ")))) }
}

/// With cargo-nextest where it is installed, else with cargo's own runner; either prints its totals.
fn unit_and_integration(environment: &Environment, skipped: &Skipped, args: &[String]) -> Result<(), Failure> {
    let mut command = environment.cargo();
    command.env(skipped::VARIABLE, skipped.path());
    let selects_packages = args.iter().any(|argument| matches!(argument.as_str(), "-p" | "--package"));
    if answers(environment.cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        command.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    if !selects_packages {
        command.arg("--workspace");
    }
    run(command.args(args))
}

fn documentation(environment: &Environment, skipped: &Skipped) -> Result<(), Failure> {
    let mut command = environment.cargo();
    command.env(skipped::VARIABLE, skipped.path());
    run(command.args(["test", "--workspace", "--doc", "--no-fail-fast"]))
}

fn release(environment: &Environment, skipped: &Skipped) -> Result<(), Failure> {
    let mut command = environment.cargo();
    command.env(skipped::VARIABLE, skipped.path());
    command.args(["test", "--release", "--lib", "--tests", "--no-fail-fast"]);
    for package in RELEASE_TESTED {
        command.args(["--package", package]);
    }
    run(&mut command)
}

/// Where its tools can't be had, that is told as a test that could not run is.
fn line_coverage(skipped: &Skipped) -> Result<(), Failure> {
    match setup::coverage_tools() {
        Ok(tools) => coverage::measure(&tools),
        Err(failure) => {
            eprintln!("{failure}");
            skipped.add("coverage", failure.message())
        }
    }
}
