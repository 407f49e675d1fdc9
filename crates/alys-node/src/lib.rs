//! The Alys daemon and the builder that embeds it.
//!
//! - [`NodeBuilder`] starts a whole node (chain, EVM, pool, JSON-RPC, metrics; for development also a regtest Bitcoin and
//!   a merged miner) inside the caller's tokio runtime and gives a [`Node`] with typed handles.
//! - [`actors`] are the node's parts: each owns its state, the supervision tree of `alys-actor` restarts them.
//! - [`bridge`] stands between the chain and Bitcoin: deposits in, payments out.
//! - [`gateway`] is JSON-RPC; [`cli`] the command line of `alys-node`.
//!
//! Invariants:
//! - nothing is acknowledged, announced or signed before it is on disk;
//! - only the storage actor writes the chain's database, only the executor the EVM's, only the signer signs;
//! - readers (JSON-RPC, metrics) use published views and database snapshots and never wait for an actor.
//!
//! Deliberately absent: consensus rules (`alys-chain`), EVM rules (`alys-evm`), the wire (`alys-p2p`): [`network`] judges
//! what peers say and [`sync`] catches up with them.

pub mod actors;
mod anomaly;
pub mod bitcoin;
pub mod bounded;
pub mod bridge;
#[cfg(feature = "canary")]
mod canary;
pub mod chain_files;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dev_accounts;
pub mod evm_account;
pub mod execution;
pub mod gateway;
pub mod key_files;
pub mod light;
pub mod measures;
pub mod miner;
pub mod mining;
pub mod network;
mod node;
pub mod rpc_client;
pub mod snapshot;
pub mod sync;
mod threads;
mod trouble;

pub use bitcoin::NodeBitcoin;
pub use node::{DevBitcoin, Ended, Node, NodeBuilder, StartError, Validator};
pub use trouble::Trouble;
