//! Changes of the federation (protocol section 7): who may bring one, when it takes effect, what it must not break.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::{
    BlockError, CertificateError, ChainEvent, FederationError, ImportOutcome, Input, InputError, MemberError, Message,
    testing::{Cluster, Fixture, Node, SchemeKind},
};
use alys_crypto::SecretKey;
use alys_primitives::{
    Address, BitVector, Epoch, FederationChange, Height, Member, Members, PublicKeyBytes, SignatureBytes,
};
use std::sync::Arc;

/// A change to `members`, signed by these members of the current epoch (whose keys are those of the fixture).
fn change(cluster: &Cluster, members: Vec<Member>, signers: &[usize]) -> FederationChange {
    let members = Members::new(members).unwrap();
    let view = cluster.nodes[0].chain.view();
    let root = cluster.nodes[0].chain.verifier().federation_signing_root(
        view.epoch,
        &members,
        &alys_primitives::Optional::default(),
    );
    let signatures: Vec<SignatureBytes> = signers.iter().map(|signer| cluster.fixture.sign_as(*signer, root)).collect();
    let mut bitfield = BitVector::new();
    for signer in signers {
        bitfield.set(*signer, true).unwrap();
    }
    FederationChange {
        genesis_root: view.genesis_root,
        epoch: view.epoch,
        members,
        custody: alys_primitives::Optional::default(),
        bitfield,
        aggregate_signature: cluster.fixture.sum(&signatures).unwrap(),
    }
}

fn current(cluster: &Cluster) -> Vec<Member> {
    cluster.nodes[0].chain.view().members.to_vec()
}

fn bring(cluster: &mut Cluster, change: FederationChange) -> Result<(), FederationError> {
    let verified = cluster.nodes[0].chain.verifier().federation_change(change)?;
    let now = cluster.now;
    cluster.nodes[0].handle(now, Input::FederationChange(verified)).unwrap();
    cluster.deliver();
    cluster.nodes[0].log.federation.last().unwrap().1.clone()
}

/// Slots with work now and then, so that finality follows.
fn run(cluster: &mut Cluster, slots: u64) {
    for _ in 0..slots / 4 {
        cluster.mine(0);
        cluster.run_slots(4);
    }
}

fn epochs(node: &Node) -> Vec<(u64, u64, u64)> {
    let events = node.log.events.iter();
    events
        .filter_map(|event| match event {
            ChainEvent::Epoch { epoch, from, members } => Some((epoch.0, from.0, *members)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_change_takes_effect_epoch_delay_blocks_after_a_record_that_is_final() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let mut cluster = Cluster::new(Fixture::with_scheme(4, scheme));
        run(&mut cluster, 4);
        // Three of the four stay, in another order.
        let mut members = current(&cluster);
        members.truncate(3);
        members.rotate_left(1);
        let record = change(&cluster, members.clone(), &[0, 1, 2]);
        bring(&mut cluster, record).unwrap();
        run(&mut cluster, 4);
        let view = cluster.nodes[1].chain.view();
        let in_flight = view.change.unwrap();
        assert_eq!(view.epoch, Epoch(0));
        run(&mut cluster, 40);
        let delay = cluster.fixture.spec.epoch_delay;
        for (index, node) in cluster.nodes.iter().enumerate() {
            let view = node.chain.view();
            assert_eq!(view.epoch, Epoch(1));
            assert_eq!(view.members.to_vec(), members);
            assert_eq!(view.change, None);
            assert_eq!(epochs(node), [(1, in_flight.height.0 + delay, 3)]);
            assert_eq!(view.member_index, [Some(2), Some(0), Some(1), None][index], "indices follow the new order");
            assert!(view.finalized.height.0 > in_flight.height.0 + delay, "finality goes on under the new members");
        }
        let mut again = cluster.nodes[2].clone();
        again.restart(&cluster.fixture, cluster.fixture.config(Some(2))).unwrap();
        assert_eq!(again.chain.state_root(), cluster.nodes[2].chain.state_root());
        assert_eq!(again.chain.view().epoch, Epoch(1));
    }
}

#[test]
fn a_change_that_is_not_final_in_time_lapses_and_is_proposed_again() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(2);
    let mut members = current(&cluster);
    members.rotate_left(1);
    let record = change(&cluster, members, &[0, 1, 2, 3]);
    bring(&mut cluster, record).unwrap();
    cluster.run_slots(2);
    let first = cluster.nodes[0].chain.view().change.unwrap();
    // No work, no finality: 16 blocks later it lapses, and the next author brings it once more.
    cluster.run_slots(16);
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.epoch, Epoch(0));
    assert!(view.change.unwrap().height >= first.height.saturating_add(cluster.fixture.spec.epoch_delay));
    run(&mut cluster, 40);
    assert_eq!(cluster.nodes[0].chain.view().epoch, Epoch(1));
}

