//! The codec of checkpoints against hostile bytes.

use alys_store::codec::{CodecError, Kind, decode, encode, open};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

const KIND: Kind = Kind(*b"TEST");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    numbers: Vec<u64>,
    rest: Option<(i32, bool)>,
}

fn sample() -> Sample {
    Sample { name: "alys".to_owned(), numbers: vec![1, 2, u64::MAX], rest: Some((-3, true)) }
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    let good = encode(KIND, 1, &sample()).expect("encodes");
    assert_eq!(decode::<Sample>(KIND, 1, &good).expect("decodes"), sample());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        assert!(decode::<Sample>(KIND, 1, &bad).is_err(), "byte {at}");
        assert!(decode::<Sample>(KIND, 1, &good[..at]).is_err(), "{at} bytes");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(decode::<Sample>(KIND, 1, &longer), Err(CodecError::Length)));
}

#[test]
fn kind_and_version_are_checked() {
    let newer = encode(KIND, 3, &sample()).expect("encodes");
    assert!(matches!(decode::<Sample>(KIND, 2, &newer), Err(CodecError::Newer { found: 3, supported: 2 })));
    assert!(matches!(decode::<Sample>(Kind(*b"ELSE"), 3, &newer), Err(CodecError::Magic)));
    assert_eq!(open(KIND, 5, &newer).expect("older than supported").0, 3);
}

#[test]
fn a_payload_that_claims_a_huge_list_is_refused() {
    // A list length of 2^62 in the place of a short one, under a right checksum.
    let lie = encode(KIND, 1, &(1u64 << 62, 7u8)).expect("encodes");
    assert!(matches!(decode::<Vec<u64>>(KIND, 1, &lie), Err(CodecError::Decode(_))));
    let left_over = encode(KIND, 1, &(2u8, 3u8)).expect("encodes");
    assert!(matches!(decode::<u8>(KIND, 1, &left_over), Err(CodecError::Length)));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode::<Sample>(KIND, 1, &bytes).is_err());
    }

    #[test]
    fn values_come_back(name in ".{0,20}", numbers in prop::collection::vec(any::<u64>(), 0..20)) {
        let value = Sample { name, numbers, rest: None };
        let bytes = encode(KIND, 7, &value).expect("encodes");
        prop_assert_eq!(decode::<Sample>(KIND, 7, &bytes).expect("decodes"), value);
    }
}
