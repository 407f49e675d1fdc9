//! The committed corpora, as they are and mutated.
#![allow(clippy::unwrap_used)]

use alys_fuzz::mutate::{Stream, mutate};
use alys_fuzz::{TARGETS, Target, seeds};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Mutated inputs per target; a script takes as long as hundreds of decodings.
fn rounds(target: &str) -> u32 {
    if target == "chain_script" { 40 } else { 3000 }
}

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        })
        .collect()
}

#[test]
fn corpora_are_what_the_generator_makes() {
    for (target, _) in TARGETS {
        let files = corpus(target);
        let made = seeds::of(target);
        assert!(!made.is_empty(), "{target} has no seeds");
        for (name, bytes) in made {
            assert_eq!(files.get(name), Some(&bytes), "{target}/{name}: run the write_corpus example");
        }
    }
}

#[test]
fn valid_seeds_reach_past_the_decoder() {
    use alys_primitives::ssz::Decode;
    let valid = |target: &str| seeds::of(target).into_iter().find(|(name, _)| *name == "valid").unwrap().1;
    assert!(alys_primitives::SignedBlock::from_ssz_bytes(&valid("signed_block")).is_ok());
    assert!(alys_primitives::Notarization::from_ssz_bytes(&valid("notarization")).is_ok());
    assert!(alys_primitives::Evidence::from_ssz_bytes(&valid("evidence")).is_ok());
    assert!(alys_primitives::ChainSpec::from_ssz_bytes(&valid("chain_spec")).unwrap().validate().is_ok());
    assert!(alys_auxpow::AuxPow::decode(&valid("auxpow")).is_ok());
    let taken = |name: &str| {
        let (_, bytes) = seeds::of("transaction").into_iter().find(|(seed, _)| *seed == name).unwrap();
        alys_evm::pool::PooledTransaction::decode(bytes.into(), 212_121).is_ok()
    };
    for name in ["valid", "legacy", "access_list", "set_code"] {
        assert!(taken(name), "{name}");
    }
    for name in ["blob", "other_chain", "unsigned"] {
        assert!(!taken(name), "{name}");
    }
    let payload: alys_engine::wire::Payload = serde_json::from_slice(&valid("payload")).unwrap();
    assert!(payload.into_port(alys_engine::wire::PayloadVersion::V3).is_ok());
    assert!(alys_p2p::Request::from_frame(&valid("request_frame")).is_ok());
    assert!(alys_p2p::Response::from_frame(&valid("response_frame")).is_ok());
    assert!(alys_p2p::GossipMessage::from_compressed(alys_p2p::Topic::Approval, &valid("gossip")[1..]).is_ok());
    assert!(alys_crypto::keystore::Keystore::from_json(&valid("keystore")).is_ok());
    assert!(alys_crypto::PublicKey::from_bytes(&valid("public_key")).is_ok());
    assert!(alys_crypto::Signature::from_bytes(&valid("signature")).is_ok());
}

fn replay(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let files: Vec<_> = corpus(name).into_values().collect();
    for bytes in &files {
        run(name, target, bytes);
    }
    let mut stream = Stream::new(name.bytes().fold(0, |seed, byte| seed << 7 ^ u64::from(byte)));
    for _ in 0..rounds(name) {
        let mut bytes = files[stream.below(files.len())].clone();
        let donor = &files[stream.below(files.len())];
        mutate(&mut bytes, donor, &mut stream);
        run(name, target, &bytes);
    }
}

/// Prints the input of a finding, so that it can become a seed.
fn run(name: &str, target: Target, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    let digits = || bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(outcome.is_ok(), "{name} panics on {}", digits());
}

macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        /// Every target has its test below.
        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), replayed);
        }

        mod replays {
            $(
                #[test]
                fn $name() {
                    super::replay(stringify!($name));
                }
            )*
        }
    };
}

replays!(
    approval,
    auxpow,
    auxpow_record,
    bitcoin_block,
    chain_script,
    chain_spec,
    coinbase,
    compact_bits,
    evidence,
    federation_change,
    gossip,
    keystore,
    notarization,
    payload,
    public_key,
    request_frame,
    response_frame,
    signature,
    signed_block,
    transaction,
);
