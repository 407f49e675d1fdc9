//! Durable storage of an Alys node: the database on RocksDB, and the signing record beside it.
//!
//! [`Database`] is the one writer: each decision of the chain is one atomic, synced batch. [`Reader`]s see what is
//! committed. [`SigningRecord`](signing::SigningRecord) is a file of its own that no rewind or restore touches.
//!
//! Invariants (reliability page, S6, S9):
//! - what was acknowledged is there after `kill -9` and power cut, or opening fails: RocksDB's recovery stops without a
//!   word at a damaged end of its log, so commits are numbered and the last acknowledged write is marked beside it;
//! - no damaged byte is served: each value is sealed with a checksum over its column and key, and what has a root is
//!   compared with it;
//! - after a failed write or sync nothing is written any more, and no sync is ever tried again;
//! - one process uses the folder at a time, and an older program refuses a newer database.
//!
//! Deliberately absent: the EVM's state (`alys-evm` keeps its own), caches, and knowledge of which records belong
//! together: that is the chain's.

mod chain;
pub mod codec;
mod column;
mod database;
mod error;
mod folder;
mod history;
mod journal;
mod reader;
mod record;
mod schema;
pub mod signing;

pub use chain::FinalizedBundle;
pub use codec::CodecError;
pub use column::{Column, StoreConfig};
pub use database::{Database, LOG_KEPT};
pub use error::{Damage, StoreError};
pub use folder::FolderLock;
pub use journal::{ActorJournal, ActorName, BadActorName, MAX_ACTOR_NAME_BYTES};
pub use reader::{Reader, Verification};
pub use schema::SCHEMA_VERSION;
