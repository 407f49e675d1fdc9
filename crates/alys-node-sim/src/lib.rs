//! The simulator of `alys-sim` with the node's actors around each core.
//!
//! Each simulated machine is a tokio runtime of its own, on one thread and with paused time, in which the node's chain actor and
//! execution actor run under a supervisor of `alys-actor`. What they ask of others (storage, signer, engine, Bitcoin, network)
//! leaves the machine as a wish of [`alys_sim::machine`]; the world of `alys-sim` answers, late, never, or after the machine
//! has stopped: a machine that loses its power is a runtime that is dropped.
//!
//! - `boot.rs`: the actors, their ports and their runtime. `mirror.rs`: what the chain's actor shows of its core.
//! - `machine.rs`: facts become messages, messages to others become wishes.
//! - `ports.rs`: the ends of the actors' ports. `engine.rs`: the engine behind the execution actor.
//! - `idle.rs`: when nothing is left to do until the time moves.
//! - `memory.rs`: what of a machine survives its power.
//!
//! Deliberately absent: RocksDB, libp2p, the signer's file (their tests and the chaos run have the real ones).

#![forbid(unsafe_code)]

mod boot;
mod engine;
mod idle;
mod machine;
mod memory;
mod mirror;
mod ports;

use alys_sim::machine::Maker;
use alys_sim::{Options, Report, run_with};
use std::sync::Once;

/// Machines with a node's actors.
pub fn nodes() -> Box<dyn Maker> {
    QUIET.call_once(be_quiet);
    Box::new(boot::Nodes::default())
}

static QUIET: Once = Once::new();

/// Panics that are made on purpose are not printed.
fn be_quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let made = panic.payload().downcast_ref::<String>().is_some_and(|text| text == mirror::MADE_TO_FAIL);
        if !made {
            before(panic);
        }
    }));
}

/// Runs nodes to the end or to the first violation.
pub fn run(options: &Options) -> Report {
    run_with(options, nodes)
}
