//! Levels of validation: what each finds, what it does not look at, batches, and the cache.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests may stop")]

use alys_chain::{
    AuxPowError, BlockError, CertificateError, Certificates, Context, ErrorCategory, FederationError, ImportOutcome,
    Input, Outcome, SegmentError, Validated, ValidationCache, ValidationError, ValidationLevel as Level, Verifier,
    VerifyError,
    testing::{Cluster, Fixture, Node, SchemeKind},
};
use alys_primitives::{
    AuxBundle, B256, BitVector, Epoch, FederationChange, Height, Root, SignatureBytes, SignedBlock, Slot, UnixMillis,
    VariableList,
};
use std::sync::Arc;

struct Scene {
    cluster: Cluster,
    verifier: Verifier,
    context: Context,
    block: Arc<SignedBlock>,
}

/// A block on a chain with work, and its parent as a context.
fn scene(scheme: SchemeKind) -> Scene {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, scheme));
    cluster.run_slots(4);
    cluster.mine(0);
    cluster.run_slots(1);
    let node = &cluster.nodes[0];
    let block = node.store.block(&node.chain.view().head.root).unwrap().0;
    assert!(!block.body.auxpow.is_empty());
    let context = node.chain.context(&block.header.parent_root).unwrap();
    Scene { verifier: node.chain.verifier(), context, block, cluster }
}

impl Scene {
    fn forge(&self, change: impl FnOnce(&mut SignedBlock)) -> Arc<SignedBlock> {
        Arc::new(self.cluster.fixture.forge(&self.block, change))
    }

    fn changed(&self, change: impl FnOnce(&mut SignedBlock)) -> Arc<SignedBlock> {
        let mut block = self.block.as_ref().clone();
        change(&mut block);
        Arc::new(block)
    }

    /// What each level finds.
    fn found(&self, block: &Arc<SignedBlock>) -> [Option<ErrorCategory>; 4] {
        [Level::Basic, Level::SignatureOnly, Level::ConsensusOnly, Level::Full]
            .map(|level| self.verifier.validate(level, block, Some(&self.context)).err().map(|error| error.category()))
    }
}

#[test]
fn a_good_block_passes_every_level_and_the_full_proof_is_what_the_core_takes() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let scene = scene(scheme);
        assert_eq!(scene.found(&scene.block), [None; 4]);
        let full = scene.verifier.validate(Level::Full, &scene.block, Some(&scene.context)).unwrap();
        assert_eq!((full.root(), full.level()), (scene.block.root(), Level::Full));
        let Validated::Full(full) = full else { panic!("not what was asked for") };
        assert_eq!(full.verified(), scene.verifier.block(scene.block.as_ref().clone()).unwrap());
    }
}

#[test]
fn each_level_finds_its_own_mistakes_and_no_others() {
    use ErrorCategory::{Consensus, Form, Signature, Unavailable};
    let scene = scene(SchemeKind::Bls);
    let unsigned = scene.changed(|block| block.author_signature = SignatureBytes::ZERO);
    assert_eq!(scene.found(&unsigned), [None, Some(Signature), None, Some(Signature)]);
    let body = scene.changed(|block| block.header.body_root = Root::ZERO);
    assert_eq!(scene.found(&body), [Some(Form), Some(Signature), None, Some(Form)]);
    let state = scene.forge(|block| block.header.state_root = Root::ZERO);
    assert_eq!(scene.found(&state), [None, None, Some(Consensus), Some(Consensus)]);
    let orphan = scene.forge(|block| {
        block.header.parent_root = Root::repeat_byte(9);
        block.parent_notarization[0].block_root = Root::repeat_byte(9);
    });
    let [_, signature, consensus, full] = scene.found(&orphan);
    assert_eq!([signature, consensus, full], [Some(Signature), Some(Unavailable), Some(Unavailable)]);
    let later = scene.forge(|block| block.header.epoch = Epoch(3));
    assert_eq!(scene.found(&later)[1], Some(Unavailable), "an epoch to come blames nobody");
    let work = scene.forge(|block| block.body.auxpow[0].bundle.miner_address.0[0] ^= 1);
    assert_eq!(scene.found(&work)[1], Some(Signature));
    assert_eq!(
        scene.verifier.validate(Level::Full, &scene.block, None).unwrap_err(),
        ValidationError::UnknownParent(scene.block.header.parent_root)
    );
}

