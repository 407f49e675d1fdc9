//! The floor table: a crate depends on lower floors only, the same floor never but for named arrows.
//!
//! `docs/ARCHITECTURE.md` explains the floors; this is the copy that is enforced.

use super::{Verdict, verdict};
use crate::failure::Failure;
use crate::metadata::{Metadata, Package};

const FLOORS: [(&str, u8); 11] = [
    ("alys-primitives", 0),
    ("alys-crypto", 0),
    ("alys-auxpow", 0),
    ("alys-chain", 1),
    ("alys-actor", 2),
    ("alys-store", 3),
    ("alys-engine", 3),
    ("alys-evm", 3),
    ("alys-bitcoin", 3),
    ("alys-p2p", 3),
    ("alys-node", 4),
];

/// Beside the house: they may depend on any floor, and no floor depends on them but for tests.
const SIDE: [&str; 6] = ["alys-actor-bench", "alys-fuzz", "alys-node-sim", "alys-sim", "alys-vectors", "xtask"];

/// The arrows on a floor: the ground floor's crates share the containers, and embedded execution implements the port.
const SAME_FLOOR: [(&str, &str); 3] =
    [("alys-auxpow", "alys-primitives"), ("alys-crypto", "alys-primitives"), ("alys-evm", "alys-engine")];

/// Usable alone by any service, so it knows nothing of the rest.
const INDEPENDENT: &str = "alys-actor";

/// Floors whose crates are pure, and the crates by which input, output or a runtime would come in.
const PURE_FLOORS: u8 = 1;
const IMPURE: [&str; 6] = ["tokio", "futures", "rocksdb", "hyper", "reqwest", "rand"];

pub(crate) fn check(metadata: &Metadata) -> Result<Verdict, Failure> {
    let findings: Vec<String> = metadata.members().flat_map(check_crate).collect();
    verdict(&findings)
}

fn check_crate(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    if SIDE.contains(&name) {
        return Vec::new();
    }
    let Some(floor) = floor_of(name) else {
        return vec![format!("{name} has no floor: add it to the table in xtask/src/lint/floors.rs")];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        let allowed = match floor_of(other) {
            // Its own tests may switch its features on.
            Some(_) if name == other => dependency.development,
            Some(_) if name == INDEPENDENT => false,
            Some(lower) => lower < floor || SAME_FLOOR.contains(&(name, other)),
            None if SIDE.contains(&other) => dependency.development,
            None => dependency.development || floor > PURE_FLOORS || !IMPURE.contains(&other),
        };
        if !allowed {
            findings.push(format!("{name} (floor {floor}) must not depend on {other}{}", describe(other)));
        }
    }
    findings
}

fn floor_of(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(member, _)| *member == name).map(|(_, floor)| *floor)
}

fn describe(name: &str) -> String {
    match floor_of(name) {
        Some(floor) => format!(" (floor {floor})"),
        None if SIDE.contains(&name) => " (a side crate)".to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, development)| Dependency { name: (*name).to_owned(), development: *development })
            .collect();
        Package { name: name.to_owned(), dependencies, ..Package::default() }
    }

    #[test]
    fn a_lower_floor_is_allowed() {
        assert!(check_crate(&package("alys-chain", &[("alys-primitives", false), ("thiserror", false)])).is_empty());
    }

    #[test]
    fn the_same_floor_and_higher_ones_are_refused_but_for_the_named_arrows() {
        assert_eq!(check_crate(&package("alys-store", &[("alys-evm", false)])).len(), 1);
        assert_eq!(check_crate(&package("alys-chain", &[("alys-node", false)])).len(), 1);
        assert!(check_crate(&package("alys-evm", &[("alys-engine", false)])).is_empty());
        assert_eq!(check_crate(&package("alys-engine", &[("alys-evm", false)])).len(), 1);
    }

    #[test]
    fn the_actor_crate_stands_alone() {
        assert_eq!(check_crate(&package("alys-actor", &[("alys-primitives", false)])).len(), 1);
    }

    #[test]
    fn pure_floors_take_a_runtime_for_tests_only() {
        assert_eq!(check_crate(&package("alys-chain", &[("tokio", false)])).len(), 1);
        assert!(check_crate(&package("alys-chain", &[("tokio", true)])).is_empty());
        assert!(check_crate(&package("alys-bitcoin", &[("tokio", false)])).is_empty());
    }

    #[test]
    fn side_crates_serve_tests_only() {
        assert_eq!(check_crate(&package("alys-node", &[("alys-vectors", false)])).len(), 1);
        assert!(check_crate(&package("alys-node", &[("alys-vectors", true)])).is_empty());
    }

    #[test]
    fn a_crate_without_a_floor_is_reported() {
        assert_eq!(check_crate(&package("alys-attic", &[])).len(), 1);
    }
}
