//! `cargo xtask chaos --canary`: runs against builds with a mistake made on purpose. A run that finds nothing there would
//! find nothing elsewhere.

use std::time::Instant;

use super::faults::Kind;
use super::{Arguments, NO_PROGRESS, VIOLATION, carry_out};
use crate::failure::Failure;
use crate::federation::build;

/// The mistakes by name (`alys-node`, feature `canary`), and the fault that must bring each to light.
const MISTAKES: [(&str, Kind); 4] = [
    ("forgetful-store", Kind::Blackout),
    ("unsynced-store", Kind::PowerCut),
    ("unrecorded-signatures", Kind::Kill),
    ("forgetful-pool", Kind::Blackout),
];

/// Variable that names the mistake to the node.
const VARIABLE: &str = "ALYS_PLANTED";

/// Minutes of one run: each fault comes at least once.
const MINUTES: u64 = 1;

pub(super) fn canary(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.plan.program {
        Some(program) => program.clone(),
        None => build(arguments.plan.release, &["--features", "canary"])?,
    };
    let mut unnoticed = Vec::new();
    for (mistake, kind) in MISTAKES {
        let mut run = arguments.clone();
        run.kinds = vec![kind];
        run.minutes = MINUTES.min(arguments.minutes);
        run.plan.folder = arguments.plan.folder.join(mistake);
        run.plan.preloaded = kind.is_preloaded();
        run.plan.small_disks = false;
        run.plan.bitcoin = false;
        run.plan.client = false;
        run.plan.environment.push((VARIABLE.to_owned(), mistake.to_owned()));
        run.report = arguments.report.join(mistake);
        println!("== {mistake}, with {}", kind.name());
        let began = Instant::now();
        match carry_out(&program, &run) {
            // A member whose record lacks its signatures takes them for somebody else's and signs no more: that is no progress.
            Err(failure) if [VIOLATION, NO_PROGRESS].contains(&failure.code()) => {
                println!("{mistake}: noticed after {} s: {failure}\n", began.elapsed().as_secs());
            }
            Err(failure) => return Err(failure),
            Ok(()) => unnoticed.push(mistake),
        }
    }
    if unnoticed.is_empty() {
        println!("all {} mistakes were noticed", MISTAKES.len());
        return Ok(());
    }
    Err(Failure::work(format!("not noticed: {}", unnoticed.join(", "))))
}
