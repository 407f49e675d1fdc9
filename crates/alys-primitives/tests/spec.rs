//! Every constant of a chain's spec is held to its range, at both ends.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_primitives::{
    Address, AuxPowSpec, B256, BitcoinCheckpoint, BitcoinHeaderBytes, ChainSpec, Custodians, CustodyRecovery, EvmSpec,
    FixedBytes, Fork, Height, Member, PegSpec, PublicKeyBytes, Sats, SignatureBytes, SpecError, U256, VariableList,
};

fn members(count: u8) -> Vec<Member> {
    let member = |number| Member {
        public_key: PublicKeyBytes::repeat_byte(number),
        proof_of_possession: SignatureBytes::ZERO,
        fee_address: Address::ZERO,
    };
    (0..count).map(member).collect()
}

fn keys(count: u8) -> VariableList<B256, alys_primitives::MaxMembers> {
    VariableList::new((0..count).map(B256::repeat_byte).collect()).unwrap()
}

fn fork(height: u64, version: u8) -> Fork {
    Fork { activation_height: Height(height), fork_version: FixedBytes([0, 0, 0, version]) }
}

/// Four members and four custodians.
fn spec() -> ChainSpec {
    ChainSpec {
        genesis_time: 1_800_000_000,
        slot_duration: 2,
        max_clock_drift: 500,
        forks: VariableList::new(vec![fork(0, 1), fork(10, 2)]).unwrap(),
        members: VariableList::new(members(4)).unwrap(),
        epoch_delay: 16,
        max_blocks_without_pow: 20,
        max_bundle_blocks: 40,
        min_finalization_depth: 2,
        miner_share: 8_000,
        max_withdrawals: 256,
        auxpow: AuxPowSpec {
            chain_id: 1_337,
            spacing: 60,
            half_life: 3_600,
            initial_bits: 0x207f_ffff,
            min_auxpow_work: U256::from(2u64),
            allow_output_commitment: false,
        },
        evm: EvmSpec {
            chain_id: 212_121,
            genesis_hash: B256::ZERO,
            genesis_prev_randao: B256::ZERO,
            genesis_file_hash: B256::ZERO,
            fee_recipient: Address::ZERO,
            genesis_allocation: U256::ZERO,
        },
        peg: VariableList::new(vec![peg()]).unwrap(),
    }
}

fn peg() -> PegSpec {
    PegSpec {
        network_magic: FixedBytes([0xfa, 0xbf, 0xb5, 0xda]),
        checkpoint: BitcoinCheckpoint {
            header: BitcoinHeaderBytes::ZERO,
            height: 0,
            period_time: 0,
            period_bits: 0,
            earlier_times: VariableList::empty(),
        },
        header_window: 288,
        confirmations: 6,
        min_pegin: Sats(1_000),
        max_pegins: 64,
        max_batch_requests: 256,
        min_fee_rate: 2_000,
        initial_fee_rate: 5_000,
        max_fee_rate: 1_000_000,
        bump_interval: 6,
        old_address_grace: 282,
        custody_keys: keys(4),
        custody_threshold: 3,
        recovery: VariableList::empty(),
    }
}

/// The field that a change of the good spec puts out of range, if any.
fn refused(change: impl FnOnce(&mut ChainSpec)) -> Option<(&'static str, String)> {
    let mut spec = spec();
    change(&mut spec);
    match spec.validate() {
        Ok(()) => None,
        Err(SpecError::OutOfRange { field, value, range }) => {
            let text = SpecError::OutOfRange { field, value: value.clone(), range }.to_string();
            assert!(text.contains(field) && text.contains(&value) && text.contains(range), "{text}");
            Some((field, value))
        }
        Err(error @ SpecError::DuplicateMember { .. }) => panic!("{error}"),
    }
}

