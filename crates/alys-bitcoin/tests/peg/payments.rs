//! Bitcoin out.

use crate::harness::{World, payee, text};
use crate::support::p2wpkh;
use alys_chain::BlockError;
use alys_chain::peg::{PegError, Unpayable};
use alys_primitives::{Address, FeeBump, Height, PegOutBatch, Refund, Sats, VariableList};
use bitcoin::Amount;

const ALICE: Address = Address::repeat_byte(0xa1);

/// `validatorIndex` of refunds.
const REFUND: u64 = 2;

/// A world with a credited deposit.
fn funded(sats: u64) -> World {
    let mut world = World::new();
    world.deposit(sats, ALICE);
    world.bitcoin(5);
    world.slots(2);
    assert_eq!(world.ledger().locked(), Sats(sats));
    world
}

#[test]
fn the_whole_story_to_the_satoshi() {
    let mut world = funded(10_000_000);
    let (bob, carol) = (payee(70), p2wpkh(71));
    world.burn(&[(1_000_000, &text(&bob)), (500_001, &text(&carol))]);
    world.slots(3);
    assert!(world.ledger().batches().is_empty(), "nothing is paid before the burn is final");
    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    let [batch] = ledger.batches() else { panic!("one batch, not {}", ledger.batches().len()) };
    let payment = world.payment(batch);
    let rate = batch.attempts[0].fee_rate;
    let transaction = world.sign(batch);
    // Planned size and fee are those of the signed transaction.
    assert_eq!(u64::try_from(transaction.vsize()).unwrap(), payment.virtual_bytes);
    assert_eq!(payment.fee.0, (payment.virtual_bytes * rate).div_ceil(1000));
    let outputs: Vec<(u64, &bitcoin::ScriptBuf)> =
        transaction.output.iter().map(|output| (output.value.to_sat(), &output.script_pubkey)).collect();
    let fee = payment.fee.0;
    let federation = world.federation();
    assert_eq!(
        outputs,
        [(1_000_000 - fee.div_ceil(2), &bob), (500_001 - fee / 2, &carol), (10_000_000 - 1_500_001, &federation),]
    );
    world.regtest.broadcast(transaction.clone()).unwrap();
    world.bitcoin(1);
    world.slots(2);
    assert_eq!(world.ledger().batches().len(), 1, "one confirmation settles nothing");
    world.bitcoin(5);
    world.slots(2);
    let ledger = world.ledger();
    assert!(ledger.batches().is_empty() && ledger.requests().is_empty());
    assert_eq!(ledger.locked(), Sats(10_000_000 - 1_500_001));
    let paid: Vec<u64> = ledger.finished().iter().map(|finished| finished.paid.0).collect();
    assert_eq!(paid, [outputs[0].0, outputs[1].0]);
    // The change is a coin like any other: it pays the next request.
    world.burn(&[(8_000_000, &text(&bob))]);
    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    let transaction = world.sign(&ledger.batches()[0]);
    world.regtest.broadcast(transaction).unwrap();
    world.bitcoin(6);
    world.slots(2);
    assert_eq!(world.ledger().locked(), Sats(499_999));
}

#[test]
fn what_can_not_be_paid_goes_back_with_its_reason() {
    let mut world = funded(10_000_000);
    let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    let ours = text(&world.federation());
    world.burn(&[(20_000, "bcrt1notanaddress"), (30_000, mainnet), (40_000, &ours)]);
    world.slots(2);
    let sender = Address::repeat_byte(0xb0);
    assert_eq!(world.mints(REFUND), [(sender, 200_000), (sender, 300_000), (sender, 400_000)]);
    let ledger = world.ledger();
    let reasons: Vec<_> = ledger.finished().iter().map(|finished| finished.refunded()).collect();
    assert_eq!(
        reasons,
        [Some(Unpayable::MalformedAddress), Some(Unpayable::OtherNetwork), Some(Unpayable::MalformedAddress)]
    );
    assert!(ledger.requests().is_empty());
}

#[test]
fn too_few_coins_make_requests_wait_and_nothing_else() {
    let mut world = funded(1_000_000);
    let bob = text(&payee(70));
    // The dev accounts of genesis can burn more than was ever deposited.
    world.burn(&[(900_000, &bob), (900_001, &bob)]);
    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    assert_eq!(ledger.batches().len(), 1);
    assert_eq!(ledger.batches()[0].requests.len(), 1, "the older one is paid, the other waits");
    world.deposit(2_000_000, ALICE);
    world.bitcoin(5);
    world.slots(2);
    assert_eq!(world.ledger().batches().len(), 2, "new coins serve it");
}

