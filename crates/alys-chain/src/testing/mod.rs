//! What tests and simulations need and a node must not have: a signature scheme that proves nothing, and fakes of
//! everything around a core (execution, signer, store, miner), in this one place.
//!
//! The fakes are honest about what matters: the executor refuses payloads that do not follow what it knows, the signer
//! keeps a signing record, the store forgets what was not synced.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks should stop"
)]

mod cluster;
mod custody;
mod executor;
mod fixture;
mod forge;
mod maker;
mod miner;
mod model;
mod node;
mod plant;
mod scheme;
mod script;
mod signer;
mod store;

pub use cluster::Cluster;
pub use custody::{custody_offer, offered_custody};
pub use executor::FakeExecutor;
pub use fixture::{Fixture, SchemeKind};
pub use maker::Maker;
pub use miner::{mine, mine_with};
pub use model::{MODEL_MEMBERS, MODEL_QUORUM, Model};
pub use node::{Node, NodeLog};
pub use plant::Plant;
pub use scheme::{genesis, restore, sign};
pub use script::{ScriptOutcome, run_script};
pub use signer::FakeSigner;
pub use store::StoreModel;
