//! Bundles, difficulty, stall and finality (protocol sections 5 and 6).

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_auxpow::{CompactError, DecodeError, ParentHeader, VerifyError as RuleError};
use alys_chain::{
    AuxPowError, BlockError, ChainEvent, ImportOutcome, Message, TemplateError, VerifyError,
    testing::{Cluster, Fixture, mine, mine_with},
};
use alys_primitives::{
    Address, AuxBundle, AuxPowRecord, Height, Optional, Root, SignedBlock, Slot, TreeHash as _, UnixMillis, blocks_root,
};
use std::sync::Arc;

const PAYOUT: Address = Address::repeat_byte(0xaa);

fn one() -> Cluster {
    Cluster::new(Fixture::new(1))
}

fn template(cluster: &Cluster) -> AuxBundle {
    cluster.nodes[0].chain.auxpow_template(PAYOUT, cluster.now).expect("something to commit").bundle
}

/// What the core says of a record.
fn offer(cluster: &mut Cluster, record: AuxPowRecord) -> Result<(), AuxPowError> {
    let verified = cluster.nodes[0].chain.verifier().auxpow(record)?;
    let hash = verified.bundle.tree_hash_root();
    let now = cluster.now;
    cluster.nodes[0].handle(now, alys_chain::Input::AuxPow(verified)).unwrap();
    let (_, outcome) = cluster.nodes[0].log.auxpow.iter().rev().find(|(of, _)| *of == hash).unwrap();
    outcome.clone()
}

#[test]
fn nothing_to_commit_at_genesis() {
    let cluster = one();
    let template = cluster.nodes[0].chain.auxpow_template(PAYOUT, cluster.now);
    assert_eq!(template, Err(TemplateError::NothingToCommit));
}

#[test]
fn a_bundle_ends_with_the_newest_safe_block_or_else_the_head() {
    let mut cluster = one();
    cluster.run_slots(6);
    let bundle = template(&cluster);
    let archive = &cluster.nodes[0].store;
    assert_eq!(bundle.start_root, archive.canonical(Height(1)).unwrap());
    assert_eq!(bundle.end_root, archive.canonical(Height(5)).unwrap());
    assert_eq!(bundle.count, 5);
    assert_eq!(bundle.template_slot, Slot(6));
    assert!(cluster.mine(0));
    cluster.run_slots(1);
    assert_eq!(template(&cluster).end_root, cluster.nodes[0].store.canonical(Height(6)).unwrap());

    let mut gaps = one();
    for slot in [2, 4] {
        gaps.now = gaps.fixture.slot_start(slot);
        gaps.run_slot(slot);
    }
    assert_eq!(template(&gaps).count, 2, "nothing is safe, so it goes up to the head");
}

#[test]
fn finality_takes_a_safe_carrier_with_descendants() {
    let mut fixture = Fixture::new(1);
    fixture.spec.min_finalization_depth = 4;
    let mut cluster = Cluster::new(fixture);
    cluster.run_slots(5);
    assert!(cluster.mine(0));
    let bundle = cluster.nodes[0].chain.view().queued_auxpow[0].hash;
    for slots in 1..=4 {
        cluster.run_slots(1);
        let view = cluster.nodes[0].chain.view();
        assert_eq!(view.committed.end.height, Height(4));
        assert_eq!(view.finalized.height, Height(0), "carried by height 6, {slots} slots later");
    }
    cluster.run_slots(1);
    let node = &cluster.nodes[0];
    let view = node.chain.view();
    assert_eq!(view.finalized.height, Height(4), "the carrier has four descendants");
    assert_eq!(node.store.bundle_at(Height(1)), Some(bundle));
    assert_eq!(node.store.bundle_at(Height(4)), Some(bundle));
    assert_eq!(node.store.bundle_at(Height(5)), None);
    let carrier = node.store.canonical(Height(6)).unwrap();
    let finalized = ChainEvent::Finalized { from: Height(1), to: view.finalized, bundle, carrier };
    assert!(node.log.events.contains(&finalized));
    assert_eq!(node.log.forkchoices.last().unwrap().finalized, view.finalized.execution_hash);
}

#[test]
fn a_carrier_that_is_deep_but_not_safe_finalizes_nothing() {
    let mut cluster = one();
    cluster.run_slots(3);
    assert!(cluster.mine(0));
    for slot in [5, 7, 9, 11, 13] {
        cluster.now = cluster.fixture.slot_start(slot);
        cluster.run_slot(slot);
    }
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.committed.end.height, Height(2));
    assert_eq!(view.finalized.height, Height(0));
    cluster.run_slots(2);
    assert_eq!(cluster.nodes[0].chain.view().finalized.height, Height(2));
}

