//! `cargo xtask coverage`: line coverage of the pure crates by their own tests and those that drive the protocol with them.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::run::{output, run};
use crate::setup::{self, CoverageTools};

/// The crates of floors 0 and 1, which are held to the limit.
const MEASURED: [&str; 4] = ["alys-primitives", "alys-crypto", "alys-auxpow", "alys-chain"];

/// Whose tests run beside those of the measured crates: the simulator's, and the peg's over a regtest Bitcoin.
const TESTED_WITH: [&str; 2] = ["alys-sim", "alys-bitcoin"];

/// The least share of lines of each crate, in hundredths.
const LIMIT: u64 = 95;

/// `cargo xtask coverage`. Exit codes: 1 a test failed or a crate is below the limit, 2 a tool is missing.
pub(crate) fn coverage() -> Result<(), Failure> {
    measure(&setup::coverage_tools()?)
}

/// Runs the tests instrumented and prints a line for each measured crate.
///
/// # Errors
/// A test that fails, a crate below the limit.
pub(crate) fn measure(tools: &CoverageTools) -> Result<(), Failure> {
    let packages = || MEASURED.into_iter().chain(TESTED_WITH).flat_map(|package| ["--package", package]);
    // What an earlier run counted would be added, and lines of programs that it left behind.
    run(tools.cargo().args(["llvm-cov", "clean", "--workspace"]))?;
    // Debug information has no part in counting.
    run(tools.cargo().env("CARGO_PROFILE_DEV_DEBUG", "false").args(["llvm-cov", "--no-report"]).args(packages()))?;
    let report = output(tools.cargo().args(["llvm-cov", "report", "--lcov"]).args(packages()))?;

    println!("{:<18} {:>7} {:>7} {:>10}", "line coverage", "lines", "covered", "share");
    let mut below = Vec::new();
    for package in MEASURED {
        let Lines { all, covered } = lines_of(&report, package, |path| fs::read_to_string(path).ok());
        let hundredths = covered.saturating_mul(10_000).checked_div(all).unwrap_or(0);
        println!("{package:<18} {all:>7} {covered:>7} {:>5}.{:02} %", hundredths / 100, hundredths % 100);
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

/// How many lines there are, and how many of them ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    covered: u64,
}

/// Lines of a crate's product code in an lcov report, which has a record for each file and a `DA:line,count` for each
/// line with code.
///
/// Tests at the end of a file and helpers for tests are no product code. Lines of `#[derive(...)]` are left out: the
/// compiler counts nothing of the traits that it derives itself, and of those derived by ssz_derive only the last
/// field's failure to decode, which for a field of fixed length cannot happen.
fn lines_of(report: &str, package: &str, read: impl Fn(&Path) -> Option<String>) -> Lines {
    let source = format!("/crates/{package}/src/");
    let mut lines = Lines::default();
    for record in report.split("end_of_record") {
        let Some(path) = record.lines().find_map(|line| line.strip_prefix("SF:")) else { continue };
        if !path.contains(&source) || path.contains("/src/testing/") {
            continue;
        }
        let text = read(Path::new(path)).unwrap_or_default();
        let product: Vec<&str> = text.lines().take_while(|line| *line != "mod tests {").collect();
        for (number, count) in record.lines().filter_map(|line| line.strip_prefix("DA:")?.split_once(',')) {
            let line = number.parse::<usize>().ok().and_then(|number| product.get(number.checked_sub(1)?));
            if line.is_some_and(|line| !line.trim_start().starts_with("#[derive(")) {
                lines.all += 1;
                lines.covered += u64::from(count != "0");
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
#[derive(Encode, Decode)]
struct Derived;
fn runs() {}
fn never_runs() {}

#[cfg(test)]
mod tests {
    fn tests() {}
}
";

    fn lines(path: &str) -> Lines {
        let report = format!("SF:{path}\nFN:1,runs\nDA:1,0\nDA:3,7\nDA:4,0\nDA:8,1\nDA:99,1\nLF:5\nend_of_record\n");
        lines_of(&report, "alys-chain", |read| (read == Path::new(path)).then(|| FILE.to_owned()))
    }

    #[test]
    fn product_code_is_counted_and_what_is_derived_or_a_test_is_not() {
        assert_eq!(lines("/here/crates/alys-chain/src/tree.rs"), Lines { all: 2, covered: 1 });
    }

    #[test]
    fn other_crates_and_helpers_for_tests_are_left_out() {
        assert_eq!(lines("/here/crates/alys-store/src/tree.rs"), Lines::default());
        assert_eq!(lines("/here/crates/alys-chain/tests/tree.rs"), Lines::default());
        assert_eq!(lines("/here/crates/alys-chain/src/testing/node.rs"), Lines::default());
    }
}
