//! The Merkle-Patricia tries of accounts and storage, kept by path and updated incrementally.
//!
//! Every node of a trie is a value at its path: an update reads and writes only the nodes on the ways to the changed
//! keys, and a proof reads the nodes on the way to one key. See `docs/adr/0003-state-trie.md` for why this is not a
//! crate's trie.

mod proof;
mod state;
mod update;

pub(crate) use proof::prove;
pub(crate) use state::{AccountUpdate, StateUpdate, read_account, state_diff};
pub(crate) use update::{NodeSource, TrieError, update_trie};