#[test]
fn a_batch_gives_every_block_the_answer_that_it_gets_alone() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let scene = scene(scheme);
        let store = &scene.cluster.nodes[0].store;
        let mut blocks: Vec<SignedBlock> = (1..=store.top().0)
            .map(|height| store.block(&store.canonical(Height(height)).unwrap()).unwrap().0.as_ref().clone())
            .collect();
        blocks[1].author_signature = blocks[0].author_signature;
        blocks[3].parent_notarization[0].aggregate_signature = SignatureBytes::repeat_byte(7);
        blocks[4].header.slot = Slot(77);
        let mut few = blocks[2].clone();
        few.parent_notarization[0].bitfield = alys_primitives::BitVector::new();
        blocks.push(few);
        let alone: Vec<_> = blocks.iter().map(|block| scene.verifier.block(block.clone())).collect();
        let together = scene.verifier.blocks(blocks, &[3; 32]);
        assert_eq!(together, alone);
        assert_eq!(together[0].as_ref().err(), None);
        assert_eq!(together[1].as_ref().unwrap_err(), &VerifyError::Signature);
        assert_eq!(together[2].as_ref().err(), None);
        let broken = VerifyError::Certificate(CertificateError::Signature);
        assert_eq!(together[3].as_ref().unwrap_err(), &broken);
    }
    assert!(scene(SchemeKind::Bls).verifier.blocks(Vec::new(), &[0; 32]).is_empty());
}

fn id(number: u8) -> B256 {
    B256::repeat_byte(number)
}

/// Keeps an outcome that was asked for under the present federation.
fn keep(cache: &mut ValidationCache, id: B256, level: Level, outcome: Outcome, now: UnixMillis) {
    let asked = cache.generation();
    cache.insert(id, level, outcome, asked, now);
}

#[test]
fn the_cache_is_bounded_in_number_and_age() {
    let scene = scene(SchemeKind::Unproven);
    let outcome = || Ok(Arc::new(scene.verifier.validate(Level::Basic, &scene.block, None).unwrap()));
    let mut cache = ValidationCache::new(3, 1_000);
    let now = UnixMillis(5_000);
    for number in 0..4 {
        keep(&mut cache, id(number), Level::Basic, outcome(), now);
    }
    assert_eq!(cache.len(), 3);
    assert!(cache.get(&id(0), Level::Basic, now).is_none(), "the oldest one made room");
    assert!(cache.get(&id(3), Level::Basic, now).is_some());
    assert!(cache.get(&id(3), Level::SignatureOnly, now).is_none(), "basic proves nothing about signatures");
    assert!(cache.get(&id(3), Level::Basic, UnixMillis(6_000)).is_none(), "too old");
    // Kept again: its age starts anew, and it counts once.
    keep(&mut cache, id(3), Level::Basic, outcome(), UnixMillis(5_900));
    assert_eq!(cache.len(), 3);
    assert!(cache.get(&id(3), Level::Basic, UnixMillis(6_500)).is_some());
    keep(&mut cache, id(9), Level::Basic, outcome(), UnixMillis(6_100));
    assert_eq!(cache.len(), 2, "what is too old leaves");
    assert_eq!(cache.counts(), (2, 3));
    cache.clear();
    assert!(cache.is_empty());
    let mut none = ValidationCache::new(0, 1_000);
    keep(&mut none, id(1), Level::Basic, outcome(), now);
    assert!(none.is_empty());
}

#[test]
fn a_full_proof_answers_for_every_level_and_passing_troubles_are_not_kept() {
    let scene = scene(SchemeKind::Unproven);
    let mut cache = ValidationCache::new(8, 1_000);
    let now = UnixMillis(0);
    let full = scene.verifier.validate(Level::Full, &scene.block, Some(&scene.context)).unwrap();
    keep(&mut cache, id(1), Level::Full, Ok(Arc::new(full)), now);
    for level in [Level::Basic, Level::SignatureOnly, Level::ConsensusOnly, Level::Full] {
        assert!(cache.get(&id(1), level, now).unwrap().is_ok());
    }
    let unknown = ValidationError::UnknownParent(Root::ZERO);
    keep(&mut cache, id(2), Level::Full, Err(Arc::new(unknown)), now);
    assert!(cache.get(&id(2), Level::Full, now).is_none(), "the parent may arrive");
    let wrong = ValidationError::Consensus(BlockError::Overflow);
    keep(&mut cache, id(3), Level::Full, Err(Arc::new(wrong)), now);
    assert!(cache.get(&id(3), Level::Full, now).unwrap().is_err());
    assert!(cache.get(&id(3), Level::Basic, now).is_none(), "which part was wrong is not said");
}

