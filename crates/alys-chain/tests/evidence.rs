//! Equivocation: noticed, gossiped, included once, counted; nobody else is accused (protocol section 4).

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::{
    BlockError, ChainConfig, ChainEvent, EvidenceError, Input, Message, VerifyError,
    testing::{Cluster, Fixture, Node, SchemeKind},
};
use alys_primitives::{Approval, Evidence, Height, ProposalEquivocation, SignedBlock, VariableList, VoteEquivocation};
use std::sync::Arc;

/// A cluster after a few slots, and the newest block.
fn scene(scheme: SchemeKind) -> (Cluster, Arc<SignedBlock>) {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, scheme));
    cluster.run_slots(4);
    let node = &cluster.nodes[0];
    let block = node.store.block(&node.chain.view().head.root).unwrap().0;
    (cluster, block)
}

/// The same slot's other proposal.
fn twin(cluster: &Cluster, block: &SignedBlock) -> Arc<SignedBlock> {
    Arc::new(cluster.fixture.forge(block, |twin| {
        twin.payload.extra_data = VariableList::new(vec![1]).unwrap();
    }))
}

/// Approvals of a block and of its twin by one member.
fn double_vote(cluster: &Cluster, block: &SignedBlock, member: usize) -> [Approval; 2] {
    let other = twin(cluster, block);
    [cluster.fixture.approve(&block.header, member), cluster.fixture.approve(&other.header, member)]
}

fn told(node: &Node) -> Vec<(u64, u64, bool)> {
    let events = node.log.events.iter();
    events
        .filter_map(|event| match event {
            ChainEvent::Equivocation { member, slot, proposal, .. } => Some((*member, slot.0, *proposal)),
            _ => None,
        })
        .collect()
}

fn gossiped(node: &Node) -> usize {
    node.outgoing.iter().filter(|message| matches!(message, Message::Evidence(_))).count()
}

#[test]
fn two_proposals_for_a_slot_are_proven_told_and_put_on_chain_once() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let (mut cluster, block) = scene(scheme);
        let author = block.header.author_index;
        let (now, twin) = (cluster.now, twin(&cluster, &block));
        cluster.nodes[1].receive(now, Message::Block(twin));
        assert_eq!(told(&cluster.nodes[1]), [(author, block.header.slot.0, true)]);
        assert_eq!(gossiped(&cluster.nodes[1]), 1);
        cluster.deliver();
        cluster.run_slots(4);
        for node in &cluster.nodes {
            let view = node.chain.view();
            assert!(view.offences.has(author, true) && !view.offences.has(author, false));
            assert_eq!(view.offences.recorded, 1, "once, although every author knew of it");
            assert_eq!(view.counters.equivocations, 1);
            let carried = (1..=node.store.top().0)
                .map(|height| node.store.block(&node.store.canonical(Height(height)).unwrap()).unwrap().0)
                .filter(|block| !block.body.evidence.proposals.is_empty());
            assert_eq!(carried.count(), 1);
        }
    }
}

#[test]
fn two_approvals_for_a_slot_are_proven_whichever_block_is_known() {
    let (mut cluster, block) = scene(SchemeKind::Unproven);
    let member = usize::try_from((block.header.author_index + 1) % 4).unwrap();
    let now = cluster.now;
    for approval in double_vote(&cluster, &block, member) {
        cluster.nodes[0].receive(now, Message::Approval(approval));
    }
    let index = u64::try_from(member).unwrap();
    assert_eq!(told(&cluster.nodes[0]), [(index, block.header.slot.0, false)]);
    cluster.deliver();
    cluster.run_slots(4);
    assert!(cluster.nodes.iter().all(|node| node.chain.view().offences.has(index, false)));
}

#[test]
fn the_same_message_twice_proves_nothing() {
    let (mut cluster, block) = scene(SchemeKind::Unproven);
    let now = cluster.now;
    let approval = cluster.fixture.approve(&block.header, 2);
    for _ in 0..2 {
        cluster.nodes[0].receive(now, Message::Approval(approval.clone()));
        cluster.nodes[0].receive(now, Message::Block(block.clone()));
    }
    assert!(told(&cluster.nodes[0]).is_empty());
    let same = Evidence {
        votes: VariableList::new(vec![VoteEquivocation { first: approval.clone(), second: approval }]).unwrap(),
        ..Evidence::default()
    };
    let refused = cluster.nodes[0].chain.verifier().evidence(same).unwrap_err();
    assert_eq!(refused, VerifyError::Block(BlockError::Evidence(EvidenceError::Same)));
}

