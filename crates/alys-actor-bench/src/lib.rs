//! alys-actor beside what a user would pick instead: measured, and judged by one supervision conformance suite.
//!
//! A [`Framework`] is put under both by an adapter of some hundred lines. Those of `alys-actor` and of a raw tokio
//! channel, which is the floor of all measurements, are always there; the others are compiled with the feature `others`
//! only, so that nobody pays for them who does not measure.
//!
//! - `cargo xtask bench actors`: one process, all candidates in turn within each round, one table per runtime.
//! - `cargo xtask bench conformance`: which framework keeps which promise.
//! - The default tests run the suite over `alys-actor`.

pub mod alys;
pub mod conformance;
pub mod counting;
pub mod framework;
pub mod host;
pub mod measure;
#[cfg(feature = "others")]
pub mod others;
pub mod raw;

pub use framework::{Act, Feature, Framework, Happened, Log, Plan, Spec, Strategy};
pub use host::{Host, Threads};
