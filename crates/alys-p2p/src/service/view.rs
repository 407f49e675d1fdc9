//! What readers see of the network.

use crate::Status;
use libp2p::{Multiaddr, PeerId};
use std::time::Duration;
use tokio::time::Instant;

/// A snapshot, published after every change of consequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkView {
    /// Addresses that this node listens on.
    pub listening: Vec<Multiaddr>,
    /// Connected peers, by id.
    pub peers: Vec<PeerView>,
    /// Peers that are kept out now.
    pub banned: usize,
}

impl NetworkView {
    /// Peers that showed that they are of this chain.
    pub fn ready(&self) -> impl Iterator<Item = (&PeerView, &Status)> {
        self.peers.iter().filter_map(|peer| peer.status.as_ref().map(|status| (peer, status)))
    }
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerView {
    /// Its id.
    pub peer: PeerId,
    /// Where it is.
    pub address: Multiaddr,
    /// Whether this node dialled it.
    pub outbound: bool,
    /// Whether it is on the operator's list.
    pub listed: bool,
    /// What it calls itself; unchecked, at most 64 characters.
    pub agent: Option<String>,
    /// What it last said of itself; none before the handshake is done.
    pub status: Option<Status>,
    /// When it said so.
    pub status_at: Instant,
    /// Since when it is connected.
    pub since: Instant,
    /// Round trip of the last ping.
    pub round_trip: Option<Duration>,
    /// Its penalty; it is kept out at 100.
    pub penalty: f64,
    /// Gossipsub's score.
    pub gossip_score: f64,
}
