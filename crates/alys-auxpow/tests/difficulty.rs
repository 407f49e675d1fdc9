//! Compact targets and aserti3-2d, against values computed with unbounded integers.
#![allow(clippy::unwrap_used)]

use alys_auxpow::{Asert, AsertError, CompactError, Target};
use alys_primitives::{AuxPowSpec, B256, U256};
use proptest::prelude::*;

/// What `SetCompact` makes of a form and `GetCompact` of the result.
#[test]
fn compact_forms_read_as_bitcoin_core_reads_them() {
    for (bits, value, again) in [
        (0x0112_3456, 0x12u64, 0x0112_0000),
        (0x0200_8000, 0x80, 0x0200_8000),
        (0x0212_3456, 0x1234, 0x0212_3400),
        (0x0312_3456, 0x0012_3456, 0x0312_3456),
        (0x0412_3456, 0x1234_5600, 0x0412_3456),
        (0x0500_9234, 0x9234_0000, 0x0500_9234),
        (0x0101_0000, 1, 0x0101_0000),
        (0x0700_0001, 0x1_0000_0000, 0x0501_0000),
    ] {
        let target = Target::from_compact(bits).unwrap();
        assert_eq!(target.value(), U256::from(value), "{bits:08x}");
        assert_eq!(target.to_compact(), again, "{bits:08x}");
    }
    let high = Target::from_compact(0x2012_3456).unwrap();
    assert_eq!(high.value(), U256::from(0x0012_3456u64) << 232);
    assert_eq!(high.to_compact(), 0x2012_3456);
    assert_eq!(Target::from_compact(0x2200_00ff).unwrap().value(), U256::from(0xffu64) << 248);
    assert_eq!(Target::MAX.to_compact(), 0x2100_ffff);
    // The widest mantissas that just fit.
    assert_eq!(Target::from_compact(0x2100_ffff).unwrap().value(), U256::from(0xffffu64) << 240);
    assert_eq!(Target::from_compact(0x2100_00ff).unwrap().value(), U256::from(0xffu64) << 240);
    assert_eq!(format!("{:?}", Target::MIN), format!("Target({:064x})", 1));
}

#[test]
fn faulty_compact_forms_are_told_apart() {
    for bits in [0, 0x0012_3456, 0x0100_3456, 0x0200_0056, 0x0300_0000, 0x0400_0000, 0x0092_3456, 0x0180_3456] {
        assert_eq!(Target::from_compact(bits), Err(CompactError::Zero { bits }), "{bits:08x}");
    }
    for bits in [0x01fe_dcba, 0x0492_3456, 0x0380_0001, 0x2092_3456] {
        assert_eq!(Target::from_compact(bits), Err(CompactError::Negative { bits }), "{bits:08x}");
    }
    for bits in [0xff12_3456, 0x2300_0001, 0x2200_0100, 0x2101_0000] {
        assert_eq!(Target::from_compact(bits), Err(CompactError::Overflow { bits }), "{bits:08x}");
    }
}

#[test]
fn bitcoins_first_target_shows_in_every_form() {
    let target = Target::from_compact(0x1d00_ffff).unwrap();
    assert_eq!(target.to_string(), "00000000ffff0000000000000000000000000000000000000000000000000000");
    assert_eq!(target.work(), U256::from(0x1_0001_0001u64));
    let mut little = target.to_be_bytes();
    little.reverse();
    assert_eq!(target.to_le_bytes(), little);
}

#[test]
fn a_hash_is_a_little_endian_number() {
    let mut hash = B256::ZERO;
    hash.0[0] = 2;
    assert!(Target::new(U256::from(2u64)).is_met_by(hash));
    assert!(!Target::MIN.is_met_by(hash));
    hash.0[31] = 1;
    assert!(!Target::from_compact(0x1d00_ffff).unwrap().is_met_by(hash));
    assert!(Target::MAX.is_met_by(B256::repeat_byte(0xff)));
}

#[test]
fn the_limit_is_the_easiest_target_with_enough_work() {
    assert_eq!(Target::of_work(U256::ZERO), Target::MAX);
    assert_eq!(Target::of_work(U256::ONE), Target::MAX);
    assert_eq!(Target::of_work(U256::MAX), Target::MIN);
    assert_eq!(Target::of_work(U256::from(2u64)).value(), U256::MAX >> 1);
    assert_eq!(Target::of_work(U256::from(2u64)).to_compact(), 0x207f_ffff);
    assert_eq!(Target::MAX.work(), U256::ONE);
    assert_eq!(Target::MIN.work(), U256::ONE << 255);
    assert_eq!(Target::new(U256::ZERO), Target::MIN);
}