#[test]
fn what_the_rules_refuse_is_refused_with_the_reason() {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, SchemeKind::Bls));
    cluster.run_slots(2);
    let members = current(&cluster);

    let few = change(&cluster, members.clone(), &[0, 1]);
    let quorum = FederationError::Certificate(CertificateError::NoQuorum { found: 2, quorum: 3 });
    assert_eq!(bring(&mut cluster, few).unwrap_err(), quorum);

    let mut stranger = change(&cluster, members.clone(), &[0, 1, 2]);
    stranger.bitfield.set(9, true).unwrap();
    let nobody = FederationError::Certificate(CertificateError::NoMember { bit: 9, members: 4 });
    assert_eq!(bring(&mut cluster, stranger).unwrap_err(), nobody);

    let mut altered = change(&cluster, members.clone(), &[0, 1, 2]);
    altered.members.first_mut().unwrap().fee_address = Address::repeat_byte(9);
    let broken = FederationError::Certificate(CertificateError::Signature);
    assert_eq!(bring(&mut cluster, altered).unwrap_err(), broken);

    let mut elsewhere = change(&cluster, members.clone(), &[0, 1, 2]);
    elsewhere.genesis_root.0[0] ^= 1;
    assert_eq!(bring(&mut cluster, elsewhere).unwrap_err(), FederationError::OtherChain);

    let mut later = change(&cluster, members.clone(), &[0, 1, 2]);
    later.epoch = Epoch(7);
    let expected = FederationError::Epoch { found: Epoch(7), expected: Epoch(0) };
    assert_eq!(bring(&mut cluster, later).unwrap_err(), expected);

    let empty = change(&cluster, Vec::new(), &[0, 1, 2]);
    assert_eq!(bring(&mut cluster, empty).unwrap_err(), FederationError::Size { found: 0, max: 254 });

    let mut twice = members.clone();
    twice.push(members[0].clone());
    let twice = change(&cluster, twice, &[0, 1, 2]);
    let duplicate = FederationError::Member { index: 4, reason: MemberError::Duplicate(0) };
    assert_eq!(bring(&mut cluster, twice).unwrap_err(), duplicate);

    // A rogue key: somebody's public key with a proof that is not for it.
    let rogue = SecretKey::generate(&[9; 32]).unwrap();
    let mut unproven = members.clone();
    unproven.push(Member { public_key: PublicKeyBytes::from(rogue.public_key().to_bytes()), ..members[0].clone() });
    let unproven = change(&cluster, unproven, &[0, 1, 2]);
    let reason = FederationError::Member { index: 4, reason: MemberError::Unproven };
    assert_eq!(bring(&mut cluster, unproven).unwrap_err(), reason);

    let good = change(&cluster, members.clone(), &[0, 1, 2]);
    bring(&mut cluster, good.clone()).unwrap();
    bring(&mut cluster, good).unwrap();
    let mut other = members;
    other.rotate_left(1);
    let other = change(&cluster, other, &[0, 1, 2]);
    assert_eq!(bring(&mut cluster, other).unwrap_err(), FederationError::InFlight);
}

#[test]
fn a_block_with_a_second_change_in_flight_is_invalid() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(2);
    let mut members = current(&cluster);
    members.rotate_left(1);
    let record = change(&cluster, members, &[0, 1, 2]);
    bring(&mut cluster, record.clone()).unwrap();
    cluster.run_slots(3);
    assert!(cluster.nodes[0].chain.view().change.is_some());
    let next = cluster.nodes[0].store.block(&cluster.nodes[0].chain.view().head.root).unwrap().0;
    let second = cluster.fixture.forge(&next, |block| {
        block.body.federation_change = alys_primitives::VariableList::new(vec![record]).unwrap();
    });
    cluster.nodes[2].receive(cluster.now, Message::Block(Arc::new(second.clone())));
    let rejected = ImportOutcome::Rejected(BlockError::Federation(FederationError::InFlight));
    assert_eq!(cluster.nodes[2].outcome(&second.root()), Some(&rejected));
}

