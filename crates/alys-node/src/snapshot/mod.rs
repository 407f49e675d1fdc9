//! State snapshots: made from a finalized block, served to peers, checked, and turned into the databases of a new node.
//!
//! A snapshot stands for the chain after a finalized block. The root that a node trusts is that of the next block, the
//! *anchor*: its header names the block and commits to the chain's state after it, the block's header names the EVM block and
//! thereby the EVM's state. So the anchor's root alone decides whether everything else is right, whoever gave it.
//!
//! A manifest names every part by its hash; the hash of the manifest names the snapshot. Equal states at equal blocks give
//! equal snapshots on every node, so that parts come from any of them.
//!
//! Invariants:
//! - a part is compared with its hash before anything is read from it, and lengths are compared with limits before that;
//! - nothing of a restore counts before all of it is on disk: databases are made beside their places and moved there when
//!   they are complete, and a start finishes a move that was broken off ([`folder::settle`]);
//! - the signing record is not touched.

mod by_work;
mod create;
pub(crate) mod folder;
mod format;
mod join;
mod keep;
mod restore;

pub use by_work::join_by_work;
pub use create::{CreateError, Created, Sources, create};
pub use folder::{Folder, FolderError, SettleError, is_empty, settle};
pub use format::{FormatError, MAX_PARTS, Manifest, Part};
pub use join::{JoinError, join};
pub use keep::keep;
pub use restore::{RestoreError, Restored, restore, verify};

/// Name of the folder of finished snapshots in the data folder.
pub const SNAPSHOTS: &str = "snapshots";
