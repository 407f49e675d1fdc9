//! The chain of committed bundles: given to peers, fetched from them, and followed by work ([`alys_chain::LightChain`]).

mod follow;
mod records;
mod spool;

pub(crate) use follow::{Ask, follow};
pub(crate) use records::{answer_light_records, answer_proof, unnoted};
pub use spool::{Spool, SpoolError};
