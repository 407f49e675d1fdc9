//! The chain of bundles, followed by headers and work alone; older blocks, checked with its federations.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::{
    AuxPowError, FederationError, Input, LightBundle, LightChain, LightError, OlderError, VerifyError,
    proof::bundle_branch,
    testing::{Cluster, Fixture, SchemeKind},
};
use alys_primitives::{
    BitVector, Epoch, FederationChange, Height, LightRecord, Members, Root, SignedBlock, Slot, TreeHash as _,
    VariableList,
};
use std::sync::Arc;

const FUTURE: Slot = Slot(1_000_000);

fn at(cluster: &Cluster, height: u64) -> Arc<SignedBlock> {
    let store = &cluster.nodes[0].store;
    store.block(&store.canonical(Height(height)).unwrap()).unwrap().0
}

/// Slots with work now and then.
fn run(cluster: &mut Cluster, slots: u64) {
    for _ in 0..slots / 4 {
        cluster.mine(0);
        cluster.run_slots(4);
    }
}

/// A chain with several bundles under real signatures, whose federation changes on the way.
fn scene() -> Cluster {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, SchemeKind::Bls));
    run(&mut cluster, 8);
    let mut members = cluster.nodes[0].chain.view().members.to_vec();
    members.truncate(3);
    let change = change(&cluster, Members::new(members).unwrap(), &[0, 1, 2]);
    let verified = cluster.nodes[0].chain.verifier().federation_change(change).unwrap();
    let now = cluster.now;
    cluster.nodes[0].handle(now, Input::FederationChange(verified)).unwrap();
    cluster.deliver();
    run(&mut cluster, 40);
    assert_eq!(cluster.nodes[0].chain.view().epoch, Epoch(1));
    cluster
}

fn change(cluster: &Cluster, members: Members, signers: &[usize]) -> FederationChange {
    let custody = alys_primitives::Optional::default();
    let root = cluster.nodes[0].chain.verifier().federation_signing_root(Epoch(0), &members, &custody);
    let signatures: Vec<_> = signers.iter().map(|signer| cluster.fixture.sign_as(*signer, root)).collect();
    let mut bitfield = BitVector::new();
    for signer in signers {
        bitfield.set(*signer, true).unwrap();
    }
    FederationChange {
        genesis_root: cluster.nodes[0].chain.view().genesis_root,
        epoch: Epoch(0),
        members,
        custody,
        bitfield,
        aggregate_signature: cluster.fixture.sum(&signatures).unwrap(),
    }
}

/// What a node would tell of every bundle that its chain commits to.
fn records(cluster: &Cluster) -> Vec<LightRecord> {
    let (mut found, mut from, mut epoch) = (Vec::new(), 1, Epoch(0));
    let top = cluster.nodes[0].store.top().0;
    let change = (1..=top).find_map(|height| at(cluster, height).body.federation_change.first().cloned());
    for height in 1..=top {
        let Some(record) = at(cluster, height).body.auxpow.first().cloned() else { continue };
        let to = from + record.bundle.count - 1;
        let (start, end) = (at(cluster, from).header.clone(), at(cluster, to).header.clone());
        let changes = change.iter().filter(|_| end.epoch > epoch).cloned().collect();
        epoch = end.epoch;
        found.push(LightRecord { record, start, end, changes: VariableList::new(changes).unwrap() });
        from = to + 1;
    }
    found
}

fn genesis(cluster: &Cluster) -> LightChain {
    LightChain::genesis(cluster.fixture.spec.clone()).unwrap()
}

