//! The node's actors. Each owns its state; messages are the only way in.

pub mod chain;
pub mod execution;
pub mod gateway;
mod hand_over;
pub mod miner;
pub mod mining;
pub mod service;
pub mod signer;
pub mod storage;
mod tick;
pub mod watcher;

pub use hand_over::HandOver;
pub use tick::Tick;

use crate::trouble::Trouble;
use tokio::sync::watch;

/// Stops the whole process in order: raised when going on could lose or contradict what was promised.
#[derive(Clone, Debug)]
pub struct Fatal(std::sync::Arc<watch::Sender<Option<(Trouble, String)>>>);

impl Fatal {
    /// The signal and its receiver.
    pub fn new() -> (Self, watch::Receiver<Option<(Trouble, String)>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(std::sync::Arc::new(sender)), receiver)
    }

    /// Asks for the stop. The first reason stands.
    pub fn raise(&self, trouble: Trouble, reason: String) {
        tracing::error!(?trouble, reason, "fatal: the node stops");
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some((trouble, reason));
            }
            first
        });
    }
}
