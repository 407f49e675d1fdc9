//! The peg's rules by themselves: constants, custodians, payments that cannot be, names in answers.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::peg::{
    Coin, Custody, CustodyError, Payee, PaymentError, PegRules, PegSpecError, Unclaimed, Unpayable, derive_payment,
    derive_sweep, sweep_coins,
};
use alys_chain::testing::{Fixture, SchemeKind, custody_offer, offered_custody};
use alys_chain::{CertificateError, FederationError, FollowError, GenesisError, follow_custody};
use alys_primitives::{
    B256, BitVector, BitcoinCheckpoint, BitcoinHeaderBytes, Custodians, CustodyKeys, CustodyOffer, CustodyRecovery,
    Epoch, FederationChange, FixedBytes, OfferedCustody, Optional, PegSpec, Sats, SpecError, VariableList,
};
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::{Network, ScriptBuf, XOnlyPublicKey, consensus::serialize};
use std::collections::BTreeSet;

fn key(seed: u8) -> XOnlyPublicKey {
    Keypair::from_seckey_slice(&Secp256k1::new(), &[seed; 32]).unwrap().x_only_public_key().0
}

/// Keys of these seeds, the most that must sign for them.
fn custodians(seeds: std::ops::Range<u8>) -> Custodians {
    let keys = keys_of(seeds);
    let count = u64::try_from(keys.len()).unwrap();
    Custodians { keys, threshold: count - (count - 1) / 3 }
}

fn keys_of(seeds: std::ops::Range<u8>) -> CustodyKeys {
    CustodyKeys::new(seeds.map(|seed| key(seed).serialize().into()).collect()).unwrap()
}

fn spec() -> PegSpec {
    let genesis = bitcoin::constants::genesis_block(Network::Regtest).header;
    let Custodians { keys, threshold } = custodians(1..5);
    PegSpec {
        network_magic: Network::Regtest.magic().to_bytes().into(),
        checkpoint: BitcoinCheckpoint {
            header: BitcoinHeaderBytes::try_from(serialize(&genesis).as_slice()).unwrap(),
            height: 0,
            period_time: u64::from(genesis.time),
            period_bits: u64::from(genesis.bits.to_consensus()),
            earlier_times: VariableList::empty(),
        },
        header_window: 288,
        confirmations: 6,
        min_pegin: Sats(10_000),
        max_pegins: 4,
        max_batch_requests: 8,
        min_fee_rate: 2_000,
        initial_fee_rate: 2_000,
        max_fee_rate: 50_000,
        bump_interval: 12,
        old_address_grace: 20,
        custody_keys: keys,
        custody_threshold: threshold,
        recovery: VariableList::empty(),
    }
}

/// Four members with real signatures and a peg.
fn fixture() -> Fixture {
    let mut fixture = Fixture::with_scheme(4, SchemeKind::Bls);
    fixture.spec.peg = VariableList::new(vec![spec()]).unwrap();
    fixture
}

/// Keys of these seeds as their holders offer them in an epoch, the most that must sign for them.
fn offered(fixture: &Fixture, epoch: u64, seeds: std::ops::Range<u8>) -> OfferedCustody {
    let threshold = custodians(seeds.clone()).threshold;
    let secrets: Vec<[u8; 32]> = seeds.map(|seed| [seed; 32]).collect();
    offered_custody(&secrets, threshold, &fixture.spec.genesis_root(), Epoch(epoch))
}

/// A record by three of the four members, who stay.
fn change(fixture: &Fixture, epoch: u64, custodians: Option<OfferedCustody>) -> FederationChange {
    let verifier = fixture.genesis(fixture.config(None)).verifier();
    let members = fixture.spec.members.clone();
    let custody = Optional::new(custodians.into_iter().collect()).unwrap();
    let root = verifier.federation_signing_root(Epoch(epoch), &members, &custody);
    let signatures: Vec<_> = (0..3).map(|signer| fixture.sign_as(signer, root)).collect();
    let mut bitfield = BitVector::new();
    (0..3).for_each(|signer| bitfield.set(signer, true).unwrap());
    FederationChange {
        genesis_root: fixture.spec.genesis_root(),
        epoch: Epoch(epoch),
        members,
        custody,
        bitfield,
        aggregate_signature: fixture.sum(&signatures).unwrap(),
    }
}

