//! The state after one block as an ordered list of records, and a database made from such a list.
//!
//! [`EvmReader::export_state`](crate::EvmReader::export_state) gives the records: accounts by address, then storage slots by
//! address and slot, then the code that the accounts name by its hash. The same state gives the same records on every node.
//! [`StateRestore`] takes them, in any pieces and any order, and computes the tries; the state root tells whether they are
//! the state of the block.

mod export;
mod older;
mod restore;
mod tries;
mod verify;

pub use export::ExportError;
pub use restore::{RestoreError, RestoredBlock, StateRestore};
pub use verify::EvmVerification;

/// What a record describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// Key: address. Value: RLP of nonce, balance, storage root and code hash.
    Account,
    /// Key: address and slot. Value: big-endian without leading zeros.
    Slot,
    /// Key: keccak-256 of the value. Value: bytecode.
    Code,
}

impl RecordKind {
    /// Bytes of its keys.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Account => 20,
            Self::Slot => 52,
            Self::Code => 32,
        }
    }

    /// The most bytes of a value. Code may be longer than EIP-170 allows where a genesis file says so, but no account of a
    /// block can be made with more than its gas pays for.
    pub const fn max_value_bytes(self) -> usize {
        match self {
            Self::Account => 128,
            Self::Slot => 32,
            Self::Code => 1 << 20,
        }
    }
}

/// One entry of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRecord<'a> {
    /// What it describes.
    pub kind: RecordKind,
    /// Its key.
    pub key: &'a [u8],
    /// Its value, never empty.
    pub value: &'a [u8],
}
