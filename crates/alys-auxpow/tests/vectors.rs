//! Blocks that real chains accepted, and each of them damaged in every way.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use alys_auxpow::{AuxPow, CommitmentPlace, DecodeError, Found, MAGIC, Rules, Target, display_order, expected_index};
use alys_primitives::{B256, U256};
use serde_json::Value;
use support::*;

struct Entry {
    id: String,
    bytes: Vec<u8>,
    trailing: usize,
    hash: B256,
    rules: Rules,
    /// Absent for parents whose work is not SHA-256 and where the bits are not known.
    target: Option<Target>,
    facts: Value,
}

fn entries() -> Vec<Entry> {
    let Some(folder) = vectors("auxpow") else { return Vec::new() };
    let index = read_json(folder.join("index.json"));
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let valid = index.as_array().unwrap().iter().filter(|entry| entry["expected_valid"] == true);
    valid
        .map(|entry| {
            let file = std::fs::read_to_string(folder.join(entry["file"].as_str().unwrap())).unwrap();
            let bytes = hex::decode(file.trim()).unwrap();
            let start = number(&entry["auxpow_offset"]);
            let bits = entry["aux_bits"].as_str().filter(|_| entry["parent_pow"] == "sha256d");
            Entry {
                id: entry["id"].as_str().unwrap().to_owned(),
                trailing: bytes.len() - start - number(&entry["auxpow_bytes"]),
                bytes: bytes[start..].to_vec(),
                hash: from_display(entry["aux_block_hash"].as_str().unwrap()),
                rules: Rules { chain_id: entry["chain_id"].as_u64().unwrap(), place: CommitmentPlace::ScriptSig },
                target: bits.map(|bits| Target::from_compact(u32::from_str_radix(bits, 16).unwrap()).unwrap()),
                facts: entry.clone(),
            }
        })
        .collect()
}

impl Entry {
    fn proof_bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - self.trailing]
    }

    fn proof(&self) -> AuxPow {
        AuxPow::decode(self.proof_bytes()).unwrap()
    }
}

#[test]
fn accepted_blocks_verify() {
    for entry in entries() {
        let proof = entry.proof();
        let verified = match entry.target {
            Some(target) => proof.verify(entry.hash, &entry.rules, target),
            None => proof.verify_commitment(entry.hash, &entry.rules),
        };
        let verified = verified.unwrap_or_else(|error| panic!("{}: {} ({error})", entry.id, error.rule()));
        let either = Rules { place: CommitmentPlace::Either, ..entry.rules };
        assert_eq!(proof.verify_commitment(entry.hash, &either), Ok(verified), "{}", entry.id);

        let checked = &entry.facts["checked"];
        assert_eq!(verified.found, Found::InScriptSig);
        assert_eq!(verified.parent_hash, from_display(entry.facts["parent_header_hash"].as_str().unwrap()));
        assert_eq!(u64::from(verified.commitment.size), checked["merkle_size"].as_u64().unwrap());
        assert_eq!(u64::from(verified.commitment.nonce), checked["merkle_nonce"].as_u64().unwrap());
        assert_eq!(proof.coinbase.txid(), from_display(checked["coinbase_txid"].as_str().unwrap()));
        assert_eq!(verified.commitment.root, from_display(checked["chain_merkle_root"].as_str().unwrap()));
        assert_eq!(hex::encode(proof.parent.0), entry.facts["parent_header_hex"].as_str().unwrap());
    }
}

