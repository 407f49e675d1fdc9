//! Seeds of the default test run. `cargo xtask sim --seeds N` runs as many as one likes.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_sim::{Fault, FaultSet, Options, Plant, cores, minimise, run};
use std::collections::{BTreeMap, BTreeSet};

/// How many seeds a test runs: a few without optimisation; `cargo xtask test` runs this crate in the release profile, too.
const fn seeds(optimised: u64) -> u64 {
    if cfg!(debug_assertions) { optimised.div_ceil(25) } else { optimised }
}

/// Faults for half a minute, then the calm end.
fn brief(seed: u64) -> Options {
    Options { seconds: 30, ..Options::short(seed) }
}

fn hold(seeds: impl Iterator<Item = Options>) -> BTreeMap<Fault, u64> {
    let mut fired = BTreeMap::new();
    for options in seeds {
        let report = run(&options);
        if let Some(violation) = report.violation {
            panic!("{violation}\n  cargo xtask sim replay {options}");
        }
        for (fault, count) in report.fired {
            *fired.entry(fault).or_insert(0) += count;
        }
    }
    fired
}

#[test]
fn invariants_hold_whatever_a_seed_brings() {
    let count = seeds(150);
    let fired = hold((1..=count).map(brief));
    if cfg!(debug_assertions) {
        return;
    }
    let never: Vec<&str> = Fault::ALL
        .into_iter()
        .filter(|fault| !fault.needs_actors() && !fired.contains_key(fault))
        .map(Fault::name)
        .collect();
    assert!(never.is_empty(), "vacuous: never happened: {never:?}");
}

#[test]
fn invariants_hold_with_every_fault_at_once() {
    hold((1..=seeds(30)).map(|seed| Options { faults: Some(FaultSet::all()), ..brief(seed) }));
}

#[test]
fn books_hold_when_another_attempt_takes_the_place_of_a_settled_payment() {
    let faults: FaultSet = "peg-traffic,bitcoin-reorg,epoch-change".parse().unwrap();
    let mut replaced = 0;
    for seed in 1..=seeds(100) {
        let options = Options { faults: Some(faults.clone()), ..Options::short(seed) };
        let report = run(&options);
        if let Some(violation) = report.violation {
            panic!("{violation}\n  cargo xtask sim replay {options}");
        }
        replaced += report.paths.get("payments replaced").copied().unwrap_or(0);
    }
    assert!(replaced > 0, "vacuous: no attempt took another one's place");
}

#[test]
fn invariants_hold_in_federations_of_other_sizes() {
    for (nodes, count) in [(1, 12), (2, 12), (3, 12), (7, 12), (13, 1)] {
        hold((100..100 + seeds(count)).map(|seed| Options { nodes, ..brief(seed) }));
    }
}

#[test]
fn invariants_hold_with_real_signatures() {
    hold((1..=1).map(|seed| Options { real_signatures: true, seconds: 10, ..brief(seed) }));
}

#[test]
fn a_seed_repeats_itself_and_another_one_does_not() {
    let count = seeds(25);
    let traces: BTreeSet<[u8; 32]> = (1..=count)
        .map(|seed| {
            let (first, again) = (run(&brief(seed)), run(&brief(seed)));
            assert_eq!(first, again, "seed {seed}");
            first.trace
        })
        .collect();
    assert_eq!(traces.len(), usize::try_from(count).unwrap());
}

/// How many seeds may pass before a planted mistake is found.
const SEEDS_TO_FIND: u64 = 400;

/// A seed that showed a mistake when this was written: it is tried first, to save time.
fn shown_by(plant: Plant) -> u64 {
    match plant {
        Plant::HalfIsQuorum | Plant::CarryTwice | Plant::WorkNotKept | Plant::ProofsNotKept => 1,
        Plant::ApproveAnything | Plant::PauseIgnored | Plant::MintAgain | Plant::PayAgain | Plant::SweepForFree => 1,
        Plant::EvidenceUnchecked => 2,
        Plant::CountStrangers | Plant::SkippedSync | Plant::LostSigningRecord => 3,
        Plant::WorkUnchecked => 6,
        Plant::ReleaseBeforePersist => 8,
        Plant::BundleUnchecked => 11,
        Plant::StaleHeights => 44,
        Plant::NewestHeadWins => 62,
        // `alys-node-sim` looks for them.
        Plant::WrittenTooEarly | Plant::BatchForgotten | Plant::TimerLost => 0,
    }
}

#[test]
fn planted_mistakes_are_found() {
    for plant in Plant::ALL.into_iter().filter(|plant| !plant.is_of_actors()) {
        let first = shown_by(plant);
        if cfg!(debug_assertions) && first > 3 {
            // One run each of those that are found at once.
            continue;
        }
        let caught = std::iter::once(first)
            .chain(1..=SEEDS_TO_FIND)
            .any(|seed| run(&Options { plant: Some(plant), ..Options::short(seed) }).violation.is_some());
        assert!(caught, "{} was planted and none of {SEEDS_TO_FIND} seeds found it", plant.name());
    }
}

#[test]
fn a_failing_run_shrinks_to_one_that_fails_alike() {
    let options = Options { plant: Some(Plant::CarryTwice), ..Options::short(1) };
    let before = run(&options).violation.unwrap();
    let smallest = minimise(&options, cores, |_, _| {}).unwrap();
    assert_eq!(run(&smallest).violation.unwrap().invariant, before.invariant);
    assert!(smallest.seconds < options.seconds);
    assert!(smallest.faults.unwrap().iter().count() <= 1);
    assert_eq!(minimise(&brief(1), cores, |_, _| {}), None, "what does not fail has nothing to shrink");
}