proptest! {
    #[test]
    fn one_more_than_the_limit_is_too_little_work(limbs: [u64; 4], shift in 0usize..255) {
        let work = (U256::from_limbs(limbs) >> shift).max(U256::from(2u64));
        let limit = Target::of_work(work);
        // From 2^128 on, several works share a limit.
        if work < U256::ONE << 127 {
            prop_assert!(limit.work() >= work);
            prop_assert!(Target::new(limit.value() + U256::ONE).work() < work);
        }
    }

    #[test]
    fn compact_forms_round_down_and_then_stay(limbs: [u64; 4], shift in 0usize..256) {
        let target = Target::new(U256::from_limbs(limbs) >> shift);
        let rounded = Target::from_compact(target.to_compact()).unwrap();
        prop_assert!(rounded <= target);
        prop_assert_eq!(rounded.to_compact(), target.to_compact());
        // At most the lowest 1/2^15 is lost.
        prop_assert!(target.value() - rounded.value() <= target.value() >> 15);
    }

    #[test]
    fn no_bits_panic(bits: u32) {
        if let Ok(target) = Target::from_compact(bits) {
            prop_assert!(target >= Target::MIN);
            prop_assert!(target.work() >= U256::ONE);
        }
    }

    #[test]
    fn targets_ease_with_time_and_harden_with_records(
        bits in 0x1000_8000u32..0x1000_ffff, size in 0u32..16, spacing in 1u64..1000, half_life in 1u64..100_000,
        elapsed in 0u64..10_000_000, committed in 0u64..100_000, later in 0u64..1_000_000,
    ) {
        let anchor = Target::from_compact(bits + (size << 24)).unwrap();
        let asert = Asert::new(anchor, spacing, half_life, Target::of_work(U256::from(16u64))).unwrap();
        let now = asert.target(elapsed, committed);
        prop_assert!(asert.target(elapsed + later, committed) >= now);
        prop_assert!(asert.target(elapsed, committed + later) <= now);
        prop_assert!(Target::MIN <= now && now <= asert.limit());
        prop_assert!(Target::from_compact(asert.bits(elapsed, committed)).unwrap() <= now);
    }

    #[test]
    fn no_numbers_panic(anchor: [u64; 4], work: [u64; 4], spacing: u64, half_life: u64, elapsed: u64, committed: u64) {
        let limit = Target::of_work(U256::from_limbs(work));
        match Asert::new(Target::new(U256::from_limbs(anchor)), spacing, half_life, limit) {
            Ok(asert) => prop_assert!(asert.target(elapsed, committed) <= limit),
            Err(error) => prop_assert_eq!((error, half_life), (AsertError::NoHalfLife, 0)),
        }
    }
}

fn spec() -> AuxPowSpec {
    AuxPowSpec {
        chain_id: 0x414c,
        spacing: 60,
        half_life: 3600,
        initial_bits: 0x1e7f_ffff,
        min_auxpow_work: U256::from(2u64),
        allow_output_commitment: true,
    }
}

#[test]
fn the_first_record_is_asked_for_the_specs_target() {
    let asert = Asert::of_spec(&spec()).unwrap();
    assert_eq!(asert.bits(0, 0), 0x1e7f_ffff);
    assert_eq!(asert.limit(), Target::of_work(U256::from(2u64)));
    // On schedule nothing changes; a half-life late is twice as easy, a half-life early twice as hard.
    assert_eq!(asert.bits(6000, 100), 0x1e7f_ffff);
    assert_eq!(asert.target(9600, 100).value() >> 1, asert.target(6000, 100).value());
    assert_eq!(asert.target(2400, 100).value(), asert.target(6000, 100).value() >> 1);
}

#[test]
fn unusable_specs_are_refused() {
    let error = CompactError::Zero { bits: 0 };
    let spec_with = |edit: fn(&mut AuxPowSpec)| {
        let mut spec = spec();
        edit(&mut spec);
        Asert::of_spec(&spec)
    };
    assert_eq!(spec_with(|spec| spec.initial_bits = 0), Err(AsertError::InitialBits(error)));
    assert_eq!(spec_with(|spec| spec.half_life = 0), Err(AsertError::NoHalfLife));
    // An anchor easier than the limit is held at it.
    let held = spec_with(|spec| spec.min_auxpow_work = U256::from(1u64 << 40)).unwrap();
    assert_eq!(held.target(0, 0), held.limit());
}