#[test]
fn bundles_follow_each_other_without_gap_or_overlap() {
    let mut cluster = one();
    let mut last = Height(0);
    for _ in 0..12 {
        cluster.run_slots(4);
        assert!(cluster.mine(0));
    }
    cluster.run_slots(4);
    for event in &cluster.nodes[0].log.events {
        if let ChainEvent::Finalized { from, to, .. } = event {
            assert_eq!(*from, last.next());
            assert!(to.height >= *from);
            last = to.height;
        }
    }
    assert!(last >= Height(44), "finality came to {last}");
    assert_eq!(cluster.nodes[0].chain.view().counters.bundles, 12);
    assert!(cluster.nodes[0].chain.view().unfinalized_blocks < 12, "finalized blocks leave the tree");
}

#[test]
fn each_rule_of_a_bundle_has_its_error() {
    let mut cluster = one();
    cluster.run_slots(6);
    assert!(cluster.mine(0));
    let stale = template(&cluster);
    cluster.run_slots(6);
    let good = template(&cluster);
    let archive = cluster.nodes[0].store.clone();
    let at = |height| archive.canonical(Height(height)).unwrap();
    let range = |from: u64, to: u64| blocks_root(&(from..=to).map(at).collect::<Vec<_>>()).unwrap();

    let cases: Vec<(&str, AuxBundle)> = vec![
        ("stale-bundle", AuxBundle { miner_address: Address::ZERO, ..stale.clone() }),
        ("stale-bundle", AuxBundle { previous_auxpow_root: Root::ZERO, ..good.clone() }),
        ("other-chain", AuxBundle { genesis_root: Root::ZERO, ..good.clone() }),
        ("chain-id", AuxBundle { auxpow_chain_id: 7, ..good.clone() }),
        // A gap: block 6 is left out.
        ("start", AuxBundle { start_root: at(7), count: good.count - 1, blocks_root: range(7, 11), ..good.clone() }),
        // An overlap: block 5 is committed already.
        ("start", AuxBundle { start_root: at(5), count: good.count + 1, blocks_root: range(5, 11), ..good.clone() }),
        ("end", AuxBundle { end_root: Root::repeat_byte(9), ..good.clone() }),
        ("end", AuxBundle { end_root: at(3), ..good.clone() }),
        ("count", AuxBundle { count: good.count + 1, ..good.clone() }),
        ("blocks-root", AuxBundle { blocks_root: Root::repeat_byte(9), ..good.clone() }),
        ("template-slot", AuxBundle { template_slot: Slot(9), ..good.clone() }),
        ("template-slot", AuxBundle { template_slot: Slot(14), ..good.clone() }),
        ("bits", AuxBundle { bits: good.bits - 1, ..good.clone() }),
        ("too-long-bundle", AuxBundle { count: 41, ..good.clone() }),
    ];
    for (rule, bundle) in cases {
        let outcome = offer(&mut cluster, mine(bundle, 500));
        assert_eq!(outcome.as_ref().map_err(AuxPowError::rule), Err(rule), "{outcome:?}");
    }
    assert_eq!(cluster.nodes[0].chain.view().queued_auxpow.len(), 1, "only what came first is queued");
    assert_eq!(offer(&mut cluster, mine(good, 501)), Ok(()));
}

#[test]
fn work_easier_than_the_difficulty_is_refused_before_it_is_looked_at() {
    let mut fixture = Fixture::new(1);
    fixture.spec.auxpow.initial_bits = 0x1f7f_ffff;
    fixture.spec.auxpow.min_auxpow_work = alys_primitives::U256::from(256);
    let mut cluster = Cluster::new(fixture);
    cluster.run_slots(3);
    let easy = AuxBundle { bits: 0x207f_ffff, ..template(&cluster) };
    let error = offer(&mut cluster, mine(easy, 1)).unwrap_err();
    assert_eq!(error.rule(), "bits");
}

#[test]
fn a_proof_without_work_is_refused() {
    let mut fixture = Fixture::new(1);
    fixture.spec.auxpow.initial_bits = 0x1f7f_ffff;
    let mut cluster = Cluster::new(fixture);
    cluster.run_slots(3);
    let bundle = template(&cluster);
    let mut record = mine(bundle, 1);
    let mut bytes = record.proof.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x55;
    record.proof = alys_primitives::VariableList::new(bytes).unwrap();
    assert!(matches!(offer(&mut cluster, record), Err(AuxPowError::Rule(RuleError::Work { .. }))));
}

