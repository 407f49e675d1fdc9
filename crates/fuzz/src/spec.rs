//! The file that names a chain.

use alys_primitives::ChainSpec;

/// A chain spec as a node reads it, whose constants must not break what is computed from them once they validate.
///
/// # Panics
/// On a finding.
pub fn chain_spec(bytes: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<ChainSpec>(bytes) else { return };
    let again = serde_json::to_vec(&spec).and_then(|bytes| serde_json::from_slice::<ChainSpec>(&bytes));
    assert!(again.is_ok_and(|again| again == spec && again.genesis_root() == spec.genesis_root()));
    if spec.validate().is_ok()
        && let Ok(asert) = alys_auxpow::Asert::of_spec(&spec.auxpow)
    {
        assert!(asert.target(u64::MAX, 0) <= asert.limit());
        assert!(asert.target(0, u64::MAX) <= asert.limit());
    }
}