#[test]
fn real_bytes_end_where_they_should() {
    for entry in entries() {
        let bytes = entry.proof_bytes();
        for length in 0..bytes.len() {
            assert!(AuxPow::decode(&bytes[..length]).is_err(), "{} cut at {length}", entry.id);
        }
        if entry.trailing > 0 {
            assert_eq!(AuxPow::decode(&entry.bytes), Err(DecodeError::TrailingBytes { count: entry.trailing }));
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(AuxPow::decode(&longer), Err(DecodeError::TrailingBytes { count: 1 }));
    }
}

#[test]
fn real_proofs_normalise() {
    for entry in entries() {
        let proof = entry.proof();
        let normalised = proof.encode();
        assert_eq!(AuxPow::decode_normalised(&normalised), Ok(proof));
        // Miners of all these chains left something in the ignored hashBlock field, or nothing.
        let blank = entry.facts["hash_block_field"].as_str().unwrap().bytes().all(|digit| digit == b'0');
        let witness = entry.facts["coinbase_has_witness"] == true;
        assert_eq!(normalised == entry.proof_bytes(), blank && !witness, "{}", entry.id);
    }
}

#[test]
fn each_damage_breaks_its_rule() {
    for entry in entries() {
        let valid = entry.proof();
        let root = display_order(valid.verify_commitment(entry.hash, &entry.rules).unwrap().commitment.root);
        let tagged = position(&valid.coinbase.inputs[0].script, &MAGIC).is_some();
        let root_at = position(&valid.coinbase.inputs[0].script, root.as_slice()).unwrap();
        let rule = |name: &str, proof: &AuxPow| {
            let error = proof.verify_commitment(entry.hash, &entry.rules).expect_err(&entry.id);
            assert_eq!(error.rule(), name, "{}: {error}", entry.id);
        };
        let script = |edit: &dyn Fn(&mut Vec<u8>)| with_script(valid.clone(), |script| edit(script));

        let own = u32::try_from(entry.rules.chain_id).unwrap() << 16;
        rule("parent-chain-id", &with_version(valid.clone(), own | 1));
        let mut long = valid.clone();
        long.chain_branch.resize(31, B256::ZERO);
        rule("branch-too-long", &long);
        let mut second = valid.clone();
        second.coinbase_branch.push(B256::ZERO);
        rule("coinbase-branch", &second);
        let mut unpaid = valid.clone();
        unpaid.coinbase.lock_time ^= 1;
        rule("coinbase-branch", &unpaid);
        let mut inputs = valid.clone();
        inputs.coinbase.inputs.clear();
        rule("no-inputs", &sealed(inputs));
        rule("root-absent", &script(&|script| script[root_at + 5] ^= 1));
        if tagged {
            rule("two-magics", &script(&|script| script.extend(MAGIC)));
            rule("gap-after-magic", &script(&|script| script.insert(root_at, 0)));
        } else {
            rule("gap-after-magic", &script(&|script| script.extend(MAGIC)));
            rule("late-root", &script(&|script| drop(script.splice(0..0, [0; 21]))));
        }
        rule("short-tail", &script(&|script| script.truncate(root_at + 32 + 7)));
        rule("size", &script(&|script| script[root_at + 32] ^= 1));
        let (height, index) = (valid.chain_branch.len(), valid.chain_index);
        let moved = |nonce: u32| i32::try_from(expected_index(nonce, entry.rules.chain_id, height)).unwrap() != index;
        if let Some(nonce) = (0..64u32).find(|nonce| moved(*nonce)) {
            rule(
                "chain-index",
                &script(&|script| script[root_at + 36..root_at + 40].copy_from_slice(&nonce.to_le_bytes())),
            );
        }
        rule("auxpow-bit", &with_version(valid.clone(), valid.parent.version() | 0x100));
        let error = valid.verify_commitment(display_order(entry.hash), &entry.rules).unwrap_err();
        assert_eq!(error.rule(), "root-absent", "{}: the hash in the wrong byte order", entry.id);
        let error = valid.verify(entry.hash, &entry.rules, Target::MIN).unwrap_err();
        assert_eq!(error.rule(), "work", "{}", entry.id);
        if entry.target.is_some() {
            let exact = Target::new(U256::from_le_bytes(valid.parent.hash().0));
            assert!(valid.verify(entry.hash, &entry.rules, exact).is_ok());
        }
    }
}

/// Elastos' id in merged mining.
const ELASTOS: u64 = 1224;

/// What pools and proxies were seen to send and to be sent.
#[test]
fn transcripts_of_real_pools_read_as_meant() {
    let Some(folder) = vectors("mm") else { return };
    let mut proofs = 0;
    let mut targets = 0;
    let mut visit = vec![read_json(folder.join("transcripts.json"))];
    while let Some(value) = visit.pop() {
        if let (Some(bits), Some(target)) = (value["bits"].as_str(), value["_target"].as_str())
            && let Ok(bits) = u32::from_str_radix(bits, 16)
        {
            assert_eq!(hex::encode(Target::from_compact(bits).unwrap().to_le_bytes()), target);
            targets += 1;
        }
        let proof = value["params"][1].as_str().and_then(|text| hex::decode(text).ok());
        if let (Some(hash), Some(bytes)) = (value["params"][0].as_str(), proof) {
            let proof = AuxPow::decode(&bytes).unwrap();
            let check = |chain_id| {
                let rules = Rules { chain_id, place: CommitmentPlace::ScriptSig };
                proof.verify_commitment(from_display(hash), &rules).map_err(|error| error.rule())
            };
            if proof.chain_branch.is_empty() {
                // The proxy's tree has two places and the proof ends at its root.
                assert_eq!(check(1), Err("size"));
            } else {
                assert!(check(ELASTOS).is_ok());
                assert_eq!(check(1), Err("chain-index"));
            }
            proofs += 1;
        }
        match value {
            Value::Array(items) => visit.extend(items),
            Value::Object(fields) => visit.extend(fields.into_iter().map(|(_, field)| field)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(proofs > 0 && targets > 0, "{proofs} proofs, {targets} targets");
}
