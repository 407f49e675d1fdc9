//! The peg's rules driven through whole chains: real regtest blocks in, blocks with records and withdrawals out
//! (protocol section 7).

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

#[path = "../support/mod.rs"]
mod support;

mod deposits;
mod harness;
mod mainnet;
mod model;
mod pauses;
mod payments;
mod recovery;
mod reorgs;
mod rotation;
mod siblings;
mod signing;
