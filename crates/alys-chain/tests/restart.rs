//! A restart gives the chain that ran: after a clean stop, after a power cut at any batch, and never a damaged one.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_chain::{
    Checkpoint, Effect, Input, Message, RestoreError, Restored, SignRequest,
    testing::{Cluster, Fixture, Node},
};
use alys_primitives::{BitVector, Epoch, FederationChange, Height, Members, Root, Slot, U256};

/// A member that has been through bundles, fees and finality.
fn seasoned(members: usize) -> Cluster {
    let mut cluster = Cluster::new(Fixture::new(members));
    for round in 0..6u64 {
        for node in &mut cluster.nodes {
            node.executor.next_fees = U256::from(round * 1_234_567_890_123u64);
        }
        cluster.run_slots(5);
        cluster.mine(0);
    }
    cluster.run_slots(2);
    cluster.mine(0);
    cluster
}

#[test]
fn a_restored_chain_has_the_same_state_root_view_and_checkpoint() {
    let cluster = seasoned(4);
    for (index, node) in cluster.nodes.iter().enumerate() {
        assert!(node.chain.view().finalized.height > Height(20));
        let mut again = node.clone();
        again.restart(&cluster.fixture, cluster.fixture.config(Some(index))).unwrap();
        assert_eq!(again.chain.state_root(), node.chain.state_root());
        assert_eq!(again.chain.checkpoint(), node.chain.checkpoint());
        let (mut live, mut restored) = (node.chain.view(), again.chain.view());
        live.counters = Default::default();
        restored.counters = Default::default();
        assert_eq!(restored, live);
        assert_eq!(restored.queued_auxpow.len(), live.queued_auxpow.len());
        assert!(!live.queued_auxpow.is_empty(), "queued work survives");
    }
}

#[test]
fn the_first_effect_after_a_restart_is_the_fork_choice() {
    let cluster = seasoned(1);
    let mut node = cluster.nodes[0].clone();
    let expected = *node.log.forkchoices.last().unwrap();
    node.restart(&cluster.fixture, cluster.fixture.config(Some(0))).unwrap();
    assert_eq!(node.chain.poll_effect(), Some(Effect::Forkchoice(expected)));
}

#[test]
fn restored_members_go_on_and_converge() {
    let mut cluster = seasoned(4);
    let before = cluster.nodes[0].chain.view().head.height;
    for index in 0..4 {
        let config = cluster.fixture.config(Some(index));
        let fixture = cluster.fixture.clone();
        cluster.nodes[index].restart(&fixture, config).unwrap();
        let now = cluster.now;
        cluster.nodes[index].pump(now);
    }
    cluster.run_slots(6);
    let head = cluster.nodes[0].chain.view().head;
    assert!(head.height > before.saturating_add(4));
    assert!(cluster.nodes.iter().all(|node| node.chain.view().head == head));
}

