//! The federation hands its coins to the next one (protocol section 7).

#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

use crate::harness::{World, custody_keys, payee, text};
use alys_bitcoin::{CustodyKey, SigningError, SigningSession};
use alys_chain::peg::{Batch, Custody, RecordedKind, Unclaimed};
use alys_chain::{FederationError, Input};
use alys_primitives::{
    Address, B256, BitVector, Custodians, CustodyKeys, Epoch, FederationChange, Height, OfferedCustody, Optional,
    PublicKeyBytes, Sats, VariableList,
};
use bitcoin::hashes::Hash as _;
use bitcoin::{ScriptBuf, Transaction};

const ALICE: Address = Address::repeat_byte(0xa1);

const PEG_IN: u64 = 3;

fn custodians(keys: &[CustodyKey], threshold: u64) -> Custodians {
    let keys = keys.iter().map(|key| B256::from(key.public_key().serialize())).collect();
    Custodians { keys: CustodyKeys::new(keys).unwrap(), threshold }
}

/// Keys that nobody of the first federation has.
fn next_keys() -> Vec<CustodyKey> {
    (100..105).map(|seed| CustodyKey::from_bytes(&[seed; 32]).unwrap()).collect()
}

/// The keys as their holder offers them in the present epoch.
fn offered(world: &World, keys: &[CustodyKey], threshold: u64) -> OfferedCustody {
    let view = world.cluster.nodes[0].chain.view();
    let holder = PublicKeyBytes::repeat_byte(7);
    let offers = keys.iter().map(|key| key.offer(holder, &view.genesis_root, view.epoch)).collect();
    OfferedCustody { offers: VariableList::new(offers).unwrap(), threshold }
}

fn change(world: &World, custody: OfferedCustody) -> FederationChange {
    let view = world.cluster.nodes[0].chain.view();
    let custody: Optional<OfferedCustody> = VariableList::new(vec![custody]).unwrap();
    let members = view.members.as_ref().clone();
    let root = world.cluster.nodes[0].chain.verifier().federation_signing_root(view.epoch, &members, &custody);
    let mut bitfield = BitVector::new();
    bitfield.set(0, true).unwrap();
    let signature = world.cluster.fixture.sign_as(0, root);
    FederationChange {
        genesis_root: view.genesis_root,
        epoch: view.epoch,
        members,
        custody,
        bitfield,
        aggregate_signature: world.cluster.fixture.sum(&[signature]).unwrap(),
    }
}

pub fn hand_over(world: &mut World, keys: &[CustodyKey], threshold: u64) {
    let before = world.cluster.nodes[0].chain.view().epoch;
    let change = change(world, offered(world, keys, threshold));
    let verified = world.cluster.nodes[0].chain.verifier().federation_change(change).unwrap();
    let now = world.now();
    world.cluster.nodes[0].handle(now, Input::FederationChange(verified)).unwrap();
    world.finalize();
    for _ in 0..40 {
        if world.cluster.nodes[0].chain.view().epoch > before {
            // The view is about the next block.
            world.slots(1);
            return;
        }
        world.slots(1);
    }
    panic!("the epoch did not begin");
}

pub fn address(keys: &[CustodyKey], threshold: u64) -> ScriptBuf {
    Custody::of(&custodians(keys, threshold), None).unwrap().script_pubkey().clone()
}

/// Signs with these keys, as the books say which custody must.
pub fn sign(world: &World, batch: &Batch, keys: &[CustodyKey]) -> Transaction {
    let custody = world.rules.custody_of(&world.ledger(), batch.custody).unwrap();
    let payment = world.payment(batch);
    let mut session = SigningSession::new(custody.clone(), payment.clone()).unwrap();
    for key in keys.iter().take(custody.threshold()) {
        session.add(&key.sign(&custody, &payment).unwrap()).unwrap();
    }
    session.assemble().unwrap()
}

fn send(world: &mut World, transaction: Transaction) {
    world.regtest.broadcast(transaction).unwrap();
    world.bitcoin(6);
    world.slots(3);
}

fn deposit_to(world: &mut World, sats: u64, script: ScriptBuf) -> B256 {
    let outputs = [(sats, script), (0, crate::harness::op_return(ALICE.as_slice()))];
    let txid = world.send(&outputs).compute_txid();
    world.pegins.push(txid);
    world.bitcoin(1);
    B256::from(txid.to_byte_array())
}

