//! The peg as part of the consensus state.

use super::{CustodyEntry, PegRules, headers::HeaderView, ledger::PegLedger, sealed::Sealed};
use alys_primitives::{Root, TreeHash};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use ssz::{Decode, DecodeError, Encode};
use std::fmt;
use tree_hash::{PackedEncoding, TreeHashType};

/// The chain's view of Bitcoin and the peg's books after a block. Cheap to clone. Its root in the consensus state is
/// `sha256(sha256(view) || sha256(books))` over their SSZ encodings, so that a block without records costs nothing.
#[derive(Clone, Debug)]
pub struct Peg {
    pub(crate) headers: Sealed<HeaderView>,
    pub(crate) ledger: Sealed<PegLedger>,
}

impl Peg {
    /// Where a chain begins; empty for a chain without a peg.
    pub(crate) fn genesis(rules: Option<&PegRules>) -> Self {
        let (headers, ledger) = match rules {
            Some(rules) => (
                rules.genesis_headers.clone(),
                PegLedger {
                    next_batch: 1,
                    last_fee_rate: rules.spec.initial_fee_rate,
                    custodies: vec![CustodyEntry::genesis(&rules.spec, &rules.custody)],
                    ..PegLedger::default()
                },
            ),
            None => (HeaderView::default(), PegLedger::default()),
        };
        Self { headers: Sealed::new(headers), ledger: Sealed::new(ledger) }
    }

    /// The chain's own view of Bitcoin.
    pub fn headers(&self) -> &HeaderView {
        &self.headers
    }

    /// The books.
    pub fn ledger(&self) -> &PegLedger {
        &self.ledger
    }

    /// The peg as a child finds it whose parent leaves behind this one: a change of custody that waits takes effect with
    /// its epoch, or is forgotten with the change of the federation that carried it. `None` if nothing moves.
    pub(crate) fn at_child(&self, rules: &PegRules, begins_epoch: bool, is_in_flight: bool) -> Option<Self> {
        self.ledger.next_custodians().filter(|_| begins_epoch || !is_in_flight)?;
        let mut ledger = PegLedger::clone(&self.ledger);
        if begins_epoch {
            ledger.rotate(rules, self.headers.tip_height());
        }
        ledger.next_custodians.clear();
        Some(Self { headers: self.headers.clone(), ledger: Sealed::new(ledger) })
    }

    /// What the consensus state commits to.
    pub fn root(&self) -> Root {
        let digest = Sha256::new_with_prefix(self.headers.root()).chain_update(self.ledger.root()).finalize();
        Root::from(<[u8; 32]>::from(digest))
    }
}

impl PartialEq for Peg {
    fn eq(&self, other: &Self) -> bool {
        self.headers.root() == other.headers.root() && self.ledger.root() == other.ledger.root()
    }
}

impl Eq for Peg {}

impl Encode for Peg {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn ssz_bytes_len(&self) -> usize {
        let parts = self.headers.ssz_bytes_len().saturating_add(self.ledger.ssz_bytes_len());
        parts.saturating_add(2usize.saturating_mul(ssz::BYTES_PER_LENGTH_OFFSET))
    }

    fn ssz_append(&self, buf: &mut Vec<u8>) {
        let mut encoder = ssz::SszEncoder::container(buf, 2usize.saturating_mul(ssz::BYTES_PER_LENGTH_OFFSET));
        encoder.append::<HeaderView>(&self.headers);
        encoder.append::<PegLedger>(&self.ledger);
        encoder.finalize();
    }
}

impl Decode for Peg {
    fn is_ssz_fixed_len() -> bool {
        false
    }

    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut builder = ssz::SszDecoderBuilder::new(bytes);
        builder.register_type::<HeaderView>()?;
        builder.register_type::<PegLedger>()?;
        let mut decoder = builder.build()?;
        let (headers, ledger) = (decoder.decode_next::<HeaderView>()?, decoder.decode_next::<PegLedger>()?);
        Ok(Self { headers: Sealed::new(headers), ledger: Sealed::new(ledger) })
    }
}

impl TreeHash for Peg {
    fn tree_hash_type() -> TreeHashType {
        Root::tree_hash_type()
    }

    fn tree_hash_packed_encoding(&self) -> PackedEncoding {
        self.root().tree_hash_packed_encoding()
    }

    fn tree_hash_packing_factor() -> usize {
        Root::tree_hash_packing_factor()
    }

    fn tree_hash_root(&self) -> tree_hash::Hash256 {
        self.root()
    }
}

impl Serialize for Peg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.as_ssz_bytes())
    }
}

impl<'de> Deserialize<'de> for Peg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = Peg;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the peg's state in SSZ")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Peg, E> {
                Peg::from_ssz_bytes(bytes).map_err(|error| E::custom(format!("{error:?}")))
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}
