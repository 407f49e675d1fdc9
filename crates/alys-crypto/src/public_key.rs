//! The public half of a member's key.

use crate::{POSSESSION_TAG, Signature, VerifyError};
use alloy_primitives::hex;
use blst::BLST_ERROR;
use std::{fmt, hash};
use thiserror::Error;

/// Length of a compressed public key in bytes.
pub const PUBLIC_KEY_BYTES: usize = 48;

/// A public key: a point of G1's prime-order subgroup other than the identity.
///
/// Ordered, compared and hashed by its compressed bytes, which are canonical.
#[derive(Clone, Copy)]
pub struct PublicKey {
    pub(crate) point: blst::min_pk::PublicKey,
    // Compression costs a field inversion, and keys are looked up by their bytes far more often than they are made.
    bytes: [u8; PUBLIC_KEY_BYTES],
}

/// Why bytes are not a usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PublicKeyError {
    /// The wrong number of bytes.
    #[error("a public key is {PUBLIC_KEY_BYTES} bytes long, not {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Flag bits that contradict each other, or a coordinate not below the field's modulus.
    #[error("the public key is not a canonical compressed point")]
    Encoding,
    /// No point of the curve has this coordinate.
    #[error("the public key is not on the curve")]
    NotOnCurve,
    /// A point of the curve outside the prime-order subgroup.
    #[error("the public key is not in the prime-order subgroup")]
    NotInSubgroup,
    /// The identity, for which anyone can sign.
    #[error("the public key is the point at infinity")]
    Infinity,
}

impl PublicKey {
    /// Parses and validates a compressed key (`KeyValidate` of draft-irtf-cfrg-bls-signature-05, 2.5).
    ///
    /// # Errors
    /// If the bytes are not a canonical encoding of a point in the subgroup, or are the point at infinity.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let bytes: [u8; PUBLIC_KEY_BYTES] =
            bytes.try_into().map_err(|_| PublicKeyError::Length { found: bytes.len() })?;
        let point = blst::min_pk::PublicKey::uncompress(&bytes).map_err(reason)?;
        point.validate().map_err(reason)?;
        Ok(Self { point, bytes })
    }

    /// The sum of keys, against which the sum of their signatures over one root verifies. Sound only for keys whose
    /// possession was proven. `None` for no keys, and for keys that cancel each other out.
    pub fn sum<'a>(keys: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut keys = keys.into_iter();
        let mut sum = blst::min_pk::AggregatePublicKey::from_public_key(&keys.next()?.point);
        for key in keys {
            sum.add_aggregate(&blst::min_pk::AggregatePublicKey::from_public_key(&key.point));
        }
        let point = sum.to_public_key();
        // Sums of points in the subgroup stay in it; only the identity is left to refuse.
        point.validate().ok()?;
        Some(Self::from_point(point))
    }

    pub(crate) fn from_point(point: blst::min_pk::PublicKey) -> Self {
        Self { point, bytes: point.compress() }
    }

    /// The compressed key.
    pub const fn to_bytes(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.bytes
    }

    /// The compressed key, borrowed.
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.bytes
    }

    /// Checks a proof that somebody holds this key's secret (`PopVerify`, draft-irtf-cfrg-bls-signature-05, 3.3.3).
    ///
    /// Only keys that passed may enter [`crate::AggregateSignature::verify`]: without the proof, a member could choose
    /// its key so that it cancels the others'.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] if the proof does not verify.
    pub fn verify_possession(&self, proof: &Signature) -> Result<(), VerifyError> {
        proof.verify_bytes(self, &self.bytes, POSSESSION_TAG)
    }
}

fn reason(error: BLST_ERROR) -> PublicKeyError {
    match error {
        BLST_ERROR::BLST_POINT_NOT_ON_CURVE => PublicKeyError::NotOnCurve,
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => PublicKeyError::NotInSubgroup,
        BLST_ERROR::BLST_PK_IS_INFINITY => PublicKeyError::Infinity,
        BLST_ERROR::BLST_SUCCESS
        | BLST_ERROR::BLST_BAD_ENCODING
        | BLST_ERROR::BLST_AGGR_TYPE_MISMATCH
        | BLST_ERROR::BLST_VERIFY_FAIL
        | BLST_ERROR::BLST_BAD_SCALAR => PublicKeyError::Encoding,
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl hash::Hash for PublicKey {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_prefixed(self.bytes))
    }
}
