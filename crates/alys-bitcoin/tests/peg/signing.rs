//! Members sign, and nobody else counts.

use crate::harness::{World, custody_keys, payee, text};
use alys_bitcoin::signing::{MAX_PSBT_BYTES, payment_psbt};
use alys_bitcoin::{CustodyKey, SigningError, SigningSession};
use alys_chain::peg::Payment;
use alys_primitives::Address;
use bitcoin::psbt::Psbt;

fn payment_of(world: &mut World) -> Payment {
    world.deposit(3_000_000, Address::repeat_byte(0xa1));
    world.deposit(2_000_000, Address::repeat_byte(0xa1));
    world.bitcoin(6);
    world.slots(2);
    world.burn(&[(4_000_000, &text(&payee(70)))]);
    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    let payment = world.payment(&ledger.batches()[0]);
    assert_eq!(payment.transaction.input.len(), 2);
    payment
}

fn session(world: &World, payment: &Payment) -> SigningSession {
    SigningSession::new(world.custody().clone(), payment.clone()).unwrap()
}

#[test]
fn any_three_of_five_make_a_payment_that_bitcoin_takes() {
    let keys = custody_keys(5);
    let mut world = World::with(keys.clone(), 3, |_| {});
    let payment = payment_of(&mut world);
    let signed: Vec<Psbt> = keys.iter().map(|key| key.sign(world.custody(), &payment).unwrap()).collect();
    let mut count = 0;
    for a in 0..5 {
        for b in a + 1..5 {
            for c in b + 1..5 {
                let mut session = session(&world, &payment);
                // Order does not matter, and coming twice does no harm.
                for member in [c, a, b, a] {
                    session.add_bytes(&signed[member].serialize()).unwrap();
                }
                let transaction = session.assemble().unwrap();
                assert_eq!(transaction.compute_txid(), payment.transaction.compute_txid());
                assert_eq!(u64::try_from(transaction.vsize()).unwrap(), payment.virtual_bytes);
                world.regtest.clone().broadcast(transaction).unwrap();
                count += 1;
            }
        }
    }
    assert_eq!(count, 10);
}

#[test]
fn two_of_three_are_too_few_when_one_is_a_stranger() {
    let mut world = World::new();
    let payment = payment_of(&mut world);
    let mut session = session(&world, &payment);
    let keys = world.keys.clone();
    session.add(&keys[0].sign(world.custody(), &payment).unwrap()).unwrap();
    assert_eq!(session.assemble(), Err(SigningError::TooFew { found: 1, needed: 2 }));
    let stranger = CustodyKey::from_bytes(&[99; 32]).unwrap();
    let key = stranger.public_key();
    assert_eq!(stranger.sign(world.custody(), &payment), Err(SigningError::NotOurs { key }));
    // A stranger who forges the field all the same.
    let mut forged = payment_psbt(world.custody(), &payment).unwrap();
    let theirs = keys[1].sign(world.custody(), &payment).unwrap();
    for (input, signed) in forged.inputs.iter_mut().zip(&theirs.inputs) {
        let signature = *signed.tap_script_sigs.values().next().unwrap();
        input.tap_script_sigs.insert((key, world.custody().leaf_hash()), signature);
    }
    assert_eq!(session.add(&forged), Err(SigningError::NoMember { input: 0, key }));
    // A member's name on another's signature.
    let mut swapped = payment_psbt(world.custody(), &payment).unwrap();
    for (input, signed) in swapped.inputs.iter_mut().zip(&theirs.inputs) {
        let signature = *signed.tap_script_sigs.values().next().unwrap();
        input.tap_script_sigs.insert((keys[2].public_key(), world.custody().leaf_hash()), signature);
    }
    assert_eq!(session.add(&swapped), Err(SigningError::Signature { input: 0, key: keys[2].public_key() }));
    // One input signed, the other not.
    let mut partial = theirs.clone();
    partial.inputs[1].tap_script_sigs.clear();
    let incomplete = SigningError::Incomplete { key: keys[1].public_key(), found: 1, inputs: 2 };
    assert_eq!(session.add(&partial), Err(incomplete));
    assert_eq!(session.signers().collect::<Vec<_>>(), [0], "none of it counted");
    session.add(&theirs).unwrap();
    session.assemble().unwrap();
}

