//! What peers tell and ask.

use super::handle::{Event, GossipId, RequestId, Verdict};
use super::task::NetworkTask;
use crate::peers::{Allowance, Offence, Quota};
use crate::wire::{GossipMessage, MAX_LIGHT_RECORDS, MAX_RANGE_BLOCKS, Refusal, Request, Response, Status};
use libp2p::PeerId;
use libp2p::gossipsub::{Message, MessageAcceptance, MessageId};
use libp2p::request_response::{InboundFailure, InboundRequestId, ResponseChannel};
use tokio::time::Instant;

impl NetworkTask {
    /// A message of gossip: measured, decoded, and handed to the node for its verdict.
    pub(super) fn heard(&mut self, from: PeerId, id: MessageId, message: &Message, now: Instant) {
        let Some(topic) = self.topics.get(&message.topic).copied() else { return };
        let count = |outcome: &'static str| {
            metrics::counter!("alys_p2p_gossip_total", "topic" => topic.name(), "outcome" => outcome).increment(1);
        };
        let id = GossipId { message: id, from };
        let within = self.peers.get_mut(&from).is_none_or(|peer| {
            peer.gossip.entry(topic).or_insert_with(|| Quota::new(Allowance::of_topic(topic), now)).take(now)
        });
        if !within {
            count("excess");
            self.report(&id, MessageAcceptance::Ignore);
            self.blame(from, Offence::Excess, now);
            return;
        }
        let message = match GossipMessage::decode(topic, &message.data) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(peer = %from, %error, "gossip is malformed");
                count("malformed");
                self.report(&id, MessageAcceptance::Reject);
                self.blame(from, Offence::Malformed, now);
                return;
            }
        };
        if self.events.try_send(Event::Gossip { id: id.clone(), message }).is_err() {
            count("dropped");
            self.report(&id, MessageAcceptance::Ignore);
        } else {
            count("received");
        }
    }

    /// The node's verdict on a message.
    pub(super) fn judge(&mut self, id: &GossipId, verdict: Verdict, now: Instant) {
        let (acceptance, outcome) = match verdict {
            Verdict::Accept => (MessageAcceptance::Accept, "accepted"),
            Verdict::Ignore => (MessageAcceptance::Ignore, "ignored"),
            Verdict::Reject => (MessageAcceptance::Reject, "rejected"),
        };
        metrics::counter!("alys_p2p_verdicts_total", "verdict" => outcome).increment(1);
        self.report(id, acceptance);
        if verdict == Verdict::Reject {
            self.blame(id.from, Offence::Invalid, now);
        }
    }

    fn report(&mut self, id: &GossipId, acceptance: MessageAcceptance) {
        // False if the message has left the cache: then it is not passed on, which is no loss.
        self.swarm.behaviour_mut().gossip.report_message_validation_result(&id.message, &id.from, acceptance);
    }

    /// A peer's question.
    pub(super) fn asked_by(
        &mut self,
        peer: PeerId,
        id: InboundRequestId,
        request: Request,
        channel: ResponseChannel<Response>,
        now: Instant,
    ) {
        let kind = request.name();
        let count = |outcome: &'static str| {
            metrics::counter!("alys_p2p_requests_total", "kind" => kind, "direction" => "in", "outcome" => outcome)
                .increment(1);
        };
        let within = self.peers.get_mut(&peer).is_none_or(|state| {
            state.requests.entry(kind).or_insert_with(|| Quota::new(Allowance::of_request(&request), now)).take(now)
        });
        if !within {
            count("excess");
            self.reply(channel, Response::Refused(Refusal::TooMany));
            self.blame(peer, Offence::Excess, now);
            return;
        }
        if let Request::Status(status) = &request {
            count("answered");
            let own = self.own_status(now);
            self.reply(channel, Response::Status(own));
            self.learn(peer, *status, now);
            return;
        }
        if !within_bounds(&request) {
            count("out_of_bounds");
            self.reply(channel, Response::Refused(Refusal::OutOfBounds));
            self.blame(peer, Offence::Malformed, now);
            return;
        }
        let waiting = self.peers.get(&peer).map_or(0, |state| state.waiting);
        let full =
            self.answering.len() >= self.config.limits.requests || waiting >= self.config.limits.requests_per_peer;
        let id = RequestId(id);
        if full || self.events.try_send(Event::Request { id, peer, request }).is_err() {
            count("busy");
            self.reply(channel, Response::Refused(Refusal::Busy));
            return;
        }
        count("taken");
        self.answering.insert(id, (peer, channel));
        if let Some(state) = self.peers.get_mut(&peer) {
            state.waiting = state.waiting.saturating_add(1);
        }
    }

    /// The node's answer to a peer's question.
    pub(super) fn answer(&mut self, id: RequestId, response: Response) {
        if let Some((peer, channel)) = self.answering.remove(&id) {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.waiting = state.waiting.saturating_sub(1);
            }
            self.reply(channel, response);
        }
    }

    fn reply(&mut self, channel: ResponseChannel<Response>, response: Response) {
        if self.swarm.behaviour_mut().requests.send_response(channel, response).is_err() {
            tracing::debug!("an answer came too late: the stream is closed");
        }
    }

    /// A question broke off before it was answered.
    pub(super) fn not_asked(&mut self, peer: PeerId, id: InboundRequestId, error: &InboundFailure, now: Instant) {
        if self.answering.remove(&RequestId(id)).is_some()
            && let Some(state) = self.peers.get_mut(&peer)
        {
            state.waiting = state.waiting.saturating_sub(1);
        }
        match error {
            // A stream that never brings its request to an end.
            InboundFailure::Timeout => self.blame(peer, Offence::Timeout, now),
            InboundFailure::Io(_)
            | InboundFailure::ConnectionClosed
            | InboundFailure::UnsupportedProtocols
            | InboundFailure::ResponseOmission => {}
        }
    }

    /// What a peer says of itself.
    pub(super) fn learn(&mut self, peer: PeerId, status: Status, now: Instant) {
        if status.genesis_root != self.config.genesis_root {
            tracing::warn!(%peer, theirs = %status.genesis_root, "peer is of another chain");
            self.blame(peer, Offence::OtherChain, now);
            return;
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let is_new = state.status.is_none();
        if is_new {
            tracing::info!(%peer, address = %state.address, head = status.head_height.0, "peer is ready");
        }
        (state.status, state.status_at) = (Some(status), now);
        self.changed = true;
        if is_new {
            self.introduce(peer);
        }
    }
}

fn within_bounds(request: &Request) -> bool {
    match request {
        Request::Status(_) | Request::Snapshots | Request::SnapshotPart(_) | Request::BundleProof(_) => true,
        Request::BlocksByRange(range) | Request::OlderBlocks(range) => (1..=MAX_RANGE_BLOCKS).contains(&range.count),
        Request::LightRecords(range) => (1..=MAX_LIGHT_RECORDS).contains(&range.count),
        Request::BlocksByRoot(roots) | Request::CertificatesByRoot(roots) => !roots.roots.is_empty(),
    }
}
