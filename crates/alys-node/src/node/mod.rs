//! Building, running and stopping a node.

mod builder;
mod error;
mod handle;

pub use builder::{DevBitcoin, NodeBuilder, Validator};
pub use error::StartError;
pub use handle::{Ended, Node};
