//! Who misbehaved, and until when it is kept out.

use libp2p::PeerId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Penalty at which a peer is banned.
const LIMIT: f64 = 100.0;

/// Penalties halve in this time.
const HALF_LIFE: Duration = Duration::from_secs(120);

/// How long a stranger is kept out.
const BAN: Duration = Duration::from_secs(600);

/// How long a peer of the operator's own list is kept out: it is expected back.
const RESERVED_BAN: Duration = Duration::from_secs(30);

/// The most peers that are remembered.
const MAX_REMEMBERED: usize = 4096;

/// What a peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Bytes that are no message, or too large.
    Malformed,
    /// A message that breaks a rule whoever looks at it.
    Invalid,
    /// An answer that does not fit the question, or blocks that it claimed to have and did not give.
    Useless,
    /// More than its quota.
    Excess,
    /// No answer in time.
    Timeout,
    /// Of another chain.
    OtherChain,
}

impl Offence {
    /// Its name, as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::Useless => "useless",
            Self::Excess => "excess",
            Self::Timeout => "timeout",
            Self::OtherChain => "other_chain",
        }
    }

    /// A little more than a round share of the limit: penalties decay between one offence and the next.
    fn weight(self) -> f64 {
        match self {
            Self::Malformed | Self::Invalid => 26.0,
            Self::Useless => 21.0,
            Self::Excess => 1.0,
            Self::Timeout => 5.5,
            Self::OtherChain => LIMIT,
        }
    }
}

/// What follows from an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Remembered.
    Kept,
    /// Out, until its ban expires.
    Banned,
}

#[derive(Clone, Debug)]
struct Standing {
    penalty: f64,
    at: Instant,
    banned_until: Option<Instant>,
}

/// The standing of every peer that has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings {
    peers: BTreeMap<PeerId, Standing>,
}

impl Standings {
    /// Counts an offence.
    pub(crate) fn penalise(&mut self, peer: PeerId, offence: Offence, reserved: bool, now: Instant) -> Judgement {
        if !self.peers.contains_key(&peer) && self.peers.len() >= MAX_REMEMBERED {
            self.forget_one(now);
        }
        let standing = self.peers.entry(peer).or_insert(Standing { penalty: 0.0, at: now, banned_until: None });
        standing.penalty = decayed(standing, now) + offence.weight();
        standing.at = now;
        if standing.penalty < LIMIT {
            return Judgement::Kept;
        }
        standing.banned_until = Some(now + if reserved { RESERVED_BAN } else { BAN });
        // Comes back on half the limit: the next offences weigh at once.
        standing.penalty = LIMIT / 2.0;
        Judgement::Banned
    }

    /// The penalty as it is now.
    pub(crate) fn penalty(&self, peer: &PeerId, now: Instant) -> f64 {
        self.peers.get(peer).map_or(0.0, |standing| decayed(standing, now))
    }

    /// Whether it is kept out.
    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|standing| standing.banned_until.is_some())
    }

    /// Lifts the bans that are over, and names them.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        let mut free = Vec::new();
        self.peers.retain(|peer, standing| {
            if standing.banned_until.is_some_and(|until| until <= now) {
                standing.banned_until = None;
                free.push(*peer);
            }
            standing.banned_until.is_some() || decayed(standing, now) >= 1.0
        });
        free
    }

    /// How many are kept out.
    pub(crate) fn banned(&self) -> usize {
        self.peers.values().filter(|standing| standing.banned_until.is_some()).count()
    }

    /// Makes room: the least penalty of those that are not banned, else the ban that ends first.
    fn forget_one(&mut self, now: Instant) {
        let mildest = self
            .peers
            .iter()
            .filter(|(_, standing)| standing.banned_until.is_none())
            .min_by(|(_, one), (_, two)| decayed(one, now).total_cmp(&decayed(two, now)))
            .or_else(|| self.peers.iter().min_by_key(|(_, standing)| standing.banned_until))
            .map(|(peer, _)| *peer);
        if let Some(peer) = mildest {
            self.peers.remove(&peer);
        }
    }
}

fn decayed(standing: &Standing, now: Instant) -> f64 {
    let halves = now.saturating_duration_since(standing.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
    standing.penalty * (-halves).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_offences_ban_and_the_ban_expires() {
        let (mut standings, peer, now) = (Standings::default(), PeerId::random(), Instant::now());
        for _ in 0..3 {
            assert_eq!(standings.penalise(peer, Offence::Invalid, false, now), Judgement::Kept);
        }
        assert_eq!(standings.penalise(peer, Offence::Invalid, false, now), Judgement::Banned);
        assert!(standings.is_banned(&peer));
        assert!(standings.expire(now + BAN - Duration::from_millis(1)).is_empty());
        assert_eq!(standings.expire(now + BAN), vec![peer]);
        assert!(!standings.is_banned(&peer));
    }

    #[test]
    fn rare_offences_are_forgotten() {
        let (mut standings, peer, mut now) = (Standings::default(), PeerId::random(), Instant::now());
        for _ in 0..100 {
            assert_eq!(standings.penalise(peer, Offence::Timeout, false, now), Judgement::Kept);
            now += Duration::from_secs(60);
        }
        assert!(standings.penalty(&peer, now) < 20.0);
        standings.expire(now + HALF_LIFE * 20);
        assert!(standings.peers.is_empty());
    }

    #[test]
    fn the_operators_own_peers_come_back_sooner() {
        let (mut standings, peer, now) = (Standings::default(), PeerId::random(), Instant::now());
        assert_eq!(standings.penalise(peer, Offence::OtherChain, true, now), Judgement::Banned);
        assert_eq!(standings.expire(now + RESERVED_BAN), vec![peer]);
    }

    #[test]
    fn a_crowd_of_offenders_takes_bounded_room() {
        let (mut standings, now) = (Standings::default(), Instant::now());
        let worst = PeerId::random();
        standings.penalise(worst, Offence::OtherChain, false, now);
        for _ in 0..MAX_REMEMBERED + 10 {
            standings.penalise(PeerId::random(), Offence::Excess, false, now);
        }
        assert!(standings.peers.len() <= MAX_REMEMBERED);
        assert!(standings.is_banned(&worst), "bans are not pushed out by small offences");
    }
}