/// Sets one number of the spec to each of the values; those in range pass, the others are named.
fn held(name: &'static str, set: fn(&mut ChainSpec, u64), in_range: &[u64], out_of_range: &[u64]) {
    for value in in_range {
        assert_eq!(refused(|spec| set(spec, *value)), None, "{name} = {value}");
    }
    for value in out_of_range {
        assert_eq!(refused(|spec| set(spec, *value)), Some((name, value.to_string())), "{name} = {value}");
    }
}

#[test]
fn constants_of_the_chain_are_held_to_their_ranges() {
    held("slot_duration", |spec, value| spec.slot_duration = value, &[1, 3_600], &[0, 3_601]);
    held("max_clock_drift", |spec, value| spec.max_clock_drift = value, &[0, 1_999], &[2_000, u64::MAX]);
    held("max_blocks_without_pow", |spec, value| spec.max_blocks_without_pow = value, &[1, 40], &[0]);
    held("max_bundle_blocks", |spec, value| spec.max_bundle_blocks = value, &[20, 65_536], &[19, 65_537]);
    held("miner_share", |spec, value| spec.miner_share = value, &[0, 10_000], &[10_001]);
    // Four members and the miner are paid, and there must be room for one more withdrawal.
    held("max_withdrawals", |spec, value| spec.max_withdrawals = value, &[6, 256], &[5, 257]);
    let (taken, free) = ([0, 0x2000, 0x3fff, 0x1_0000], [1, 0x1fff, 0x4000, 0xffff]);
    held("auxpow.chain_id", |spec, value| spec.auxpow.chain_id = value, &free, &taken);
    held("auxpow.spacing", |spec, value| spec.auxpow.spacing = value, &[1], &[0]);
    held("auxpow.half_life", |spec, value| spec.auxpow.half_life = value, &[1], &[0]);
    held("auxpow.min_auxpow_work", |spec, value| spec.auxpow.min_auxpow_work = U256::from(value), &[2], &[0, 1]);
}

#[test]
fn constants_of_the_peg_are_held_to_their_ranges() {
    held("peg.header_window", |spec, value| spec.peg[0].header_window = value, &[288, 16_384], &[287, 16_385]);
    held("peg.confirmations", |spec, value| spec.peg[0].confirmations = value, &[1, 6], &[0, 145]);
    held("peg.min_pegin", |spec, value| spec.peg[0].min_pegin = Sats(value), &[1_000], &[999]);
    held("peg.max_pegins", |spec, value| spec.peg[0].max_pegins = value, &[1, 64], &[0, 65]);
    held("peg.max_batch_requests", |spec, value| spec.peg[0].max_batch_requests = value, &[1, 256], &[0, 257]);
    held("peg.min_fee_rate", |spec, value| spec.peg[0].min_fee_rate = value, &[2_000, 5_000], &[1_999]);
    let (within, beside) = ([2_000, 1_000_000], [1_999, 1_000_001]);
    held("peg.initial_fee_rate", |spec, value| spec.peg[0].initial_fee_rate = value, &within, &beside);
    held("peg.max_fee_rate", |spec, value| spec.peg[0].max_fee_rate = value, &[5_000, 10_000_000], &[10_000_001]);
    held("peg.old_address_grace", |spec, value| spec.peg[0].old_address_grace = value, &[0, 282], &[283]);
    held("peg.bump_interval", |spec, value| spec.peg[0].bump_interval = value, &[1], &[0]);
    // One of four may be faulty: two to three must sign.
    held("peg.custody_threshold", |spec, value| spec.peg[0].custody_threshold = value, &[2, 3], &[0, 1, 4]);
    let set_keys = |spec: &mut ChainSpec, count| spec.peg[0].custody_keys = keys(u8::try_from(count).unwrap());
    held("peg.custody_keys", set_keys, &[4, 5], &[0]);
}

#[test]
fn a_chain_without_a_peg_is_valid() {
    assert_eq!(refused(|spec| spec.peg = VariableList::empty()), None);
}

