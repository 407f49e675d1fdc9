//! Reaching the operator's own peers, again and again.

use super::task::NetworkTask;
use crate::NetworkConfig;
use crate::peers::Backoff;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// The listed peers.
pub(super) struct Dials {
    peers: BTreeMap<PeerId, Dial>,
}

struct Dial {
    addresses: Vec<Multiaddr>,
    backoff: Backoff,
}

impl Dials {
    pub(super) fn new(config: &NetworkConfig, now: Instant) -> Self {
        let own = config.identity.peer_id();
        let seed = own.to_bytes().iter().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let mut peers: BTreeMap<PeerId, Dial> = BTreeMap::new();
        for (position, listed) in (0u64..).zip(&config.peers) {
            if listed.peer == own {
                continue;
            }
            let fresh = || Dial {
                addresses: Vec::new(),
                backoff: Backoff::new(now, config.limits.longest_redial, seed.wrapping_add(position)),
            };
            peers.entry(listed.peer).or_insert_with(fresh).addresses.push(listed.address.clone());
        }
        Self { peers }
    }

    pub(super) fn is_listed(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// A connection to the peer is open.
    pub(super) fn reached(&mut self, peer: &PeerId, now: Instant) {
        if let Some(dial) = self.peers.get_mut(peer) {
            dial.backoff.reset(now);
        }
    }
}

impl NetworkTask {
    /// Dials the listed peers that are not connected and whose pause is over.
    pub(super) fn dial_due(&mut self, now: Instant) {
        for (peer, dial) in &mut self.dials.peers {
            if self.peers.contains_key(peer) || !dial.backoff.is_due(now) || self.standings.is_banned(peer) {
                continue;
            }
            dial.backoff.wait(now);
            let options = DialOpts::peer_id(*peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(dial.addresses.clone())
                .allocate_new_port()
                .build();
            let begun = self.swarm.dial(options).is_ok();
            metrics::counter!("alys_p2p_dials_total", "outcome" => if begun { "begun" } else { "refused" })
                .increment(1);
        }
    }
}