#[test]
fn another_transaction_is_not_signed_for() {
    let mut world = World::new();
    let payment = payment_of(&mut world);
    let mut session = session(&world, &payment);
    let mut other = payment.clone();
    other.transaction.output[0].value += bitcoin::Amount::from_sat(1);
    let signed = world.keys[0].sign(world.custody(), &other).unwrap();
    assert!(matches!(session.add(&signed), Err(SigningError::OtherTransaction { .. })));
}

#[test]
fn one_malicious_member_of_five_neither_stops_nor_diverts_a_payment() {
    let keys = custody_keys(5);
    let mut world = World::with(keys.clone(), 3, |_| {});
    let payment = payment_of(&mut world);
    let honest = |member: usize| {
        let mut own = session(&world, &payment);
        own.add(&keys[member].sign(world.custody(), &payment).unwrap()).unwrap();
        own
    };
    let liar = &keys[4];
    let good = liar.sign(world.custody(), &payment).unwrap();
    // A signature of one input in the place of another's.
    let mut wrong = good.clone();
    wrong.inputs[0].tap_script_sigs = good.inputs[1].tap_script_sigs.clone();
    // Signs the same requests at another fee: two payments by one member.
    let mut dearer = payment.clone();
    dearer.transaction.output[0].value -= bitcoin::Amount::from_sat(500);
    let equivocating = liar.sign(world.custody(), &dearer).unwrap();
    // Hides a false signature among good ones of others.
    let mut poisoned = honest(0).psbt().unwrap();
    for (input, wrong) in poisoned.inputs.iter_mut().zip(&wrong.inputs) {
        input.tap_script_sigs.extend(wrong.tap_script_sigs.clone());
    }
    // The last one withholds.
    for lie in [Some(wrong), Some(equivocating), Some(poisoned), None] {
        let mut members: Vec<SigningSession> = (0..4).map(honest).collect();
        if let Some(lie) = lie {
            for member in &mut members {
                assert!(member.add_bytes(&lie.serialize()).is_err());
                assert_eq!(member.signers().count(), 1, "nothing of it counts");
            }
        }
        // Each tells the next one all that it knows, as gossip does: three signatures come together, and one more message
        // brings them to whoever was away.
        for teller in 0..3 {
            let told = members[teller].psbt().unwrap().serialize();
            members[teller + 1].add_bytes(&told).unwrap();
        }
        let told = members[3].psbt().unwrap().serialize();
        let mut away = session(&world, &payment);
        assert_eq!(away.add_bytes(&told), Ok(3));
        let transaction = away.assemble().unwrap();
        assert_eq!(transaction.compute_txid(), payment.transaction.compute_txid());
        world.regtest.clone().broadcast(transaction).unwrap();
    }
}

#[test]
fn bytes_that_are_no_psbt_are_refused_whatever_they_are() {
    let mut world = World::new();
    let payment = payment_of(&mut world);
    let mut session = session(&world, &payment);
    let good = world.keys[0].sign(world.custody(), &payment).unwrap().serialize();
    assert_eq!(
        session.add_bytes(&vec![0; MAX_PSBT_BYTES + 1]),
        Err(SigningError::TooLarge { bytes: MAX_PSBT_BYTES + 1 })
    );
    for cut in 0..good.len() {
        assert!(session.add_bytes(&good[..cut]).is_err(), "{cut} bytes");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        // Some bytes say nothing about the signatures; what is taken must still be whole.
        let _ = session.add_bytes(&bad);
        assert!(session.signers().all(|member| member == 0));
    }
}
