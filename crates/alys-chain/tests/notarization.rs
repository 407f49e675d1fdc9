//! Proposals, approvals, certificates and the safe rule, driven through the public handle.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_chain::{
    CertificateError, ChainEvent, ImportOutcome, Input, InputError, Message, PendingReason, SignRequest, VerifyError,
    testing::{Cluster, Fixture, Node, SchemeKind},
};
use alys_primitives::{Height, Slot};

fn blocks(node: &mut Node) -> Vec<std::sync::Arc<alys_primitives::SignedBlock>> {
    node.outgoing
        .drain(..)
        .filter_map(|message| match message {
            Message::Block(block) => Some(block),
            Message::Approval(_)
            | Message::Notarization(_)
            | Message::AuxPow(_)
            | Message::Evidence(_)
            | Message::FederationChange(_)
            | Message::Pause(_) => None,
        })
        .collect()
}

#[test]
fn one_member_notarizes_a_block_in_every_slot() {
    let mut cluster = Cluster::new(Fixture::new(1));
    cluster.run_slots(10);
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.head.height, Height(10));
    assert_eq!(view.head.slot, Slot(10));
    assert_eq!(view.safe.height, Height(9));
    assert_eq!(view.finalized.height, Height(0));
    assert_eq!(cluster.nodes[0].store.top(), Height(10));
    assert!(cluster.nodes[0].log.refused.is_empty());
}

#[test]
fn real_signatures_make_certificates_that_verify() {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, SchemeKind::Bls));
    cluster.run_slots(4);
    for node in &cluster.nodes {
        let view = node.chain.view();
        assert_eq!(view.head.height, Height(4));
        assert_eq!(view.safe.height, Height(3));
        let (block, certificate) = node.store.block(&view.head.root).unwrap();
        let verifier = node.chain.verifier();
        assert!(verifier.notarization(certificate.unwrap()).is_ok());
        assert!(verifier.block(block.as_ref().clone()).is_ok());
        let mut damaged = block.as_ref().clone();
        damaged.author_signature.0[17] ^= 1;
        assert_eq!(verifier.block(damaged).unwrap_err(), VerifyError::Signature);
    }
}

#[test]
fn every_member_authors_once_a_round() {
    let mut cluster = Cluster::new(Fixture::new(7));
    cluster.run_slots(27);
    let node = &cluster.nodes[0];
    assert_eq!(node.chain.view().head.height, Height(20), "stalls after 20 blocks without work");
    for round in 1..2u64 {
        let mut authors: Vec<u64> = (round * 7..(round + 1) * 7)
            .map(|slot| {
                let root = node.store.canonical(Height(slot)).unwrap();
                node.store.block(&root).unwrap().0.header.author_index
            })
            .collect();
        authors.sort_unstable();
        assert_eq!(authors, (0..7).collect::<Vec<_>>());
    }
}

#[test]
fn a_quorum_notarizes_and_less_does_not() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.absent = vec![3];
    cluster.run_slots(8);
    let with_three = cluster.nodes[0].chain.view().head.height;
    assert!(with_three >= Height(5), "three of four are a quorum, got {with_three}");
    cluster.absent = vec![2, 3];
    cluster.run_slots(8);
    assert_eq!(cluster.nodes[0].chain.view().head.height, with_three, "two of four are none");
    cluster.absent = Vec::new();
    cluster.run_slots(6);
    assert!(cluster.nodes[0].chain.view().head.height > with_three);
}

#[test]
fn three_consecutive_slots_make_the_second_block_safe_and_a_gap_does_not() {
    let mut cluster = Cluster::new(Fixture::new(1));
    for slot in [1, 2, 4, 5, 7, 8] {
        cluster.now = cluster.fixture.slot_start(slot);
        cluster.run_slot(slot);
    }
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.head.height, Height(6));
    // Genesis is a notarized block of slot 0: slots 0, 1, 2 made the block of slot 1 safe.
    assert_eq!(view.safe.slot, Slot(1));
    cluster.run_slot(9);
    assert_eq!(cluster.nodes[0].chain.view().safe.slot, Slot(8));
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let fixture = Fixture::new(1);
    let mut node = Node::new(&fixture, Some(0));
    node.auto_sync = false;
    let start = fixture.slot_start(1);
    node.handle(start, Input::Tick).unwrap();
    assert_eq!(node.store.unsynced(), 1, "the proposal is written");
    assert!(node.outgoing.is_empty() && node.log.imported.is_empty() && node.log.events.is_empty());
    assert!(
        !node.signer.as_ref().unwrap().signed.iter().any(|request| matches!(request, SignRequest::Approval { .. }))
    );
    assert_eq!(node.chain.view().head.height, Height(0));
    let durable = node.sync().unwrap();
    node.handle(start, durable).unwrap();
    assert!(node.outgoing.iter().any(|message| matches!(message, Message::Block(_))));
    assert_eq!(node.store.unsynced(), 1, "the certificate is written");
    assert_eq!(node.chain.view().head.height, Height(0));
    assert!(node.log.forkchoices.is_empty());
    let durable = node.sync().unwrap();
    node.handle(start, durable).unwrap();
    assert_eq!(node.chain.view().head.height, Height(1));
    assert_eq!(node.log.forkchoices.len(), 1);
}

