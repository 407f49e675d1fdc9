//! Approvals and certificates that come before their block, in the name of other rules, or twice: what is kept of them, how
//! much, and what is refused.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::testing::{Cluster, Fixture, Node};
use alys_chain::{ChainConfig, ChainEvent, ImportOutcome, Input, InputError, Message};
use alys_crypto::{Domain, DomainType};
use alys_primitives::{
    Approval, ApprovalData, BitVector, BlockHeader, FixedBytes, Fork, Height, Notarization, Root, SignedBlock, Slot,
    TreeHash as _, UnixMillis, VariableList,
};
use std::sync::Arc;

/// A chain of four members' blocks, and an observer at genesis that keeps two early approvals of each member and the
/// last two messages of each.
struct Scene {
    fixture: Fixture,
    blocks: Vec<Arc<SignedBlock>>,
    observer: Node,
    now: UnixMillis,
}

fn scene(slots: u64) -> Scene {
    scene_of(Fixture::new(4), slots)
}

fn scene_of(fixture: Fixture, slots: u64) -> Scene {
    let mut cluster = Cluster::new(fixture.clone());
    cluster.run_slots(slots);
    let store = &cluster.nodes[0].store;
    let block = |height| store.block(&store.canonical(Height(height)).unwrap()).unwrap().0;
    let blocks = (1..=slots).map(block).collect();
    let config = ChainConfig { max_early_approvals: 8, max_witnessed: 8, ..fixture.config(None) };
    Scene { observer: Node::with_config(&fixture, None, config), fixture, blocks, now: cluster.now }
}

impl Scene {
    fn approve(&mut self, block: usize, member: usize) -> Result<(), InputError> {
        let approval = self.fixture.approve(&self.blocks[block].header, member);
        let verified = self.observer.chain.verifier().approval(approval).unwrap();
        self.observer.handle(self.now, Input::Approval(verified))
    }

    fn import(&mut self, block: usize) {
        self.observer.receive(self.now, Message::Block(self.blocks[block].clone()));
    }

    fn head(&self) -> Height {
        self.observer.chain.view().head.height
    }

    /// Accused members with the slot, once each.
    fn accused(&self) -> Vec<(u64, Slot)> {
        let accused = self.observer.log.events.iter().filter_map(|event| match event {
            ChainEvent::Equivocation { member, slot, .. } => Some((*member, *slot)),
            _ => None,
        });
        accused.collect()
    }
}

#[test]
fn a_members_newest_early_approvals_are_kept_up_to_its_share() {
    let mut scene = scene(3);
    for member in 0..3 {
        assert_eq!(scene.approve(0, member), Ok(()));
        assert_eq!(scene.approve(1, member), Ok(()), "a whole share");
    }
    let mut full = scene.observer.clone();
    scene.import(0);
    assert_eq!(scene.head(), Height(1));
    scene.import(1);
    assert_eq!(scene.head(), Height(2));

    // One more takes the oldest one's place; the oldest of all has none.
    std::mem::swap(&mut scene.observer, &mut full);
    for member in 0..3 {
        assert_eq!(scene.approve(2, member), Ok(()));
        assert_eq!(scene.approve(0, member), Err(InputError::ApprovalsFull));
    }
    scene.import(0);
    assert_eq!(scene.head(), Height(0), "forgotten, and not notarized by what is left");
    scene.import(1);
    scene.import(2);
    assert_eq!(scene.head(), Height(3));
}

#[test]
fn early_approvals_count_for_their_own_block_only() {
    let mut scene = scene(2);
    let twin = scene.fixture.forge(&scene.blocks[0], |twin| twin.payload.extra_data = vec![1].try_into().unwrap());
    for member in 0..3 {
        scene.approve(0, member).unwrap();
    }
    scene.observer.receive(scene.now, Message::Block(Arc::new(twin)));
    assert_eq!(scene.head(), Height(0), "the same slot, another block");
    scene.import(0);
    assert_eq!(scene.head(), Height(1));
}

