//! What the calls tell of peers.

use crate::sync::SyncView;
use alys_p2p::{NetworkView, PeerId, PeerView};
use alys_primitives::Height;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What is told of the network.
#[derive(Clone, Debug)]
pub struct NetworkRpc {
    /// This node's id.
    pub local: PeerId,
    /// The peers.
    pub peers: watch::Receiver<NetworkView>,
    /// How far the sync is.
    pub sync: watch::Receiver<SyncView>,
    /// The oldest block that is here, while those before it are fetched.
    pub oldest: watch::Receiver<Option<Height>>,
}

impl NetworkRpc {
    /// Peers that showed that they are of this chain.
    pub(super) fn ready(&self) -> usize {
        self.peers.borrow().ready().count()
    }

    pub(super) fn sync(&self) -> Value {
        let sync = *self.sync.borrow();
        json!({
            "state": sync.state.name(),
            "head": sync.head.0,
            "target": sync.target.0,
            "blocksPerSecond": sync.rate,
            "secondsLeft": sync.left.map(|left| left.as_secs()),
            "oldest": self.oldest.borrow().map(|height| height.0),
        })
    }
}

/// `alys_peers`: this node's id and addresses, and its peers.
pub(super) fn list(network: Option<&NetworkRpc>) -> Value {
    let Some(network) = network else {
        return json!({ "peerId": null, "listening": [], "banned": 0, "peers": [] });
    };
    let view = network.peers.borrow();
    json!({
        "peerId": network.local.to_string(),
        "listening": view.listening.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "banned": view.banned,
        "peers": view.peers.iter().map(describe).collect::<Vec<_>>(),
    })
}

fn describe(peer: &PeerView) -> Value {
    json!({
        "peerId": peer.peer.to_string(),
        "address": peer.address.to_string(),
        "outbound": peer.outbound,
        "listed": peer.listed,
        "agent": peer.agent,
        "connectedSeconds": peer.since.elapsed().as_secs(),
        "roundTripMillis": peer.round_trip.map(|time| time.as_secs_f64() * 1000.0),
        "penalty": peer.penalty,
        "gossipScore": peer.gossip_score,
        "status": peer.status.map(|status| json!({
            "epoch": status.epoch.0,
            "headHeight": status.head_height.0,
            "headRoot": status.head_root,
            "safeHeight": status.safe_height.0,
            "finalizedHeight": status.finalized_height.0,
        })),
    })
}
