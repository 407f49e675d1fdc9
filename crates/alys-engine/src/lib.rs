//! The execution port: what a chain asks of an EVM, whoever runs it.
//!
//! Two implementations stand behind [`ExecutionEngine`]: the embedded EVM and (with its own change) a client of the
//! Engine API. The port speaks the Engine API's semantics, so that neither leaks through: a payload is `VALID` only
//! after execution, `SYNCING` and unavailability say nothing about a block, `INVALID` blames it.
//!
//! Absent on purpose: pools, JSON-RPC and anything that the consensus side does not need.

mod port;

pub use port::{
    Attributes, BlockFees, BuiltPayload, EngineError, EngineInfo, ExecutionEngine, ForkchoiceOutcome, ForkchoiceState,
    NewPayload, PayloadId, PayloadStatus,
};
