//! A seeded, deterministic simulator that tries to break the chain core.
//!
//! A run is decided by its [`Options`] alone: the same options give the same [`Report::trace`]. One thread and one queue
//! of events drive [machines](machine), real cores ([`alys_chain::Chain`]) or what another crate puts around them, with
//! simulated surroundings: disks that lose what was not synced, signers with a signing record, engines that give no answer, clocks that are wrong, a network that delays,
//! loses, doubles and splits, members that break the rules and miners that lie. After the faults comes a calm end, in
//! which everything must heal.
//!
//! Invariants of the simulator:
//! - every seed picks its own subset of faults ([`FaultSet::swarm`]);
//! - what must hold lies in `invariants/`, one per file, each with its own books;
//! - mistakes made on purpose ([`Plant`]) are found, or the simulator is broken.
//!
//! Deliberately absent: wall clocks, threads within a run, hash-ordered maps, the node's actors (`alys-node-sim` has them).

#![forbid(unsafe_code)]

mod adversary;
mod batch;
mod bitcoin;
pub mod command;
mod dice;
mod faults;
mod invariants;
pub mod machine;
mod miner;
mod minimise;
mod node;
mod options;
mod report;
mod wire;
mod world;

pub use alys_chain::testing::Plant;
pub use dice::Dice;
pub use faults::{Fault, FaultSet, UnknownFault};
pub use minimise::minimise;
pub use options::{MAX_NODES, Options};
pub use report::{Report, Violation};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a run's machines are made.
pub type Makers = fn() -> Box<dyn machine::Maker>;

/// Machines of nothing but cores.
pub fn cores() -> Box<dyn machine::Maker> {
    Box::new(machine::Cores)
}

/// Runs cores to the end or to the first violation.
pub fn run(options: &Options) -> Report {
    run_with(options, cores)
}

/// Runs machines to the end or to the first violation. A panic of the code under test is a violation, too.
pub fn run_with(options: &Options, makers: Makers) -> Report {
    tell(options, makers, false).0
}

/// As [`run_with`], with a line for each event.
pub fn tell(options: &Options, makers: Makers, story: bool) -> (Report, Vec<String>) {
    let options = options.clone();
    let run = AssertUnwindSafe(|| world::World::new(options, makers(), story).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let violation = Violation { invariant: "no panics", what, at_millis: 0 };
        (Report::broken(violation), Vec::new())
    })
}