#[test]
fn coins_come_to_the_next_federation_and_old_addresses_hold_for_a_while() {
    let mut world = World::new();
    let (old, new) = (custody_keys(3), next_keys());
    world.deposit(3_000_000, ALICE);
    world.deposit(2_000_000, ALICE);
    world.bitcoin(6);
    world.slots(3);
    // A payment that nobody has signed when the federation changes.
    world.burn(&[(500_000, &text(&payee(70)))]);
    world.finalize();
    world.slots(1);
    assert_eq!(world.ledger().batches().len(), 1);
    hand_over(&mut world, &new, 3);

    let ledger = world.ledger();
    assert_eq!(ledger.custodies().len(), 2);
    assert_eq!(ledger.current_custody(), 1);
    assert_eq!(world.rules.deposit_address(&ledger).unwrap().script_pubkey(), address(&new, 3));
    let [payment, sweep] = ledger.batches() else { panic!("{:?}", ledger.batches()) };
    assert!(!payment.is_sweep() && sweep.is_sweep());
    assert_eq!((payment.custody, payment.sweeps_to, sweep.custody, sweep.sweeps_to), (0, 0, 0, 1));
    let derived = world.payment(sweep);
    assert_eq!(derived.transaction.output.len(), 1);
    assert_eq!(derived.transaction.output[0].script_pubkey, address(&new, 3));
    assert_eq!(derived.fee.0 + derived.change.0, 2_000_000, "the coin that the payment did not take");
    // The next federation's signatures are worth nothing for old coins.
    let custody = world.custody().clone();
    let key = new[0].public_key();
    assert_eq!(new[0].sign(&custody, &derived), Err(SigningError::NotOurs { key }));
    world.finalize();
    let (payment, sweep) = (sign(&world, payment, &old), sign(&world, sweep, &old));
    world.regtest.broadcast(payment).unwrap();
    send(&mut world, sweep);

    // The payment's change came back to the old address and is swept in its turn.
    let ledger = world.ledger();
    let [second] = ledger.batches() else { panic!("{:?}", ledger.batches()) };
    assert!(second.is_sweep());
    world.finalize();
    let second = sign(&world, second, &old);
    send(&mut world, second);
    let ledger = world.ledger();
    assert_eq!(ledger.held_by(0), Sats(0));
    assert_eq!(ledger.held_by(1), ledger.locked());
    assert_eq!(ledger.locked().0 + ledger.totals().absorbed.0, 4_500_000);

    // A burn is paid from the new coins, by the new keys.
    world.burn(&[(700_000, &text(&payee(71)))]);
    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    let [batch] = ledger.batches() else { panic!("{:?}", ledger.batches()) };
    assert_eq!((batch.custody, batch.sweeps_to), (1, 1));
    let paid = sign(&world, batch, &new);
    send(&mut world, paid);
    assert_eq!(world.ledger().totals().paid, Sats(1_200_000));
}

#[test]
fn a_deposit_to_the_old_address_counts_within_the_grace_period_and_is_noted_after_it() {
    let mut world = World::new();
    let (old, new) = (custody_keys(3), next_keys());
    hand_over(&mut world, &new, 3);
    let retired_at = world.ledger().custodies()[0].retired_at;
    let in_time = deposit_to(&mut world, 1_000_000, address(&old, 2));
    world.bitcoin(6);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 10_000_000)]);
    let ledger = world.ledger();
    assert_eq!(ledger.find_recorded(&in_time).unwrap().kind(), RecordedKind::Credited);
    let sweep = ledger.batches().first().cloned().expect("swept at once");
    world.finalize();
    let sweep = sign(&world, &sweep, &old);
    send(&mut world, sweep);
    assert_eq!(world.ledger().held_by(0), Sats(0));

    // Up to the last block of the grace period, then one late.
    let past = world.ledger().custodies()[0].retired_at + world.rules.spec().old_address_grace;
    let tip = u64::from(world.regtest.best().height);
    assert!(tip >= retired_at);
    world.bitcoin(u32::try_from((past - 1).saturating_sub(tip)).unwrap());
    let last = deposit_to(&mut world, 900_000, address(&old, 2));
    let late = deposit_to(&mut world, 800_000, address(&old, 2));
    assert_eq!(u64::from(world.regtest.best().height), past + 1);
    world.bitcoin(6);
    world.slots(3);
    let ledger = world.ledger();
    assert_eq!(ledger.find_recorded(&last).unwrap().kind(), RecordedKind::Credited);
    let noted = ledger.find_recorded(&late).unwrap();
    assert_eq!((noted.kind(), noted.amount), (RecordedKind::Unclaimed(Unclaimed::LateAddress), Sats(800_000)));
    assert_eq!(ledger.unclaimed(), Sats(0), "no part of the books");
    assert_eq!(world.mints(PEG_IN).len(), 2);
    // Shown again it mints nothing either.
    world.slots(2);
    assert_eq!(world.mints(PEG_IN).len(), 2);
}

#[test]
fn a_lost_key_is_replaced_by_those_who_are_left() {
    let keys: Vec<CustodyKey> = custody_keys(5);
    let mut world = World::with(keys.clone(), 3, |_| {});
    world.deposit(3_000_000, ALICE);
    world.bitcoin(6);
    world.slots(2);
    // The first key is gone.
    let left = &keys[1..];
    let mut next = keys.clone();
    next[0] = next_keys().remove(0);
    hand_over(&mut world, &next, 3);
    world.finalize();
    let sweep = world.ledger().batches()[0].clone();
    let sweep = sign(&world, &sweep, left);
    send(&mut world, sweep);
    let ledger = world.ledger();
    assert_eq!((ledger.held_by(0), ledger.held_by(1)), (Sats(0), ledger.locked()));
    assert!(ledger.locked() > Sats(2_990_000));
}