#[test]
fn the_records_lead_from_genesis_to_the_work_and_the_federation_of_the_chain() {
    let cluster = scene();
    let mut chain = genesis(&cluster);
    let records = records(&cluster);
    assert!(records.len() > 8 && records.iter().any(|record| !record.changes.is_empty()));
    for record in &records {
        chain.follow(record, FUTURE).unwrap();
        let bundle = LightBundle::of(record);
        let blocks: Vec<Root> =
            (record.start.height.0..=record.end.height.0).map(|height| at(&cluster, height).root()).collect();
        for (at, height) in (record.start.height.0..=record.end.height.0).enumerate() {
            let branch = bundle_branch(&blocks, at).unwrap();
            assert!(bundle.holds(blocks[at], Height(height), &branch));
            assert!(!bundle.holds(blocks[at], Height(height + 1), &branch), "another place");
            assert!(!bundle.holds(Root::repeat_byte(1), Height(height), &branch), "another block");
            assert!(!bundle.holds(blocks[at], Height(height), &branch[1..]), "a shorter way");
        }
        assert_eq!(bundle_branch(&blocks, blocks.len()), None);
    }
    let view = cluster.nodes[0].chain.view();
    assert_eq!((chain.work(), chain.records()), (view.committed.work, view.committed.records));
    assert_eq!((chain.end(), chain.auxpow_root()), (view.committed.end, view.committed.auxpow_root));
    assert_eq!((chain.epoch(), chain.end_slot()), (Epoch(1), records.last().unwrap().end.slot));
    assert_eq!(chain.members_root(Epoch(1)), Some(view.members.tree_hash_root()));
    assert_eq!(chain.members_root(Epoch(0)), Some(cluster.fixture.spec.members.tree_hash_root()));
    assert_eq!(chain.members_root(Epoch(2)), None);
}

#[test]
fn a_record_with_anything_changed_is_refused_and_changes_nothing() {
    let cluster = scene();
    let records = records(&cluster);
    let turn = records.iter().position(|record| !record.changes.is_empty()).unwrap();
    let mut chain = genesis(&cluster);
    records.iter().take(turn).for_each(|record| chain.follow(record, FUTURE).unwrap());
    let good = &records[turn];
    let refused = |change: &dyn Fn(&mut LightRecord), now: Slot| {
        let mut record = good.clone();
        change(&mut record);
        let mut copy = chain.clone();
        let error = copy.follow(&record, now).unwrap_err();
        assert_eq!(copy.auxpow_root(), chain.auxpow_root());
        assert_eq!((copy.work(), copy.members_root(Epoch(1))), (chain.work(), None));
        error
    };
    let changed = |change: &dyn Fn(&mut LightRecord)| refused(change, FUTURE);

    assert!(matches!(changed(&|it| it.start.slot.0 += 1), LightError::Header { which: "first", .. }));
    assert!(matches!(changed(&|it| it.end.author_index += 1), LightError::Header { which: "last", .. }));
    assert!(matches!(changed(&|it| it.start = it.end.clone()), LightError::Header { which: "first", .. }));
    assert!(matches!(
        changed(&|it| {
            it.start.parent_root = Root::repeat_byte(1);
            it.record.bundle.start_root = it.start.root();
        }),
        LightError::Gap { .. }
    ));
    for count in [0, 1, good.record.bundle.count + 1, u64::MAX] {
        assert!(matches!(changed(&|it| it.record.bundle.count = count), LightError::Run { .. }), "{count}");
    }
    assert!(matches!(
        changed(&|it| {
            it.end.epoch.0 = 0;
            it.start.epoch.0 = 1;
            (it.record.bundle.end_root, it.record.bundle.start_root) = (it.end.root(), it.start.root());
        }),
        LightError::Run { .. }
    ));
    let before_end = Slot(good.end.slot.0 - 1);
    assert!(matches!(
        changed(&|it| it.record.bundle.template_slot = before_end),
        LightError::Bundle(AuxPowError::TemplateSlot { .. })
    ));
    assert!(
        matches!(refused(&|_| {}, before_end), LightError::Bundle(AuxPowError::TemplateSlot { .. })),
        "a template of the future"
    );
    assert!(matches!(changed(&|it| it.record.bundle.bits -= 1), LightError::Bundle(AuxPowError::Bits { .. })));
    assert!(matches!(
        changed(&|it| it.record.bundle.previous_auxpow_root = Root::ZERO),
        LightError::Bundle(AuxPowError::Previous { .. })
    ));
    assert!(matches!(
        changed(&|it| it.record.bundle.genesis_root = Root::ZERO),
        LightError::Bundle(AuxPowError::OtherChain)
    ));
    assert!(matches!(
        changed(&|it| it.record.bundle.blocks_root = Root::ZERO),
        LightError::Bundle(AuxPowError::Rule(_))
    ));
    assert!(matches!(
        changed(&|it| it.record.proof = VariableList::new(vec![0; 10]).unwrap()),
        LightError::Bundle(AuxPowError::Decode(_))
    ));
    let none = LightError::Changes { found: 0, expected: 1 };
    assert_eq!(changed(&|it| it.changes = VariableList::empty()), none);
    let twice = |it: &mut LightRecord| it.changes.push(it.changes[0].clone()).unwrap();
    assert_eq!(changed(&twice), LightError::Changes { found: 2, expected: 1 });
    let members = good.changes[0].members.clone();
    let two = change(&cluster, members.clone(), &[0, 1]);
    assert!(matches!(
        changed(&|it| it.changes[0] = two.clone()),
        LightError::Federation { epoch: Epoch(0), error: FederationError::Certificate(_) }
    ));
    assert!(matches!(
        changed(&|it| it.changes[0].epoch = Epoch(1)),
        LightError::Federation { error: FederationError::Epoch { .. }, .. }
    ));

    let mut skipping = genesis(&cluster);
    assert!(matches!(skipping.follow(&records[1], FUTURE), Err(LightError::Bundle(AuxPowError::Previous { .. }))));
    assert!(chain.follow(good, FUTURE).is_ok());
    assert!(matches!(chain.follow(good, FUTURE), Err(LightError::Bundle(AuxPowError::Previous { .. }))), "twice");
}