#[test]
fn made_up_evidence_is_refused_with_its_reason() {
    let (cluster, block) = scene(SchemeKind::Bls);
    let verifier = cluster.nodes[0].chain.verifier();
    let [first, second] = double_vote(&cluster, &block, 1);
    let against = |first: &Approval, second: &Approval| {
        let proof = VoteEquivocation { first: first.clone(), second: second.clone() };
        let votes = VariableList::new(vec![proof]).unwrap();
        verifier.evidence(Evidence { votes, ..Evidence::default() })
    };
    let reason = |error: EvidenceError| VerifyError::Block(BlockError::Evidence(error));
    against(&first, &second).unwrap();
    // Signed by someone else.
    let [stolen, _] = double_vote(&cluster, &block, 2);
    let framed = Approval { member_index: 1, ..stolen };
    assert_eq!(against(&framed, &second).unwrap_err(), reason(EvidenceError::Signature));
    // By two members.
    let [other, _] = double_vote(&cluster, &block, 2);
    assert_eq!(against(&other, &second).unwrap_err(), reason(EvidenceError::Unrelated));
    // Two proposals that are one, or by two authors.
    let of = |first: &SignedBlock, second: &SignedBlock| {
        let proof = ProposalEquivocation { first: first.signed_header(), second: second.signed_header() };
        let proposals = VariableList::new(vec![proof]).unwrap();
        verifier.evidence(Evidence { proposals, ..Evidence::default() })
    };
    let other = twin(&cluster, &block);
    of(&block, &other).unwrap();
    assert_eq!(of(&block, &block).unwrap_err(), reason(EvidenceError::Same));
    let mut another = other.as_ref().clone();
    another.header.author_index = (block.header.author_index + 1) % 4;
    assert_eq!(of(&block, &another).unwrap_err(), reason(EvidenceError::Unrelated));
    // By nobody.
    let nobody = |approval: &Approval| Approval { member_index: 9, ..approval.clone() };
    assert_eq!(against(&nobody(&first), &nobody(&second)).unwrap_err(), reason(EvidenceError::Signature));
}

#[test]
fn a_block_with_evidence_that_the_chain_has_is_invalid() {
    let (mut cluster, block) = scene(SchemeKind::Unproven);
    let now = cluster.now;
    for approval in double_vote(&cluster, &block, 1) {
        cluster.nodes[0].receive(now, Message::Approval(approval));
    }
    cluster.deliver();
    let evidence = cluster.nodes[0].chain.known_evidence();
    assert_eq!(evidence.votes.len(), 1);
    cluster.run_slots(4);
    let next = cluster.nodes[0].store.block(&cluster.nodes[0].chain.view().head.root).unwrap().0;
    assert!(next.body.evidence.votes.is_empty());
    let again = cluster.fixture.forge(&next, |block| block.body.evidence = evidence);
    cluster.nodes[2].receive(cluster.now, Message::Block(Arc::new(again.clone())));
    let outcome = cluster.nodes[2].outcome(&again.root()).unwrap().clone();
    assert_eq!(outcome, alys_chain::ImportOutcome::Rejected(BlockError::Evidence(EvidenceError::Known)));
}

#[test]
fn a_flood_of_signed_messages_takes_no_more_than_its_share() {
    let fixture = Fixture::new(4);
    let config = ChainConfig { max_witnessed: 16, max_early_approvals: 16, ..fixture.config(None) };
    let mut node = Node::with_config(&fixture, None, config);
    let now = fixture.slot_start(1_000);
    let genesis = fixture.spec.genesis_header();
    let approve = |slot: u64, salt: u8, member: usize| {
        let mut header = genesis.clone();
        header.slot = alys_primitives::Slot(slot);
        header.body_root = alys_primitives::Root::repeat_byte(salt);
        fixture.approve(&header, member)
    };
    // Member 0 floods; member 1 signs twice once, and is found out all the same.
    for slot in 1..200 {
        node.receive(now, Message::Approval(approve(slot, 0, 0)));
    }
    node.receive(now, Message::Approval(approve(7, 0, 1)));
    node.receive(now, Message::Approval(approve(7, 1, 1)));
    assert_eq!(told(&node), [(1, 7, false)]);
    // From the future: not remembered, so that it takes no place from what matters.
    node.receive(now, Message::Approval(approve(5_000, 0, 2)));
    node.receive(now, Message::Approval(approve(5_000, 1, 2)));
    assert_eq!(told(&node).len(), 1);
}

#[test]
fn evidence_survives_neither_twice_nor_for_other_chains() {
    let (mut cluster, block) = scene(SchemeKind::Unproven);
    let now = cluster.now;
    for approval in double_vote(&cluster, &block, 1) {
        cluster.nodes[0].receive(now, Message::Approval(approval));
    }
    let evidence = cluster.nodes[0].chain.known_evidence();
    let mut other = Fixture::new(4);
    other.spec.epoch_delay += 1;
    let stranger = Node::new(&other, None);
    assert!(stranger.chain.verifier().evidence(evidence.clone()).is_err(), "signed for another chain");
    // Told again, nothing is told on.
    let verified = cluster.nodes[0].chain.verifier().evidence(evidence).unwrap();
    let before = gossiped(&cluster.nodes[0]);
    cluster.nodes[0].handle(now, Input::Evidence(verified)).unwrap();
    assert_eq!(gossiped(&cluster.nodes[0]), before);
}
