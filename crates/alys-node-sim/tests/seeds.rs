//! Seeds of the default test run. `cargo xtask sim --actors --seeds N` runs as many as one likes.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_node_sim::{nodes, run};
use alys_sim::{FaultSet, Options, Plant, minimise};
use std::collections::BTreeMap;

/// Faults for half a minute, then the calm end.
fn brief(seed: u64) -> Options {
    Options { seconds: 30, ..Options::short(seed) }
}

fn with_all_faults(seed: u64) -> Options {
    Options { faults: Some(FaultSet::all()), ..brief(seed) }
}

#[test]
fn invariants_hold_with_actors_around_the_core() {
    let mut paths = BTreeMap::new();
    for options in (1..=12).map(brief).chain((1..=6).map(with_all_faults)) {
        let report = run(&options);
        if let Some(violation) = report.violation {
            panic!("{violation}\n  cargo xtask sim --actors replay {options}");
        }
        for (path, count) in report.paths {
            *paths.entry(path).or_insert(0) += count;
        }
    }
    for path in [
        "restarts",
        "actors restarted",
        "engine actors restarted",
        "chains restored",
        "syncs answered",
        "epochs begun",
        "deposits minted",
    ] {
        assert!(paths.contains_key(path), "vacuous: never happened: {path}");
    }
}

#[test]
fn a_seed_repeats_itself_and_another_one_does_not() {
    let traces: Vec<[u8; 32]> = (3..=4)
        .map(|seed| {
            let (first, again) = (run(&with_all_faults(seed)), run(&with_all_faults(seed)));
            assert_eq!(first, again, "seed {seed}");
            first.trace
        })
        .collect();
    assert_ne!(traces[0], traces[1]);
}

/// How many seeds may pass before a planted mistake is found.
const SEEDS_TO_FIND: u64 = 100;

#[test]
fn mistakes_of_the_actor_are_found() {
    // The seed that showed it when this was written is tried first.
    for (plant, first) in [(Plant::WrittenTooEarly, 1), (Plant::BatchForgotten, 2), (Plant::TimerLost, 5)] {
        let caught = std::iter::once(first)
            .chain(1..=SEEDS_TO_FIND)
            .any(|seed| run(&Options { plant: Some(plant), ..Options::short(seed) }).violation.is_some());
        assert!(caught, "{} was planted and none of {SEEDS_TO_FIND} seeds found it", plant.name());
    }
}

#[test]
fn a_failing_run_of_actors_shrinks() {
    let options = Options { plant: Some(Plant::CarryTwice), ..Options::short(1) };
    let smallest = minimise(&options, nodes, |_, _| {}).unwrap();
    assert!(smallest.seconds < options.seconds);
    assert!(run(&smallest).violation.is_some());
}

#[test]
fn one_member_alone_and_seven_hold_too() {
    for nodes in [1, 7] {
        let options = Options { nodes, ..brief(1) };
        assert_eq!(run(&options).violation, None, "cargo xtask sim --actors replay {options}");
    }
}

#[test]
fn invariants_hold_with_actors_and_real_signatures() {
    let options = Options { real_signatures: true, seconds: 5, faults: Some(FaultSet::default()), ..brief(1) };
    assert_eq!(run(&options).violation, None);
}
