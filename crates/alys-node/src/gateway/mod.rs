//! JSON-RPC over HTTP and WebSocket, and the operator's listener.
//!
//! Reads are answered from published views and storage; only requests that change something go to an actor.

mod alys;
mod deadline;
mod describe;
mod dev;
mod federation;
mod mining;
mod ops;
mod peers;
mod peg;
mod proof;
mod record;
mod server;
mod wire;

pub use alys::{AlysRpc, alys_module};
pub use dev::dev_module;
pub use federation::{FederationRpc, federation_module};
pub use mining::{MiningRpc, mining_module};
pub use ops::{Ops, Readiness, serve as serve_ops};
pub use peers::NetworkRpc;
pub use peg::{PegRpc, peg_module};
pub use server::{Gateway, GatewayConfig, GatewayError, GatewayLimits};