/// A cluster of four after some slots, its next block as the author broadcast it, and nobody's votes on it yet.
fn next_block(cluster: &mut Cluster) -> (usize, std::sync::Arc<alys_primitives::SignedBlock>) {
    let Slot(slot) = cluster.fixture.spec.slot_at(cluster.now);
    let at = cluster.fixture.slot_start(slot + 1);
    cluster.now = at;
    for node in 0..cluster.nodes.len() {
        let _ = cluster.nodes[node].handle(at, Input::Tick);
        if let Some(block) = blocks(&mut cluster.nodes[node]).pop() {
            return (node, block);
        }
    }
    panic!("nobody proposed");
}

#[test]
fn approvals_and_certificates_that_arrive_before_their_block_count() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (author, block) = next_block(&mut cluster);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let others: Vec<usize> = (0..4).filter(|node| *node != author).collect();

    let by_approvals = &mut cluster.nodes[others[0]];
    for member in [others[1], others[2], author] {
        by_approvals.receive(now, Message::Approval(fixture.approve(&block.header, member)));
    }
    by_approvals.receive(now, Message::Block(block.clone()));
    assert_eq!(by_approvals.chain.view().head.root, block.root());

    let by_certificate = &mut cluster.nodes[others[1]];
    by_certificate.receive(now, Message::Notarization(fixture.certify(&block.header, &[0, 1, 2])));
    by_certificate.receive(now, Message::Block(block.clone()));
    assert_eq!(by_certificate.chain.view().head.root, block.root());
    assert_eq!(
        by_certificate.outcome(&block.root()),
        Some(&ImportOutcome::Imported { height: Height(4), notarized: true })
    );
}

#[test]
fn votes_of_others_than_members_and_bits_that_name_nobody_are_refused() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (_, block) = next_block(&mut cluster);
    let fixture = &cluster.fixture;
    let verifier = cluster.nodes[0].chain.verifier();

    let stranger = fixture.approve(&block.header, 9);
    assert_eq!(verifier.approval(stranger).unwrap_err(), VerifyError::NoMember { index: 9, members: 4 });
    let mut borrowed = fixture.approve(&block.header, 1);
    borrowed.member_index = 2;
    assert_eq!(verifier.approval(borrowed).unwrap_err(), VerifyError::Signature);

    let few = fixture.certify(&block.header, &[0, 1]);
    let no_quorum = CertificateError::NoQuorum { found: 2, quorum: 3 };
    assert_eq!(verifier.notarization(few).unwrap_err(), VerifyError::Certificate(no_quorum));
    let padded = fixture.certify(&block.header, &[0, 1, 100]);
    let no_member = CertificateError::NoMember { bit: 100, members: 4 };
    assert_eq!(verifier.notarization(padded).unwrap_err(), VerifyError::Certificate(no_member));
    let mut claims_more = fixture.certify(&block.header, &[0, 1]);
    claims_more.bitfield.set(3, true).unwrap();
    assert_eq!(verifier.notarization(claims_more).unwrap_err(), VerifyError::Certificate(CertificateError::Signature));
}

#[test]
fn the_same_approval_twice_counts_once() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (author, block) = next_block(&mut cluster);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let node = (author + 1) % 4;
    let observer = &mut cluster.nodes[node];
    observer.receive(now, Message::Block(block.clone()));
    let votes = (author + 2) % 4;
    for _ in 0..5 {
        observer.receive(now, Message::Approval(fixture.approve(&block.header, votes)));
    }
    assert_ne!(observer.chain.view().head.root, block.root(), "own vote and one other are no quorum");
    observer.receive(now, Message::Approval(fixture.approve(&block.header, author)));
    assert_eq!(observer.chain.view().head.root, block.root());
}

