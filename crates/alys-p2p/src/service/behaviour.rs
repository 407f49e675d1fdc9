//! libp2p's parts, each with its limits set.

use super::codec::{FrameCodec, PROTOCOL};
use super::discovery::{self, Kademlia, Mdns};
use super::transform::{Snappy, message_id};
use crate::NetworkConfig;
use crate::wire::{MAX_BLOCK_BYTES, Topic};
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds, TopicHash,
    TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{allow_block_list, connection_limits, identify, ping};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How often gossip repairs its meshes and offers what peers may have missed.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a message is remembered, so that it is not taken twice.
const REMEMBERED: Duration = Duration::from_secs(120);

/// Score below which a peer's gossip is not even read.
pub(super) const GRAYLIST: f64 = -80.0;

/// How often a silent connection is probed, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// Room for a message's framing inside an RPC.
const FRAMING: usize = 4096;

pub(super) type Gossip = gossipsub::Behaviour<Snappy, WhitelistSubscriptionFilter>;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// First: it denies before anything else is set up.
    pub(super) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) gossip: Gossip,
    pub(super) requests: request_response::Behaviour<FrameCodec>,
    pub(super) kademlia: Kademlia,
    pub(super) mdns: Mdns,
}

/// Which topic a hash on the wire means.
pub(super) fn topic_hashes(config: &NetworkConfig) -> HashMap<TopicHash, Topic> {
    Topic::ALL.into_iter().map(|topic| (ident(config, topic).hash(), topic)).collect()
}

pub(super) fn ident(config: &NetworkConfig, topic: Topic) -> IdentTopic {
    IdentTopic::new(topic.wire_name(config.genesis_root))
}

impl Behaviour {
    /// # Errors
    /// What gossipsub says of parameters that contradict each other, which is a bug; what the system says of multicast.
    pub(super) fn new(config: &NetworkConfig) -> Result<Self, String> {
        let limits = &config.limits;
        let mut connections = connection_limits::Behaviour::new(
            connection_limits::ConnectionLimits::default()
                .with_max_pending_incoming(Some(limits.pending_incoming))
                .with_max_pending_outgoing(Some(limits.pending_outgoing))
                .with_max_established(Some(limits.strangers))
                .with_max_established_per_peer(Some(limits.per_peer)),
        );
        // Listed peers have places of their own.
        for peer in &config.peers {
            connections.bypass_peer_id(&peer.peer);
        }
        let requests = request_response::Behaviour::with_codec(
            FrameCodec,
            [(PROTOCOL, ProtocolSupport::Full)],
            request_response::Config::default()
                .with_request_timeout(limits.request_timeout)
                .with_max_concurrent_streams(limits.requests_per_peer.saturating_mul(2)),
        );
        let identify = identify::Behaviour::new(
            identify::Config::new("/alys/1".to_owned(), config.identity.keypair().public())
                .with_agent_version(config.agent.clone())
                .with_cache_size(0),
        );
        Ok(Self {
            blocked: allow_block_list::Behaviour::default(),
            limits: connections,
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING.0).with_timeout(PING.1)),
            identify,
            gossip: gossip(config)?,
            requests,
            kademlia: discovery::kademlia(config),
            mdns: discovery::local(config).map_err(|error| format!("mDNS: {error}"))?,
        })
    }
}

fn gossip(config: &NetworkConfig) -> Result<Gossip, String> {
    let topics = topic_hashes(config);
    let settings = ConfigBuilder::default()
        .heartbeat_interval(HEARTBEAT)
        // Messages prove their origin themselves, by members' signatures or work.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(snap::raw::max_compress_len(MAX_BLOCK_BYTES).saturating_add(FRAMING))
        .duplicate_cache_time(REMEMBERED)
        .history_length(6)
        .history_gossip(4)
        // A federation is small: what this node says goes to every peer at once.
        .flood_publish(true)
        .publish_queue_duration(Duration::from_secs(4))
        .forward_queue_duration(Duration::from_secs(2))
        .connection_handler_queue_len(2048)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = WhitelistSubscriptionFilter(topics.keys().cloned().collect::<HashSet<_>>());
    let mut gossip = Gossip::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        settings,
        filter,
        Snappy::new(topics.clone()),
    )?;
    let params = PeerScoreParams {
        topics: topics.into_keys().map(|topic| (topic, topic_score())).collect(),
        // This crate's own view of a peer, in its own units.
        app_specific_weight: 1.0,
        // Members on one machine, or behind one address, are no attack.
        ip_colocation_factor_weight: 0.0,
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -40.0,
        graylist_threshold: GRAYLIST,
        ..PeerScoreThresholds::default()
    };
    gossip.with_peer_score(params, thresholds)?;
    for topic in Topic::ALL {
        gossip.subscribe(&ident(config, topic)).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

/// Only invalid messages count: how much a peer delivers depends on who authors, and that is no merit.
fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // The square of the count is weighed: two of them cost 80.
        invalid_message_deliveries_weight: -20.0,
        invalid_message_deliveries_decay: 0.95,
        ..TopicScoreParams::default()
    }
}
