//! The execution port: what a chain asks of an EVM, whoever runs it.
//!
//! Two implementations stand behind [`ExecutionEngine`]: the embedded EVM of `alys-evm`, and [`EngineClient`], which
//! drives any Ethereum execution client through the Engine API. The port speaks the Engine API's semantics, so that
//! neither leaks through: a payload is `VALID` only after execution, `SYNCING` and unavailability say nothing about a
//! block, `INVALID` blames it.
//!
//! Invariants of the client:
//! - a verdict is handed on only if the whole answer fits the request; anything else is an [`EngineError`], which says
//!   nothing about a block;
//! - an endpoint is used only after a handshake (chain id, genesis, methods, no blobs), and again after each failure;
//! - every answer is bounded in bytes and time before it is decoded.
//!
//! [`wire`] and [`JwtSecret`] are the Engine API's JSON and authentication, shared with the server of `alys-evm`.
//!
//! Absent on purpose: pools, JSON-RPC for users, TLS (engines stand beside the node), and anything else that the
//! consensus side does not need.

mod burns;
mod client;
mod fork;
mod hash;
mod jwt;
mod port;
pub mod wire;

pub use burns::{BRIDGE_ADDRESS, BurnError, Log, REQUEST_PEG_OUT, burns};
pub use client::{
    ChainIdentity, ConfigError, EndpointConfig, EngineClient, EngineClientConfig, ForwardError, HistoryFuture,
    PayloadHistory, RetryPolicy, Timeouts,
};
pub use fork::{Fork, ForkTimes};
pub use hash::payload_hash;
pub use jwt::{JwtError, JwtSecret, MAX_CLOCK_SKEW, SecretError};
pub use port::{
    Attributes, BlockFees, BuiltPayload, EngineError, EngineInfo, ExecutionEngine, ForkchoiceOutcome, ForkchoiceState,
    NewPayload, PayloadId, PayloadStatus,
};