#[test]
fn an_outcome_that_was_asked_for_under_another_federation_is_not_kept() {
    let mut cache = ValidationCache::new(8, 1_000);
    let wrong = || Err(Arc::new(ValidationError::Consensus(BlockError::Overflow)));
    let asked = cache.generation();
    cache.clear();
    cache.insert(id(1), Level::Full, wrong(), asked, UnixMillis(0));
    assert!(cache.is_empty(), "it rests on members who are none any more");
    keep(&mut cache, id(1), Level::Full, wrong(), UnixMillis(0));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_copy_with_another_payload_is_not_taken_for_the_block() {
    let scene = scene(SchemeKind::Unproven);
    let copy = scene.changed(|block| block.payload.extra_data = VariableList::new(vec![1]).unwrap());
    assert_eq!(copy.root(), scene.block.root());
    assert_eq!(scene.found(&copy)[0], Some(ErrorCategory::Form));
}

/// All blocks of the head's chain and the last one's certificate.
fn run(cluster: &Cluster) -> (Vec<SignedBlock>, alys_primitives::Notarization) {
    let store = &cluster.nodes[0].store;
    let at = |height: u64| store.block(&store.canonical(Height(height)).unwrap()).unwrap();
    let top = store.top().0;
    ((1..=top).map(|height| at(height).0.as_ref().clone()).collect(), at(top).1.unwrap())
}

#[test]
fn a_segment_stands_on_the_certificate_of_its_last_block() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let mut cluster = Cluster::new(Fixture::with_scheme(4, scheme));
        cluster.run_slots(6);
        let (blocks, tip) = run(&cluster);
        for certificates in [Certificates::All, Certificates::Tip] {
            let verifier = cluster.nodes[0].chain.verifier();
            let segment = verifier.segment(blocks.clone(), tip.clone(), certificates, &[1; 32]).unwrap();
            let mut follower = Node::new(&cluster.fixture, None);
            for block in segment.blocks {
                follower.handle(cluster.now, Input::Block(block)).unwrap();
            }
            follower.handle(cluster.now, Input::Notarization(segment.tip)).unwrap();
            assert_eq!(follower.chain.view().head, cluster.nodes[0].chain.view().head);
            let head = follower.chain.view().head.root;
            let states = [&follower, &cluster.nodes[0]].map(|node| node.chain.state(&head).unwrap().root());
            assert_eq!(states[0], states[1]);
        }
    }
}

#[test]
fn a_segment_with_a_flaw_is_refused_whole() {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, SchemeKind::Bls));
    cluster.run_slots(6);
    let (blocks, tip) = run(&cluster);
    let verifier = cluster.nodes[0].chain.verifier();
    let check = |blocks: &[SignedBlock], tip: &alys_primitives::Notarization, certificates| {
        verifier.segment(blocks.to_vec(), tip.clone(), certificates, &[1; 32]).err()
    };
    let all = Certificates::All;
    assert_eq!(check(&[], &tip, all), Some(SegmentError::Empty));
    assert_eq!(check(&blocks[..5], &tip, all), Some(SegmentError::Broken { root: tip.block_root }));

    let mut gap = blocks.clone();
    gap.remove(2);
    assert_eq!(check(&gap, &tip, all), Some(SegmentError::Broken { root: blocks[3].root() }));

    let mut weak = tip.clone();
    weak.bitfield = alys_primitives::BitVector::new();
    assert!(matches!(check(&blocks, &weak, all), Some(SegmentError::Tip(_))));

    let mut body = blocks.clone();
    body[2].payload.gas_used += 1;
    assert!(matches!(check(&body, &tip, all), Some(SegmentError::Block { root, .. }) if root == blocks[2].root()));

    // A certificate inside that is garbage is found only where it is looked for.
    let mut garbage = blocks.clone();
    garbage[3].parent_notarization[0].aggregate_signature = blocks[0].author_signature;
    let broken = VerifyError::Certificate(CertificateError::Signature);
    assert_eq!(check(&garbage, &tip, all), Some(SegmentError::Block { root: blocks[3].root(), error: broken }));
    assert_eq!(check(&garbage, &tip, Certificates::Tip), None);

    // An author's signature in the middle is not looked at here; the core finds that the next block contradicts it.
    let mut unsigned = blocks.clone();
    unsigned[3].author_signature = blocks[0].author_signature;
    let segment = verifier.segment(unsigned.clone(), tip.clone(), all, &[1; 32]).unwrap();
    let mut follower = Node::new(&cluster.fixture, None);
    for block in segment.blocks {
        let _ = follower.handle(cluster.now, Input::Block(block));
    }
    let outcome = follower.outcome(&blocks[4].root()).unwrap();
    assert!(matches!(outcome, ImportOutcome::Rejected(BlockError::StateRoot { .. })));
    let mut last = blocks.clone();
    last[5].author_signature = blocks[0].author_signature;
    let error = VerifyError::Signature;
    assert_eq!(check(&last, &tip, Certificates::Tip), Some(SegmentError::Block { root: blocks[5].root(), error }));
}

