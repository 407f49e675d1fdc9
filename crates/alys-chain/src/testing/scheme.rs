//! The scheme of simulations.

use super::Plant;
use crate::{
    Chain, ChainConfig, Restored,
    error::{GenesisError, RestoreError},
    scheme::Scheme,
};
use alys_crypto::{PublicKey, SigningRoot};
use alys_primitives::{ChainSpec, SignatureBytes};

/// The "signature" of a key under the scheme of simulations. Anyone can make it. It must be cheap, not strong: what
/// simulated adversaries sign is for the simulator to decide.
pub fn sign(key: &PublicKey, root: SigningRoot) -> SignatureBytes {
    let mut bytes = [0; 96];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for word in key.as_bytes().chunks(8).chain(root.0.chunks(8)) {
        state = mix(state ^ word.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)));
    }
    for chunk in bytes.chunks_mut(8) {
        state = mix(state);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    SignatureBytes::from(bytes)
}

/// One step of splitmix64.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// [`Chain::genesis`] with the scheme of simulations.
///
/// # Errors
/// As [`Chain::genesis`], proofs of possession apart.
pub fn genesis(spec: ChainSpec, config: ChainConfig, plant: Option<Plant>) -> Result<Chain, GenesisError> {
    Chain::begin(spec, config, Scheme::Unproven(plant))
}

/// [`Chain::restore`] with the scheme of simulations.
///
/// # Errors
/// As [`Chain::restore`], proofs of possession apart.
pub fn restore(
    spec: ChainSpec,
    config: ChainConfig,
    restored: Restored,
    plant: Option<Plant>,
) -> Result<Chain, RestoreError> {
    Chain::resume(spec, config, restored, Scheme::Unproven(plant))
}