#[test]
fn a_sweep_waits_until_it_is_worth_the_fee_and_never_costs_more_than_half() {
    let mut world = World::new();
    let old = custody_keys(3);
    hand_over(&mut world, &next_keys(), 3);
    deposit_to(&mut world, 15_000, address(&old, 2));
    world.bitcoin(6);
    world.slots(2);
    assert!(world.ledger().batches().is_empty(), "more deposits may come");
    world.bitcoin(20);
    world.slots(2);
    let ledger = world.ledger();
    let sweep = ledger.batches().first().expect("now it is swept");
    let payment = world.payment(sweep);
    assert!(payment.fee.0 * 2 <= 15_000);
    // Dearer attempts end where the fee would eat half of it.
    let number = sweep.number;
    world.unconfirmed = vec![number];
    for _ in 0..12 {
        world.bitcoin(12);
        world.slots(1);
    }
    let ledger = world.ledger();
    let sweep = ledger.batches().iter().find(|batch| batch.number == number).unwrap();
    assert!(sweep.attempts.len() > 1);
    let payment = world.payment(sweep);
    assert!(payment.fee.0 * 2 <= 15_000 && payment.fee.0 * 3 > 15_000 / 2);
}

#[test]
fn custodians_that_make_no_custody_are_refused_and_a_change_that_lapses_changes_nothing() {
    let mut world = World::new();
    let keys = next_keys();
    for (keys, threshold) in [(&keys[..], 1), (&keys[..], 5), (&keys[..0], 0)] {
        let refused =
            world.cluster.nodes[0].chain.verifier().federation_change(change(&world, offered(&world, keys, threshold)));
        assert!(matches!(refused, Err(FederationError::Custodians(_))), "{threshold} of {}", keys.len());
    }
    let mut no_point = offered(&world, &keys[..1], 1);
    no_point.offers[0].key = B256::repeat_byte(0xff);
    let refused = world.cluster.nodes[0].chain.verifier().federation_change(change(&world, no_point));
    assert!(matches!(refused, Err(FederationError::Custody(_))));
    // Keys that nobody proves to hold in this epoch.
    let mut unproven = offered(&world, &keys, 3);
    unproven.offers[4] = keys[4].offer(PublicKeyBytes::repeat_byte(7), &B256::ZERO, Epoch(0));
    let refused = world.cluster.nodes[0].chain.verifier().federation_change(change(&world, unproven));
    assert_eq!(refused.unwrap_err(), FederationError::CustodyPossession { index: 4 });
    // The custodians are part of what is signed.
    let mut other = change(&world, offered(&world, &keys, 3));
    other.custody = VariableList::new(vec![offered(&world, &keys, 2)]).unwrap();
    let refused = world.cluster.nodes[0].chain.verifier().federation_change(other);
    assert!(matches!(refused, Err(FederationError::Certificate(_))));

    let verified =
        world.cluster.nodes[0].chain.verifier().federation_change(change(&world, offered(&world, &keys, 3))).unwrap();
    let now = world.now();
    world.cluster.nodes[0].handle(now, Input::FederationChange(verified)).unwrap();
    world.slots(2);
    assert!(world.ledger().next_custodians().is_some());
    let carried = world.cluster.nodes[0].chain.view().change.unwrap().height;
    // No work, no finality. The record stays with the author, who brings it again in a block of its own.
    for _ in 0..18 {
        world.slots(1);
        assert_eq!(world.ledger().current_custody(), 0);
    }
    assert_eq!(world.cluster.nodes[0].chain.view().epoch, Epoch(0));
    assert!(world.cluster.nodes[0].chain.view().change.unwrap().height > Height(carried.0));
}

#[test]
fn two_changes_that_differ_in_the_custodians_alone_are_two_changes() {
    let mut world = World::new();
    let keys = next_keys();
    let mut bring = |threshold| {
        let record = change(&world, offered(&world, &keys, threshold));
        let root = alys_chain::change_root(&record);
        let verified = world.cluster.nodes[0].chain.verifier().federation_change(record).unwrap();
        let now = world.now();
        world.cluster.nodes[0].handle(now, Input::FederationChange(verified)).unwrap();
        let (told, outcome) = world.cluster.nodes[0].log.federation.last().cloned().unwrap();
        assert_eq!(told, root);
        outcome
    };
    assert_eq!(bring(3), Ok(()));
    assert_eq!(bring(3), Ok(()), "it is known");
    assert_eq!(bring(2), Err(FederationError::InFlight), "the members are the same, the custodians are not");
}
