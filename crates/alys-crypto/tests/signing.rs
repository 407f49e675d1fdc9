//! Keys, signatures, sums and batches as the chain uses them.
#![allow(clippy::unwrap_used)]

use alloy_primitives::B256;
use alys_crypto::{
    AggregateError, AggregateSignature, DerivationError, Domain, DomainType, PublicKey, PublicKeyError, SecretKey,
    SecretKeyError, Signature, SignatureError, SignatureSet, SigningRoot, VerifyError, verify_batch,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

fn key(seed: u8) -> SecretKey {
    SecretKey::generate(&[seed; 32]).unwrap()
}

fn root(seed: u8) -> SigningRoot {
    Domain::new(DomainType::Approval, [0; 4], B256::ZERO).signing_root(B256::repeat_byte(seed))
}

#[test]
fn a_signature_is_bound_to_key_and_root() {
    let signature = key(1).sign(root(1));
    assert_eq!(signature.verify(&key(1).public_key(), root(1)), Ok(()));
    assert_eq!(signature.verify(&key(2).public_key(), root(1)), Err(VerifyError::Mismatch));
    assert_eq!(signature.verify(&key(1).public_key(), root(2)), Err(VerifyError::Mismatch));
    assert_eq!(signature, key(1).sign(root(1)), "signing is deterministic");
}

#[test]
fn a_signature_is_bound_to_its_kind_of_message_chain_and_rules() {
    let object = B256::repeat_byte(9);
    let domain = Domain::new(DomainType::Proposal, [0, 0, 0, 1], B256::repeat_byte(1));
    let signature = key(1).sign(domain.signing_root(object));
    for other in [
        Domain::new(DomainType::Approval, [0, 0, 0, 1], B256::repeat_byte(1)),
        Domain::new(DomainType::Proposal, [0, 0, 0, 2], B256::repeat_byte(1)),
        Domain::new(DomainType::Proposal, [0, 0, 0, 1], B256::repeat_byte(2)),
    ] {
        assert!(signature.verify(&key(1).public_key(), other.signing_root(object)).is_err(), "{other:?}");
    }
}

#[test]
fn possession_is_proven_by_the_holder_alone() {
    let proof = key(1).prove_possession();
    assert_eq!(key(1).public_key().verify_possession(&proof), Ok(()));
    assert_eq!(key(2).public_key().verify_possession(&proof), Err(VerifyError::Mismatch));
    // A signature under the ordinary tag over anything is no proof.
    let signature = key(1).sign(root(0));
    assert_eq!(key(1).public_key().verify_possession(&signature), Err(VerifyError::Mismatch));
}

#[test]
fn a_quorum_is_exactly_the_members_that_signed() {
    let keys: Vec<_> = (1..=4).map(|seed| key(seed).public_key()).collect();
    let signatures: Vec<_> = (1..=3).map(|seed| key(seed).sign(root(5))).collect();
    let sum = AggregateSignature::aggregate(&signatures).unwrap();
    assert_eq!(sum.verify(&keys[..3], root(5)), Ok(()));
    assert_eq!(sum.verify(&keys, root(5)), Err(VerifyError::Mismatch), "one who did not sign");
    assert_eq!(sum.verify(&keys[..2], root(5)), Err(VerifyError::Mismatch), "one missing");
    assert_eq!(sum.verify(&keys[..3], root(6)), Err(VerifyError::Mismatch), "another root");
    assert_eq!(sum.verify([], root(5)), Err(VerifyError::NoKeys));
    assert_eq!(sum.verify_each([]), Err(VerifyError::NoKeys));
    assert_eq!(AggregateSignature::aggregate([]), Err(AggregateError::Empty));
    assert_eq!(AggregateSignature::from_bytes(&sum.to_bytes()), Ok(sum));

    let mut grown = AggregateSignature::from(signatures[0]);
    grown.add(&signatures[1]);
    grown.add(&signatures[2]);
    assert_eq!(grown, sum);
}

#[test]
fn each_member_may_have_signed_its_own_root() {
    let signatures: Vec<_> = (1..=3).map(|seed| key(seed).sign(root(seed))).collect();
    let sum = AggregateSignature::aggregate(&signatures).unwrap();
    let keys: Vec<_> = (1..=3).map(|seed| key(seed).public_key()).collect();
    let pairs = |roots: [u8; 3]| keys.iter().zip(roots).map(|(key, seed)| (key, root(seed))).collect::<Vec<_>>();
    assert_eq!(sum.verify_each(pairs([1, 2, 3])), Ok(()));
    assert_eq!(sum.verify_each(pairs([2, 1, 3])), Err(VerifyError::Mismatch));
}

#[test]
fn one_bad_signature_fails_a_batch() {
    let keys: Vec<_> = (1..=8).map(|seed| key(seed).public_key()).collect();
    let mut signatures: Vec<_> = (1..=8).map(|seed| key(seed).sign(root(seed))).collect();
    let verify = |signatures: &[Signature]| {
        let sets: Vec<_> = keys
            .iter()
            .zip(1..)
            .zip(signatures)
            .map(|((key, seed), signature)| SignatureSet { key, root: root(seed), signature })
            .collect();
        verify_batch(&sets, &[3; 32])
    };
    assert_eq!(verify(&signatures), Ok(()));
    assert_eq!(verify(&[]), Err(VerifyError::NoKeys));
    // Two signatures swapped: their sum is right, each alone is wrong.
    signatures.swap(2, 5);
    assert_eq!(verify(&signatures), Err(VerifyError::Mismatch));
}

#[test]
fn malformed_keys_are_told_apart() {
    for length in [0, 31, 33] {
        let found = length;
        assert_eq!(SecretKey::from_bytes(&vec![1; length]).err(), Some(SecretKeyError::Length { found }));
        assert_eq!(PublicKey::from_bytes(&vec![1; length]), Err(PublicKeyError::Length { found }));
        assert_eq!(Signature::from_bytes(&vec![1; length]), Err(SignatureError::Length { found }));
    }
    assert_eq!(SecretKey::from_bytes(&[0; 32]).err(), Some(SecretKeyError::OutOfRange));
    assert_eq!(SecretKey::from_bytes(&[0xff; 32]).err(), Some(SecretKeyError::OutOfRange));
    assert_eq!(SecretKey::generate(&[1; 31]).err(), Some(SecretKeyError::WeakMaterial { found: 31 }));
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    assert_eq!(PublicKey::from_bytes(&infinity), Err(PublicKeyError::Infinity));
    let mut infinity = [0; 96];
    infinity[0] = 0xc0;
    let nothing = Signature::from_bytes(&infinity).unwrap();
    assert!(nothing.verify(&key(1).public_key(), root(1)).is_err());
}

#[test]
fn secrets_are_not_printed() {
    let secret = key(1);
    let digits = alloy_primitives::hex::encode(*secret.to_bytes());
    assert!(!format!("{secret:?}").contains(&digits[..8]));
}

#[test]
fn public_things_are_printed_as_their_bytes() {
    let digits = |bytes: &[u8]| alloy_primitives::hex::encode_prefixed(bytes);
    let public_key = key(1).public_key();
    assert_eq!(public_key.to_string(), digits(&public_key.to_bytes()));
    assert_eq!(format!("{public_key:?}"), format!("PublicKey({public_key})"));
    let signature = key(1).sign(root(1));
    assert_eq!(signature.to_string(), digits(&signature.to_bytes()));
    assert_eq!(format!("{signature:?}"), format!("Signature({signature})"));
    // The sum of one signature is that signature.
    assert_eq!(format!("{:?}", AggregateSignature::from(signature)), format!("AggregateSignature({signature})"));
    let domain = Domain::new(DomainType::Approval, [0; 4], B256::ZERO);
    assert_eq!(format!("{domain:?}"), format!("Domain({})", digits(&domain.to_bytes())));
    assert_eq!(root(1).to_string(), digits(root(1).0.as_slice()));
}

#[test]
fn keys_are_told_apart_and_ordered_by_their_bytes() {
    let mut keys: Vec<PublicKey> = (1..=6).map(|seed| key(seed).public_key()).collect();
    let mut bytes: Vec<_> = keys.iter().map(PublicKey::to_bytes).collect();
    keys.sort();
    bytes.sort();
    assert_eq!(keys.iter().map(PublicKey::to_bytes).collect::<Vec<_>>(), bytes);
    assert!(keys.windows(2).all(|pair| pair[0].partial_cmp(&pair[1]) == Some(std::cmp::Ordering::Less)));
    let hash = |key: &PublicKey| {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    };
    let parsed: Vec<PublicKey> = bytes.iter().map(|bytes| PublicKey::from_bytes(bytes).unwrap()).collect();
    assert_eq!(parsed, keys);
    assert_eq!(parsed.iter().map(hash).collect::<Vec<_>>(), keys.iter().map(hash).collect::<Vec<_>>());
    assert_eq!(keys.iter().map(hash).collect::<BTreeSet<_>>().len(), keys.len());
}

#[test]
fn seeds_outside_the_standards_lengths_make_no_key() {
    for length in [0, 31, 1_025] {
        let refused = DerivationError::SeedLength { found: length };
        assert_eq!(SecretKey::derive_master(&vec![7; length]).err(), Some(refused.clone()));
        assert_eq!(SecretKey::derive(&vec![7; length], &"m/0".parse().unwrap()).err(), Some(refused));
    }
    for length in [32, 1_024] {
        let (seed, path) = (vec![7; length], "m/3/5".parse().unwrap());
        let step_by_step = SecretKey::derive_master(&seed).unwrap().derive_child(3).derive_child(5);
        assert_eq!(SecretKey::derive(&seed, &path).unwrap().to_bytes(), step_by_step.to_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn points_have_one_encoding(bytes: [u8; 48], compressed: bool) {
        let mut bytes = bytes;
        if compressed {
            bytes[0] = bytes[0] & 0x1f | 0x80;
        }
        if let Ok(key) = PublicKey::from_bytes(&bytes) {
            prop_assert_eq!(key.to_bytes(), bytes);
        }
        let signature = [bytes, bytes].concat();
        if let Ok(parsed) = Signature::from_bytes(&signature) {
            prop_assert_eq!(parsed.to_bytes().to_vec(), signature);
        }
    }
}