#[test]
fn versions_of_the_rules_start_at_genesis_and_rise() {
    let with = |forks: Vec<Fork>| refused(|spec| spec.forks = VariableList::new(forks).unwrap());
    assert_eq!(with(vec![fork(0, 1)]), None);
    for wrong in [
        Vec::new(),
        vec![fork(1, 1)],
        vec![fork(0, 1), fork(0, 2)],
        vec![fork(0, 1), fork(9, 2), fork(8, 3)],
        vec![fork(0, 1), fork(9, 1)],
    ] {
        assert_eq!(with(wrong.clone()), Some(("forks", wrong.len().to_string())));
    }
}

#[test]
fn a_federation_has_members_and_each_a_key_of_its_own() {
    assert_eq!(refused(|spec| spec.members = VariableList::empty()), Some(("members", "empty".to_owned())));
    let mut spec = spec();
    spec.members[3].public_key = spec.members[1].public_key;
    let error = SpecError::DuplicateMember { first: 1, second: 3 };
    assert_eq!(spec.validate(), Err(error.clone()));
    assert_eq!(error.to_string(), "chain spec: members 1 and 3 share one public key");
}

#[test]
fn a_recovery_has_keys_signatures_and_a_lock_that_bitcoin_knows() {
    let recovery = |count, threshold, blocks| CustodyRecovery { keys: keys(count), threshold, blocks };
    let field = |recovery: CustodyRecovery| {
        let mut spec = spec();
        spec.peg[0].recovery = VariableList::new(vec![recovery]).unwrap();
        match spec.validate() {
            Ok(()) => None,
            Err(SpecError::OutOfRange { field, .. }) => Some(field),
            Err(other) => panic!("{other:?}"),
        }
    };
    for (count, threshold, blocks) in [(1, 1, 144), (3, 2, 52_560), (128, 128, 65_535)] {
        assert_eq!(field(recovery(count, threshold, blocks)), None);
    }
    assert_eq!(field(recovery(0, 1, 144)), Some("peg.recovery.keys"));
    for threshold in [0, 4, u64::MAX] {
        assert_eq!(field(recovery(3, threshold, 144)), Some("peg.recovery.threshold"));
    }
    for blocks in [0, 143, 65_536, u64::MAX] {
        assert_eq!(field(recovery(3, 2, blocks)), Some("peg.recovery.blocks"));
    }
    let mut twice = recovery(3, 2, 144);
    twice.keys[2] = twice.keys[1];
    assert_eq!(twice.validate(), Err(SpecError::DuplicateMember { first: 1, second: 2 }));
    // A spec in JSON that does not name it has none.
    let json = serde_json::to_string(&spec().peg[0]).unwrap();
    let without = json.replace(",\"recovery\":[]", "");
    assert_ne!(json, without);
    assert_eq!(serde_json::from_str::<PegSpec>(&without).unwrap(), spec().peg[0]);
}

#[test]
fn custodians_are_held_to_the_rules_of_the_spec() {
    let validate = |count, threshold| Custodians { keys: keys(count), threshold }.validate();
    let out_of_range = |outcome| match outcome {
        Err(SpecError::OutOfRange { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    for (count, least, most) in [(1, 1, 1), (3, 1, 3), (4, 2, 3), (6, 2, 5), (7, 3, 5), (128, 43, 86)] {
        assert_eq!(validate(count, least), Ok(()));
        assert_eq!(validate(count, most), Ok(()));
        assert_eq!(out_of_range(validate(count, least - 1)), "peg.custody_threshold");
        assert_eq!(out_of_range(validate(count, most + 1)), "peg.custody_threshold");
    }
    assert_eq!(out_of_range(validate(0, 1)), "peg.custody_keys");
    let mut twice = Custodians { keys: keys(4), threshold: 3 };
    twice.keys[2] = twice.keys[0];
    assert_eq!(twice.validate(), Err(SpecError::DuplicateMember { first: 0, second: 2 }));
}