#[test]
fn a_power_cut_after_any_batch_loses_nothing_that_was_acknowledged_and_signs_nothing_twice() {
    let fixture = Fixture::new(1);
    let mut node = Node::new(&fixture, Some(0));
    let mut salt = 0;
    for cut in 0..80u64 {
        node.auto_sync = true;
        let slot = cut + 1;
        let at = fixture.slot_start(slot);
        if cut % 5 == 4
            && let Ok(template) = node.chain.auxpow_template(Default::default(), at)
        {
            salt += 1;
            node.receive(at, Message::AuxPow(alys_chain::testing::mine(template.bundle, salt)));
        }
        // The slot stops after some number of synced batches; the newest unsynced ones are lost or kept.
        node.auto_sync = false;
        node.handle(at, Input::Tick).unwrap();
        for _ in 0..cut % 3 {
            if let Some(durable) = node.sync() {
                node.handle(at, durable).unwrap();
            }
        }
        let acknowledged = node.chain.view();
        node.store.crash(usize::try_from(cut % 2).unwrap());
        node.restart(&fixture, fixture.config(Some(0))).unwrap();
        let restored = node.chain.view();
        assert!(restored.head.height >= acknowledged.head.height, "cut {cut}");
        assert!(restored.finalized.height >= acknowledged.finalized.height, "cut {cut}");
        assert!(node.chain.checkpoint().header.height == restored.finalized.height);
        node.pump(at);
    }
    assert!(node.chain.view().head.height > Height(25), "{}", node.chain.view().head.height);
    let signer = node.signer.as_ref().unwrap();
    let mut proposals = std::collections::BTreeMap::new();
    let mut approvals = std::collections::BTreeMap::new();
    for request in &signer.signed {
        match request {
            SignRequest::Proposal { slot, root, .. } => {
                assert_eq!(*proposals.entry(*slot).or_insert(*root), *root, "two proposals in {slot}");
            }
            SignRequest::Approval { data, .. } => {
                assert_eq!(*approvals.entry(data.slot).or_insert(data.block_root), data.block_root);
            }
        }
    }
    assert!(proposals.len() > 60);
}

#[test]
fn a_proof_and_a_waiting_change_survive_a_power_cut_and_are_told_again() {
    let mut cluster = seasoned(4);
    let fixture = cluster.fixture.clone();
    let now = cluster.now;
    let node = &mut cluster.nodes[0];
    // Bundles have no bearing here: nothing of it may become final before the cut.
    let head = node.store.block(&node.chain.view().head.root).unwrap().0;
    let twin = fixture.forge(&head, |twin| twin.payload.extra_data = vec![1].try_into().unwrap());
    for header in [&head.header, &twin.header] {
        node.receive(now, Message::Approval(fixture.approve(header, 3)));
    }
    let mut members = node.chain.view().members.to_vec();
    members.rotate_left(1);
    let members = Members::new(members).unwrap();
    let root = node.chain.verifier().federation_signing_root(
        node.chain.view().epoch,
        &members,
        &alys_primitives::Optional::default(),
    );
    let signatures: Vec<_> = (0..3).map(|signer| fixture.sign_as(signer, root)).collect();
    let mut bitfield = BitVector::new();
    (0..3).for_each(|signer| bitfield.set(signer, true).unwrap());
    let change = FederationChange {
        genesis_root: fixture.spec.genesis_root(),
        epoch: node.chain.view().epoch,
        members,
        custody: alys_primitives::Optional::default(),
        bitfield,
        aggregate_signature: fixture.sum(&signatures).unwrap(),
    };
    node.receive(now, Message::FederationChange(change.clone()));
    assert_eq!(node.log.federation.last().unwrap().1, Ok(()), "acknowledged");
    let evidence = node.chain.known_evidence();
    assert_eq!(evidence.votes.len(), 1);

    let before = node.chain.state_root();
    node.store.crash(0);
    node.restart(&fixture, fixture.config(Some(0))).unwrap();
    assert_eq!(node.chain.known_evidence(), evidence);
    assert_eq!(node.chain.waiting_change(), Some(&change));
    assert_eq!(node.chain.state_root(), before);
    node.pump(now);
    let told = |wanted: &Message| node.outgoing.iter().any(|message| message == wanted);
    assert!(told(&Message::Evidence(evidence)) && told(&Message::FederationChange(change.clone())));

    // What was lost is noticed: the state root covers both.
    for lose in [|kept: &mut Restored| kept.evidence.clear(), |kept: &mut Restored| kept.change = None] {
        let mut kept = node.store.restored();
        lose(&mut kept);
        let refused = fixture.restore(fixture.config(Some(0)), kept);
        assert!(matches!(refused, Err(RestoreError::StateRoot { .. })));
    }
    let mut damaged = node.store.restored();
    damaged.change.as_mut().unwrap().members = Members::empty();
    assert!(fixture.restore(fixture.config(Some(0)), damaged).is_err());

    // Both are used, and dropped once they are of no use.
    for _ in 0..12 {
        cluster.mine(0);
        cluster.run_slots(4);
    }
    let view = cluster.nodes[0].chain.view();
    assert_eq!((view.epoch, view.offences.recorded), (Epoch(1), 1));
    assert_eq!(cluster.nodes[0].chain.waiting_change(), None);
    assert_eq!(cluster.nodes[0].store.restored().change, None);
}

