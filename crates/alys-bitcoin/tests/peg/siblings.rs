//! Bitcoin puts one attempt at a payment in the place of another that had settled it.

use crate::harness::{World, custody_keys, payee, text};
use crate::model::replay;
use crate::rotation::{hand_over, sign};
use crate::support::{NOW, p2wpkh, solve};
use alys_bitcoin::PaymentJob;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments};
use alys_chain::peg::{Batch, RecordedKind};
use alys_primitives::{Address, B256, Sats};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Transaction};

const ALICE: Address = Address::repeat_byte(0xa1);

/// A world with a credited deposit.
fn funded(sats: u64) -> World {
    let mut world = World::new();
    world.deposit(sats, ALICE);
    world.bitcoin(5);
    world.slots(2);
    world
}

fn internal(transaction: &Transaction) -> B256 {
    B256::from(transaction.compute_txid().to_byte_array())
}

/// The only open batch.
fn open(world: &World) -> Batch {
    let ledger = world.ledger();
    let [batch] = ledger.batches() else { panic!("{:?}", ledger.batches()) };
    batch.clone()
}

/// Waits until a second attempt at the open batch is due, and gives both signed.
fn bumped(world: &mut World) -> (Transaction, Transaction) {
    let first = open(world);
    world.unconfirmed = vec![first.number];
    world.bitcoin(12);
    world.slots(2);
    world.unconfirmed.clear();
    let both = open(world);
    assert_eq!(both.attempts.len(), 2);
    let keys = custody_keys(3);
    (sign(world, &first, &keys), sign(world, &both, &keys))
}

/// Burns, and gives two signed attempts at the payment.
fn paid_twice_over(world: &mut World, burns: &[u64]) -> (Transaction, Transaction) {
    let bob = text(&payee(70));
    world.burn(&burns.iter().map(|sats| (*sats, bob.as_str())).collect::<Vec<_>>());
    world.finalize();
    world.slots(1);
    bumped(world)
}

/// Confirms a transaction six deep; gives the block before it.
fn settle(world: &mut World, transaction: &Transaction) -> BlockHash {
    let base = world.regtest.best().hash;
    world.regtest.broadcast(transaction.clone()).unwrap();
    world.bitcoin(6);
    world.slots(2);
    assert!(world.ledger().find_recorded(&internal(transaction)).is_some());
    base
}

/// A branch that wins, with these transactions in its first block and five more on top at least; what the chain makes of it.
fn replace(world: &mut World, base: BlockHash, transactions: &[&Transaction], tag: u8) {
    let base_height = world.regtest.headers().get(&base).unwrap().1;
    let depth = world.regtest.best().height - base_height;
    let mut parent = base;
    for number in 0..depth.max(6) + 1 {
        let template = world.regtest.template_on(&parent, NOW + u32::from(tag)).unwrap();
        let held = if number == 0 { transactions.iter().map(|it| (*it).clone()).collect() } else { Vec::new() };
        let block = solve(&template, held, &p2wpkh(tag));
        parent = block.block_hash();
        world.regtest.submit(block, NOW + u32::from(tag)).unwrap();
    }
    assert_eq!(world.regtest.best().hash, parent, "the branch won");
    world.pegins.extend(transactions.iter().map(|transaction| transaction.compute_txid()));
    world.slots_unbalanced(2);
}

/// The federation's coins in the books are those that Bitcoin has.
fn coins_are_bitcoins(world: &World) {
    let ledger = world.ledger();
    let booked: Vec<(OutPoint, u64)> = ledger
        .coins()
        .iter()
        .map(|coin| (OutPoint { txid: bitcoin::Txid::from_byte_array(coin.txid.0), vout: coin.vout }, coin.value.0))
        .collect();
    let scripts = ledger.custodies().iter().map(|entry| bitcoin::ScriptBuf::from_bytes(entry.script.clone()));
    let mut held: Vec<(OutPoint, u64)> = Vec::new();
    for script in scripts {
        let coins = world.regtest.coins_paying(&script);
        held.extend(coins.map(|(point, coin)| (point, coin.output.value.to_sat())));
    }
    held.sort_by_key(|(point, _)| (point.txid.to_byte_array(), point.vout));
    assert_eq!(booked, held);
}

/// Everybody was paid by this transaction, says the chain.
fn paid_by(world: &World, transaction: &Transaction, count: usize) {
    let ledger = world.ledger();
    let finished = &ledger.finished()[..count];
    for (finished, output) in finished.iter().zip(&transaction.output) {
        assert_eq!((finished.txid, finished.paid.0), (internal(transaction), output.value.to_sat()));
    }
    let recorded = ledger.find_recorded(&internal(transaction)).unwrap();
    assert_eq!((recorded.kind(), recorded.is_lost), (RecordedKind::Payment, false));
}