#[test]
fn a_spec_makes_a_peg_or_says_why_not() {
    let rules = PegRules::new(&spec()).unwrap();
    assert_eq!((rules.network(), rules.spec()), (Network::Regtest, &spec()));
    let refused = |change: fn(&mut PegSpec)| {
        let mut spec = spec();
        change(&mut spec);
        PegRules::new(&spec).unwrap_err()
    };
    let found = FixedBytes([1, 2, 3, 4]);
    assert_eq!(refused(|spec| spec.network_magic = FixedBytes([1, 2, 3, 4])), PegSpecError::Network { found });
    let late = refused(|spec| spec.checkpoint.period_time = u64::MAX);
    assert!(matches!(late, PegSpecError::Checkpoint(_)), "{late}");
    let no_point = refused(|spec| spec.custody_keys[1] = B256::repeat_byte(0xff));
    assert!(matches!(no_point, PegSpecError::Custody(CustodyError::Key { index: 1, .. })), "{no_point}");
}

#[test]
fn a_chain_knows_its_peg_and_where_deposits_go() {
    let fixture = fixture();
    let chain = fixture.genesis(fixture.config(None));
    assert_eq!(chain.genesis_root(), fixture.spec.genesis_root());
    let rules = chain.peg_rules().unwrap();
    let ledger = chain.view().peg.ledger().clone();
    let custody = rules.current_custody(&ledger).unwrap();
    assert_eq!(&custody, rules.custody());
    let address = rules.deposit_address(&ledger).unwrap();
    assert_eq!(&address.script_pubkey(), custody.script_pubkey());
    assert_eq!(rules.custody_of(&ledger, 1), None, "nobody has the number yet");
    let without = Fixture::new(4);
    assert!(without.genesis(without.config(None)).peg_rules().is_none());
}

#[test]
fn custodians_are_followed_from_the_spec_through_every_change() {
    let fixture = fixture();
    let (second, third) = (custodians(11..15), custodians(21..28));
    let changes = [
        change(&fixture, 0, None),
        change(&fixture, 1, Some(offered(&fixture, 1, 11..15))),
        change(&fixture, 2, None),
        change(&fixture, 3, Some(offered(&fixture, 3, 21..28))),
    ];
    assert_eq!(follow_custody(fixture.spec.clone(), &[]), Ok(Vec::new()));
    assert_eq!(follow_custody(fixture.spec.clone(), &changes), Ok(vec![second, third]));
    // One left out, one twice, one that no quorum signed.
    let at = |position, error| Err(FollowError::Change { position, error });
    let epoch = |found, expected| FederationError::Epoch { found: Epoch(found), expected: Epoch(expected) };
    assert_eq!(follow_custody(fixture.spec.clone(), &changes[1..]), at(0, epoch(1, 0)));
    let twice = [changes[0].clone(), changes[0].clone()];
    assert_eq!(follow_custody(fixture.spec.clone(), &twice), at(1, epoch(0, 1)));
    let mut forged = changes.clone();
    forged[1].custody = forged[3].custody.clone();
    let unsigned = FederationError::Certificate(CertificateError::Signature);
    assert_eq!(follow_custody(fixture.spec.clone(), &forged), at(1, unsigned));
    let mut no_chain = fixture.spec;
    no_chain.slot_duration = 0;
    let refused = follow_custody(no_chain, &changes).unwrap_err();
    assert!(matches!(refused, FollowError::Genesis(GenesisError::Spec(SpecError::OutOfRange { .. }))), "{refused}");
}