#[test]
fn every_batch_carries_the_state_root_of_the_chain_after_it() {
    let fixture = Fixture::new(1);
    let mut node = Node::new(&fixture, Some(0));
    node.auto_sync = true;
    for slot in 1..10 {
        node.handle(fixture.slot_start(slot), Input::Tick).unwrap();
        assert_eq!(node.store.restored().state_root, Some(node.chain.state_root()));
        assert_eq!(node.chain.view().state_root, node.chain.state_root());
    }
}

#[test]
fn a_store_that_lost_something_is_detected() {
    let cluster = seasoned(1);
    let node = &cluster.nodes[0];
    let config = cluster.fixture.config(Some(0));
    let whole = node.store.restored();
    let view = node.chain.view();

    let mut lost = whole.clone();
    lost.blocks.retain(|restored| restored.block.root() != view.head.root);
    lost.certificates.retain(|certificate| certificate.block_root != view.head.root);
    assert!(matches!(cluster.fixture.restore(config.clone(), lost), Err(RestoreError::Pointers { .. })));

    let mut hole = whole.clone();
    hole.blocks.retain(|restored| restored.block.header.height != view.head.height.saturating_sub(1));
    assert!(matches!(
        cluster.fixture.restore(config.clone(), hole),
        Err(RestoreError::Orphan { .. } | RestoreError::Certificate { .. })
    ));

    let mut fees = whole.clone();
    fees.blocks[0].fees += U256::from(1);
    assert!(cluster.fixture.restore(config.clone(), fees).is_err());

    let mut queue = whole.clone();
    queue.auxpow.clear();
    assert!(matches!(cluster.fixture.restore(config.clone(), queue), Err(RestoreError::StateRoot { .. })));

    let mut checkpoint = whole.clone();
    if let Some(checkpoint) = &mut checkpoint.checkpoint {
        checkpoint.state.fee_carry += U256::from(1);
    }
    assert!(cluster.fixture.restore(config.clone(), checkpoint).is_err());

    let mut payload = whole.clone();
    payload.blocks[0].block.payload.gas_used += 1;
    assert!(cluster.fixture.restore(config.clone(), payload).is_err());

    assert!(cluster.fixture.restore(config, whole).is_ok());
}

#[test]
fn a_block_above_the_checkpoint_can_be_imported_again() {
    let mut cluster = seasoned(1);
    let fixture = cluster.fixture.clone();
    let root = cluster.nodes[0].chain.view().head.root;
    let block = cluster.nodes[0].store.block(&root).unwrap().0;
    cluster.nodes[0].restart(&fixture, fixture.config(Some(0))).unwrap();
    let now = cluster.now;
    cluster.nodes[0].receive(now, Message::Block(block));
    assert_eq!(cluster.nodes[0].outcome(&root), Some(&alys_chain::ImportOutcome::AlreadyKnown));
}

#[test]
fn the_store_holds_the_canonical_chain_by_height() {
    let cluster = seasoned(4);
    let node = &cluster.nodes[2];
    let head = node.chain.view().head;
    assert_eq!(node.store.top(), head.height);
    let mut parent = cluster.fixture.spec.genesis_header().root();
    let mut slot = Slot(0);
    for height in 1..=head.height.0 {
        let (block, certificate) = node.store.block(&node.store.canonical(Height(height)).unwrap()).unwrap();
        assert_eq!(block.header.parent_root, parent);
        assert!(block.header.slot > slot);
        assert!(certificate.is_some());
        parent = block.root();
        slot = block.header.slot;
    }
    assert_eq!(parent, head.root);
}