#[test]
fn an_older_attempt_that_bitcoin_confirms_instead_takes_the_settled_ones_place_and_back() {
    let mut world = funded(10_000_000);
    let (first, second) = paid_twice_over(&mut world, &[1_000_000, 500_001]);
    assert_eq!(first.output[2], second.output[2], "the same change, of different transactions");
    assert!(first.output[0].value > second.output[0].value);
    let base = settle(&mut world, &second);
    paid_by(&world, &second, 2);
    // Each takes the other's place, as often as Bitcoin likes.
    for (tag, now, before) in [(7, &first, &second), (8, &second, &first), (9, &first, &second)] {
        replace(&mut world, base, &[now], tag);
        let ledger = world.ledger();
        assert_eq!((ledger.imbalance(), ledger.locked()), (0, Sats(8_499_999)), "nothing is missing");
        assert_eq!(ledger.totals().absorbed, Sats(0));
        assert_eq!(ledger.totals().paid, Sats(1_500_001), "once");
        assert!(ledger.find_recorded(&internal(before)).is_none());
        paid_by(&world, now, 2);
        coins_are_bitcoins(&world);
        world.slots(2);
    }
    // And the peg goes on: the change pays the next request.
    world.burn(&[(8_000_000, &text(&payee(71)))]);
    world.finalize();
    world.slots(1);
    let next = world.sign(&open(&world));
    assert_eq!(next.input[0].previous_output.txid, first.compute_txid());
    settle(&mut world, &next);
    assert_eq!(world.ledger().locked(), Sats(499_999));
    coins_are_bitcoins(&world);
    replay(&world);
}

#[test]
fn before_the_other_attempt_is_deep_enough_the_books_wait_and_balance_then() {
    let mut world = funded(10_000_000);
    let (first, second) = paid_twice_over(&mut world, &[1_000_000]);
    let base = settle(&mut world, &second);
    // Seven empty blocks replace the six, then the older attempt comes.
    replace(&mut world, base, &[], 7);
    assert_eq!(world.ledger().imbalance(), -9_000_000, "the change is gone");
    // The pool has the newer one, which pays more; a miner takes the older one all the same.
    let template = world.regtest.template_on(&world.regtest.best().hash, NOW + 8).unwrap();
    world.regtest.submit(solve(&template, vec![first.clone()], &p2wpkh(8)), NOW + 8).unwrap();
    world.pegins.push(first.compute_txid());
    for confirmations in 1..=5 {
        if confirmations > 1 {
            world.bitcoin(1);
        }
        world.slots_unbalanced(1);
        assert_eq!(world.ledger().imbalance(), -9_000_000, "{confirmations} confirmations");
    }
    world.bitcoin(1);
    world.slots_unbalanced(2);
    assert_eq!(world.ledger().imbalance(), 0);
    paid_by(&world, &first, 1);
    coins_are_bitcoins(&world);
    replay(&world);
}

#[test]
fn a_payment_without_change_is_paid_by_whichever_attempt_bitcoin_has() {
    let mut world = funded(1_000_000);
    let (first, second) = paid_twice_over(&mut world, &[400_000, 600_000]);
    assert_eq!((first.output.len(), second.output.len()), (2, 2));
    let base = settle(&mut world, &second);
    replace(&mut world, base, &[&first], 7);
    let ledger = world.ledger();
    assert_eq!((ledger.imbalance(), ledger.locked(), ledger.totals().paid), (0, Sats(0), Sats(1_000_000)));
    paid_by(&world, &first, 2);
    coins_are_bitcoins(&world);
    replay(&world);
}

#[test]
fn a_sweep_costs_what_the_attempt_costs_that_bitcoin_has() {
    let mut world = funded(3_000_000);
    let new: Vec<_> = (100..105).map(|seed| alys_bitcoin::CustodyKey::from_bytes(&[seed; 32]).unwrap()).collect();
    hand_over(&mut world, &new, 3);
    world.finalize();
    assert!(open(&world).is_sweep());
    let (first, second) = bumped(&mut world);
    let fee = |transaction: &Transaction| Sats(3_000_000 - transaction.output[0].value.to_sat());
    assert!(fee(&first) < fee(&second));
    let base = settle(&mut world, &second);
    assert_eq!(world.ledger().totals().absorbed, fee(&second));
    for (tag, now) in [(7, &first), (8, &second)] {
        replace(&mut world, base, &[now], tag);
        let ledger = world.ledger();
        assert_eq!((ledger.imbalance(), ledger.totals().absorbed), (0, fee(now)));
        assert_eq!((ledger.held_by(0), ledger.held_by(1)), (Sats(0), ledger.locked()));
        assert_eq!(ledger.locked().0 + fee(now).0, 3_000_000);
        coins_are_bitcoins(&world);
    }
    replay(&world);
}

