//! What the swarm reports.

use super::behaviour::BehaviourEvent;
use super::codec::Question;
use super::task::{NetworkTask, Peer};
use crate::peers::Offence;
use crate::wire::Response;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, gossipsub, identify, ping, request_response};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// The longest name that a peer can give itself here.
const MAX_AGENT: usize = 64;

impl NetworkTask {
    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's events may grow; those named are the ones acted upon")]
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                self.opened(peer_id, &endpoint, num_established.get(), now);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, cause, .. } => {
                tracing::debug!(peer = %peer_id, left = num_established, ?cause, "connection closed");
                self.closed(peer_id, num_established);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening for peers");
                self.listening.push(address);
                self.changed = true;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.lost_listener(&[address]),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "not listening any more");
                self.lost_listener(&addresses);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                metrics::counter!("alys_p2p_dials_total", "outcome" => "failed").increment(1);
                tracing::debug!(peer = ?peer_id, %error, "peer was not reached");
            }
            SwarmEvent::IncomingConnectionError { peer_id, error, .. } => {
                metrics::counter!("alys_p2p_incoming_failed_total").increment(1);
                tracing::debug!(peer = ?peer_id, %error, "incoming connection failed");
            }
            other => tracing::trace!(?other, "swarm"),
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip(event, now),
            BehaviourEvent::Requests(event) => self.on_request_response(event, now),
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(round_trip) => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.round_trip = Some(round_trip);
                    }
                }
                Err(ping::Failure::Unsupported) => {}
                Err(error @ (ping::Failure::Timeout | ping::Failure::Other { .. })) => {
                    tracing::info!(%peer, %error, "peer does not answer: connection is given up");
                    self.swarm.close_connection(connection);
                }
            },
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Kademlia(event) => self.on_kademlia(event, now),
            BehaviourEvent::Mdns(event) => self.on_mdns(event, now),
            // Neither says anything.
            BehaviourEvent::Blocked(never) | BehaviourEvent::Limits(never) => match never {},
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        if let identify::Event::Received { peer_id, info, .. } = event
            && let Some(peer) = self.peers.get_mut(&peer_id)
        {
            let printable = info.agent_version.chars().filter(|symbol| !symbol.is_control()).take(MAX_AGENT);
            peer.agent = Some(printable.collect());
            self.changed = true;
            self.heard_of(peer_id, &info.listen_addrs);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "subscriptions and the like need no answer")]
    fn on_gossip(&mut self, event: gossipsub::Event, now: Instant) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.heard(propagation_source, message_id, &message, now);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                metrics::counter!("alys_p2p_slow_peer_total").increment(1);
                tracing::debug!(peer = %peer_id, "peer takes messages too slowly");
            }
            other => tracing::trace!(?other, "gossip"),
        }
    }

    fn on_request_response(&mut self, event: request_response::Event<Question, Response>, now: Instant) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => match request {
                Question::Valid(request) => self.asked_by(peer, request_id, request, channel, now),
                Question::Malformed => self.blame(peer, Offence::Malformed, now),
            },
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                self.answered(peer, request_id, response, now);
            }
            Event::OutboundFailure { peer, request_id, error, .. } => self.not_answered(peer, request_id, &error, now),
            Event::InboundFailure { peer, request_id, error, .. } => self.not_asked(peer, request_id, &error, now),
            Event::ResponseSent { .. } => {}
        }
    }

    fn opened(&mut self, id: PeerId, endpoint: &ConnectedPoint, connections: u32, now: Instant) {
        self.dials.reached(&id, now);
        self.finds.reached(&id, now);
        let peer = self.peers.entry(id).or_insert_with(|| Peer {
            connections,
            address: endpoint.get_remote_address().clone(),
            outbound: endpoint.is_dialer(),
            agent: None,
            listening: Vec::new(),
            status: None,
            status_at: now,
            since: now,
            round_trip: None,
            status_due: Some(now),
            gossip: BTreeMap::new(),
            requests: BTreeMap::new(),
            waiting: 0,
        });
        peer.connections = connections;
        tracing::debug!(peer = %id, address = %peer.address, outbound = endpoint.is_dialer(), connections, "connected");
        self.changed = true;
        self.ask_due_statuses(now);
    }

    fn closed(&mut self, id: PeerId, connections: u32) {
        if connections == 0 {
            if let Some(peer) = self.peers.remove(&id) {
                tracing::info!(peer = %id, address = %peer.address, "peer is gone");
            }
            self.answering.retain(|_, (peer, _)| *peer != id);
        } else if let Some(peer) = self.peers.get_mut(&id) {
            peer.connections = connections;
        }
        self.changed = true;
    }

    fn lost_listener(&mut self, gone: &[Multiaddr]) {
        self.listening.retain(|address| !gone.contains(address));
        self.changed = true;
    }
}
