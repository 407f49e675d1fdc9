//! Finding peers that nobody listed: by boot nodes, Kademlia and mDNS, each only where the operator asked for it.
//!
//! What is found is a hint and nothing more: an address to try while the node has fewer peers than it wants, one at a time, with a
//! backoff, and forgotten after a few failures. Who answers there still has to show in the handshake that it is of this chain.

use super::task::NetworkTask;
use crate::peers::Backoff;
use crate::{Discovery, NetworkConfig};
use libp2p::kad::{self, store::MemoryStore, store::MemoryStoreConfig};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, StreamProtocol, mdns};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Peers that were found and not reached yet, at most.
const MAX_FOUND: usize = 256;

/// Addresses that are remembered of one peer.
const MAX_ADDRESSES: usize = 8;

/// Attempts before a found peer is forgotten.
const ATTEMPTS: u32 = 4;

/// The longest pause between attempts to reach a peer that was found, or a boot node.
const LONGEST: Duration = Duration::from_secs(60);

/// How often Kademlia is asked for peers near a random place, while peers are wanted.
const WALK: Duration = Duration::from_secs(10);

/// How often one is dialled.
const PACE: Duration = Duration::from_millis(500);

pub(super) type Kademlia = Toggle<kad::Behaviour<MemoryStore>>;
pub(super) type Mdns = Toggle<mdns::tokio::Behaviour>;

/// Kademlia for this chain alone: only routes, no records.
pub(super) fn kademlia(config: &NetworkConfig) -> Kademlia {
    if !config.discovery.kademlia {
        return None.into();
    }
    let id = config.identity.peer_id();
    let nothing =
        MemoryStoreConfig { max_records: 0, max_value_bytes: 0, max_providers_per_key: 0, max_provided_keys: 0 };
    let mut settings = kad::Config::new(protocol(config));
    settings
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None)
        .set_query_timeout(Duration::from_secs(20));
    let mut kademlia = kad::Behaviour::with_config(id, MemoryStore::with_config(id, nothing), settings);
    // Who can't be dialled has no place in others' tables.
    kademlia.set_mode(Some(if config.listen.is_empty() { kad::Mode::Client } else { kad::Mode::Server }));
    for boot in &config.discovery.bootnodes {
        kademlia.add_address(&boot.peer, boot.address.clone());
    }
    Some(kademlia).into()
}

/// # Errors
/// The system gives no sockets for multicast.
pub(super) fn local(config: &NetworkConfig) -> io::Result<Mdns> {
    if !config.discovery.mdns {
        return Ok(None.into());
    }
    let settings = mdns::Config { query_interval: Duration::from_secs(60), ..mdns::Config::default() };
    Ok(Some(mdns::tokio::Behaviour::new(settings, config.identity.peer_id())?).into())
}

fn protocol(config: &NetworkConfig) -> StreamProtocol {
    let chain = hex::encode(config.genesis_root.get(..8).unwrap_or_default());
    // Made of this crate's own words and hex digits, which any protocol name can hold.
    StreamProtocol::try_from_owned(format!("/alys/{chain}/kad/1")).unwrap_or(StreamProtocol::new("/alys/kad/1"))
}

/// Where a peer may be.
struct Found {
    addresses: Vec<Multiaddr>,
    backoff: Backoff,
    /// Attempts that are left; none are counted for a boot node.
    left: Option<u32>,
}

/// What was found so far.
pub(super) struct Finds {
    found: BTreeMap<PeerId, Found>,
    own: PeerId,
    walked: Option<Instant>,
    dialled: Option<Instant>,
}

impl Finds {
    pub(super) fn new(config: &NetworkConfig, now: Instant) -> Self {
        let own = config.identity.peer_id();
        let mut found: BTreeMap<PeerId, Found> = BTreeMap::new();
        for boot in config.discovery.bootnodes.iter().filter(|boot| boot.peer != own) {
            let fresh =
                || Found { addresses: Vec::new(), backoff: Backoff::new(now, LONGEST, seed(&boot.peer)), left: None };
            found.entry(boot.peer).or_insert_with(fresh).addresses.push(boot.address.clone());
        }
        Self { found, own, walked: None, dialled: None }
    }

    /// Remembers an address, if there is room.
    fn add(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        if peer == self.own || (self.found.len() >= MAX_FOUND && !self.found.contains_key(&peer)) {
            return;
        }
        let fresh =
            || Found { addresses: Vec::new(), backoff: Backoff::new(now, LONGEST, seed(&peer)), left: Some(ATTEMPTS) };
        let found = self.found.entry(peer).or_insert_with(fresh);
        if found.addresses.len() < MAX_ADDRESSES && !found.addresses.contains(&address) {
            found.addresses.push(address);
        }
    }

    /// The next peer to try, and where; one attempt is counted.
    fn next(&mut self, now: Instant, free: impl Fn(&PeerId) -> bool) -> Option<(PeerId, Vec<Multiaddr>)> {
        self.found.retain(|_, found| found.left != Some(0));
        let (peer, found) = self.found.iter_mut().find(|(peer, found)| found.backoff.is_due(now) && free(peer))?;
        found.backoff.wait(now);
        found.left = found.left.map(|left| left.saturating_sub(1));
        Some((*peer, found.addresses.clone()))
    }

    /// A connection to the peer is open.
    pub(super) fn reached(&mut self, peer: &PeerId, now: Instant) {
        if let Some(found) = self.found.get_mut(peer) {
            found.backoff.reset(now);
            found.left = found.left.map(|_| ATTEMPTS);
        }
    }
}

fn seed(peer: &PeerId) -> u64 {
    peer.to_bytes().iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()))
}

