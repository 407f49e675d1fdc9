//! Executing a block on its parent's state: checking one that came from elsewhere, and building one.

mod build;
mod env;
mod evm;
mod header;
mod import;
mod receipts;
mod relocated;
mod run;
mod senders;
mod timings;

pub use build::BuildError;
pub(crate) use build::{Attributes, BuildLimits, Built, build_block};
pub(crate) use env::{
    StateDatabase, block_env, has_storage, next_base_fee, next_excess_blob_gas, read_code, read_info, read_slot,
};
pub(crate) use evm::{StorageLookup, StoredStorage, create_evm, create_evm_with_inspector};
pub(crate) use header::check_commitments;
pub use import::BlockError;
pub(crate) use import::{CheckError, Executed, check_block, requests_hash};
pub(crate) use relocated::RelocatedEvm;
pub(crate) use run::fees;
pub use timings::BlockTimings;
