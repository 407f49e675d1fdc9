//! A seeded, deterministic simulator that tries to break the chain core.
//!
//! A run is decided by its [`Options`] alone: the same options give the same [`Report::trace`]. One thread and one queue
//! of events drive real cores ([`alys_chain::Chain`]) with simulated machines around them: disks that lose what was not
//! synced, signers with a signing record, engines that give no answer, clocks that are wrong, a network that delays,
//! loses, doubles and splits, members that break the rules and miners that lie. After the faults comes a calm end, in
//! which everything must heal.
//!
//! Invariants of the simulator:
//! - every seed picks its own subset of faults ([`FaultSet::swarm`]);
//! - what must hold lies in `invariants/`, one per file, each with its own books;
//! - mistakes made on purpose ([`Plant`]) are found, or the simulator is broken.
//!
//! Deliberately absent: wall clocks, threads within a run, hash-ordered maps, the node's actors.

#![forbid(unsafe_code)]

mod adversary;
mod bitcoin;
mod dice;
mod faults;
mod invariants;
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

/// Runs to the end or to the first violation. A panic of the code under test is a violation, too.
pub fn run(options: &Options) -> Report {
    tell(options, false).0
}

/// As [`run`], with a line for each event.
pub fn tell(options: &Options, story: bool) -> (Report, Vec<String>) {
    let options = options.clone();
    catch_unwind(AssertUnwindSafe(|| world::World::new(options, story).run())).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let violation = Violation { invariant: "no panics", what, at_millis: 0 };
        (Report::broken(violation), Vec::new())
    })
}