#[test]
fn a_checkpoint_that_contradicts_itself_is_refused_with_the_reason() {
    let cluster = seasoned(4);
    let node = &cluster.nodes[0];
    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut kept = node.store.restored();
        change(kept.checkpoint.as_mut().unwrap());
        match cluster.fixture.restore(cluster.fixture.config(Some(0)), kept) {
            Err(RestoreError::Checkpoint(reason)) => reason,
            other => panic!("{:?}", other.err()),
        }
    };
    let members =
        |checkpoint: &mut Checkpoint| checkpoint.members = Members::new(checkpoint.members[1..].to_vec()).unwrap();
    assert_eq!(refused(&members), "members are not those of the state");
    let twice = |checkpoint: &mut Checkpoint| checkpoint.members[0] = checkpoint.members[1].clone();
    assert_eq!(refused(&twice), "unusable members");
    let next = |checkpoint: &mut Checkpoint| checkpoint.next_members = Some(checkpoint.members.clone());
    assert_eq!(refused(&next), "next members are not those of the state");
    let epoch = |checkpoint: &mut Checkpoint| checkpoint.state.epoch = Epoch(1);
    assert_eq!(refused(&epoch), "header and state are of different epochs");
    let none = |checkpoint: &mut Checkpoint| checkpoint.certificate = None;
    assert_eq!(refused(&none), "no certificate of its block");
    let another = |checkpoint: &mut Checkpoint| checkpoint.certificate.as_mut().unwrap().block_root.0[0] ^= 1;
    assert_eq!(refused(&another), "no certificate of its block");
    let short = |checkpoint: &mut Checkpoint| checkpoint.trunk.truncate(checkpoint.trunk.len() - 1);
    assert_eq!(refused(&short), "the trunk does not end with its block");
    let fees = |checkpoint: &mut Checkpoint| checkpoint.trunk.last_mut().unwrap().fees_total += U256::from(1);
    assert_eq!(refused(&fees), "the trunk does not end with its block");
}

#[test]
fn certificates_and_blocks_that_belong_to_nothing_are_refused() {
    let cluster = seasoned(4);
    let node = &cluster.nodes[0];
    let restore = |change: &dyn Fn(&mut Restored)| {
        let mut kept = node.store.restored();
        change(&mut kept);
        cluster.fixture.restore(cluster.fixture.config(Some(0)), kept).err()
    };
    let head = node.chain.view().head.root;
    let of = |kept: &mut Restored| -> usize {
        kept.certificates.iter().position(|certificate| certificate.block_root == head).unwrap()
    };
    let nobodys = Root::repeat_byte(7);
    let stranger = restore(&|kept| {
        let at = of(kept);
        kept.certificates[at].block_root = nobodys;
    });
    assert_eq!(stranger, Some(RestoreError::Certificate { root: nobodys }));
    let moved = restore(&|kept| {
        let at = of(kept);
        kept.certificates[at].slot = kept.certificates[at].slot.next();
    });
    assert_eq!(moved, Some(RestoreError::Certificate { root: head }));
    // Its own parent has no certificate: nobody may have built on it.
    let parent = node.store.block(&head).unwrap().0.header.parent_root;
    let bare = restore(&|kept| kept.certificates.retain(|certificate| certificate.block_root != parent));
    assert_eq!(bare, Some(RestoreError::Orphan { root: head }));
    // What is there twice is there once.
    assert_eq!(restore(&|kept| kept.blocks.push(kept.blocks[0].clone())), None);
    let damaged = restore(&|kept| kept.blocks[0].block.header.body_root = Root::ZERO).unwrap();
    assert!(matches!(damaged, RestoreError::Block { .. } | RestoreError::Orphan { .. }), "{damaged}");
}