#[test]
fn one_parent_header_serves_one_record() {
    let mut cluster = one();
    cluster.run_slots(4);
    let first = mine(template(&cluster), 1);
    assert_eq!(offer(&mut cluster, first.clone()), Ok(()));
    cluster.run_slots(4);
    // The same proof under the next bundle: the header commits to another hash.
    let next = AuxPowRecord { bundle: template(&cluster), proof: first.proof };
    assert!(matches!(offer(&mut cluster, next), Err(AuxPowError::Rule(_))));
}

#[test]
fn two_payouts_are_two_hashes_and_the_same_template_is_the_same_hash() {
    let mut cluster = one();
    cluster.run_slots(4);
    let now = cluster.now;
    let chain = &cluster.nodes[0].chain;
    let of = |payout: u8, now: UnixMillis| chain.auxpow_template(Address::repeat_byte(payout), now).unwrap().bundle;
    assert_ne!(of(1, now).tree_hash_root(), of(2, now).tree_hash_root());
    assert_eq!(of(1, now), of(1, now.saturating_add(400)), "same slot, same template");
    assert_ne!(of(1, now), of(1, now.saturating_add(2_000)), "the target is that of the slot");
}

#[test]
fn an_old_template_stays_good_until_its_predecessor_is_superseded() {
    let mut cluster = one();
    cluster.run_slots(3);
    let old = template(&cluster);
    cluster.run_slots(9);
    assert_eq!(offer(&mut cluster, mine(old.clone(), 1)), Ok(()), "nine slots later");
    cluster.run_slots(2);
    assert_eq!(offer(&mut cluster, mine(old, 2)), Ok(()), "the very same bundle is known");
    assert_eq!(cluster.nodes[0].chain.view().committed.records, 1);
}

#[test]
fn the_chain_stalls_without_work_and_resumes_with_it() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(40);
    for node in &cluster.nodes {
        let view = node.chain.view();
        assert_eq!(view.head.height, Height(20));
        assert!(view.stalled);
        assert_eq!(view.blocks_without_pow, 20);
        assert!(node.log.events.contains(&ChainEvent::Stalled { height: Height(20) }));
    }
    assert!(cluster.mine(2));
    cluster.run_slots(10);
    for node in &cluster.nodes {
        let view = node.chain.view();
        assert!(view.head.height >= Height(29), "height {}", view.head.height);
        assert!(!view.stalled);
        assert!(node.log.events.contains(&ChainEvent::Resumed { height: Height(21) }));
        assert_eq!(view.finalized.height, Height(19));
    }
}

#[test]
fn a_block_past_the_limit_is_invalid_unless_it_carries_work() {
    let mut cluster = one();
    cluster.run_slots(20);
    assert!(cluster.nodes[0].chain.view().stalled);
    let mut with_work = cluster.clone();
    assert!(with_work.mine(0));
    with_work.run_slots(1);
    let archive = &with_work.nodes[0].store;
    let (carrier, _) = archive.block(&archive.canonical(Height(21)).unwrap()).unwrap();
    let without = cluster.fixture.forge(&carrier, |block| {
        block.body.auxpow = Optional::empty();
    });
    let now = with_work.now;
    let node = &mut cluster.nodes[0];
    node.receive(now, Message::Block(Arc::new(without.clone())));
    let stalled = BlockError::Stalled { height: Height(21), committed: Height(0) };
    assert_eq!(node.outcome(&without.root()), Some(&ImportOutcome::Rejected(stalled)));
    node.receive(now, Message::Block(carrier.clone()));
    assert!(matches!(node.outcome(&carrier.root()), Some(ImportOutcome::Imported { .. })));
}

/// The next block of a chain with a queued record, forged to carry another one.
fn carrier_with(cluster: &Cluster, record: AuxPowRecord) -> SignedBlock {
    let mut next = cluster.clone();
    next.run_slots(1);
    let root = next.nodes[0].chain.view().head.root;
    let (block, _) = next.nodes[0].store.block(&root).unwrap();
    cluster.fixture.forge(&block, |block| block.body.auxpow = Optional::new(vec![record]).unwrap())
}

#[test]
fn a_carrier_is_held_to_the_same_rules() {
    let mut cluster = one();
    cluster.run_slots(4);
    let good = template(&cluster);
    let now = cluster.now.saturating_add(2_000);
    let gap = AuxBundle { start_root: good.end_root, ..good.clone() };
    let block = carrier_with(&cluster, mine(gap, 1));
    let node = &mut cluster.nodes[0];
    node.receive(now, Message::Block(Arc::new(block.clone())));
    let Some(ImportOutcome::Rejected(BlockError::AuxPow(AuxPowError::Start { .. }))) = node.outcome(&block.root())
    else {
        panic!("{:?}", node.outcome(&block.root()));
    };

    let forged = mine_with(good.clone(), 1, |proof| proof.parent = ParentHeader([0; 80]));
    let block = carrier_with(&cluster, forged);
    let refusal = cluster.nodes[0].chain.verifier().block(block).unwrap_err();
    assert!(matches!(refusal, VerifyError::Block(BlockError::AuxPow(AuxPowError::Rule(_)))), "{refusal}");

    let future = AuxBundle { template_slot: Slot(9), ..good };
    let block = carrier_with(&cluster, mine(future, 1));
    let refusal = cluster.nodes[0].chain.verifier().block(block).unwrap_err();
    assert!(matches!(refusal, VerifyError::Block(BlockError::AuxPow(AuxPowError::TemplateSlot { .. }))), "{refusal}");
}

