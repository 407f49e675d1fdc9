//! The scheme of simulations.

use crate::{
    Chain, ChainConfig, Restored,
    error::{GenesisError, RestoreError},
    scheme::Scheme,
};
use alys_crypto::{PublicKey, SigningRoot};
use alys_primitives::{ChainSpec, SignatureBytes};
use sha2::{Digest as _, Sha256};

/// The "signature" of a key under the scheme of simulations. Anyone can make it.
pub fn sign(key: &PublicKey, root: SigningRoot) -> SignatureBytes {
    let mut bytes = [0; 96];
    for (part, chunk) in (0u8..).zip(bytes.chunks_mut(32)) {
        let digest = Sha256::new_with_prefix(key.as_bytes()).chain_update(root.0).chain_update([part]).finalize();
        chunk.copy_from_slice(&digest);
    }
    SignatureBytes::from(bytes)
}

/// [`Chain::genesis`] with the scheme of simulations.
///
/// # Errors
/// As [`Chain::genesis`], proofs of possession apart.
pub fn genesis(spec: ChainSpec, config: ChainConfig) -> Result<Chain, GenesisError> {
    Chain::begin(spec, config, Scheme::Unproven)
}

/// [`Chain::restore`] with the scheme of simulations.
///
/// # Errors
/// As [`Chain::restore`], proofs of possession apart.
pub fn restore(spec: ChainSpec, config: ChainConfig, restored: Restored) -> Result<Chain, RestoreError> {
    Chain::resume(spec, config, restored, Scheme::Unproven)
}
