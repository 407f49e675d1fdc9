//! Makes a failing run smaller: fewer faults, less time, fewer nodes, as long as it fails in the same way.

use crate::{Makers, Options, run_with};

/// The fewest nodes that can lose one and still have a quorum.
const FEWEST_NODES: usize = 4;

/// The smallest run found that breaks the same invariant, or `None` if the run as given breaks none. `tried` is called
/// after each attempt with whether it still fails.
pub fn minimise(options: &Options, makers: Makers, mut tried: impl FnMut(&Options, bool)) -> Option<Options> {
    let first = run_with(options, makers);
    let invariant = first.violation?.invariant;
    let mut best = Options { faults: Some(first.faults), byzantine: Some(first.byzantine), ..options.clone() };
    let mut fails = |candidate: &Options| {
        let fails = run_with(candidate, makers).violation.is_some_and(|violation| violation.invariant == invariant);
        tried(candidate, fails);
        fails
    };
    if !fails(&best) {
        // The seed's choices moved the dice; keep them.
        return Some(options.clone());
    }
    loop {
        let mut smaller = candidates(&best).into_iter();
        match smaller.find(|candidate| fails(candidate)) {
            Some(found) => best = found,
            None => return Some(best),
        }
    }
}

/// Runs that are a little smaller, the most hopeful first.
fn candidates(options: &Options) -> Vec<Options> {
    let mut all = Vec::new();
    let faults = options.faults.clone().unwrap_or_default();
    if options.seconds > 4 {
        all.push(Options { seconds: options.seconds / 2, ..options.clone() });
    }
    if options.nodes > FEWEST_NODES {
        all.push(Options { nodes: FEWEST_NODES.max(options.nodes / 2), ..options.clone() });
        all.push(Options { nodes: options.nodes - 1, ..options.clone() });
    }
    all.extend(faults.iter().map(|fault| Options { faults: Some(faults.without(fault)), ..options.clone() }));
    if let Some(fewer) = options.byzantine.and_then(|byzantine| byzantine.checked_sub(1)) {
        all.push(Options { byzantine: Some(fewer), ..options.clone() });
    }
    all
}