#[test]
fn difficulty_rises_with_records_and_eases_with_time() {
    let mut fixture = Fixture::new(1);
    fixture.spec.auxpow.initial_bits = 0x1d00_ffff;
    fixture.spec.auxpow.half_life = 600;
    let cluster = Cluster::new(fixture.clone());
    let mut cluster2 = cluster.clone();
    cluster2.run_slots(3);
    let chain = &cluster2.nodes[0].chain;
    let target = |slot: u64| {
        let bundle = chain.auxpow_template(PAYOUT, fixture.slot_start(slot)).unwrap().bundle;
        alys_auxpow::Target::from_compact(bundle.bits).unwrap()
    };
    // One half-life of 600 seconds is 300 slots.
    let ratio = target(303).value() / target(3).value();
    assert_eq!(ratio, alys_primitives::U256::from(2));
    assert!(
        target(1_000_000) <= alys_auxpow::Target::of_work(fixture.spec.auxpow.min_auxpow_work),
        "never below the least work"
    );
    assert!(target(4) > target(3) || target(10) > target(3), "by time, not by block counts");
}

#[test]
fn the_queue_is_bounded_and_what_is_superseded_makes_room() {
    let fixture = Fixture::new(1);
    let mut cluster =
        Cluster::with_config(fixture, |config| alys_chain::ChainConfig { max_queued_auxpow: 3, ..config });
    cluster.run_slots(4);
    for payout in 1..=4u8 {
        let bundle = AuxBundle { miner_address: Address::repeat_byte(payout), ..template(&cluster) };
        let outcome = offer(&mut cluster, mine(bundle, u32::from(payout)));
        assert_eq!(outcome.is_ok(), payout <= 3);
    }
    cluster.run_slots(3);
    assert!(cluster.mine(0), "records that follow the old one make room");
    cluster.run_slots(6);
    assert!(cluster.nodes[0].chain.view().queued_auxpow.len() <= 3);
    assert!(cluster.nodes[0].chain.view().finalized.height > Height(3));
}

#[test]
fn each_rule_of_work_has_a_name_of_its_own() {
    let named = [
        (AuxPowError::from(DecodeError::EmptyWitness), "empty-witness"),
        (AuxPowError::from(CompactError::Zero { bits: 0 }), "compact-bits"),
        (AuxPowError::from(RuleError::BranchTooLong { length: 31 }), "branch-too-long"),
        (AuxPowError::HeaderReused, "header-reused"),
        (AuxPowError::QueueFull, "queue-full"),
    ];
    for (error, name) in named {
        assert_eq!(error.rule(), name, "{error}");
    }
}

#[test]
fn bundles_that_become_final_together_are_told_each_with_its_own_last_block() {
    let mut cluster = one();
    cluster.run_slots(4);
    // With every third slot left out nothing is safe, and work piles up.
    for slot in [6, 8, 10] {
        assert!(cluster.mine(0));
        cluster.now = cluster.fixture.slot_start(slot);
        cluster.run_slot(slot);
    }
    assert_eq!(cluster.nodes[0].chain.view().finalized.height, Height(0));
    cluster.run_slots(3);
    let node = &cluster.nodes[0];
    let told: Vec<_> = node
        .log
        .events
        .iter()
        .filter_map(|event| match event {
            ChainEvent::Finalized { from, to, .. } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    assert!(told.len() > 1, "{told:?}");
    let mut next = Height(1);
    for (from, to) in told {
        assert_eq!((from, Some(to.root)), (next, node.store.canonical(to.height)));
        next = to.height.next();
    }
    let checkpoint = node.chain.checkpoint();
    assert_eq!(checkpoint.header.height.next(), next);
    assert_eq!(checkpoint.trunk.last().unwrap().root, checkpoint.header.root());
    // The trunk is what the checkpoint's own chain has not committed to.
    let committed = checkpoint.state.committed.end.height;
    assert!(committed > Height(0) && checkpoint.trunk.iter().all(|block| block.height > committed));
}
