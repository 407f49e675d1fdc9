//! What makes a block invalid, each with its typed error.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_chain::{
    BlockError, CertificateError, ImportOutcome, Message, PayloadError, VerifyError,
    testing::{Cluster, Fixture, Node},
};
use alys_primitives::{
    Address, B256, Epoch, FixedBytes, Gwei, Height, Optional, SignedBlock, Slot, U256, VariableList, Withdrawal,
};
use std::sync::Arc;

/// Four members after three slots, an observer at the same height, and the good next block.
struct Scene {
    fixture: Fixture,
    observer: Node,
    block: SignedBlock,
    now: alys_primitives::UnixMillis,
}

fn scene() -> Scene {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(3);
    let fixture = cluster.fixture.clone();
    let mut observer = Node::new(&fixture, None);
    let archive = cluster.nodes[0].store.clone();
    for height in 1..=3 {
        let (block, _) = archive.block(&archive.canonical(Height(height)).unwrap()).unwrap();
        observer.receive(cluster.now, Message::Block(block));
    }
    cluster.run_slots(1);
    let archive = &cluster.nodes[0].store;
    let (block, _) = archive.block(&archive.canonical(Height(4)).unwrap()).unwrap();
    Scene { fixture, observer, block: block.as_ref().clone(), now: cluster.now }
}

impl Scene {
    /// What becomes of the block after a change, with everything resealed.
    fn outcome(mut self, change: impl FnOnce(&mut SignedBlock)) -> ImportOutcome {
        let forged = self.fixture.forge(&self.block, change);
        let root = forged.root();
        assert!(self.observer.receive(self.now, Message::Block(Arc::new(forged))), "the verifier refuses it");
        self.observer.outcome(&root).cloned().expect("an answer")
    }

