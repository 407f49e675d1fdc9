//! Key files: the standard's vectors, round trips, and hostile files.
#![allow(clippy::unwrap_used)]

mod support;

use alys_crypto::keystore::{
    KdfCost, Keystore, KeystoreEntropy, KeystoreError, MAX_KEYSTORE_BYTES, MAX_TEXT_BYTES, Password,
};
use alys_crypto::{DerivationPath, SecretKey};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{read, read_json, scalar, unhex, vectors};

const CHEAP: [KdfCost; 2] = [KdfCost::Scrypt { n: 2, r: 8, p: 1 }, KdfCost::Pbkdf2 { iterations: 1 }];

fn entropy() -> KeystoreEntropy {
    KeystoreEntropy { salt: [1; 32], iv: [2; 16], uuid: [3; 16] }
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn key() -> SecretKey {
    SecretKey::generate(&[9; 32]).unwrap()
}

fn keystore(cost: KdfCost) -> Keystore {
    Keystore::encrypt(&key(), &password("open sesame"), "m/12381/3600/0/0/0", cost, entropy()).unwrap()
}

/// Files that differ only in what an expensive derivation does not see are decrypted once.
#[test]
fn files_of_other_software_read_as_they_should() {
    let Some(folder) = vectors("keystore") else { return };
    let index = read_json(folder.join("eip2335_index.json"));
    let (mut good, mut bad) = (0, 0);
    let mut decrypted = Vec::new();
    for entry in index.as_array().unwrap() {
        let path = folder.join(entry["file"].as_str().unwrap());
        if !path.is_file() {
            continue;
        }
        let name = entry["file"].as_str().unwrap();
        let json = file_without_extras(&read(path));
        let expect = entry["expect"].as_str().unwrap();
        let parsed = Keystore::from_json(&json);
        if expect.starts_with("parse error") {
            assert!(parsed.is_err(), "{name} should not parse");
            bad += 1;
            continue;
        }
        let parsed = parsed.unwrap_or_else(|error| panic!("{name}: {error}"));
        good += 1;
        let crypto = serde_json::from_slice::<Value>(&json).unwrap()["crypto"].clone();
        let password = password(entry["password"].as_str().unwrap());
        let seen = (crypto, entry["password"].clone());
        if decrypted.contains(&seen) {
            continue;
        }
        decrypted.push(seen);
        let secret = parsed.decrypt(&password);
        if expect == "ok" {
            let secret = secret.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(secret.to_bytes().to_vec(), unhex(&entry["secret"]), "{name}");
        } else {
            assert!(matches!(secret, Err(KeystoreError::WrongPassword)), "{name}");
        }
    }
    assert!(good >= 5 && bad >= 5, "{good} good and {bad} bad files");
}

/// One collection of vectors keeps password and secret inside the file, which no key file has.
fn file_without_extras(json: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(json) {
        Ok(Value::Object(mut fields)) if fields.contains_key("password") && fields.contains_key("secret") => {
            fields.remove("password");
            fields.remove("secret");
            serde_json::to_vec(&fields).unwrap()
        }
        _ => json.to_vec(),
    }
}

#[test]
fn derived_keys_are_the_standards() {
    let Some(folder) = vectors("keystore/eip2333") else { return };
    let cases = read_json(folder.join("erc2333_cases.json"));
    let mut count = 0;
    for case in cases.as_array().unwrap() {
        let master = SecretKey::derive_master(&unhex(&case["seed"])).unwrap();
        assert_eq!(master.to_bytes().to_vec(), scalar(case["master_SK"].as_str().unwrap()));
        let index = u32::try_from(case["child_index"].as_u64().unwrap()).unwrap();
        let child = scalar(case["child_SK"].as_str().unwrap());
        assert_eq!(master.derive_child(index).to_bytes().to_vec(), child);
        let path: DerivationPath = format!("m/{index}").parse().unwrap();
        assert_eq!(SecretKey::derive(&unhex(&case["seed"]), &path).unwrap().to_bytes().to_vec(), child);
        count += 1;
    }
    assert!(count >= 4, "{count} cases");
}

#[test]
fn a_key_comes_back_with_the_right_password_only() {
    for cost in CHEAP {
        let file = keystore(cost);
        let read = Keystore::from_json(file.to_json().as_bytes()).unwrap();
        assert_eq!(read, file);
        assert_eq!(*read.decrypt(&password("open sesame\n")).unwrap().to_bytes(), *key().to_bytes());
        assert!(matches!(read.decrypt(&password("open sesame!")), Err(KeystoreError::WrongPassword)));
        assert_eq!(*read.public_key(), key().public_key());
        assert_eq!(read.path(), "m/12381/3600/0/0/0");
        assert_eq!(read.uuid(), "03030303-0303-4303-8303-030303030303");
        assert_eq!(read.description(), None);
    }
}

#[test]
fn the_standards_costs_are_within_the_limits() {
    for cost in [KdfCost::SCRYPT, KdfCost::PBKDF2] {
        let mut file: Value = serde_json::from_str(&keystore(CHEAP[0]).to_json()).unwrap();
        file["crypto"]["kdf"] = kdf(cost);
        assert!(Keystore::from_json(file.to_string().as_bytes()).is_ok(), "{cost:?}");
    }
}

fn kdf(cost: KdfCost) -> Value {
    match cost {
        KdfCost::Scrypt { n, r, p } => {
            json!({"function": "scrypt", "message": "", "params": {"dklen": 32, "n": n, "r": r, "p": p, "salt": "00"}})
        }
        KdfCost::Pbkdf2 { iterations } => json!({
            "function": "pbkdf2", "message": "",
            "params": {"dklen": 32, "c": iterations, "prf": "hmac-sha256", "salt": "00"},
        }),
    }
}

#[test]
fn ruinous_costs_are_refused_unpaid() {
    let scrypt = |n, r, p| KdfCost::Scrypt { n, r, p };
    for cost in [
        scrypt(0, 8, 1),
        scrypt(1, 8, 1),
        scrypt(3, 8, 1),
        scrypt(1 << 19, 8, 1),
        scrypt(1 << 31, 1, 1),
        scrypt(1 << 16, 1, 1),
        scrypt(2, 1 << 30, 1),
        scrypt(2, u32::MAX, u32::MAX),
        scrypt(262_144, 8, 3),
        scrypt(2, 8, u32::MAX),
        scrypt(2, 0, 1),
        scrypt(2, 8, 0),
        KdfCost::Pbkdf2 { iterations: 0 },
        KdfCost::Pbkdf2 { iterations: u32::MAX },
    ] {
        let mut file: Value = serde_json::from_str(&keystore(CHEAP[0]).to_json()).unwrap();
        file["crypto"]["kdf"] = kdf(cost);
        let error = Keystore::from_json(file.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, KeystoreError::Cost { .. }), "{cost:?}: {error}");
        let refused = Keystore::encrypt(&key(), &password("x"), "", cost, entropy());
        assert!(matches!(refused, Err(KeystoreError::Cost { .. })), "{cost:?}");
    }
}

