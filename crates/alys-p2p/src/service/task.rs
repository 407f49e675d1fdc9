//! The task: one loop over the swarm, the commands and a clock.

use super::behaviour::{Behaviour, GRAYLIST, topic_hashes};
use super::dialing::Dials;
use super::discovery::Finds;
use super::handle::{Command, Event, NetworkEvents, NetworkHandle, RequestError, RequestId};
use super::view::{NetworkView, PeerView};
use crate::peers::{Judgement, Offence, Quota, Standings};
use crate::wire::{Response, Status, Topic};
use crate::{Identity, NetworkConfig};
use libp2p::gossipsub::TopicHash;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, TransportError, noise, tcp, yamux};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use futures::StreamExt as _;

/// How often due work is looked for.
const TICK: Duration = Duration::from_millis(100);

/// How often scores are looked at.
const SCORING: Duration = Duration::from_secs(1);

/// How long a connection without use stays open.
const IDLE: Duration = Duration::from_secs(300);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key can't be used for encryption.
    #[error("the encryption can't be set up")]
    Noise(#[from] noise::Error),
    /// Parameters of gossip contradict each other, which is a bug.
    #[error("gossip can't be set up: {reason}")]
    Gossip {
        /// What gossipsub says.
        reason: String,
    },
    /// The address can't be listened on.
    #[error("{address} can't be listened on")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport says.
        source: TransportError<io::Error>,
    },
}

/// What is known of a connected peer.
pub(super) struct Peer {
    pub(super) connections: u32,
    pub(super) address: Multiaddr,
    pub(super) outbound: bool,
    pub(super) agent: Option<String>,
    /// Where it says that it listens.
    pub(super) listening: Vec<Multiaddr>,
    pub(super) status: Option<Status>,
    pub(super) status_at: Instant,
    pub(super) since: Instant,
    pub(super) round_trip: Option<Duration>,
    /// When to ask for its status again; none while a question is open.
    pub(super) status_due: Option<Instant>,
    pub(super) gossip: BTreeMap<Topic, Quota>,
    pub(super) requests: BTreeMap<&'static str, Quota>,
    /// Its questions that wait for their answers.
    pub(super) waiting: usize,
}

/// Who waits for an answer.
pub(super) enum Asked {
    /// The task itself, for a status.
    Status,
    /// The node.
    Node { kind: &'static str, at: Instant, reply: oneshot::Sender<Result<Response, RequestError>> },
}

/// Owns the swarm. [`NetworkTask::run`] is to be driven by a supervised task.
pub struct NetworkTask {
    pub(super) config: NetworkConfig,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) topics: HashMap<TopicHash, Topic>,
    pub(super) events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<NetworkView>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) standings: Standings,
    pub(super) dials: Dials,
    pub(super) finds: Finds,
    pub(super) asked: HashMap<OutboundRequestId, Asked>,
    pub(super) answering: BTreeMap<RequestId, (PeerId, ResponseChannel<Response>)>,
    status: Status,
    /// When the node set it.
    status_at: Instant,
    pub(super) listening: Vec<Multiaddr>,
    /// Whether readers should see a new view.
    pub(super) changed: bool,
    scored: Instant,
}