#[test]
fn early_certificates_give_way_to_later_ones() {
    let mut scene = scene(2);
    let certify =
        |scene: &Scene, header: &BlockHeader| Message::Notarization(scene.fixture.certify(header, &[0, 1, 2]));
    let later = |slot: u64| {
        let header = BlockHeader { slot: Slot(slot), height: Height(slot), ..scene.blocks[0].header.clone() };
        certify(&scene, &header)
    };
    let flood: Vec<Message> = (10..=265).map(later).collect();
    let first = certify(&scene, &scene.blocks[0].header);
    let mut crowded = scene.observer.clone();
    for message in std::iter::once(&first).chain(&flood[1..]) {
        scene.observer.receive(scene.now, message.clone());
    }
    for message in std::iter::once(&first).chain(&flood) {
        crowded.receive(scene.now, message.clone());
    }
    scene.import(0);
    assert_eq!(scene.head(), Height(1), "256 have a place");
    std::mem::swap(&mut scene.observer, &mut crowded);
    scene.import(0);
    assert_eq!(scene.head(), Height(0), "the oldest of 257 has none");
}

#[test]
fn what_is_kept_for_slots_before_the_finalized_block_is_forgotten() {
    let mut cluster = Cluster::new(Fixture::new(4));
    let fixture = cluster.fixture.clone();
    cluster.run_slots(4);
    let head = cluster.nodes[0].chain.view().head;
    let header = cluster.nodes[0].store.block(&head.root).unwrap().0.header.clone();
    // A twin of the head that nobody brought, and one of a slot to come.
    let stray = |slot: Slot, salt| BlockHeader { slot, body_root: Root::repeat_byte(salt), ..header.clone() };
    let now = cluster.now;
    let past = stray(head.slot, 1);
    cluster.nodes[0].receive(now, Message::Notarization(fixture.certify(&past, &[0, 1, 2])));
    cluster.mine(0);
    cluster.run_slots(6);
    let view = cluster.nodes[0].chain.view();
    assert!(view.finalized.height > Height(2), "{}", view.finalized.height);
    let refused = |node: &mut Node, header: &BlockHeader| {
        let verifier = node.chain.verifier();
        let certificate = verifier.notarization(fixture.certify(header, &[0, 1, 2])).unwrap();
        let approval = verifier.approval(fixture.approve(header, 0)).unwrap();
        let by_certificate = node.handle(now, Input::Notarization(certificate));
        (by_certificate, node.handle(now, Input::Approval(approval)))
    };
    let unknown = Err(InputError::UnknownBlock);
    let finalized = view.finalized.slot;
    assert_eq!(refused(&mut cluster.nodes[0], &stray(finalized, 2)), (unknown, unknown), "its very slot is past");
    assert_eq!(refused(&mut cluster.nodes[0], &stray(finalized.next(), 3)), (Ok(()), Ok(())), "the next one is not");
}

/// A member's signature over data under a version of the rules.
fn sign(fixture: &Fixture, member: usize, version: u8, data: &ApprovalData) -> alys_primitives::SignatureBytes {
    let version = [0, 0, 0, version];
    let domain = Domain::new(DomainType::Approval, version, fixture.spec.genesis_root());
    fixture.sign_as(member, domain.signing_root(data.tree_hash_root()))
}