#[test]
fn a_payment_that_does_not_confirm_is_attempted_at_half_as_much_again() {
    let mut world = funded(10_000_000);
    world.burn(&[(1_000_000, &text(&payee(70)))]);
    world.finalize();
    world.slots(1);
    let number = world.ledger().batches()[0].number;
    world.unconfirmed = vec![number];
    world.bitcoin(11);
    world.slots(2);
    assert_eq!(world.ledger().batches()[0].attempts.len(), 1, "not due yet");
    world.bitcoin(1);
    world.slots(2);
    let ledger = world.ledger();
    let batch = &ledger.batches()[0];
    let rates: Vec<u64> = batch.attempts.iter().map(|attempt| attempt.fee_rate).collect();
    assert_eq!(rates, [2_000, 3_000]);
    // Both spend the same coins, and either may confirm.
    let payment = world.payment(batch);
    let mut first = batch.clone();
    first.attempts.truncate(1);
    let earlier = world.payment(&first);
    assert!(earlier.fee < payment.fee);
    let inputs = |payment: &alys_chain::peg::Payment| {
        payment.transaction.input.iter().map(|input| input.previous_output).collect::<Vec<_>>()
    };
    assert_eq!(inputs(&earlier), inputs(&payment));
    let transaction = world.sign(&first);
    world.regtest.broadcast(transaction).unwrap();
    let replacement = world.sign(batch);
    world.regtest.broadcast(replacement.clone()).unwrap();
    world.bitcoin(6);
    world.unconfirmed.clear();
    world.slots(2);
    let ledger = world.ledger();
    assert_eq!(ledger.finished()[0].paid.0, replacement.output[0].value.to_sat());
    assert!(ledger.batches().is_empty());
}

#[test]
fn batches_bumps_and_refunds_that_break_a_rule_make_the_block_invalid() {
    let mut world = funded(10_000_000);
    let bob = text(&payee(70));
    world.burn(&[(1_000_000, &bob), (20_000, "bcrt1notanaddress"), (1_000_000, &bob)]);
    let ids: Vec<_> = world.ledger().requests().iter().map(|request| request.id).collect();
    let batch = |requests: &[alys_primitives::PegOutId], fee_rate| PegOutBatch {
        requests: VariableList::new(requests.to_vec()).unwrap(),
        fee_rate,
    };
    // The refund of the malformed one is in the next block; judge that block with a batch in it.
    world.slots(1);
    let mut with = |records: PegOutBatch| {
        world.judge(|block| block.body.pegout_batches = VariableList::new(vec![records]).unwrap()).unwrap_err()
    };
    let early = with(batch(&ids[..1], 2_000));
    assert!(matches!(early, BlockError::Peg(PegError::NotFinal { finalized: Height(0), .. })), "{early}");
    let rate = with(batch(&ids[..1], 4_001));
    assert_eq!(rate, BlockError::Peg(PegError::FeeRate { found: 4_001, min: 2_000, max: 4_000 }));
    let refund = world
        .judge(|block| {
            block.body.refunds = VariableList::new(vec![Refund { request: ids[0], reason: 1 }]).unwrap();
        })
        .unwrap_err();
    assert_eq!(refund, BlockError::Peg(PegError::RefundReason { id: ids[0], found: 1, expected: 0 }));
    world.finalize();
    world.slots(2);
    let bump = FeeBump { batch: 1, attempt: 1 };
    let early = world.judge(|block| block.body.fee_bumps = VariableList::new(vec![bump]).unwrap()).unwrap_err();
    assert!(matches!(early, BlockError::Peg(PegError::Bump { expected: 1, .. })), "{early}");
    let paid = world
        .judge(|block| block.body.pegout_batches = VariableList::new(vec![batch(&ids[..1], 2_000)]).unwrap())
        .unwrap_err();
    assert_eq!(paid, BlockError::Peg(PegError::NotPayable { id: ids[0] }), "it is part of a batch");
}

#[test]
fn the_fee_spike_is_bounded_and_small_requests_wait_for_it_to_pass() {
    let mut world = World::with(crate::harness::custody_keys(3), 2, |spec| spec.max_fee_rate = 1_000_000);
    world.deposit(10_000_000, ALICE);
    world.bitcoin(5);
    world.slots(2);
    let bob = text(&payee(70));
    world.burn(&[(10_000, &bob)]);
    world.fee_rate = Some(500_000);
    world.finalize();
    world.slots(2);
    let ledger = world.ledger();
    // The rules allow at most double the last rate.
    assert_eq!(ledger.batches()[0].attempts[0].fee_rate, 4_000);
    let payment = world.payment(&ledger.batches()[0]);
    assert!(payment.transaction.output[0].value >= Amount::from_sat(330));
}