impl NetworkTask {
    /// Binds the addresses; must be called inside a tokio runtime. Nothing happens until the task is run.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(config: NetworkConfig, status: Status) -> Result<(NetworkHandle, NetworkEvents, Self), StartError> {
        let behaviour = Behaviour::new(&config).map_err(|reason| StartError::Gossip { reason })?;
        let mut swarm = build(&config.identity, behaviour, &config)?;
        for address in &config.listen {
            swarm
                .listen_on(address.clone())
                .map_err(|source| StartError::Listen { address: address.clone(), source })?;
        }
        let (commands, inbox) = mpsc::channel(config.limits.commands.max(1));
        let (events, outbox) = mpsc::channel(config.limits.events.max(1));
        let (view, reader) = watch::channel(NetworkView::default());
        let now = Instant::now();
        let task = Self {
            topics: topic_hashes(&config),
            dials: Dials::new(&config, now),
            finds: Finds::new(&config, now),
            swarm,
            events,
            commands: inbox,
            view,
            peers: BTreeMap::new(),
            standings: Standings::default(),
            asked: HashMap::new(),
            answering: BTreeMap::new(),
            status,
            status_at: now,
            listening: Vec::new(),
            changed: true,
            scored: now,
            config,
        };
        Ok((NetworkHandle { commands, view: reader }, NetworkEvents(outbox), task))
    }

    /// Runs until `stop` resolves or every handle is gone.
    ///
    /// # Cancel safety
    /// A dropped future closes every connection.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = std::pin::pin!(stop);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = tick.tick() => self.look_around(Instant::now()),
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command, Instant::now()),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.on_swarm(event, Instant::now()),
            }
            if self.changed {
                self.changed = false;
                self.publish_view(Instant::now());
            }
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Publish(message) => self.publish(&message),
            Command::Verdict { id, verdict } => self.judge(&id, verdict, now),
            Command::Ask { peer, request, reply } => self.ask(peer, request, reply, now),
            Command::Answer { id, response } => self.answer(id, response),
            Command::Blame { peer, offence } => self.blame(peer, offence, now),
            Command::Status(status) => (self.status, self.status_at) = (status, now),
        }
    }

    /// What peers are told, with the clock as it is now.
    pub(super) fn own_status(&self, now: Instant) -> Status {
        let passed = now.saturating_duration_since(self.status_at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Status { time: self.status.time.saturating_add(passed), ..self.status }
    }

    /// Everything that is due.
    fn look_around(&mut self, now: Instant) {
        self.dial_due(now);
        self.find_peers(now);
        self.ask_due_statuses(now);
        if now.saturating_duration_since(self.scored) >= SCORING {
            self.scored = now;
            for peer in self.standings.expire(now) {
                tracing::info!(%peer, "ban is over");
                self.swarm.behaviour_mut().blocked.unblock_peer(peer);
            }
            self.look_at_scores(now);
            metrics::gauge!("alys_p2p_peers").set(to_f64(self.peers.len()));
            metrics::gauge!("alys_p2p_peers_ready")
                .set(to_f64(self.peers.values().filter(|peer| peer.status.is_some()).count()));
            metrics::gauge!("alys_p2p_banned").set(to_f64(self.standings.banned()));
            self.changed = true;
        }
    }

    /// Gossipsub sees undecodable messages before this crate does; what it thinks of a peer counts here too.
    fn look_at_scores(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            let penalty = self.standings.penalty(&peer, now);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            gossip.set_application_score(&peer, -penalty);
            let own = gossip.peer_score(&peer).unwrap_or(0.0) + penalty;
            if own <= GRAYLIST {
                self.blame(peer, Offence::Malformed, now);
            }
        }
    }

    /// Counts an offence, and sends the peer away if it was one too many.
    pub(super) fn blame(&mut self, peer: PeerId, offence: Offence, now: Instant) {
        metrics::counter!("alys_p2p_offences_total", "offence" => offence.name()).increment(1);
        let listed = self.dials.is_listed(&peer);
        match self.standings.penalise(peer, offence, listed, now) {
            Judgement::Kept => {
                tracing::debug!(%peer, offence = offence.name(), "offence");
            }
            Judgement::Banned => {
                tracing::warn!(%peer, offence = offence.name(), listed, "peer is banned for a while");
                if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
                    kademlia.remove_peer(&peer);
                }
                // Blocking closes its connections.
                self.swarm.behaviour_mut().blocked.block_peer(peer);
            }
        }
        self.changed = true;
    }

    fn publish_view(&self, now: Instant) {
        let gossip = &self.swarm.behaviour().gossip;
        let peers = self.peers.iter().map(|(id, peer)| PeerView {
            peer: *id,
            address: peer.address.clone(),
            outbound: peer.outbound,
            listed: self.dials.is_listed(id),
            agent: peer.agent.clone(),
            status: peer.status,
            status_at: peer.status_at,
            since: peer.since,
            round_trip: peer.round_trip,
            penalty: self.standings.penalty(id, now),
            gossip_score: gossip.peer_score(id).unwrap_or(0.0),
        });
        let view =
            NetworkView { listening: self.listening.clone(), peers: peers.collect(), banned: self.standings.banned() };
        self.view.send_if_modified(|current| {
            let changed = *current != view;
            if changed {
                *current = view;
            }
            changed
        });
    }
}

fn build(identity: &Identity, behaviour: Behaviour, config: &NetworkConfig) -> Result<Swarm<Behaviour>, StartError> {
    let streams = config.limits.streams;
    let multiplexer = move || {
        let mut settings = yamux::Config::default();
        settings.set_max_num_streams(streams);
        settings
    };
    let builder = SwarmBuilder::with_existing_identity(identity.keypair().clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, multiplexer)?
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = u32::try_from(streams).unwrap_or(u32::MAX);
            quic
        });
    let Ok(builder) = builder.with_behaviour(|_| behaviour);
    Ok(builder
        .with_swarm_config(|settings| {
            settings.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(64)
        })
        .build())
}

/// Numbers of peers are small.
pub(super) fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