#[test]
fn votes_under_another_version_of_the_rules_do_not_count() {
    let mut fixture = Fixture::new(4);
    let fork =
        |height, version| Fork { activation_height: Height(height), fork_version: FixedBytes([0, 0, 0, version]) };
    fixture.spec.forks = VariableList::new(vec![fork(0, 1), fork(2, 2)]).unwrap();
    let mut scene = scene_of(fixture, 3);
    for (block, right, wrong) in [(0usize, 1, 2), (1, 2, 1)] {
        scene.import(block);
        let header = scene.blocks[block].header.clone();
        let data = ApprovalData { block_root: header.root(), slot: header.slot, epoch: header.epoch };
        let vote = |scene: &mut Scene, version: u8| {
            let approval = Approval { data, member_index: 0, signature: sign(&scene.fixture, 0, version, &data) };
            let verified = scene.observer.chain.verifier().approval(approval).unwrap();
            scene.observer.handle(scene.now, Input::Approval(verified))
        };
        let certificate = |scene: &mut Scene, version: u8| {
            let signatures: Vec<_> = (0..3).map(|member| sign(&scene.fixture, member, version, &data)).collect();
            let mut bitfield = BitVector::new();
            (0..3).for_each(|member| bitfield.set(member, true).unwrap());
            let aggregate_signature = scene.fixture.sum(&signatures).unwrap();
            let ApprovalData { block_root, slot, epoch } = data;
            let certificate = Notarization { block_root, slot, epoch, bitfield, aggregate_signature };
            let verified = scene.observer.chain.verifier().notarization(certificate).unwrap();
            scene.observer.handle(scene.now, Input::Notarization(verified))
        };
        assert_eq!(vote(&mut scene, wrong), Err(InputError::BlockMismatch), "block {block}");
        assert_eq!(vote(&mut scene, right), Ok(()));
        assert_eq!(certificate(&mut scene, wrong), Err(InputError::BlockMismatch), "block {block}");
        assert!(scene.head() < header.height);
        assert_eq!(certificate(&mut scene, right), Ok(()));
        assert_eq!(scene.head(), header.height);
    }
}

#[test]
fn votes_for_another_slot_than_their_blocks_do_not_count() {
    let mut scene = scene(1);
    scene.import(0);
    let header = scene.blocks[0].header.clone();
    let data = ApprovalData { block_root: header.root(), slot: header.slot.next(), epoch: header.epoch };
    let signatures: Vec<_> = (0..3).map(|member| sign(&scene.fixture, member, 1, &data)).collect();
    let verifier = scene.observer.chain.verifier();
    for (member_index, signature) in (0..).zip(signatures.iter().copied()) {
        let verified = verifier.approval(Approval { data, member_index, signature }).unwrap();
        assert_eq!(scene.observer.handle(scene.now, Input::Approval(verified)), Err(InputError::BlockMismatch));
    }
    let mut bitfield = BitVector::new();
    (0..3).for_each(|member| bitfield.set(member, true).unwrap());
    let aggregate_signature = scene.fixture.sum(&signatures).unwrap();
    let ApprovalData { block_root, slot, epoch } = data;
    let verified =
        verifier.notarization(Notarization { block_root, slot, epoch, bitfield, aggregate_signature }).unwrap();
    assert_eq!(scene.observer.handle(scene.now, Input::Notarization(verified)), Err(InputError::BlockMismatch));
    assert_eq!(scene.head(), Height(0));
}

#[test]
fn a_quorum_of_approvals_is_enough_and_one_less_is_not() {
    let mut scene = scene(1);
    scene.import(0);
    for member in [3, 1] {
        scene.approve(0, member).unwrap();
        assert_eq!(scene.head(), Height(0));
    }
    scene.approve(0, 0).unwrap();
    assert_eq!(scene.head(), Height(1));
    let certificate = scene.observer.store.block(&scene.blocks[0].root()).unwrap().1.unwrap();
    let signers: Vec<usize> = (0..4).filter(|member| certificate.bitfield.get(*member).unwrap()).collect();
    assert_eq!(signers, [0, 1, 3]);
    let told = |node: &Node| node.outgoing.iter().filter(|it| matches!(it, Message::Notarization(_))).count();
    assert_eq!(told(&scene.observer), 1);
    // What comes later adds nothing, not even a whole quorum.
    for member in [2, 3, 1, 0] {
        scene.approve(0, member).unwrap();
    }
    assert_eq!(told(&scene.observer), 1);
    assert_eq!(scene.observer.store.block(&scene.blocks[0].root()).unwrap().1, Some(certificate));
}

