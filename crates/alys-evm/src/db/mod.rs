//! The database: flat state and trie of the canonical head, blocks, and what is needed to move between heads.
//!
//! One RocksDB in its own folder; nothing else is kept elsewhere. The canonical state is four tables ([`Table`]) of
//! plain keys and values; executing a block yields a [`StateDiff`] over them, and every executed block keeps its diff
//! until it is pruned. So a head moves by writing new or old values back, a side block is a diff that has not been
//! written, and an older state is the head's with the history of later blocks looked up first.
//!
//! Invariants:
//! - every change of the database is one atomic, synced batch;
//! - the tables hold exactly the state after the block that `head` names, and the trie's root is that block's state
//!   root;
//! - `history` answers for every canonical block from `history_from` on.

mod blocks;
mod diff;
mod keys;
mod open;
mod view;

pub(crate) use blocks::{Outcome, decode_hash};
pub(crate) use diff::StateDiff;
pub(crate) use keys::{MAX_KEY, Table, account_trie_key, history_key, history_prefix, storage_key, storage_trie_key};
pub(crate) use open::{Cf, Db, Head, LATEST_KEY, decode_block_ref};
pub use open::{DbConfig, DbError, StorageFailure};
pub(crate) use view::{HeadState, HistoricalState, Layer, Overlay, StateRead, StateScan, history_value};