#[test]
fn every_field_is_checked() {
    let edit = |pointer: &str, value: Value| {
        let mut file: Value = serde_json::from_str(&keystore(CHEAP[0]).to_json()).unwrap();
        *file.pointer_mut(pointer).unwrap() = value;
        Keystore::from_json(file.to_string().as_bytes())
    };
    assert!(edit("/path", json!("")).is_ok());
    let hex = |count: usize| json!("ab".repeat(count));
    for (pointer, value) in [
        ("/version", json!(3)),
        ("/version", json!("4")),
        ("/uuid", json!("")),
        ("/uuid", json!("0303030303-03-4303-8303-030303030303")),
        ("/uuid", json!("zz030303-0303-4303-8303-030303030303")),
        ("/pubkey", hex(48)),
        ("/pubkey", hex(47)),
        ("/path", json!("x".repeat(MAX_TEXT_BYTES + 1))),
        ("/crypto/kdf/function", json!("argon2")),
        ("/crypto/kdf/function", json!("pbkdf2")),
        ("/crypto/kdf/message", json!("00")),
        ("/crypto/kdf/params/dklen", json!(64)),
        ("/crypto/kdf/params/salt", hex(129)),
        ("/crypto/kdf/params/salt", json!("a")),
        ("/crypto/kdf/params/n", json!(-2)),
        ("/crypto/kdf/params/n", json!(1e300)),
        ("/crypto/kdf/params", json!({})),
        ("/crypto/checksum/message", hex(31)),
        ("/crypto/checksum/function", json!("sha512")),
        ("/crypto/checksum/params", json!({"x": 1})),
        ("/crypto/cipher/message", hex(33)),
        ("/crypto/cipher/params/iv", hex(15)),
        ("/crypto/cipher/function", json!("aes-128-cbc")),
        ("/crypto", Value::Null),
    ] {
        assert!(edit(pointer, value.clone()).is_err(), "{pointer} = {value}");
    }
}

#[test]
fn parts_of_different_files_do_not_fit() {
    let other = SecretKey::generate(&[8; 32]).unwrap();
    let mut file: Value = serde_json::from_str(&keystore(CHEAP[0]).to_json()).unwrap();
    file["pubkey"] = json!(other.public_key().to_string());
    let mixed = Keystore::from_json(file.to_string().as_bytes()).unwrap();
    assert!(matches!(mixed.decrypt(&password("open sesame")), Err(KeystoreError::OtherKey { .. })));
}

#[test]
fn endless_and_bottomless_files_are_refused() {
    let found = MAX_KEYSTORE_BYTES + 1;
    assert!(matches!(Keystore::from_json(&vec![b' '; found]), Err(KeystoreError::TooLong { found: f }) if f == found));
    assert!(matches!(Keystore::from_json("[".repeat(MAX_KEYSTORE_BYTES).as_bytes()), Err(KeystoreError::Json(_))));
    assert!(matches!(Keystore::from_json(b""), Err(KeystoreError::Json(_))));
}

#[test]
fn neither_password_nor_secret_is_printed() {
    let text = format!("{:?} {:?}", keystore(CHEAP[0]), password("open sesame"));
    assert!(!text.contains("sesame") && !text.contains("ciphertext"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn damaged_files_never_panic(place: prop::sample::Index, byte: u8) {
        let mut bytes = keystore(CHEAP[1]).to_json().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = Keystore::from_json(&bytes) {
            prop_assert_eq!(Keystore::from_json(read.to_json().as_bytes()).unwrap(), read);
        }
    }
}