#[test]
fn as_many_messages_of_a_member_are_remembered_as_its_share_the_newest_of_them() {
    let mut scene = scene(4);
    let twin = |scene: &Scene, block: usize| {
        scene.fixture.forge(&scene.blocks[block], |twin| twin.payload.extra_data = vec![1].try_into().unwrap())
    };
    // Two of member 3 fill its share: both are still known when it contradicts itself.
    for block in [0, 1] {
        scene.approve(block, 3).unwrap();
    }
    let mut both = scene.observer.clone();
    for block in [0, 1] {
        let contradiction = scene.fixture.approve(&twin(&scene, block).header, 3);
        both.receive(scene.now, Message::Approval(contradiction));
    }
    std::mem::swap(&mut scene.observer, &mut both);
    assert_eq!(scene.accused(), [(3, scene.blocks[0].header.slot)], "one proof for a kind of offence in an epoch");
    std::mem::swap(&mut scene.observer, &mut both);
    // With a third the first is forgotten, the second is not.
    scene.approve(2, 3).unwrap();
    let forgotten = scene.fixture.approve(&twin(&scene, 0).header, 3);
    scene.observer.receive(scene.now, Message::Approval(forgotten));
    assert_eq!(scene.accused(), []);
}

#[test]
fn a_block_can_be_asked_for_by_its_root() {
    let mut scene = scene(2);
    let (first, second) = (scene.blocks[0].root(), scene.blocks[1].root());
    let genesis = scene.fixture.spec.genesis_header().root();
    let chain = |scene: &Scene| scene.observer.chain.clone();
    assert_eq!(chain(&scene).find(&first), None);
    assert!(chain(&scene).is_notarized(&genesis) && !chain(&scene).is_notarized(&first));
    scene.import(0);
    let (found, is_canonical) = chain(&scene).find(&first).unwrap();
    assert_eq!((found.root, found.height, is_canonical), (first, Height(1), false));
    assert!(!chain(&scene).is_notarized(&first));
    scene.import(1);
    assert!(chain(&scene).is_notarized(&first), "by the certificate that its child carries");
    assert_eq!(chain(&scene).find(&first).map(|(_, is_canonical)| is_canonical), Some(true));
    assert_eq!(chain(&scene).find(&second).map(|(_, is_canonical)| is_canonical), Some(false));
}

#[test]
fn only_so_many_rejected_blocks_are_remembered() {
    let mut scene = scene(2);
    let config = ChainConfig { max_rejected_blocks: 2, ..scene.fixture.config(None) };
    scene.observer.chain.reconfigure(config).unwrap();
    let bad: Vec<Arc<SignedBlock>> = (1..=3u8)
        .map(|salt| {
            let wrong = |block: &mut SignedBlock| block.header.state_root = Root::repeat_byte(salt);
            Arc::new(scene.fixture.forge(&scene.blocks[0], wrong))
        })
        .collect();
    for block in &bad {
        scene.observer.receive(scene.now, Message::Block(block.clone()));
        assert!(matches!(scene.observer.outcome(&block.root()), Some(ImportOutcome::Rejected(_))));
    }
    // A child of one that is remembered is rejected with it; a child of the forgotten one waits.
    let outcome = |scene: &mut Scene, parent: &SignedBlock| {
        let child = scene.fixture.forge(&scene.blocks[1], |block| {
            block.header.parent_root = parent.root();
            let certificate = scene.fixture.certify(&parent.header, &[0, 1, 2]);
            block.parent_notarization = VariableList::new(vec![certificate]).unwrap();
        });
        scene.observer.receive(scene.now, Message::Block(Arc::new(child.clone())));
        scene.observer.outcome(&child.root()).cloned().unwrap()
    };
    assert!(matches!(outcome(&mut scene, &bad[0]), ImportOutcome::Pending(_)));
    for parent in &bad[1..] {
        assert!(matches!(outcome(&mut scene, parent), ImportOutcome::Rejected(_)));
    }
}
