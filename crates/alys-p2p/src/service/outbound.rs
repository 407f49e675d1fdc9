//! What this node tells and asks.

use super::behaviour::ident;
use super::codec::Question;
use super::handle::RequestError;
use super::task::{Asked, NetworkTask};
use crate::peers::Offence;
use crate::wire::{GossipMessage, Request, Response};
use libp2p::PeerId;
use libp2p::gossipsub::PublishError;
use libp2p::request_response::{OutboundFailure, OutboundRequestId};
use std::io;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl NetworkTask {
    pub(super) fn publish(&mut self, message: &GossipMessage) {
        let topic = message.topic();
        let name = ident(&self.config, topic);
        let outcome = match self.swarm.behaviour_mut().gossip.publish(name, message.encode()) {
            Ok(_) => "sent",
            // Somebody else was first.
            Err(PublishError::Duplicate) => "duplicate",
            Err(PublishError::NoPeersSubscribedToTopic) => "no_peers",
            Err(error) => {
                tracing::warn!(topic = topic.name(), %error, "not published");
                "failed"
            }
        };
        metrics::counter!("alys_p2p_published_total", "topic" => topic.name(), "outcome" => outcome).increment(1);
    }

    pub(super) fn ask(
        &mut self,
        peer: PeerId,
        request: Request,
        reply: oneshot::Sender<Result<Response, RequestError>>,
        now: Instant,
    ) {
        if !self.peers.contains_key(&peer) {
            // The asker may be gone.
            drop(reply.send(Err(RequestError::NotConnected)));
            return;
        }
        let kind = request.name();
        let id = self.swarm.behaviour_mut().requests.send_request(&peer, Question::Valid(request));
        self.asked.insert(id, Asked::Node { kind, at: now, reply });
    }

    /// Asks every peer whose time has come who it is.
    pub(super) fn ask_due_statuses(&mut self, now: Instant) {
        let own = self.own_status(now);
        for (id, peer) in &mut self.peers {
            if peer.status_due.is_some_and(|due| due <= now) {
                peer.status_due = None;
                let request = Question::Valid(Request::Status(own));
                let question = self.swarm.behaviour_mut().requests.send_request(id, request);
                self.asked.insert(question, Asked::Status);
            }
        }
    }

    pub(super) fn answered(&mut self, peer: PeerId, id: OutboundRequestId, response: Response, now: Instant) {
        match self.asked.remove(&id) {
            None => {}
            Some(Asked::Status) => {
                self.next_status(peer, now);
                match response {
                    Response::Status(status) => self.learn(peer, status, now),
                    Response::Refused(_) => {}
                    Response::Blocks(_)
                    | Response::Certificates(_)
                    | Response::Snapshots(_)
                    | Response::SnapshotPart(_)
                    | Response::LightRecords(_)
                    | Response::BundleProof(_)
                    | Response::OlderBlocks(_) => self.blame(peer, Offence::Malformed, now),
                }
            }
            Some(Asked::Node { kind, at, reply }) => {
                let seconds = now.saturating_duration_since(at).as_secs_f64();
                metrics::histogram!("alys_p2p_request_seconds", "kind" => kind).record(seconds);
                let result = match response {
                    Response::Refused(refusal) => Err(RequestError::Refused(refusal)),
                    Response::Status(_)
                    | Response::Blocks(_)
                    | Response::Certificates(_)
                    | Response::Snapshots(_)
                    | Response::SnapshotPart(_)
                    | Response::LightRecords(_)
                    | Response::BundleProof(_)
                    | Response::OlderBlocks(_) => Ok(response),
                };
                count(kind, if result.is_ok() { "answered" } else { "refused" });
                drop(reply.send(result));
            }
        }
    }

    pub(super) fn not_answered(&mut self, peer: PeerId, id: OutboundRequestId, error: &OutboundFailure, now: Instant) {
        let malformed = matches!(error, OutboundFailure::Io(error) if error.kind() == io::ErrorKind::InvalidData);
        let late = matches!(error, OutboundFailure::Timeout);
        tracing::debug!(%peer, %error, "no answer");
        match self.asked.remove(&id) {
            None => {}
            Some(Asked::Status) => self.next_status(peer, now),
            Some(Asked::Node { kind, reply, .. }) => {
                count(kind, if late { "timeout" } else { "failed" });
                let error = match error {
                    OutboundFailure::Timeout => RequestError::Timeout,
                    OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
                    OutboundFailure::Io(_) if malformed => RequestError::Malformed,
                    OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed | OutboundFailure::Io(_) => {
                        RequestError::NotConnected
                    }
                };
                drop(reply.send(Err(error)));
            }
        }
        if malformed {
            self.blame(peer, Offence::Malformed, now);
        } else if late {
            self.blame(peer, Offence::Timeout, now);
        }
    }

    fn next_status(&mut self, peer: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.status_due = Some(now + self.config.limits.status_period);
        }
    }
}

fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("alys_p2p_requests_total", "kind" => kind, "direction" => "out", "outcome" => outcome)
        .increment(1);
}
