//! Sums of signatures.

use crate::{PublicKey, SIGNATURE_TAG, Signature, SignatureError, SigningRoot, VerifyError, signature::verdict};
use std::fmt;
use thiserror::Error;

/// The sum of one or more signatures.
#[derive(Clone, Copy)]
pub struct AggregateSignature(blst::min_pk::AggregateSignature);

/// Why signatures can't be summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AggregateError {
    /// The sum of nothing is the identity, which must never pass for a certificate.
    #[error("no signature to aggregate")]
    Empty,
}

impl AggregateSignature {
    /// Sums signatures (`Aggregate`, draft-irtf-cfrg-bls-signature-05, 2.8).
    ///
    /// # Errors
    /// [`AggregateError::Empty`] if there is none.
    pub fn aggregate<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> Result<Self, AggregateError> {
        let mut signatures = signatures.into_iter();
        let mut sum = Self::from(*signatures.next().ok_or(AggregateError::Empty)?);
        for signature in signatures {
            sum.add(signature);
        }
        Ok(sum)
    }

    /// Adds one more.
    pub fn add(&mut self, signature: &Signature) {
        self.0.add_aggregate(&blst::min_pk::AggregateSignature::from_signature(&signature.0));
    }

    /// Parses a compressed sum and checks its subgroup.
    ///
    /// # Errors
    /// As [`Signature::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        Signature::from_bytes(bytes).map(Self::from)
    }

    /// The compressed sum.
    pub fn to_bytes(&self) -> [u8; crate::SIGNATURE_BYTES] {
        self.to_signature().to_bytes()
    }

    /// The sum as a plain signature.
    pub fn to_signature(&self) -> Signature {
        Signature(self.0.to_signature())
    }

    /// Checks that every one of `keys` signed the same `root` (`FastAggregateVerify`,
    /// draft-irtf-cfrg-bls-signature-05, 3.3.4).
    ///
    /// Sound only for keys whose possession was proven ([`PublicKey::verify_possession`]). A key that occurs twice must
    /// have signed twice; that keys are distinct members is the caller's check.
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] for an empty list, [`VerifyError::Mismatch`] if the sum is not these keys' sum, which
    /// includes keys that cancel each other out.
    pub fn verify<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a PublicKey>,
        root: SigningRoot,
    ) -> Result<(), VerifyError> {
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(VerifyError::NoKeys)?;
        let mut sum = blst::min_pk::AggregatePublicKey::from_public_key(&first.point);
        for key in keys {
            sum.add_aggregate(&blst::min_pk::AggregatePublicKey::from_public_key(&key.point));
        }
        // The sum of checked keys is in the subgroup but can be the identity, so it is validated like any single key.
        verdict(self.to_signature().0.verify(false, root.0.as_slice(), SIGNATURE_TAG, &[], &sum.to_public_key(), true))
    }

    /// Checks that each key signed the root it is paired with (`AggregateVerify`, draft-irtf-cfrg-bls-signature-05,
    /// 3.3: roots may repeat, since keys come with proofs of possession).
    ///
    /// # Errors
    /// [`VerifyError::NoKeys`] for an empty list, [`VerifyError::Mismatch`] if any pair does not belong to the sum.
    pub fn verify_each<'a>(
        &self,
        signed: impl IntoIterator<Item = (&'a PublicKey, SigningRoot)>,
    ) -> Result<(), VerifyError> {
        let (keys, roots): (Vec<_>, Vec<_>) = signed.into_iter().map(|(key, root)| (&key.point, root)).unzip();
        if keys.is_empty() {
            return Err(VerifyError::NoKeys);
        }
        let messages: Vec<&[u8]> = roots.iter().map(|root| root.0.as_slice()).collect();
        verdict(self.to_signature().0.aggregate_verify(false, &messages, SIGNATURE_TAG, &keys, false))
    }
}

impl From<Signature> for AggregateSignature {
    fn from(signature: Signature) -> Self {
        Self(blst::min_pk::AggregateSignature::from_signature(&signature.0))
    }
}

impl PartialEq for AggregateSignature {
    fn eq(&self, other: &Self) -> bool {
        self.to_signature() == other.to_signature()
    }
}

impl Eq for AggregateSignature {}

impl fmt::Debug for AggregateSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AggregateSignature({})", self.to_signature())
    }
}