#[test]
fn custodians_that_cannot_hold_deposits_are_refused_though_a_quorum_wants_them() {
    let fixture = fixture();
    let refused = |fixture: &Fixture, custodians: OfferedCustody| {
        let verifier = fixture.genesis(fixture.config(None)).verifier();
        verifier.federation_change(change(fixture, 0, Some(custodians))).unwrap_err()
    };
    let good = offered(&fixture, 0, 11..15);
    let weak = refused(&fixture, OfferedCustody { threshold: 1, ..good.clone() });
    assert!(matches!(weak, FederationError::Custodians(SpecError::OutOfRange { .. })), "{weak}");
    let mut keys = good.clone();
    keys.offers[3].key = B256::repeat_byte(0xff);
    let no_point = refused(&fixture, keys);
    assert!(matches!(no_point, FederationError::Custody(CustodyError::Key { index: 3, .. })), "{no_point}");
    let without = Fixture::with_scheme(4, SchemeKind::Bls);
    assert_eq!(refused(&without, offered(&without, 0, 11..15)), FederationError::NoPeg);
}

#[test]
fn a_custody_key_counts_only_with_proof_for_this_chain_epoch_and_holder() {
    let fixture = fixture();
    let genesis_root = fixture.spec.genesis_root();
    let verifier = fixture.genesis(fixture.config(None)).verifier();
    let good = offered(&fixture, 0, 11..15);
    assert!(verifier.federation_change(change(&fixture, 0, Some(good.clone()))).is_ok());
    assert_eq!(verifier.custodians(Epoch(0), &good), Ok(()));
    let holder = good.offers[2].holder;
    let wrong = [
        ("of another chain", custody_offer(&[13; 32], holder, &B256::repeat_byte(1), Epoch(0))),
        ("of another epoch", custody_offer(&[13; 32], holder, &genesis_root, Epoch(1))),
        ("of another key", CustodyOffer { proof: good.offers[1].proof, ..good.offers[2].clone() }),
        ("in another name", CustodyOffer { holder: good.offers[1].holder, ..good.offers[2].clone() }),
        ("of nothing", CustodyOffer { proof: FixedBytes::ZERO, ..good.offers[2].clone() }),
        ("out of range", CustodyOffer { proof: FixedBytes::repeat_byte(0xff), ..good.offers[2].clone() }),
    ];
    for (what, offer) in wrong {
        let mut custody = good.clone();
        custody.offers[2] = offer;
        let refused = FederationError::CustodyPossession { index: 2 };
        assert_eq!(verifier.custodians(Epoch(0), &custody), Err(refused.clone()), "{what}");
        assert_eq!(refused.rule(), "custody-possession");
        // A quorum's signatures don't help, neither here nor for somebody who follows the records alone.
        let record = change(&fixture, 0, Some(custody));
        assert_eq!(verifier.federation_change(record.clone()).unwrap_err(), refused, "{what}");
        let followed = follow_custody(fixture.spec.clone(), &[record]);
        assert_eq!(followed, Err(FollowError::Change { position: 0, error: refused }), "{what}");
    }
}

#[test]
fn a_custody_needs_keys_and_no_more_signatures_than_keys() {
    let keys = |count: u8| (1..=count).map(key).collect::<Vec<_>>();
    for (count, threshold) in [(0, 0), (0, 1), (3, 0), (3, 4), (129, 100), (3, u64::MAX)] {
        let refused = CustodyError::Script { threshold, keys: usize::from(count) };
        assert_eq!(Custody::new(keys(count), threshold), Err(refused));
    }
    let custody = Custody::new(keys(3), 2).unwrap();
    assert_eq!((custody.keys().len(), custody.threshold()), (3, 2));
}

#[test]
fn a_recovery_leaf_needs_keys_signatures_and_a_lock() {
    let custodians = custodians(1..4);
    let make = |recovery: CustodyRecovery| Custody::of(&custodians, Some(&recovery));
    let good = CustodyRecovery { keys: keys_of(11..14), threshold: 2, blocks: 144 };
    let custody = make(good.clone()).unwrap();
    let plain = Custody::of(&custodians, None).unwrap();
    assert_ne!(custody.script_pubkey(), plain.script_pubkey());
    assert_eq!(custody.leaf(), plain.leaf(), "the members' leaf stays as it is");
    assert_eq!((custody.recovery().map(|leaf| leaf.sequence().0), plain.recovery()), (Some(144), None));
    for (threshold, blocks) in [(0, 144), (4, 144), (u64::MAX, 144), (2, 0), (2, 65_536)] {
        let refused = CustodyError::Recovery { threshold, keys: 3, blocks };
        assert_eq!(make(CustodyRecovery { threshold, blocks, ..good.clone() }), Err(refused));
    }
    let mut no_point = good.clone();
    no_point.keys[1] = B256::repeat_byte(0xff);
    assert_eq!(make(no_point.clone()), Err(CustodyError::RecoveryKey { index: 1 }));
    let mut spec = spec();
    spec.recovery = VariableList::new(vec![no_point]).unwrap();
    assert_eq!(PegRules::new(&spec).unwrap_err(), PegSpecError::Custody(CustodyError::RecoveryKey { index: 1 }));
    spec.recovery = VariableList::new(vec![good]).unwrap();
    let rules = PegRules::new(&spec).unwrap();
    assert!(rules.custody().recovery().is_some());
}

