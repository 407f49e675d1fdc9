//! Many seeds on all cores, and what came of them together.

use crate::{Fault, Makers, Options, Violation, run_with};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// So many seeds must show every fault and every recovery path, if each seed picks its own faults.
const SHOWS_EVERYTHING: u64 = 50;

/// Recovery paths that a batch must have taken.
const PATHS: [&str; 10] = [
    "restarts",
    "syncs answered",
    "stalls ended",
    "reorganisations",
    "deposits minted",
    "deposits shown again",
    "burns paid",
    "coins swept",
    "burns given back",
    "payments bumped",
];

/// Sums over runs.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    runs: u64,
    events: u64,
    millis: u64,
    blocks: u64,
    finalized: u64,
    fired: BTreeMap<Fault, u64>,
    paths: BTreeMap<&'static str, u64>,
    /// The failing run with the lowest seed.
    pub(crate) broken: Option<(Options, Violation)>,
}

/// Runs seeds from `first.seed` on, each twice if `twice`, until all are done or one fails.
pub(crate) fn run_all(first: &Options, makers: Makers, seeds: u64, threads: Option<usize>, twice: bool) -> Sums {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, stop, sums) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sums::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or(cores).max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let ahead = next.fetch_add(1, Ordering::Relaxed);
                    if ahead >= seeds {
                        break;
                    }
                    let options = Options { seed: first.seed.saturating_add(ahead), ..first.clone() };
                    let broken = one(&options, makers, twice, &sums);
                    if broken {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sums.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(options: &Options, makers: Makers, twice: bool, sums: &Mutex<Sums>) -> bool {
    let report = run_with(options, makers);
    let mut violation = report.violation.clone();
    let mut runs = 1;
    if twice && violation.is_none() {
        runs = 2;
        let again = run_with(options, makers);
        if again.trace != report.trace {
            let what = "the same options gave two traces".to_owned();
            violation = Some(Violation { invariant: "runs repeat", what, at_millis: report.millis });
        }
    }
    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
    sums.runs += runs;
    sums.events += report.events * runs;
    sums.millis += report.millis * runs;
    sums.blocks += report.height;
    sums.finalized += report.finalized;
    for (fault, count) in report.fired {
        *sums.fired.entry(fault).or_default() += count;
    }
    for (path, count) in report.paths {
        *sums.paths.entry(path).or_default() += count;
    }
    let broken = violation.is_some();
    if let Some(violation) = violation
        && sums.broken.as_ref().is_none_or(|(first, _)| options.seed < first.seed)
    {
        sums.broken = Some((options.clone(), violation));
    }
    broken
}

impl Sums {
    /// Prints everything.
    pub(crate) fn print(&self, wall: Duration) {
        let seconds = wall.as_secs_f64().max(0.001);
        let simulated = self.millis / 1_000;
        println!("runs           {}", self.runs);
        println!("events         {} ({:.0} a second)", self.events, as_f64(self.events) / seconds);
        println!("simulated      {simulated} s in {seconds:.1} s ({:.0} a second)", as_f64(simulated) / seconds);
        println!("blocks         {} ({} finalized)", self.blocks, self.finalized);
        println!("faults");
        for (fault, count) in &self.fired {
            println!("  {:<20} {count}", fault.name());
        }
        println!("paths");
        for (path, count) in &self.paths {
            println!("  {path:<20} {count}");
        }
    }

    /// Faults and paths that should have happened and did not.
    pub(crate) fn vacuous(&self, options: &Options, makers: Makers, seeds: u64) -> Option<String> {
        if options.plant.is_some() || seeds < SHOWS_EVERYTHING {
            return None;
        }
        let wanted: Vec<Fault> = match &options.faults {
            Some(faults) => faults.iter().collect(),
            None => Fault::ALL.to_vec(),
        };
        let possible = makers().has_actors();
        let wanted = wanted.into_iter().filter(|fault| possible || !fault.needs_actors());
        let faults = wanted.filter(|fault| !self.fired.contains_key(fault)).map(Fault::name);
        let paths = PATHS.into_iter().filter(|path| options.faults.is_none() && !self.paths.contains_key(path));
        let never: Vec<&str> = faults.chain(paths).collect();
        (!never.is_empty()).then(|| never.join(", "))
    }
}

/// Counts are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