impl NetworkTask {
    /// Looks for peers while there are fewer than wanted.
    pub(super) fn find_peers(&mut self, now: Instant) {
        let Discovery { bootnodes, kademlia, mdns, wanted } = &self.config.discovery;
        if (bootnodes.is_empty() && !kademlia && !mdns) || self.peers.len() >= *wanted {
            return;
        }
        if self.finds.walked.is_none_or(|walked| now >= walked + WALK)
            && let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut()
            && kademlia.kbuckets().any(|bucket| bucket.num_entries() > 0)
        {
            self.finds.walked = Some(now);
            kademlia.get_closest_peers(PeerId::random());
        }
        if self.finds.dialled.is_some_and(|dialled| now < dialled + PACE) {
            return;
        }
        let (peers, standings, dials) = (&self.peers, &self.standings, &self.dials);
        let free = |peer: &PeerId| !peers.contains_key(peer) && !standings.is_banned(peer) && !dials.is_listed(peer);
        let Some((peer, addresses)) = self.finds.next(now, free) else { return };
        self.finds.dialled = Some(now);
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .allocate_new_port()
            .build();
        let begun = self.swarm.dial(options).is_ok();
        metrics::counter!("alys_p2p_dials_total", "outcome" => if begun { "begun" } else { "refused" }).increment(1);
    }

    /// A connected peer says where it listens.
    pub(super) fn heard_of(&mut self, peer: PeerId, listening: &[Multiaddr]) {
        if let Some(connected) = self.peers.get_mut(&peer) {
            let local = is_loopback(&connected.address);
            let useful = listening.iter().filter(|address| local || !is_loopback(address));
            connected.listening = useful.take(MAX_ADDRESSES).cloned().collect();
        }
        self.introduce(peer);
    }

    /// Others may hear through this node of a peer that has shown that it is of this chain.
    pub(super) fn introduce(&mut self, peer: PeerId) {
        let Some(connected) = self.peers.get(&peer).filter(|connected| connected.status.is_some()) else { return };
        let useful = connected.listening.clone();
        if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
            for address in useful {
                kademlia.add_address(&peer, address);
            }
        }
    }

    /// Kademlia's answers are peers to try.
    pub(super) fn on_kademlia(&mut self, event: kad::Event, now: Instant) {
        if let kad::Event::OutboundQueryProgressed { result: kad::QueryResult::GetClosestPeers(result), .. } = event {
            let peers = match result {
                Ok(closest) => closest.peers,
                Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
            };
            for peer in peers {
                for address in peer.addrs {
                    self.finds.add(peer.peer_id, address, now);
                }
            }
        }
    }

    /// So are those of the local network.
    pub(super) fn on_mdns(&mut self, event: mdns::Event, now: Instant) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    tracing::info!(%peer, %address, "found on the local network");
                    self.finds.add(peer, address, now);
                }
            }
            // Those who are connected stay so; the others are forgotten by themselves.
            mdns::Event::Expired(_) => {}
        }
    }
}

fn is_loopback(address: &Multiaddr) -> bool {
    let of_v4 = |part: &Protocol<'_>| matches!(part, Protocol::Ip4(ip) if ip.is_loopback());
    let of_v6 = |part: &Protocol<'_>| matches!(part, Protocol::Ip6(ip) if ip.is_loopback());
    address.iter().any(|part| of_v4(&part) || of_v6(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(now: Instant) -> Finds {
        let config = NetworkConfig {
            identity: crate::Identity::from_secret(&[1; 32]).unwrap(),
            listen: Vec::new(),
            peers: Vec::new(),
            genesis_root: alys_primitives::Root::ZERO,
            agent: String::new(),
            limits: crate::NetworkLimits::default(),
            discovery: Discovery::default(),
        };
        Finds::new(&config, now)
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn what_is_found_is_bounded_tried_with_pauses_and_forgotten() {
        let now = Instant::now();
        let mut finds = finds(now);
        for _ in 0..2 * MAX_FOUND {
            let peer = PeerId::random();
            (0..100).for_each(|port| finds.add(peer, address(port), now));
        }
        assert_eq!(finds.found.len(), MAX_FOUND);
        assert!(finds.found.values().all(|found| found.addresses.len() == MAX_ADDRESSES));
        let own = finds.own;
        finds.found.clear();
        finds.add(own, address(1), now);
        assert!(finds.found.is_empty(), "oneself");

        let peer = PeerId::random();
        finds.add(peer, address(1), now);
        assert_eq!(finds.next(now, |_| false), None, "connected or banned");
        let mut later = now;
        for _ in 0..ATTEMPTS {
            assert_eq!(finds.next(later, |_| true), Some((peer, vec![address(1)])));
            assert_eq!(finds.next(later, |_| true), None, "a pause first");
            later += LONGEST;
        }
        assert_eq!(finds.next(later, |_| true), None);
        assert!(finds.found.is_empty(), "forgotten");
    }

    #[test]
    fn who_was_reached_gets_all_attempts_again() {
        let now = Instant::now();
        let mut finds = finds(now);
        let peer = PeerId::random();
        finds.add(peer, address(1), now);
        for round in 0..10 {
            let at = now + LONGEST * round;
            assert!(finds.next(at, |_| true).is_some());
            finds.reached(&peer, at);
        }
    }

    #[test]
    fn loopback_is_told_by_the_address() {
        assert!(is_loopback(&"/ip4/127.0.0.1/tcp/1".parse().unwrap()));
        assert!(is_loopback(&"/ip6/::1/udp/1/quic-v1".parse().unwrap()));
        assert!(!is_loopback(&address(1)));
    }
}
