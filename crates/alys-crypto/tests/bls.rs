//! The BLS suite of Ethereum's consensus layer.
#![allow(clippy::unwrap_used)]

mod support;

use alloy_primitives::B256;
use alys_crypto::{AggregateSignature, PublicKey, SecretKey, Signature, SignatureSet, SigningRoot, verify_batch};
use serde_json::Value;
use support::{read_json, unhex, vectors};

/// Runs `check` on every case of a kind and demands at least `least` of them.
fn each(kind: &str, least: usize, check: impl Fn(&str, &Value, &Value)) {
    let Some(folder) = vectors("bls") else { return };
    let all = read_json(folder.join("all.json"));
    let cases = all[kind].as_object().unwrap();
    assert!(cases.len() >= least, "{} cases of {kind}", cases.len());
    for (name, case) in cases {
        check(name, &case["input"], &case["output"]);
    }
}

fn root(value: &Value) -> SigningRoot {
    SigningRoot(B256::from_slice(&unhex(value)))
}

fn keys(value: &Value) -> Option<Vec<PublicKey>> {
    value.as_array().unwrap().iter().map(|key| PublicKey::from_bytes(&unhex(key)).ok()).collect()
}

#[test]
fn signatures_are_those_of_the_suite() {
    each("sign", 10, |name, input, output| {
        let key = SecretKey::from_bytes(&unhex(&input["privkey"]));
        assert_eq!(key.is_err(), output.is_null(), "{name}");
        if let Ok(key) = key {
            let signature = key.sign(root(&input["message"]));
            assert_eq!(signature.to_bytes().to_vec(), unhex(output), "{name}");
            assert_eq!(signature.verify(&key.public_key(), root(&input["message"])), Ok(()), "{name}");
        }
    });
}

#[test]
fn verification_agrees_with_the_suite() {
    each("verify", 29, |name, input, output| {
        let key = PublicKey::from_bytes(&unhex(&input["pubkey"]));
        let signature = Signature::from_bytes(&unhex(&input["signature"]));
        let valid = match (key, signature) {
            (Ok(key), Ok(signature)) => signature.verify(&key, root(&input["message"])).is_ok(),
            (Err(_), _) | (_, Err(_)) => false,
        };
        assert_eq!(output.as_bool().unwrap(), valid, "{name}");
    });
}

#[test]
fn sums_are_those_of_the_suite() {
    each("aggregate", 6, |name, input, output| {
        let parsed: Vec<_> = input
            .as_array()
            .unwrap()
            .iter()
            .map(|signature| Signature::from_bytes(&unhex(signature)).unwrap())
            .collect();
        let sum = AggregateSignature::aggregate(&parsed).ok().map(|sum| sum.to_bytes().to_vec());
        assert_eq!(sum, (!output.is_null()).then(|| unhex(output)), "{name}");
    });
}

#[test]
fn sums_over_one_root_verify_as_the_suite_says() {
    each("fast_aggregate_verify", 12, |name, input, output| {
        let signature = AggregateSignature::from_bytes(&unhex(&input["signature"]));
        let valid = match (keys(&input["pubkeys"]), signature) {
            (Some(keys), Ok(signature)) => signature.verify(&keys, root(&input["message"])).is_ok(),
            (None, _) | (_, Err(_)) => false,
        };
        assert_eq!(output.as_bool().unwrap(), valid, "{name}");
    });
}

#[test]
fn sums_over_many_roots_verify_as_the_suite_says() {
    each("aggregate_verify", 5, |name, input, output| {
        let signature = AggregateSignature::from_bytes(&unhex(&input["signature"]));
        let roots = input["messages"].as_array().unwrap().iter().map(root);
        let valid = match (keys(&input["pubkeys"]), signature) {
            (Some(keys), Ok(signature)) => signature.verify_each(keys.iter().zip(roots)).is_ok(),
            (None, _) | (_, Err(_)) => false,
        };
        assert_eq!(output.as_bool().unwrap(), valid, "{name}");
    });
}

#[test]
fn batches_verify_as_the_suite_says() {
    each("batch_verify", 4, |name, input, output| {
        let signatures: Option<Vec<Signature>> = input["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|signature| Signature::from_bytes(&unhex(signature)).ok())
            .collect();
        let roots: Vec<_> = input["messages"].as_array().unwrap().iter().map(root).collect();
        let valid = match (keys(&input["pubkeys"]), signatures) {
            (Some(keys), Some(signatures)) => {
                let triples = keys.iter().zip(roots).zip(&signatures);
                let sets: Vec<_> =
                    triples.map(|((key, root), signature)| SignatureSet { key, root, signature }).collect();
                verify_batch(&sets, &[7; 32]).is_ok()
            }
            (None, _) | (_, None) => false,
        };
        assert_eq!(output.as_bool().unwrap(), valid, "{name}");
    });
}

#[test]
fn points_parse_as_the_suite_says() {
    each("deserialization_G1", 16, |name, input, output| {
        let parsed = alloy_primitives::hex::decode(input["pubkey"].as_str().unwrap())
            .is_ok_and(|bytes| PublicKey::from_bytes(&bytes).is_ok());
        // The suite only asks for a point of the group; as a key the identity is refused as well.
        let expected = output.as_bool().unwrap() && !name.contains("infinity");
        assert_eq!(parsed, expected, "{name}");
    });
    each("deserialization_G2", 18, |name, input, output| {
        let parsed = alloy_primitives::hex::decode(input["signature"].as_str().unwrap())
            .is_ok_and(|bytes| Signature::from_bytes(&bytes).is_ok());
        assert_eq!(parsed, output.as_bool().unwrap(), "{name}");
    });
}
