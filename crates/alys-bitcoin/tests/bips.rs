//! The vectors of BIP-340, BIP-341, BIP-174 and BIP-371.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use alys_bitcoin::script::Verifier;
use alys_bitcoin::signing::decode_psbt;
use bitcoin::consensus::deserialize;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Message, Secp256k1, XOnlyPublicKey};
use bitcoin::{Amount, ScriptBuf, Transaction, TxOut};
use serde_json::Value;

fn read(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(alys_vectors::find(&format!("bitcoin/{name}"))?).unwrap())
}

/// The library that signs and verifies for this crate does so as the BIP says; its messages are 32 bytes long.
#[test]
fn schnorr_signatures_verify_as_in_bip_340() {
    let Some(bytes) = read("bip340/test-vectors.csv") else { return };
    let text = String::from_utf8(bytes).unwrap();
    let secp = Secp256k1::verification_only();
    let mut seen = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let Ok(message) = <[u8; 32]>::try_from(hex::decode(fields[4]).unwrap()) else { continue };
        let key = XOnlyPublicKey::from_slice(&hex::decode(fields[2]).unwrap());
        let signature = Signature::from_slice(&hex::decode(fields[5]).unwrap());
        let verifies = match (key, signature) {
            (Ok(key), Ok(signature)) => secp.verify_schnorr(&signature, &Message::from_digest(message), &key).is_ok(),
            _ => false,
        };
        assert_eq!(verifies, fields[6] == "TRUE", "case {}: {}", fields[0], fields[7]);
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn the_signed_transaction_of_bip_341_verifies_and_no_changed_one_does() {
    let Some(bytes) = read("bip341/wallet-test-vectors.json") else { return };
    let vectors: Value = serde_json::from_slice(&bytes).unwrap();
    let case = &vectors["keyPathSpending"][0];
    let signed = case["auxiliary"]["fullySignedTx"].as_str().unwrap();
    let transaction: Transaction = deserialize(&hex::decode(signed).unwrap()).unwrap();
    let spent: Vec<TxOut> = case["given"]["utxosSpent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| TxOut {
            value: Amount::from_sat(output["amountSats"].as_u64().unwrap()),
            script_pubkey: ScriptBuf::from_hex(output["scriptPubKey"].as_str().unwrap()).unwrap(),
        })
        .collect();
    let verifier = Verifier::default();
    verifier.verify(&transaction, &spent).unwrap();
    for input in 0..transaction.input.len() {
        let mut other = spent.clone();
        other[input].value += Amount::from_sat(1);
        assert!(verifier.verify(&transaction, &other).is_err(), "an amount of input {input} was changed");
    }
    let mut changed = transaction.clone();
    changed.lock_time = bitcoin::absolute::LockTime::from_consensus(changed.lock_time.to_consensus_u32() ^ 1);
    assert!(verifier.verify(&changed, &spent).is_err());
}

#[test]
fn psbts_decode_as_in_bip_174_and_bip_371() {
    for (name, least) in [("bip0174_cases.json", 10), ("bip0371_cases.json", 12)] {
        let Some(bytes) = read(&format!("psbt/{name}")) else { return };
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let cases = document.as_array().or_else(|| document["cases"].as_array()).unwrap();
        let mut seen = 0;
        for case in cases {
            let decoded = decode_psbt(&hex::decode(case["hex"].as_str().unwrap()).unwrap());
            let label = case["case"].as_str().unwrap();
            match case["expect"].as_str().unwrap() {
                "valid" => assert!(decoded.is_ok(), "{name}: {label}: {decoded:?}"),
                "invalid" => assert!(decoded.is_err(), "{name}: {label}"),
                // What a signer must look at after decoding.
                _ => continue,
            }
            seen += 1;
        }
        assert!(seen >= least, "{name}: {seen}");
    }
}
