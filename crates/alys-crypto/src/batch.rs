//! Many signatures checked with one final exponentiation.

use crate::{PublicKey, SIGNATURE_TAG, Signature, SigningRoot, VerifyError, signature::verdict};
use sha2::{Digest, Sha256};

/// Bits of a coefficient: the chance that a batch with a bad signature passes is 2^-127.
const COEFFICIENT_BITS: usize = 128;

/// One signature and what it claims.
#[derive(Clone, Copy, Debug)]
pub struct SignatureSet<'a> {
    /// Who signed.
    pub key: &'a PublicKey,
    /// What was signed.
    pub root: SigningRoot,
    /// The signature.
    pub signature: &'a Signature,
}

/// Checks all of `sets` at once as a random linear combination; cheaper than one by one, with the same answer.
///
/// The coefficients are a hash of `entropy` and of everything in the batch, so that even an attacker who knows the
/// entropy (a replayed simulation, a weak source) can't choose signatures whose errors cancel.
///
/// # Errors
/// [`VerifyError::NoKeys`] for an empty batch; [`VerifyError::Mismatch`] if any signature is wrong: verify one by one to
/// learn which.
pub fn verify_batch(sets: &[SignatureSet<'_>], entropy: &[u8; 32]) -> Result<(), VerifyError> {
    if sets.is_empty() {
        return Err(VerifyError::NoKeys);
    }
    let mut transcript = Sha256::new_with_prefix(entropy);
    for set in sets {
        transcript.update(set.key.as_bytes());
        transcript.update(set.root.0);
        transcript.update(set.signature.0.serialize());
    }
    let seed = transcript.finalize();

    let coefficients: Vec<blst::blst_scalar> = (0u64..).zip(sets).map(|(index, _)| coefficient(&seed, index)).collect();
    let messages: Vec<&[u8]> = sets.iter().map(|set| set.root.0.as_slice()).collect();
    let keys: Vec<_> = sets.iter().map(|set| &set.key.point).collect();
    let signatures: Vec<_> = sets.iter().map(|set| &set.signature.0).collect();
    verdict(blst::min_pk::Signature::verify_multiple_aggregate_signatures(
        &messages,
        SIGNATURE_TAG,
        &keys,
        false,
        &signatures,
        false,
        &coefficients,
        COEFFICIENT_BITS,
    ))
}

/// An odd (so never zero) number of [`COEFFICIENT_BITS`] bits, little-endian.
fn coefficient(seed: &[u8], index: u64) -> blst::blst_scalar {
    let digest = Sha256::new_with_prefix(seed).chain_update(index.to_le_bytes()).finalize();
    let mut scalar = blst::blst_scalar::default();
    for (to, from) in scalar.b.iter_mut().zip(digest).take(COEFFICIENT_BITS / 8) {
        *to = from;
    }
    if let Some(lowest) = scalar.b.first_mut() {
        *lowest |= 1;
    }
    scalar
}