/// Anchor bits, least work, spacing, half-life, elapsed, committed, and the bits that follow, computed with unbounded
/// integers from the definition of aserti3-2d. The first rows use Bitcoin Cash's constants: its anchor's parent stands
/// for genesis there, so that `committed` is the height difference plus one.
#[rustfmt::skip]
const CASES: &[(u32, u64, u64, u64, u64, u64, u32)] = &[
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 1200, 2, 0x1802_aee8),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 1310, 3, 0x1802_ad91),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 7099, 9, 0x1802_b39c),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 333_016, 100, 0x1808_0571),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 709_105, 155, 0x181f_c36f),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 2_529_858, 281, 0x1a00_881c),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 6_928_915, 483, 0x1d00_e5dd),
    (0x1802_aee8, 0x1_0001_0001, 600, 172_800, 6_993_399, 485, 0x1d00_ffff),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 174_000, 2, 0x0102_0000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 1_214_400, 8, 0x0200_8000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 1_387_800, 9, 0x0201_0000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 17_340_600, 101, 0x0d10_0000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 38_322_000, 222, 0x1c20_0000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 38_495_400, 223, 0x1c40_0000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 38_668_800, 224, 0x1d00_8000),
    (0x0101_0000, 0x1_0001_0001, 600, 172_800, 69_360_600, 401, 0x1d00_ffff),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 0, 0x1d00_ffff),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 288, 0x1c7f_ff80),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 576, 0x1c3f_ffc0),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 1440, 0x1c07_fff8),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 28_800, 0x100f_fff0),
    (0x1d00_ffff, 0x1_0001_0001, 600, 172_800, 0, 57_600, 0x0400_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 0, 0, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 60, 0, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 60, 1, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 59, 1, 0x207f_f9bf),
    (0x207f_ffff, 0x2, 60, 3600, 3600, 0, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 7200, 60, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 0, 60, 0x203f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 1_000_000, 0, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 1_000_000_000, 10, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 6000, 10_000, 0x0c03_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 0, 10_000_000, 0x0101_0000),
    (0x207f_ffff, 0x2, 60, 3600, 2_536_586, 42_445, 0x2012_42bf),
    (0x207f_ffff, 0x2, 60, 3600, 3_088_164, 51_750, 0x2005_0133),
    (0x207f_ffff, 0x2, 60, 3600, 584_759, 9494, 0x207f_ffff),
    (0x207f_ffff, 0x2, 60, 3600, 744_185, 12_337, 0x207f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 0, 0, 0x1e7f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 60, 0, 0x1f00_817d),
    (0x1e7f_ffff, 0x2, 60, 3600, 60, 1, 0x1e7f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 59, 1, 0x1e7f_f9bf),
    (0x1e7f_ffff, 0x2, 60, 3600, 3600, 0, 0x1f00_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 7200, 60, 0x1f00_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 0, 60, 0x1e3f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 1_000_000, 0, 0x207f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 1_000_000_000, 10, 0x207f_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 6000, 10_000, 0x0a03_ffff),
    (0x1e7f_ffff, 0x2, 60, 3600, 0, 10_000_000, 0x0101_0000),
    (0x1e7f_ffff, 0x2, 60, 3600, 4_567_021, 76_387, 0x1e05_a853),
    (0x1e7f_ffff, 0x2, 60, 3600, 3_984_670, 66_510, 0x1e28_dcdf),
    (0x1e7f_ffff, 0x2, 60, 3600, 280_472, 4914, 0x1e08_0cb7),
    (0x1e7f_ffff, 0x2, 60, 3600, 3_417_685, 56_838, 0x1f02_14a7),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 0, 0, 0x1802_aee8),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 60, 0, 0x1802_b6e9),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 60, 1, 0x1802_aee8),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 59, 1, 0x1802_aec6),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 3600, 0, 0x1805_5dd0),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 7200, 60, 0x1805_5dd0),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 0, 60, 0x1801_5774),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 1_000_000, 0, 0x1c00_ffff),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 1_000_000_000, 10, 0x1c00_ffff),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 6000, 10_000, 0x0315_7740),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 0, 10_000_000, 0x0101_0000),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 545_132, 9156, 0x1801_305e),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 729_453, 11_889, 0x183b_b354),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 3_322_393, 55_642, 0x171e_c8e4),
    (0x1802_aee8, 0x100_0000_0000, 60, 3600, 4_435_013, 74_115, 0x1745_a6b7),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 0, 0, 0x1a00_ffff),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 60, 0, 0x1a01_02fa),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 60, 1, 0x1a00_ffff),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 59, 1, 0x1a00_fff2),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 3600, 0, 0x1a01_fffe),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 7200, 60, 0x1a01_fffe),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 0, 60, 0x197f_ff80),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 1_000_000, 0, 0x1e0f_ffff),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 1_000_000_000, 10, 0x1e0f_ffff),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 6000, 10_000, 0x0507_fff8),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 0, 10_000_000, 0x0101_0000),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 1_773_807, 29_260, 0x1a21_4dbe),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 504_301, 8108, 0x1a1e_eae1),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 4_610_876, 76_748, 0x1a03_2c1c),
    (0x1a00_ffff, 0x10_0000, 60, 3600, 384_428, 6499, 0x1958_9227),
    (0x207f_ffff, 0x2, 60, 3600, 18_446_744_073_709_551_615, 0, 0x207f_ffff),
    (0x207f_ffff, 0x2, 18_446_744_073_709_551_615, 1, 0, 18_446_744_073_709_551_615, 0x0101_0000),
    (0x207f_ffff, 0x2, 1, 18_446_744_073_709_551_615, 18_446_744_073_709_551_615, 0, 0x207f_ffff),
    (0x1c7f_ffff, 0x2, 18_446_744_073_709_551_615, 18_446_744_073_709_551_615, 0, 1, 0x1c3f_ffff),
];

#[test]
fn targets_are_those_of_unbounded_integers() {
    for &(anchor, work, spacing, half_life, elapsed, committed, bits) in CASES {
        let limit = Target::of_work(U256::from(work));
        let asert = Asert::new(Target::from_compact(anchor).unwrap(), spacing, half_life, limit).unwrap();
        let found = asert.bits(elapsed, committed);
        assert_eq!(found, bits, "{found:08x} for {elapsed} s and {committed} records from {anchor:08x}");
    }
}
