//! `cargo xtask fuzz [target] [--seconds N]`: the decoders of outside bytes under libFuzzer.
//!
//! The targets are a workspace of their own (`crates/fuzz/libfuzzer`). Coverage comes from code generation options that the
//! stable compiler has, so neither a nightly toolchain nor cargo-fuzz is needed; what is missing without them are the
//! sanitizers, of little use where `unsafe` is denied.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;
use crate::run::{root, run, target};
use crate::setup;

const FOLDER: &str = "crates/fuzz/libfuzzer";
const CORPUS: &str = "crates/fuzz/corpus";
const DEFAULT_SECONDS: u64 = 30;
/// The longest input: more than any decoder accepts is refused by its length alone.
const MAX_BYTES: &str = "65536";
/// Megabytes after which a target counts as exhausting memory.
const MAX_MEMORY: &str = "2048";

const COVERAGE: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

pub(crate) fn fuzz(args: &[String]) -> Result<(), Failure> {
    let (chosen, seconds) = parse(args)?;
    let known = targets()?;
    let names = match chosen {
        None => known,
        Some(name) if known.contains(&name) => vec![name],
        Some(name) => {
            let help = format!("there are: {}", known.join(", "));
            return Err(Failure::missing(format!("no fuzz target '{name}'"), help));
        }
    };
    let mut build = setup::prepare()?.cargo();
    build.args(["build", "--release", "--manifest-path"]).arg(root().join(FOLDER).join("Cargo.toml"));
    build.arg("--target-dir").arg(built());
    for name in &names {
        build.args(["--bin", name]);
    }
    // Named explicitly so that the flags stay out of build scripts and procedural macros.
    build.args(["--target", &setup::host()?]).env("RUSTFLAGS", COVERAGE.join(" "));
    run(&mut build)?;

    let mut failed = Vec::new();
    for name in names {
        eprintln!("\n== {name}");
        if let Err(failure) = run_target(&name, seconds) {
            eprintln!("{failure}");
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::work(format!("findings in: {}", failed.join(", ")))) }
}

fn parse(args: &[String]) -> Result<(Option<String>, u64), Failure> {
    let mut chosen = None;
    let mut seconds = DEFAULT_SECONDS;
    let mut rest = args.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let value = rest.next().ok_or_else(|| Failure::usage("--seconds needs a number"))?;
            seconds = value.parse().map_err(|_| Failure::usage(format!("--seconds '{value}' is not a number")))?;
        } else if argument.starts_with('-') || chosen.is_some() {
            return Err(Failure::usage(format!("unexpected argument '{argument}'")));
        } else {
            chosen = Some(argument.clone());
        }
    }
    Ok((chosen, seconds))
}

fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join(FOLDER).join("fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| Failure::file("read", &folder, &error))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new("rs")))
        .filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn built() -> PathBuf {
    target().join("libfuzzer")
}

/// New inputs go to the first corpus folder, which git ignores; the committed ones are read.
fn run_target(name: &str, seconds: u64) -> Result<(), Failure> {
    let corpus = root().join(FOLDER).join("corpus").join(name);
    let artifacts = root().join(FOLDER).join("artifacts").join(name);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
    }
    let mut command = Command::new(built().join(setup::host()?).join("release").join(name));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .arg(format!("-rss_limit_mb={MAX_MEMORY}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus);
    let committed = root().join(CORPUS).join(name);
    if committed.is_dir() {
        command.arg(committed);
    }
    run(&mut command)
}