fn coins(count: u8, value: u64) -> Vec<Coin> {
    let coin = |seed| Coin { txid: B256::repeat_byte(seed), vout: 0, value: Sats(value), batch: 0, custody: 0 };
    (0..count).map(coin).collect()
}

#[test]
fn payments_that_cannot_be_have_their_reasons() {
    let custody = Custody::of(&custodians(1..5), None).unwrap();
    let payee = Payee { script: ScriptBuf::new_op_return([1]), amount: Sats(100_000) };
    let pay = |coins: &[Coin], payees: &[Payee]| derive_payment(&custody, coins, payees, 2_000).unwrap_err();
    assert_eq!(pay(&coins(1, 100_000), &[]), PaymentError::Empty);
    let (available, needed) = (Sats(99_999), Sats(100_000));
    let short = PaymentError::InsufficientCoins { available, needed };
    assert_eq!(pay(&coins(1, 99_999), std::slice::from_ref(&payee)), short);
    assert_eq!(pay(&coins(2, u64::MAX), std::slice::from_ref(&payee)), PaymentError::Overflow);
    assert_eq!(derive_sweep(&custody, &custody, &[], 2_000), Err(PaymentError::Empty));
    assert_eq!(sweep_coins(&[], &custody, &custody, 2_000), Err(PaymentError::Empty));
    assert_eq!(sweep_coins(&coins(3, 100), &custody, &custody, 2_000), Err(PaymentError::Empty), "not worth the fee");

    // With the most custodians, as many inputs as a payment may have are more than nodes pass on.
    let heavy = Custody::of(&custodians(1..129), None).unwrap();
    let many = coins(64, 1_000_000_000);
    let refused = derive_payment(&heavy, &many, &[payee], 2_000).unwrap_err();
    assert!(matches!(refused, PaymentError::TooHeavy { weight } if weight > 400_000), "{refused}");
    let refused = derive_sweep(&heavy, &custody, &many, 2_000).unwrap_err();
    assert!(matches!(refused, PaymentError::TooHeavy { weight } if weight > 400_000), "{refused}");
    // A sweep takes fewer of them.
    let taken = sweep_coins(&many, &heavy, &custody, 2_000).unwrap();
    assert!(derive_sweep(&heavy, &custody, &taken, 2_000).is_ok());
    let one_more = &many[..=taken.len()];
    assert!(matches!(derive_sweep(&heavy, &custody, one_more, 2_000), Err(PaymentError::TooHeavy { .. })));
}

#[test]
fn reasons_have_numbers_and_names_of_their_own() {
    let unclaimed: Vec<Unclaimed> = (0..=255).filter_map(Unclaimed::from_number).collect();
    assert!((1..).zip(&unclaimed).all(|(number, reason)| reason.number() == number));
    let names: BTreeSet<&str> = unclaimed.iter().map(|reason| reason.name()).collect();
    assert_eq!((unclaimed.len(), names.len()), (5, 5));
    let unpayable: Vec<Unpayable> = (0..=255).filter_map(Unpayable::from_number).collect();
    assert!((1..).zip(&unpayable).all(|(number, reason)| reason.number() == number));
    let names: BTreeSet<&str> = unpayable.iter().map(|reason| reason.name()).collect();
    assert_eq!((unpayable.len(), names.len()), (3, 3));
}
