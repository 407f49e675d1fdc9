//! Whom to ask for what, as a plain value: peers are taken in turn, those that failed are left out for a while.

use alys_p2p::{BlockRange, MAX_RANGE_BLOCKS, PeerId, Status};
use alys_primitives::Height;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a peer whose answer was of no use is not asked, and its claims are not believed.
const SHUNNED: Duration = Duration::from_secs(30);

/// How long one missing block is waited for: gossip most likely brings it.
const PATIENCE: Duration = Duration::from_millis(600);

/// Blocks below the head that are asked for again, in case the head's newest blocks are on another branch.
const OVERLAP: u64 = 4;

/// How far behind a node that had caught up may fall before it stops signing.
const FALLEN_BEHIND: u64 = 8;

/// Where this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) head: Height,
    /// Never reverts: every chain worth having goes through it.
    pub(super) safe: Height,
    /// Members whose approvals notarize a block.
    pub(super) quorum: u64,
    /// All members.
    pub(super) members: u64,
}

impl Position {
    /// Whether so many peers and this node could be a quorum.
    pub(super) fn hears(self, peers: usize) -> bool {
        u64::try_from(peers).unwrap_or(u64::MAX).saturating_add(1) >= self.quorum
    }

    /// So many members can't all be malicious: what they all claim, one honest member claims.
    fn credible(self) -> u64 {
        self.members.saturating_sub(self.quorum).saturating_add(1)
    }
}

/// What one peer claims.
pub(super) type Claim = (PeerId, Status);

/// Remembers whom to leave out and whose turn it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    shunned: BTreeMap<PeerId, Instant>,
    /// When each peer was last asked, by count of questions.
    asked: BTreeMap<PeerId, u64>,
    questions: u64,
    /// Since when exactly one block is missing.
    one_missing: Option<Instant>,
    /// The head's newest blocks did not fit what peers have: begin at the safe block.
    deep: bool,
    caught_up: bool,
}

impl Plan {
    /// Leaves a peer out for a while.
    pub(super) fn shun(&mut self, peer: PeerId, now: Instant) {
        self.shunned.insert(peer, now + SHUNNED);
    }

    /// The next run begins at the safe block. False if the last one did already.
    pub(super) fn go_deep(&mut self) -> bool {
        !std::mem::replace(&mut self.deep, true)
    }

    /// A run was taken.
    pub(super) fn went_well(&mut self) {
        self.deep = false;
    }

    /// The claims that are believed now; forgets peers that are gone.
    pub(super) fn believed(&mut self, claims: Vec<Claim>, now: Instant) -> Vec<Claim> {
        self.shunned.retain(|_, until| *until > now);
        self.asked.retain(|peer, _| claims.iter().any(|(claiming, _)| claiming == peer));
        claims.into_iter().filter(|(peer, _)| !self.shunned.contains_key(peer)).collect()
    }

    /// Height of the best believed claim.
    pub(super) fn target(believed: &[Claim]) -> Height {
        believed.iter().map(|(_, status)| status.head_height).max().unwrap_or_default()
    }

    /// The next question: blocks from `next` on, or from where this node's chain surely meets the others'.
    pub(super) fn question(
        &mut self,
        believed: &[Claim],
        position: Position,
        next: Option<Height>,
        now: Instant,
    ) -> Option<(PeerId, BlockRange)> {
        let target = Self::target(believed);
        let reached = next.map_or(position.head, |next| next.saturating_sub(1));
        let missing = target.since(reached);
        if missing == 0 {
            self.one_missing = None;
            return None;
        }
        if missing == 1 && next.is_none() && now < *self.one_missing.get_or_insert(now) + PATIENCE {
            return None;
        }
        self.one_missing = None;
        let start = next.unwrap_or_else(|| {
            let overlap = if self.deep { Height(0) } else { position.head.saturating_sub(OVERLAP) };
            overlap.max(position.safe).next()
        });
        let count = target.since(start).saturating_add(1).min(MAX_RANGE_BLOCKS);
        let peer = believed
            .iter()
            .filter(|(_, status)| status.head_height >= start && status.earliest_height <= start)
            .min_by_key(|(peer, status)| {
                let short = status.head_height < start.saturating_add(count.saturating_sub(1));
                (short, self.asked.get(peer).copied().unwrap_or(0), *peer)
            })
            .map(|(peer, _)| *peer)?;
        self.questions = self.questions.saturating_add(1);
        self.asked.insert(peer, self.questions);
        Some((peer, BlockRange { start, count }))
    }