/// A settled payment of two attempts, and a second payment that spends its change: the attempts, the block before them, and
/// the second payment's signed transaction.
fn with_dependant(world: &mut World) -> (Transaction, Transaction, BlockHash, Transaction) {
    let (first, second) = paid_twice_over(world, &[1_000_000]);
    let base = settle(world, &second);
    world.burn(&[(2_000_001, &text(&payee(71)))]);
    world.finalize();
    world.slots(1);
    let next = world.sign(&open(world));
    assert_eq!(next.input[0].previous_output, OutPoint { txid: second.compute_txid(), vout: 1 });
    (first, second, base, next)
}

#[test]
fn an_open_payment_spends_the_change_that_bitcoin_has_and_is_signed_anew_once_that_is_final() {
    let mut world = funded(10_000_000);
    let (first, _, base, next) = with_dependant(&mut world);
    let before = open(&world);
    replace(&mut world, base, &[&first], 7);
    let after = open(&world);
    let ledger = world.ledger();
    assert_eq!((ledger.imbalance(), ledger.locked()), (0, Sats(9_000_000)));
    assert_eq!((&after.requests, after.number, after.attempts.len()), (&before.requests, before.number, 1));
    assert_eq!(after.coins[0].txid, internal(&first));
    assert_eq!(after.attempts[0].fee_rate, before.attempts[0].fee_rate);
    assert_ne!(after.attempts[0].txid, before.attempts[0].txid);
    assert!(after.attempts[0].height > before.attempts[0].height, "signed once the block that shows it is final");
    assert!(world.regtest.broadcast(next).is_err(), "what it spends is gone");
    let anew = world.sign(&after);
    assert_eq!(anew.input[0].previous_output, OutPoint { txid: first.compute_txid(), vout: 1 });
    world.finalize();
    settle(&mut world, &anew);
    let ledger = world.ledger();
    assert_eq!((ledger.locked(), ledger.totals().paid), (Sats(6_999_999), Sats(3_000_001)));
    coins_are_bitcoins(&world);
    replay(&world);
}

#[test]
fn signers_who_have_signed_both_attempts_sign_what_follows_anew_and_others_do_not() {
    let mut world = funded(10_000_000);
    let job = |world: &World, batch: &Batch, number: usize| {
        PaymentJob::of(&world.ledger(), batch, number, &batch.attempts[number]).unwrap()
    };
    let mut signers: Vec<_> = (0..2)
        .map(|_| {
            let policy = Policy::new(world.rules.spec(), vec![world.custody().clone()], None);
            OwnSigner::new(custody_keys(1), policy, SignedPayments::in_memory(), || u64::from(NOW))
        })
        .collect();
    let bob = text(&payee(70));
    world.burn(&[(1_000_000, &bob)]);
    world.finalize();
    world.slots(1);
    let (first, second) = bumped(&mut world);
    let batch = open(&world);
    signers[0].sign_now(&job(&world, &batch, 0)).unwrap();
    for signer in &mut signers {
        signer.sign_now(&job(&world, &batch, 1)).unwrap();
    }
    let base = settle(&mut world, &second);
    world.burn(&[(2_000_001, &bob)]);
    world.finalize();
    world.slots(1);
    for signer in &mut signers {
        signer.sign_now(&job(&world, &open(&world), 0)).unwrap();
    }
    replace(&mut world, base, &[&first], 7);
    let anew = job(&world, &open(&world), 0);
    signers[0].sign_now(&anew).unwrap();
    let refused = signers[1].sign_now(&anew).unwrap_err().to_string();
    assert!(refused.contains("was signed for before, from other coins"), "{refused}");
}

#[test]
fn what_a_settled_payment_has_spent_is_not_undone_until_bitcoin_has_it_again() {
    let mut world = funded(10_000_000);
    let (first, second, base, next) = with_dependant(&mut world);
    settle(&mut world, &next);
    assert_eq!(world.ledger().locked(), Sats(6_999_999));
    let before = world.ledger();
    replace(&mut world, base, &[&first], 7);
    world.slots_unbalanced(2);
    let ledger = world.ledger();
    assert_eq!(ledger.imbalance(), -6_999_999, "the peg waits");
    assert_eq!((ledger.finished(), ledger.settled()), (before.finished(), before.settled()), "nothing was touched");
    let height = world.head();
    world.slots_unbalanced(2);
    assert!(world.head() > height, "the chain goes on");
    // Bitcoin changes its mind once more.
    replace(&mut world, base, &[&second, &next], 8);
    assert_eq!((world.ledger().imbalance(), world.ledger().locked()), (0, Sats(6_999_999)));
    coins_are_bitcoins(&world);
    replay(&world);
}
