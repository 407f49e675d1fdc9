//! Planted mistakes of voting and fork choice are mistakes: with each, the core does what a test beside this one forbids.
//! (The simulator finds them all by their consequences; these show the cause.)

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::testing::{Cluster, Fixture, Node, Plant, mine};
use alys_chain::{Input, Message, SignRequest};
use alys_primitives::{Address, AuxBundle, Height, Root, SignedBlock};
use std::sync::Arc;

fn planted(plant: Option<Plant>, members: usize) -> Fixture {
    let mut fixture = Fixture::new(members);
    fixture.plant = plant;
    fixture
}

/// Members that make a mistake, after some slots.
fn with(plant: Option<Plant>, members: usize, slots: u64) -> Cluster {
    let mut cluster = Cluster::new(planted(plant, members));
    cluster.run_slots(slots);
    cluster
}

/// Two proposals for one slot by its author, the one with the lower root first.
fn rivals(cluster: &Cluster) -> [Arc<SignedBlock>; 2] {
    let node = &cluster.nodes[0];
    let head = node.store.block(&node.chain.view().head.root).unwrap().0;
    let mut rivals = [1, 2].map(|salt| {
        Arc::new(cluster.fixture.forge(&head, |block| block.payload.extra_data = vec![salt].try_into().unwrap()))
    });
    rivals.sort_by_key(|block| block.root());
    rivals
}

/// The head of an observer to whom certified rivals come in this order.
fn head_after(cluster: &Cluster, order: [&Arc<SignedBlock>; 2]) -> Root {
    let mut observer = Node::new(&cluster.fixture, None);
    let store = &cluster.nodes[0].store;
    for height in 1..store.top().0 {
        let (block, certificate) = store.block(&store.canonical(Height(height)).unwrap()).unwrap();
        observer.receive(cluster.now, Message::Block(block));
        observer.receive(cluster.now, Message::Notarization(certificate.unwrap()));
    }
    for block in order {
        observer.receive(cluster.now, Message::Block(block.clone()));
        let certificate = cluster.fixture.certify(&block.header, &[0, 1, 2]);
        observer.receive(cluster.now, Message::Notarization(certificate));
    }
    observer.chain.view().head.root
}

#[test]
fn the_newest_of_two_equal_heads_wins_only_by_mistake() {
    for (plant, moves) in [(None, false), (Some(Plant::NewestHeadWins), true)] {
        let cluster = with(plant, 4, 3);
        let [low, high] = rivals(&cluster);
        assert_eq!(head_after(&cluster, [&high, &low]), low.root(), "the lower root wins in any case");
        let expected = if moves { high.root() } else { low.root() };
        assert_eq!(head_after(&cluster, [&low, &high]), expected, "{plant:?}");
    }
}

#[test]
fn a_message_leaves_before_its_block_is_on_disk_only_by_mistake() {
    for (plant, leaves) in [(None, false), (Some(Plant::ReleaseBeforePersist), true)] {
        let fixture = planted(plant, 1);
        let mut node = Node::new(&fixture, Some(0));
        node.auto_sync = false;
        node.handle(fixture.slot_start(1), Input::Tick).unwrap();
        assert!(node.store.unsynced() > 0);
        let told = node.outgoing.iter().any(|message| matches!(message, Message::Block(_)));
        assert_eq!(told, leaves, "{plant:?}");
    }
}

#[test]
fn a_bundle_with_a_gap_is_queued_only_by_mistake() {
    for (plant, queued) in [(None, false), (Some(Plant::BundleUnchecked), true)] {
        let mut cluster = with(plant, 1, 4);
        let template = cluster.nodes[0].chain.auxpow_template(Address::ZERO, cluster.now).unwrap().bundle;
        let gap = AuxBundle { start_root: template.end_root, ..template };
        let now = cluster.now;
        cluster.nodes[0].receive(now, Message::AuxPow(mine(gap, 1)));
        assert_eq!(cluster.nodes[0].log.auxpow.last().unwrap().1.is_ok(), queued, "{plant:?}");
    }
}

#[test]
fn a_reorganisation_leaves_heights_behind_only_by_mistake() {
    for (plant, stale) in [(None, false), (Some(Plant::StaleHeights), true)] {
        let mut left = with(plant, 4, 3);
        let before = left.clone();
        left.run_slots(1);
        // The other branch begins a slot later or more and is two blocks longer. Of two branches of equal length the one with
        // the lower root wins: it is taken at once, two blocks of it, only if its first one has the higher root.
        let branch = |first: u64| {
            let mut right = before.clone();
            right.now = right.fixture.slot_start(first).saturating_sub(600);
            (first..first + 3).for_each(|slot| right.run_slot(slot));
            right
        };
        let first_root = |cluster: &Cluster| cluster.nodes[0].store.canonical(Height(4)).unwrap();
        let loses = |right: &Cluster| first_root(right) > first_root(&left);
        let right = (5..12).map(branch).find(loses).unwrap();
        let mut node = left.nodes[0].clone();
        let store = &right.nodes[0].store;
        for height in 4..=store.top().0 {
            let (block, certificate) = store.block(&store.canonical(Height(height)).unwrap()).unwrap();
            node.receive(right.now, Message::Block(block));
            node.receive(right.now, Message::Notarization(certificate.unwrap()));
        }
        assert_eq!(node.chain.view().head, right.nodes[0].chain.view().head);
        let differs =
            (4..=store.top().0).any(|height| node.store.canonical(Height(height)) != store.canonical(Height(height)));
        assert_eq!(differs, stale, "{plant:?}");
    }
}

#[test]
fn a_member_would_approve_two_blocks_of_a_slot_only_by_mistake() {
    for (plant, approvals) in [(None, 1), (Some(Plant::ApproveAnything), 2)] {
        let cluster = with(plant, 4, 3);
        let rivals = rivals(&cluster);
        let slot = rivals[0].header.slot;
        let mut member = Node::new(&cluster.fixture, Some(2));
        let store = &cluster.nodes[0].store;
        for height in 1..store.top().0 {
            let (block, certificate) = store.block(&store.canonical(Height(height)).unwrap()).unwrap();
            member.receive(cluster.now, Message::Block(block));
            member.receive(cluster.now, Message::Notarization(certificate.unwrap()));
        }
        // The signing record would mind, too: what counts here is what it is asked for.
        member.auto_sign = false;
        for block in &rivals {
            member.receive(cluster.now, Message::Block(block.clone()));
        }
        let of_slot =
            |request: &SignRequest| matches!(request, SignRequest::Approval { data, .. } if data.slot == slot);
        assert_eq!(member.signatures.iter().filter(|(_, request)| of_slot(request)).count(), approvals, "{plant:?}");
    }
}
