//! `cargo xtask coverage`: line coverage of the pure crates by their own tests and those that drive the protocol with them.

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;
use crate::run::{answers, cargo, output, root, run};

/// The crates of floors 0 and 1, which are held to the limit.
const MEASURED: [&str; 4] = ["alys-primitives", "alys-crypto", "alys-auxpow", "alys-chain"];

/// Whose tests run beside those of the measured crates: the simulator's, and the peg's over a regtest Bitcoin.
const TESTED_WITH: [&str; 2] = ["alys-sim", "alys-bitcoin"];

/// The least share of lines of each crate, in hundredths.
const LIMIT: u64 = 95;

/// The tool's name, the variable that names it to cargo-llvm-cov, and where Debian's package puts the one that fits.
const LLVM: [(&str, &str); 2] =
    [("LLVM_COV", "/usr/lib/llvm-22/bin/llvm-cov"), ("LLVM_PROFDATA", "/usr/lib/llvm-22/bin/llvm-profdata")];

/// Exit codes: 1 a test failed or a crate is below the limit, 2 a tool is missing.
pub(crate) fn coverage() -> Result<(), Failure> {
    if !answers(cargo().args(["llvm-cov", "--version"])) {
        return Err(Failure::missing("cargo-llvm-cov is not installed", "cargo install cargo-llvm-cov --locked"));
    }
    // What an earlier run counted would be added.
    run(with_llvm()?.args(["llvm-cov", "clean", "--profraw-only"]))?;
    let mut command = with_llvm()?;
    command.args(["llvm-cov", "--no-report"]);
    for package in MEASURED.into_iter().chain(TESTED_WITH) {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    let mut report = with_llvm()?;
    report.args(["llvm-cov", "report", "--json", "--summary-only"]);
    for package in MEASURED.into_iter().chain(TESTED_WITH) {
        report.args(["--package", package]);
    }
    let report: Value = serde_json::from_str(&output(&mut report)?)
        .map_err(|error| Failure::work("cargo-llvm-cov wrote no JSON").because(error))?;

    println!("{:<18} {:>7} {:>7} {:>7}", "crate", "lines", "covered", "share");
    let mut below = Vec::new();
    for package in MEASURED {
        let (lines, covered) = lines_of(&report, package);
        let hundredths = covered.saturating_mul(10_000).checked_div(lines).unwrap_or(0);
        println!("{package:<18} {lines:>7} {covered:>7} {:>4}.{:02} %", hundredths / 100, hundredths % 100);
        if hundredths < LIMIT * 100 {
            below.push(package);
        }
    }
    if below.is_empty() {
        Ok(())
    } else {
        Err(Failure::work(format!("less than {LIMIT} % of the lines are covered in: {}", below.join(", "))))
    }
}

/// Cargo with the LLVM tools: those that the environment names, else the toolchain's, else Debian's.
fn with_llvm() -> Result<Command, Failure> {
    let mut command = cargo();
    if component_is_there()? {
        return Ok(command);
    }
    for (variable, path) in LLVM {
        if env::var_os(variable).is_some() {
            continue;
        }
        if !Path::new(path).is_file() {
            return Err(Failure::missing(
                format!("{path} is missing, and the toolchain has no LLVM tools of its own"),
                "rustup component add llvm-tools, or install Debian's llvm-22",
            ));
        }
        command.env(variable, path);
    }
    Ok(command)
}

/// Whether the toolchain has the component `llvm-tools`, which always fits the compiler.
fn component_is_there() -> Result<bool, Failure> {
    let folder = output(Command::new("rustc").args(["--print", "target-libdir"]).current_dir(root()))?;
    Ok(Path::new(folder.trim()).parent().is_some_and(|folder| folder.join("bin/llvm-cov").is_file()))
}

/// Lines and covered lines of a crate's product code; its helpers for tests count as tests.
fn lines_of(report: &Value, package: &str) -> (u64, u64) {
    let source = format!("/crates/{package}/src/");
    let files = report.pointer("/data/0/files").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    files
        .iter()
        .filter(|file| {
            let name = file.get("filename").and_then(Value::as_str).unwrap_or_default();
            name.contains(&source) && !name.contains("/src/testing/")
        })
        .fold((0, 0), |(lines, covered), file| {
            let number = |key| file.pointer(&format!("/summary/lines/{key}")).and_then(Value::as_u64).unwrap_or(0);
            (lines + number("count"), covered + number("covered"))
        })
}
