//! The suite over `alys-actor`, on paused time; the other frameworks are judged by `cargo xtask bench conformance`.

use alys_actor_bench::alys::Alys;
use alys_actor_bench::conformance::{Outcome, judge};
use alys_actor_bench::raw::Raw;

#[test]
fn every_promise_is_kept() {
    for (name, outcome) in judge::<Alys>(true) {
        assert_eq!(outcome, Outcome::Kept, "{name}");
    }
}

/// A task with a channel keeps what needs no supervisor, and the suite notices that it does not refuse circles.
#[test]
fn the_suite_can_fail() {
    let outcomes = judge::<Raw>(true);
    let of = |part: &str| outcomes.iter().find(|(name, _)| name.contains(part)).map(|(_, outcome)| outcome.clone());
    assert_eq!(of("in order"), Some(Outcome::Kept));
    assert_eq!(of("intensity"), Some(Outcome::Absent));
    assert!(matches!(of("oneself"), Some(Outcome::Broken(_) | Outcome::Hangs)), "{outcomes:?}");
}
