//! The transaction pool: what wallets sent and blocks do not hold yet.
//!
//! - A transaction is checked when it comes (bytes, signature, rules, account), and its sender's account again at every
//!   new head. What the builder is offered is ordered by effective tip, each sender's transactions by nonce.
//! - Everything has a limit: bytes of a transaction, transactions of a sender, of all, their bytes, waiting requests.
//!   When the pool is full, the least-paying last transactions of other senders make room.
//! - **A transaction is acknowledged only after it is on disk**; a pool that is opened again holds every acknowledged
//!   transaction that is neither final nor replaced, pushed out, or expired. One whose nonce a block has used is kept
//!   until that block is final, since a reorganisation may bring it back.
//! - [`Pool`] is a plain value without locks; [`PoolTask`] owns it, [`PoolHandle`] talks to the task. Readers get
//!   published snapshots.
//!
//! Absent on purpose: blobs (the chain has none), local accounts, gossip (subscribe to [`PoolHandle::subscribe`]).

mod chain;
mod config;
mod core;
mod entries;
mod error;
mod handle;
mod journal;
mod sender;
mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod validate;
mod view;

pub use self::core::{Changes, Pool};
pub use chain::{ChainUnavailable, MAX_REORG_BLOCKS, PoolAccount, PoolChain, PoolHead};
pub use config::PoolConfig;
pub use entries::Entries;
pub use error::{InvalidTransaction, PoolError};
pub use handle::PoolHandle;
pub use journal::{JournalEntry, JournalError, RocksJournal, TransactionJournal};
pub use task::{PoolTask, PoolTaskError};
pub use transaction::{MAX_TRANSACTION_BYTES, PooledTransaction};
pub use view::{Candidates, Entry, PoolStatus, PoolView, SenderView};