    /// Whether the node may sign: enough peers for a quorum have been heard, and not so many of them are ahead that an
    /// honest one must be among them. Once it may, it may until as many are far ahead.
    pub(super) fn caught_up(&mut self, believed: &[Claim], position: Position) -> bool {
        let ahead_by = |blocks: u64| {
            let ahead = believed.iter().filter(|(_, status)| status.head_height.since(position.head) > blocks).count();
            u64::try_from(ahead).unwrap_or(u64::MAX) >= position.credible()
        };
        self.caught_up =
            if self.caught_up { !ahead_by(FALLEN_BEHIND) } else { position.hears(believed.len()) && !ahead_by(1) };
        self.caught_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alys_primitives::{FixedBytes, Root, Slot, UnixMillis};

    fn claim(peer: PeerId, height: u64) -> Claim {
        let status = Status {
            head_height: Height(height),
            head_slot: Slot(height),
            safe_height: Height(height),
            ..Status::at_genesis(Root::ZERO, FixedBytes::ZERO, Root::ZERO, UnixMillis(0))
        };
        (peer, status)
    }

    fn at(head: u64, safe: u64) -> Position {
        Position { head: Height(head), safe: Height(safe), quorum: 3, members: 4 }
    }

    #[test]
    fn peers_are_asked_in_turn() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        let claims: Vec<Claim> = (0..3).map(|_| claim(PeerId::random(), 1000)).collect();
        let mut next = None;
        let mut asked = Vec::new();
        for _ in 0..6 {
            let (peer, range) = plan.question(&claims, at(0, 0), next, now).unwrap();
            asked.push(peer);
            next = Some(range.start.saturating_add(range.count));
        }
        let (first, second) = asked.split_at(3);
        assert_eq!(first, second);
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn a_shunned_peer_is_neither_asked_nor_believed_until_its_time_is_over() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        let (liar, honest) = (PeerId::random(), PeerId::random());
        let claims = vec![claim(liar, 1_000_000), claim(honest, 10)];
        plan.shun(liar, now);
        let believed = plan.believed(claims.clone(), now);
        assert_eq!(Plan::target(&believed), Height(10));
        assert_eq!(plan.question(&believed, at(0, 0), None, now).unwrap().0, honest);
        assert_eq!(plan.believed(claims, now + SHUNNED).len(), 2);
    }

    #[test]
    fn a_run_begins_at_most_a_few_blocks_below_the_head_and_never_below_safe() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        let claims = vec![claim(PeerId::random(), 200)];
        let start = |plan: &mut Plan, position| plan.question(&claims, position, None, now).unwrap().1.start.0;
        assert_eq!(start(&mut plan, at(100, 99)), 100);
        assert_eq!(start(&mut plan, at(100, 50)), 97);
        assert!(plan.go_deep());
        assert_eq!(start(&mut plan, at(100, 50)), 51);
        assert!(!plan.go_deep(), "there is nothing below the safe block");
        plan.went_well();
        assert_eq!(start(&mut plan, at(100, 50)), 97);
    }

    #[test]
    fn one_missing_block_is_left_to_gossip_for_a_moment() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        let claims = vec![claim(PeerId::random(), 11)];
        assert_eq!(plan.question(&claims, at(10, 9), None, now), None);
        assert_eq!(plan.question(&claims, at(10, 9), None, now + PATIENCE / 2), None);
        assert!(plan.question(&claims, at(10, 9), None, now + PATIENCE).is_some());
        assert_eq!(plan.question(&claims, at(11, 9), None, now), None, "nothing is missing");
    }

    #[test]
    fn nothing_is_signed_before_a_quorum_was_heard_and_reached() {
        let mut plan = Plan::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        assert!(!plan.caught_up(&[claim(one, 0)], at(0, 0)), "two of four are no quorum");
        assert!(!plan.caught_up(&[claim(one, 50), claim(two, 50)], at(40, 38)), "behind");
        assert!(plan.caught_up(&[claim(one, 50), claim(two, 50)], at(49, 47)));
        assert!(plan.caught_up(&[], at(49, 47)), "peers that go away do not matter: without them there is no quorum");
        assert!(!plan.caught_up(&[claim(one, 60), claim(two, 60)], at(49, 47)), "fallen far behind");
    }

    #[test]
    fn one_liar_keeps_nobody_from_signing() {
        let mut plan = Plan::default();
        let claims = [claim(PeerId::random(), u64::MAX), claim(PeerId::random(), 10), claim(PeerId::random(), 10)];
        assert!(plan.caught_up(&claims, at(10, 9)));
        assert!(plan.caught_up(&claims, at(10, 9)));
    }

    #[test]
    fn a_federation_of_one_needs_nobody() {
        let position = Position { quorum: 1, members: 1, ..at(0, 0) };
        assert!(Plan::default().caught_up(&[], position));
    }
}
