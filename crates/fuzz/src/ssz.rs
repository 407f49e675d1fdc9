//! What peers and files send in SSZ.

use alys_primitives::ssz::{Decode, Encode};
use alys_primitives::{
    Approval, AuxPowRecord, ChainSpec, Evidence, FederationChange, Notarization, SignedBlock, TreeHash,
};
use std::fmt::Debug;

/// What decodes has one encoding and a root.
fn canonical<T: Encode + Decode + TreeHash + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::from_ssz_bytes(bytes).ok()?;
    assert_eq!(value.as_ssz_bytes(), bytes, "two encodings of one value");
    assert_eq!(value.ssz_bytes_len(), bytes.len());
    value.tree_hash_root();
    Some(value)
}

/// A block as it travels.
///
/// # Panics
/// On a finding.
pub fn signed_block(bytes: &[u8]) {
    if let Some(block) = canonical::<SignedBlock>(bytes) {
        assert_eq!(block.root(), block.signed_header().header.root());
    }
}

/// A certificate.
///
/// # Panics
/// On a finding.
pub fn notarization(bytes: &[u8]) {
    canonical::<Notarization>(bytes);
}

/// A member's vote.
///
/// # Panics
/// On a finding.
pub fn approval(bytes: &[u8]) {
    canonical::<Approval>(bytes);
}

/// Proofs of equivocation.
///
/// # Panics
/// On a finding.
pub fn evidence(bytes: &[u8]) {
    canonical::<Evidence>(bytes);
}

/// Work with the bundle that it commits to.
///
/// # Panics
/// On a finding.
pub fn auxpow_record(bytes: &[u8]) {
    if let Some(record) = canonical::<AuxPowRecord>(bytes) {
        crate::auxpow(&record.proof);
    }
}

/// A change of the federation.
///
/// # Panics
/// On a finding.
pub fn federation_change(bytes: &[u8]) {
    canonical::<FederationChange>(bytes);
}

/// A chain spec, whose constants must not break what is computed from them once they validate.
///
/// # Panics
/// On a finding.
pub fn chain_spec(bytes: &[u8]) {
    let Some(spec) = canonical::<ChainSpec>(bytes) else { return };
    if spec.validate().is_ok()
        && let Ok(asert) = alys_auxpow::Asert::of_spec(&spec.auxpow)
    {
        assert!(asert.target(u64::MAX, 0) <= asert.limit());
        assert!(asert.target(0, u64::MAX) <= asert.limit());
    }
}
