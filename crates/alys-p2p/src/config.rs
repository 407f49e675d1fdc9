//! What the operator chooses, and the limits.

use crate::{Identity, PeerAddress};
use alys_primitives::Root;
use libp2p::Multiaddr;
use std::time::Duration;

/// Everything that a network service needs.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The node's key.
    pub identity: Identity,
    /// Where to listen; nowhere is allowed.
    pub listen: Vec<Multiaddr>,
    /// Peers that are dialled again and again, have reserved places and short bans.
    pub peers: Vec<PeerAddress>,
    /// The chain; peers of another one are sent away.
    pub genesis_root: Root,
    /// What identify tells peers, such as `alys-node/0.1.0`.
    pub agent: String,
    /// The limits.
    pub limits: NetworkLimits,
    /// How to find peers that are not listed.
    pub discovery: Discovery,
}

/// How a node finds peers that its operator did not list; not at all by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Peers that are dialled while others are wanted, without a reserved place.
    pub bootnodes: Vec<PeerAddress>,
    /// Kademlia, as in the libp2p specs: peers tell each other of peers of this chain.
    pub kademlia: bool,
    /// Multicast on every interface of the machine but loopback (RFC 6762).
    pub mdns: bool,
    /// Peers below which this node looks for more.
    pub wanted: usize,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { bootnodes: Vec::new(), kademlia: false, mdns: false, wanted: 8 }
    }
}

/// The limits of one service. libp2p's own defaults are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Strangers connected at once; listed peers are on top.
    pub strangers: u32,
    /// Connections being opened by others at once.
    pub pending_incoming: u32,
    /// Connections being opened by this node at once.
    pub pending_outgoing: u32,
    /// Connections of one peer: one each way, and one that replaces a dying one.
    pub per_peer: u32,
    /// Streams of one connection.
    pub streams: usize,
    /// Requests of one peer that are answered at once.
    pub requests_per_peer: usize,
    /// Requests of all peers that are answered at once.
    pub requests: usize,
    /// Commands that wait.
    pub commands: usize,
    /// Events that wait; more gossip is dropped, more requests are refused.
    pub events: usize,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How often each peer is asked for its status.
    pub status_period: Duration,
    /// The longest pause between two attempts to reach a listed peer.
    pub longest_redial: Duration,
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            strangers: 64,
            pending_incoming: 32,
            pending_outgoing: 32,
            per_peer: 3,
            streams: 128,
            requests_per_peer: 4,
            requests: 32,
            commands: 1024,
            events: 1024,
            request_timeout: Duration::from_secs(10),
            status_period: Duration::from_secs(1),
            longest_redial: Duration::from_secs(4),
        }
    }
}