#[test]
fn only_the_first_proposal_of_a_slot_is_approved() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (author, block) = next_block(&mut cluster);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let other = fixture.forge(&block, |block| block.payload.gas_limit += 1);
    let voter = &mut cluster.nodes[(author + 1) % 4];
    voter.receive(now, Message::Block(std::sync::Arc::new(other.clone())));
    voter.receive(now, Message::Block(block.clone()));
    assert!(matches!(voter.outcome(&block.root()), Some(ImportOutcome::Imported { .. })), "both are valid");
    let voted: Vec<_> = voter
        .signer
        .as_ref()
        .unwrap()
        .signed
        .iter()
        .filter_map(|request| match request {
            SignRequest::Approval { data, .. } if data.slot == block.header.slot => Some(data.block_root),
            SignRequest::Approval { .. } | SignRequest::Proposal { .. } => None,
        })
        .collect();
    assert_eq!(voted, vec![other.root()]);
}

#[test]
fn no_vote_before_the_payload_is_valid_and_none_on_a_shorter_chain() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (author, first) = next_block(&mut cluster);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let index = (author + 1) % 4;
    let voter = &mut cluster.nodes[index];
    let votes = |node: &Node| {
        node.signer.as_ref().unwrap().signed.iter().filter(|r| matches!(r, SignRequest::Approval { .. })).count()
    };
    let before = votes(voter);
    voter.auto_execute = false;
    voter.receive(now, Message::Block(first.clone()));
    assert_eq!(votes(voter), before);
    let (id, _) = voter.executions.pop_front().unwrap();
    // Meanwhile the slot's block gets its certificate by the others, through another proposal of the same slot.
    voter.auto_execute = true;
    let longer = fixture.forge(&first, |block| block.payload.gas_limit += 1);
    voter.receive(now, Message::Notarization(fixture.certify(&longer.header, &[0, 1, 2, 3])));
    voter.receive(now, Message::Block(std::sync::Arc::new(longer.clone())));
    assert_eq!(voter.chain.view().head.root, longer.root());
    let outcome = voter.executor.execute(&first);
    voter.handle(now, Input::Executed { id, outcome }).unwrap();
    assert!(matches!(voter.outcome(&first.root()), Some(ImportOutcome::Imported { notarized: false, .. })));
    assert_eq!(votes(voter), before, "its parent is no tip of a longest chain any more");
}

#[test]
fn a_vote_of_a_wrong_slot_or_epoch_does_not_count() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let (author, block) = next_block(&mut cluster);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let node = &mut cluster.nodes[(author + 1) % 4];
    node.receive(now, Message::Block(block.clone()));
    // Signed for another slot: a good signature, but over other data than the block's.
    let mut header = block.header.clone();
    header.slot = Slot(block.header.slot.0 + 1);
    let mut data = fixture.approve(&header, author);
    data.data.block_root = block.root();
    assert_eq!(node.chain.verifier().approval(data).unwrap_err(), VerifyError::Signature);
    node.handle(now, Input::Durable { id: alys_chain::BatchId(99_999) }).unwrap_err();
    assert_eq!(node.log.refused, vec![InputError::UnknownId { id: 99_999 }]);
}

#[test]
fn a_block_far_ahead_of_its_slot_is_held_and_then_imported() {
    let mut cluster = Cluster::new(Fixture::new(1));
    cluster.run_slots(2);
    let mut ahead = cluster.clone();
    ahead.nodes[0].outgoing.clear();
    ahead.run_slots(1);
    let block = ahead.nodes[0].store.block(&ahead.nodes[0].chain.view().head.root).unwrap().0;

    let fixture = cluster.fixture.clone();
    let mut observer = Node::new(&fixture, None);
    for height in 1..=2 {
        let root = cluster.nodes[0].store.canonical(Height(height)).unwrap();
        let block = cluster.nodes[0].store.block(&root).unwrap().0;
        observer.receive(cluster.now, Message::Block(block));
    }
    let early = cluster.fixture.slot_start(3).saturating_sub(501);
    observer.receive(early, Message::Block(block.clone()));
    let due = fixture.slot_start(3).saturating_sub(500);
    assert_eq!(observer.outcome(&block.root()), Some(&ImportOutcome::Pending(PendingReason::Slot(due))));
    let (timeout, _) = observer.chain.poll_timeout().unwrap();
    assert_eq!(timeout, due);
    observer.handle(due, Input::Tick).unwrap();
    assert!(matches!(observer.outcome(&block.root()), Some(ImportOutcome::Imported { .. })));
}

#[test]
fn events_tell_of_new_notarized_and_safe_blocks_in_order() {
    let mut cluster = Cluster::new(Fixture::new(1));
    cluster.run_slots(2);
    let kinds: Vec<&str> = cluster.nodes[0]
        .log
        .events
        .iter()
        .map(|event| match event {
            ChainEvent::NewBlock(_) => "new",
            ChainEvent::Notarized(_) => "notarized",
            ChainEvent::Safe(_) => "safe",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["new", "notarized", "new", "notarized", "safe"]);
}