#[test]
fn no_three_blocks_across_an_epoch_make_one_safe() {
    let mut cluster = Cluster::new(Fixture::new(4));
    run(&mut cluster, 4);
    let mut members = current(&cluster);
    members.rotate_left(1);
    let record = change(&cluster, members, &[0, 1, 2, 3]);
    bring(&mut cluster, record).unwrap();
    run(&mut cluster, 8);
    let in_flight = cluster.nodes[0].chain.view().change.unwrap();
    let begin = in_flight.height.0 + cluster.fixture.spec.epoch_delay;
    let mut checked = false;
    while cluster.nodes[0].chain.view().head.height.0 < begin + 3 {
        cluster.mine(0);
        cluster.run_slots(1);
        let view = cluster.nodes[0].chain.view();
        // With all members there, safe is one behind; the epoch's first block holds it back until it has two children.
        if (begin..begin + 2).contains(&view.head.height.0) {
            assert!(view.safe.height < Height(begin), "head {}, safe {}", view.head.height, view.safe.height);
            checked = true;
        }
    }
    assert!(checked && cluster.nodes[0].chain.view().safe.height >= Height(begin));
}

#[test]
fn who_falls_behind_by_an_epoch_catches_up_block_by_block() {
    let mut cluster = Cluster::new(Fixture::new(4));
    run(&mut cluster, 4);
    let mut members = current(&cluster);
    members.rotate_left(2);
    let record = change(&cluster, members, &[0, 1, 2, 3]);
    bring(&mut cluster, record).unwrap();
    run(&mut cluster, 40);
    assert_eq!(cluster.nodes[0].chain.view().epoch, Epoch(1));
    let mut late = Node::new(&cluster.fixture, None);
    for height in 1..=cluster.nodes[0].store.top().0 {
        let store = &cluster.nodes[0].store;
        let (block, certificate) = store.block(&store.canonical(Height(height)).unwrap()).unwrap();
        assert!(late.receive(cluster.now, Message::Block(block)), "verified at height {height}");
        late.receive(cluster.now, Message::Notarization(certificate.unwrap()));
    }
    assert_eq!(late.chain.view().head, cluster.nodes[0].chain.view().head);
    assert_eq!(late.chain.view().epoch, Epoch(1));
}

#[test]
fn proofs_that_rest_on_a_federation_that_is_gone_are_stale() {
    let mut cluster = Cluster::new(Fixture::new(4));
    run(&mut cluster, 4);
    let before = cluster.nodes[0].chain.verifier();
    let head = cluster.nodes[0].store.block(&cluster.nodes[0].chain.view().head.root).unwrap().0;
    let old = before.approval(cluster.fixture.approve(&head.header, 1)).unwrap();
    let key = cluster.fixture.public_key(1);
    assert_eq!((before.knows(Epoch(0)), before.knows(Epoch(1))), (true, false));
    assert_eq!((before.index_of(Epoch(0), &key), before.index_of(Epoch(1), &key)), (Some(1), None));
    // The members of the epoch before the finalized block's are kept.
    for (epoch, is_known) in [(1, true), (2, false)] {
        let mut members = current(&cluster);
        members[0].fee_address = Address::repeat_byte(epoch);
        let record = change(&cluster, members, &[0, 1, 2, 3]);
        bring(&mut cluster, record).unwrap();
        run(&mut cluster, 40);
        let after = cluster.nodes[0].chain.verifier();
        assert_eq!(after.index_of(Epoch(epoch.into()), &key), Some(1));
        assert_eq!(after.knows(Epoch(0)), is_known, "in epoch {epoch}");
    }
    let now = cluster.now;
    let refused = cluster.nodes[0].handle(now, Input::Approval(old)).unwrap_err();
    assert_eq!(refused, InputError::StaleProof { epoch: Epoch(0) });
}