#[test]
fn older_blocks_are_bound_from_above_and_their_signatures_checked() {
    let cluster = scene();
    let mut chain = genesis(&cluster);
    records(&cluster).iter().for_each(|record| chain.follow(record, FUTURE).unwrap());
    let verifier = chain.verifier();
    let end = chain.end();
    let blocks: Vec<SignedBlock> = (1..=end.height.0).map(|height| at(&cluster, height).as_ref().clone()).collect();
    let check = |blocks: &[SignedBlock]| verifier.older(blocks, end.root, end.height, &[7; 32]);
    assert_eq!(check(&blocks), Ok(()));
    assert_eq!(check(&blocks[5..]), Ok(()), "a run that does not reach genesis");
    assert_eq!(check(&[]), Ok(()));

    let changed = |at: usize, change: &dyn Fn(&mut SignedBlock)| {
        let mut blocks = blocks.clone();
        change(&mut blocks[at]);
        check(&blocks).unwrap_err()
    };
    assert!(matches!(changed(3, &|it| it.header.slot.0 += 1), OlderError::Unlinked { height: Height(4), .. }));
    let mut gap = blocks.clone();
    gap.remove(3);
    assert!(matches!(check(&gap), Err(OlderError::Unlinked { .. })));
    assert!(matches!(
        changed(3, &|it| it.author_signature = blocks[4].author_signature),
        OlderError::Block { height: Height(4), error: VerifyError::Signature }
    ));
    assert!(matches!(
        changed(3, &|it| it.parent_notarization[0].bitfield.set(3, false).unwrap()),
        OlderError::Block { height: Height(4), error: VerifyError::Certificate(_) }
    ));
    assert!(matches!(
        changed(3, &|it| it.payload.gas_used += 1),
        OlderError::Block { height: Height(4), error: VerifyError::Block(_) }
    ));
    // A chain that knows the first federation only can't tell who signs later.
    assert!(matches!(
        genesis(&cluster).verifier().older(&blocks, end.root, end.height, &[7; 32]),
        Err(OlderError::Block { error: VerifyError::UnknownEpoch { epoch: Epoch(1) }, .. })
    ));
    let other = LightChain::genesis({
        let mut spec = cluster.fixture.spec.clone();
        spec.genesis_time += 2;
        spec
    });
    assert_eq!(other.unwrap().verifier().older(&blocks, end.root, end.height, &[7; 32]), Err(OlderError::Genesis));
}