    /// Why the core rejects the block after a change.
    fn rejection(self, change: impl FnOnce(&mut SignedBlock)) -> BlockError {
        match self.outcome(change) {
            ImportOutcome::Rejected(error) => error,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// Why the verifier refuses the block after a change.
    fn refusal(&self, change: impl FnOnce(&mut SignedBlock)) -> VerifyError {
        let forged = self.fixture.forge(&self.block, change);
        self.observer.chain.verifier().block(forged).expect_err("the verifier takes it")
    }

    fn payload_refusal(&self, change: impl FnOnce(&mut SignedBlock)) -> PayloadError {
        match self.refusal(change) {
            VerifyError::Block(BlockError::Payload(error)) => error,
            other => panic!("another refusal: {other:?}"),
        }
    }
}

#[test]
fn the_untouched_block_is_valid() {
    let outcome = scene().outcome(|_| {});
    assert_eq!(outcome, ImportOutcome::Imported { height: Height(4), notarized: false });
}

#[test]
fn another_author_is_rejected() {
    let scene = scene();
    let right = scene.block.header.author_index;
    let wrong = (right + 1) % 4;
    let error = scene.rejection(|block| block.header.author_index = wrong);
    assert_eq!(error, BlockError::Author { found: wrong, expected: right });
}

#[test]
fn an_author_who_is_nobody_is_refused() {
    let refusal = scene().refusal(|block| block.header.author_index = 4);
    assert_eq!(refusal, VerifyError::NoMember { index: 4, members: 4 });
}

#[test]
fn the_slot_of_the_parent_is_refused() {
    let scene = scene();
    let refusal = scene.refusal(|block| {
        block.header.slot = Slot(3);
        block.payload.timestamp -= 2;
    });
    assert_eq!(refusal, VerifyError::ParentCertificate);
}

#[test]
fn another_slot_has_another_author_or_timestamp() {
    let scene = scene();
    let start = scene.block.payload.timestamp;
    let error = scene.payload_refusal(|block| block.header.slot = Slot(5));
    assert_eq!(error, PayloadError::Timestamp { found: start, expected: start + 2 });
}

#[test]
fn a_wrong_timestamp_is_refused() {
    let scene = scene();
    let start = scene.block.payload.timestamp;
    let error = scene.payload_refusal(|block| block.payload.timestamp += 1);
    assert_eq!(error, PayloadError::Timestamp { found: start + 1, expected: start });
}

#[test]
fn a_wrong_height_is_rejected() {
    let error = scene().rejection(|block| {
        block.header.height = Height(5);
        block.payload.block_number = 5;
    });
    assert_eq!(error, BlockError::ParentCertificate);
    let refusal = scene().payload_refusal(|block| block.payload.block_number = 5);
    assert_eq!(refusal, PayloadError::Number { found: 5, height: Height(4) });
}

#[test]
fn another_epoch_is_unknown() {
    let refusal = scene().refusal(|block| block.header.epoch = Epoch(1));
    assert_eq!(refusal, VerifyError::UnknownEpoch { epoch: Epoch(1) });
}

#[test]
fn a_wrong_state_root_is_rejected() {
    let error = scene().rejection(|block| block.header.state_root = B256::repeat_byte(1));
    assert!(matches!(error, BlockError::StateRoot { .. }), "{error}");
}

#[test]
fn a_withdrawal_that_is_not_derived_is_rejected() {
    let error = scene().rejection(|block| {
        let minted = Withdrawal { index: 0, validator_index: 1, address: Address::repeat_byte(9), amount: Gwei(1) };
        block.payload.withdrawals = VariableList::new(vec![minted]).unwrap();
    });
    assert_eq!(error, BlockError::Payload(PayloadError::Withdrawals { position: 0, found: 1, expected: 0 }));
}

#[test]
fn wrong_randomness_is_rejected() {
    let error = scene().rejection(|block| block.payload.prev_randao = B256::repeat_byte(1));
    assert!(matches!(error, BlockError::Payload(PayloadError::PrevRandao { .. })), "{error}");
}

#[test]
fn another_fee_recipient_is_refused() {
    let error = scene().payload_refusal(|block| block.payload.fee_recipient = Address::repeat_byte(1));
    assert!(matches!(error, PayloadError::FeeRecipient { .. }), "{error}");
}

#[test]
fn another_execution_parent_is_rejected() {
    let error = scene().rejection(|block| block.payload.parent_hash = B256::repeat_byte(1));
    assert!(matches!(error, BlockError::Payload(PayloadError::ParentHash { .. })), "{error}");
}

#[test]
fn blob_gas_is_refused() {
    assert_eq!(scene().payload_refusal(|block| block.payload.blob_gas_used = 131_072), PayloadError::BlobGas);
    assert_eq!(scene().payload_refusal(|block| block.payload.excess_blob_gas = 1), PayloadError::BlobGas);
}

#[test]
fn an_invalid_payload_is_rejected_and_its_descendants_with_it() {
    let mut scene = scene();
    let bad = scene.fixture.with_invalid_payload(&scene.block);
    let child = scene.fixture.forge(&bad, |block| {
        block.parent_notarization = Optional::new(vec![scene.fixture.certify(&bad.header, &[0, 1, 2])]).unwrap();
        block.header.parent_root = bad.root();
        block.header.height = Height(5);
        block.header.slot = Slot(5);
        block.payload.block_number = 5;
        block.payload.timestamp += 2;
        block.payload.extra_data = VariableList::empty();
    });
    let now = scene.fixture.slot_start(6);
    scene.observer.receive(now, Message::Block(Arc::new(child.clone())));
    scene.observer.receive(now, Message::Block(Arc::new(bad.clone())));
    let reason = |error| Some(ImportOutcome::Rejected(error));
    let execution = BlockError::Execution { reason: "marked invalid".to_owned() };
    assert_eq!(scene.observer.outcome(&bad.root()).cloned(), reason(execution.clone()));
    assert_eq!(scene.observer.outcome(&child.root()).cloned(), reason(BlockError::Parent { parent: bad.root() }));
    // Remembered, not executed again.
    scene.observer.auto_execute = false;
    scene.observer.receive(now, Message::Block(Arc::new(bad.clone())));
    assert_eq!(scene.observer.outcome(&bad.root()).cloned(), reason(execution));
    assert!(scene.observer.executions.is_empty());
}

#[test]
fn a_damaged_payload_or_body_under_a_good_header_is_refused_without_blaming_the_block() {
    let mut scene = scene();
    let mut damaged = scene.block.clone();
    damaged.payload.gas_used = 5;
    let verifier = scene.observer.chain.verifier();
    let error = verifier.block(damaged).unwrap_err();
    assert!(matches!(error, VerifyError::Block(BlockError::Payload(PayloadError::BlockHash { .. }))), "{error}");
    let mut damaged = scene.block.clone();
    damaged.body.pegout_batches =
        VariableList::new(vec![alys_primitives::PegOutBatch { requests: VariableList::empty(), fee_rate: 1 }]).unwrap();
    assert!(matches!(verifier.block(damaged).unwrap_err(), VerifyError::BodyRoot { .. }));
    scene.observer.receive(scene.now, Message::Block(Arc::new(scene.block.clone())));
    assert!(matches!(scene.observer.outcome(&scene.block.root()), Some(ImportOutcome::Imported { .. })));
}

#[test]
fn records_that_the_rules_do_not_know_are_refused() {
    let refusal = scene().refusal(|block| {
        block.body.bitcoin_headers = VariableList::new(vec![FixedBytes::ZERO]).unwrap();
    });
    assert_eq!(refusal, VerifyError::Block(BlockError::UnknownRecords { field: "bitcoin_headers" }));
}

#[test]
fn a_parent_without_its_certificate_is_no_parent() {
    let scene = scene();
    assert_eq!(scene.refusal(|block| block.parent_notarization = Optional::empty()), VerifyError::ParentCertificate);
    let few =
        scene.fixture.certify(&scene.observer.store.block(&scene.block.header.parent_root).unwrap().0.header, &[0, 1]);
    let refusal = scene.refusal(|block| block.parent_notarization = Optional::new(vec![few]).unwrap());
    assert_eq!(refusal, VerifyError::Certificate(CertificateError::NoQuorum { found: 2, quorum: 3 }));
}

#[test]
fn a_signature_for_another_chain_is_refused() {
    let scene = scene();
    let mut other = scene.fixture.clone();
    other.spec.evm.chain_id += 1;
    let forged = other.forge(&scene.block, |_| {});
    assert_eq!(scene.observer.chain.verifier().block(forged).unwrap_err(), VerifyError::Signature);
    let approval = other.approve(&scene.block.header, 0);
    assert_eq!(scene.observer.chain.verifier().approval(approval).unwrap_err(), VerifyError::Signature);
}

#[test]
fn a_proof_made_for_another_chain_is_refused_by_the_core() {
    let mut scene = scene();
    let mut other = scene.fixture.clone();
    other.spec.evm.chain_id += 1;
    let stranger = Node::new(&other, None);
    let approval = other.approve(&scene.block.header, 0);
    let verified = stranger.chain.verifier().approval(approval).expect("good on the other chain");
    let refused = scene.observer.handle(scene.now, alys_chain::Input::Approval(verified)).unwrap_err();
    assert_eq!(refused, alys_chain::InputError::OtherChain);
}

#[test]
fn an_engine_that_is_down_or_behind_makes_no_block_invalid() {
    let mut scene = scene();
    scene.observer.executor.down = true;
    scene.observer.receive(scene.now, Message::Block(Arc::new(scene.block.clone())));
    let root = scene.block.root();
    assert!(matches!(scene.observer.outcome(&root), Some(ImportOutcome::Pending(_))));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (at, _) = scene.observer.chain.poll_timeout().expect("tries again");
        waits.push(at.since(scene.now));
        scene.now = at;
        scene.observer.handle(at, alys_chain::Input::Tick).unwrap();
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "backs off: {waits:?}");
    assert_eq!(waits.last(), Some(&3_200), "but not without end");
    scene.observer.executor.down = false;
    let (at, _) = scene.observer.chain.poll_timeout().unwrap();
    scene.observer.handle(at, alys_chain::Input::Tick).unwrap();
    assert_eq!(scene.observer.outcome(&root), Some(&ImportOutcome::Imported { height: Height(4), notarized: false }));
}

#[test]
fn fees_beyond_the_type_make_a_block_invalid_and_no_panic() {
    let mut scene = scene();
    let rich = scene.fixture.forge(&scene.block, |block| {
        block.payload.gas_used = u64::MAX;
        block.payload.base_fee_per_gas = U256::from(u64::MAX);
    });
    scene.observer.receive(scene.now, Message::Block(Arc::new(rich.clone())));
    assert!(matches!(scene.observer.outcome(&rich.root()), Some(ImportOutcome::Imported { .. })));
}
