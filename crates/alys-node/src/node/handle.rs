//! A running node: what others may ask of it, and how it ends.

use crate::actors::chain::ChainMessage;
use crate::actors::gateway::Listening;
use crate::actors::mining::MiningMessage;
use crate::actors::signer::Doppelganger;
use crate::bridge::{BridgeMessage, BridgeView};
use crate::execution::Evm;
use crate::sync::SyncView;
use crate::trouble::Trouble;
use alys_actor::{Addr, Exit, ShutdownReport, SupervisorHandle, System};
use alys_bitcoin::RegtestHandle;
use alys_chain::{ChainEvent, ChainView, Message as Gossip};
use alys_p2p::NetworkView;
use alys_primitives::{ChainSpec, Height};
use alys_store::Reader;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};

/// How long the end waits for those who still read the databases, and how often it looks.
const CLOSING: Duration = Duration::from_secs(2);
const CLOSING_STEP: Duration = Duration::from_millis(5);

/// Why a node stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Going on could have broken a promise.
    Fatal {
        /// What kind of trouble.
        trouble: Trouble,
        /// What happened.
        reason: String,
    },
    /// A part that the node can't do without failed for good.
    Tree(Exit),
}

impl Ended {
    /// What kind of trouble it was.
    pub const fn trouble(&self) -> Trouble {
        match self {
            Self::Fatal { trouble, .. } => *trouble,
            Self::Tree(_) => Trouble::Parts,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fatal { reason, .. } => f.write_str(reason),
            Self::Tree(exit) => write!(f, "{exit}"),
        }
    }
}

/// A running node. Dropping it without [`Node::shutdown`] stops its tasks without draining them.
pub struct Node {
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// The chain actor: imports, proofs, status.
    pub chain: Addr<ChainMessage>,
    /// The mining actor: templates and submissions.
    pub mining: Addr<MiningMessage>,
    /// The newest published view.
    pub view: watch::Receiver<ChainView>,
    /// The chain's database, to read.
    pub store: Reader,
    /// The EVM's readers.
    pub evm: Evm,
    /// The embedded Bitcoin of a development node.
    pub bitcoin: Option<RegtestHandle>,
    /// What the bridge sees of Bitcoin.
    pub bridge: watch::Receiver<BridgeView>,
    /// The bridge actor, which takes other members' signatures of payments; none without a peg.
    pub bridge_actor: Option<Addr<BridgeMessage>>,
    /// Subscribe here to the signatures of payments that this node knows, as PSBTs for the other members.
    pub peg_signatures: broadcast::Sender<Arc<[u8]>>,
    /// Subscribe here to what happens to the chain.
    pub events: broadcast::Sender<ChainEvent>,
    /// Subscribe here to what peers should be told.
    pub gossip: broadcast::Sender<Gossip>,
    /// The connected peers; empty without a network.
    pub peers: watch::Receiver<NetworkView>,
    /// How far the sync is; waiting for ever without a network.
    pub sync: watch::Receiver<SyncView>,
    /// Height of the oldest block that is here, as soon as the node has looked at what is missing before it.
    pub oldest: watch::Receiver<Option<Height>>,
    /// A signature of this member's key that was made elsewhere: then this node signs nothing.
    pub doppelganger: watch::Receiver<Doppelganger>,
    /// Where the servers listen.
    pub listening: watch::Receiver<Option<Listening>>,
    pub(super) fatal: watch::Receiver<Option<(Trouble, String)>>,
    pub(super) parts: SupervisorHandle,
    pub(super) system: System,
}

impl Node {
    /// Restarts a part by its name in [`tree`](Self::tree), such as `chain`, between two messages: it drops what it has in
    /// memory and reads its state again. Those that wait for its answer keep waiting.
    ///
    /// # Errors
    /// There is no part of that name.
    pub fn restart(&self, part: &str) -> Result<(), alys_actor::LookupError> {
        self.parts.restart(part)
    }

    /// The supervision tree as it is now.
    pub fn tree(&self) -> alys_actor::TreeSnapshot {
        self.system.tree()
    }

    /// Waits until the node can't go on by itself.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn ended(&self) -> Ended {
        let mut fatal = self.fatal.clone();
        tokio::select! {
            biased;
            raised = fatal.wait_for(Option::is_some) => match raised {
                Ok(raised) => {
                    let gone = || (Trouble::Parts, "no reason was given".to_owned());
                    let (trouble, reason) = raised.clone().unwrap_or_else(gone);
                    Ended::Fatal { trouble, reason }
                }
                // Every part is gone: the tree knows why.
                Err(_) => Ended::Tree(self.system.ended().await),
            },
            exit = self.system.ended() => Ended::Tree(exit),
        }
    }

    /// Stops every part in reverse order, each within its deadline. Then the data folder is free for another node, unless
    /// somebody else has a clone of a reader: that is waited for a little, and told in the log.
    pub async fn shutdown(self) -> ShutdownReport {
        let Self { system, store, evm, .. } = self;
        let mut open = vec![store.open_mark()];
        if let Evm::Embedded { reader, .. } = &evm {
            open.push(reader.open_mark());
        }
        drop((store, evm));
        let report = system.shutdown().await;
        // What reads on other threads for somebody who is gone is not broken off.
        let closed = async {
            while open.iter().any(|mark| mark.strong_count() > 0) {
                sleep(CLOSING_STEP).await;
            }
        };
        if timeout(CLOSING, closed).await.is_err() {
            tracing::warn!("the node has ended, but somebody still reads its databases");
        }
        report
    }
}
