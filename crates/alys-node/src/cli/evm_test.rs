//! `alys-node evm-test`: Ethereum's own state, blockchain and engine fixtures.

use super::failure::{Failure, Outcome};
use alys_evm::fixtures::{CaseOutcome, CaseResult, MAX_FIXTURE_BYTES, run_fixture};
use clap::Args;
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// The most threads; each keeps a database open.
const MAX_THREADS: usize = 16;

/// The deepest folder that is looked into.
const MAX_DEPTH: usize = 32;

#[derive(Args)]
pub(super) struct EvmTestArguments {
    /// Fixture files, or folders that are searched for *.json.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Prints one JSON document instead.
    #[arg(long)]
    json: bool,
}

/// A case that did not pass.
#[derive(Debug, Serialize)]
struct Remark {
    file: PathBuf,
    case: String,
    reason: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    files: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    failures: Vec<Remark>,
    skips: Vec<Remark>,
}

pub(super) fn evm_test(arguments: &EvmTestArguments) -> Outcome {
    let mut files = Vec::new();
    for path in &arguments.paths {
        find(path, 0, &mut files)?;
    }
    if files.is_empty() {
        return Err(Failure::usage("no fixtures found").help("name *.json files, or folders that hold some"));
    }
    let report = run_all(files, !arguments.json)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(Failure::work)?;
        print(&text)?;
    } else {
        for skip in &report.skips {
            tracing::debug!(file = %skip.file.display(), case = skip.case, reason = skip.reason, "skipped");
        }
        let Report { passed, failed, skipped, .. } = &report;
        print(&format!("{passed} passed, {failed} failed, {skipped} skipped"))?;
    }
    match report.failed {
        0 => Ok(()),
        failed => Err(Failure::work(format!("{failed} of {} cases failed", report.passed + failed))),
    }
}

/// Every fixture file at or below `path`, in order.
fn find(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Outcome {
    let unreadable = |error| Failure::usage(format!("{} can't be read: {error}", path.display()));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_file() {
        if depth == 0 || path.extension().is_some_and(|extension| extension == "json") {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    if depth >= MAX_DEPTH {
        return Err(Failure::usage(format!("{} is more than {MAX_DEPTH} folders deep", path.display())));
    }
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut entries: Vec<PathBuf> = entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    entries.iter().try_for_each(|entry| find(entry, depth.saturating_add(1), files))
}

/// Runs the files on all processors. Failing cases are printed as they are found.
fn run_all(files: Vec<PathBuf>, live: bool) -> Result<Report, Failure> {
    let scratch = Scratch::make()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(files.len());
    let next = AtomicUsize::new(0);
    let mut report = Report { files: files.len(), ..Report::default() };
    let mut outcomes: Vec<(usize, Remark, bool)> = Vec::new();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| -> Outcome {
        for thread in 0..threads {
            let (sender, files, next) = (sender.clone(), &files, &next);
            let folder = scratch.0.join(thread.to_string());
            scope.spawn(move || {
                while let Some((index, file)) = take(files, next) {
                    if sender.send((index, run_file(file, &folder))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, results) in receiver {
            let file = files.get(index).cloned().unwrap_or_default();
            for CaseResult { name, outcome } in results {
                let remark = |reason: String| Remark { file: file.clone(), case: name.clone(), reason };
                match outcome {
                    CaseOutcome::Passed => report.passed += 1,
                    CaseOutcome::Failed(reason) => {
                        report.failed += 1;
                        if live {
                            print(&format!("FAIL {}: {name}: {}", file.display(), one_line(&reason)))?;
                        }
                        outcomes.push((index, remark(reason), true));
                    }
                    CaseOutcome::Skipped(reason) => {
                        report.skipped += 1;
                        outcomes.push((index, remark(reason), false));
                    }
                }
            }
        }
        Ok(())
    })?;
    outcomes.sort_by_key(|(index, ..)| *index);
    for (_, remark, failed) in outcomes {
        if failed { report.failures.push(remark) } else { report.skips.push(remark) }
    }
    Ok(report)
}

fn take<'a>(files: &'a [PathBuf], next: &AtomicUsize) -> Option<(usize, &'a PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    files.get(index).map(|file| (index, file))
}

fn run_file(path: &Path, scratch: &Path) -> Vec<CaseResult> {
    let whole = |outcome| vec![CaseResult { name: "the file".to_owned(), outcome }];
    let mut json = Vec::new();
    let read = std::fs::create_dir_all(scratch)
        .and_then(|()| std::fs::File::open(path))
        .and_then(|file| file.take(MAX_FIXTURE_BYTES.saturating_add(1)).read_to_end(&mut json));
    match read {
        Ok(size) if u64::try_from(size).is_ok_and(|size| size <= MAX_FIXTURE_BYTES) => {}
        Ok(_) => return whole(CaseOutcome::Failed(format!("more than {MAX_FIXTURE_BYTES} bytes"))),
        Err(error) => return whole(CaseOutcome::Failed(error.to_string())),
    }
    match run_fixture(&json, scratch) {
        Ok(results) => results,
        Err(error @ alys_evm::fixtures::FixtureError::Json(_)) => whole(CaseOutcome::Failed(error.to_string())),
        Err(error @ alys_evm::fixtures::FixtureError::Shape) => whole(CaseOutcome::Skipped(error.to_string())),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn print(line: &str) -> Outcome {
    writeln!(std::io::stdout(), "{line}").map_err(Failure::work)
}

/// A folder for databases that goes at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, Failure> {
        let name = format!("alys-evm-test-{}-{}", std::process::id(), crate::clock::wall_now().0);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .map_err(|error| Failure::work(format!("{} can't be made: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