#[test]
fn each_level_tells_what_it_is_about_and_what_was_asked_for() {
    let scene = scene(SchemeKind::Unproven);
    for level in [Level::Basic, Level::SignatureOnly, Level::ConsensusOnly, Level::Full] {
        let proven = scene.verifier.validate(level, &scene.block, Some(&scene.context)).unwrap();
        assert_eq!((proven.root(), proven.level()), (scene.block.root(), level));
    }
    assert_eq!(scene.context.parent(), scene.block.header.parent_root);
}

#[test]
fn what_is_not_the_blocks_fault_blames_nobody() {
    for error in [BlockError::PendingFull, BlockError::NotOnFinalized] {
        assert!(!error.is_invalid());
        assert_eq!(ValidationError::Consensus(error).category(), ErrorCategory::Unavailable);
    }
}

#[test]
fn a_bundle_for_another_chain_is_no_part_of_this_one_whatever_is_checked_of_it() {
    let scene = scene(SchemeKind::Unproven);
    let found = |level, change: fn(&mut AuxBundle)| {
        let block = scene.forge(|block| change(&mut block.body.auxpow[0].bundle));
        scene.verifier.validate(level, &block, Some(&scene.context)).unwrap_err()
    };
    let of_block = |error| BlockError::AuxPow(error);
    let other = |bundle: &mut AuxBundle| bundle.genesis_root.0[0] ^= 1;
    let in_form = ValidationError::Verify(VerifyError::Block(of_block(AuxPowError::OtherChain)));
    assert_eq!(found(Level::Basic, other), in_form);
    assert_eq!(found(Level::SignatureOnly, other), in_form);
    assert_eq!(found(Level::ConsensusOnly, other), ValidationError::Consensus(of_block(AuxPowError::OtherChain)));
    let id = AuxPowError::ChainId { found: 7, expected: scene.cluster.fixture.spec.auxpow.chain_id };
    let other = |bundle: &mut AuxBundle| bundle.auxpow_chain_id = 7;
    assert_eq!(found(Level::ConsensusOnly, other), ValidationError::Consensus(of_block(id)));
}

#[test]
fn a_child_is_neither_higher_nor_earlier_than_its_place() {
    let scene = scene(SchemeKind::Unproven);
    let found = |change: fn(&mut SignedBlock)| {
        let block = scene.forge(change);
        scene.verifier.validate(Level::ConsensusOnly, &block, Some(&scene.context)).unwrap_err()
    };
    let (height, slot) = (scene.block.header.height, scene.block.header.slot);
    let higher = BlockError::Height { found: height.next(), parent: height.saturating_sub(1) };
    assert_eq!(found(|block| block.header.height = block.header.height.next()), ValidationError::Consensus(higher));
    let parent = scene.block.parent_notarization[0].slot;
    assert!(parent < slot);
    let earlier = BlockError::Slot { found: parent, parent };
    let back = |block: &mut SignedBlock| block.header.slot = block.parent_notarization[0].slot;
    assert_eq!(found(back), ValidationError::Consensus(earlier));
}

#[test]
fn a_change_of_another_epoch_does_not_follow() {
    let scene = scene(SchemeKind::Unproven);
    let members = scene.cluster.fixture.spec.members.clone();
    let block = scene.forge(|block| {
        let change = FederationChange {
            genesis_root: Root::ZERO,
            epoch: Epoch(4),
            members,
            custody: VariableList::empty(),
            bitfield: BitVector::new(),
            aggregate_signature: SignatureBytes::ZERO,
        };
        block.body.federation_change = VariableList::new(vec![change]).unwrap();
    });
    let refused = scene.verifier.validate(Level::ConsensusOnly, &block, Some(&scene.context)).unwrap_err();
    let epoch = FederationError::Epoch { found: Epoch(4), expected: Epoch(0) };
    assert_eq!(refused, ValidationError::Consensus(BlockError::Federation(epoch)));
}
