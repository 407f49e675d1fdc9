//! One signature over one signing root.

use crate::{PublicKey, SIGNATURE_TAG, SigningRoot};
use alloy_primitives::hex;
use blst::BLST_ERROR;
use std::fmt;
use thiserror::Error;

/// Length of a compressed signature in bytes.
pub const SIGNATURE_BYTES: usize = 96;

/// A signature: a point of G2's prime-order subgroup.
///
/// The identity is a well-formed signature (a sum of signatures can be it), but no [`PublicKey`] verifies it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub(crate) blst::min_pk::Signature);

/// Why bytes are not a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The wrong number of bytes.
    #[error("a signature is {SIGNATURE_BYTES} bytes long, not {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Flag bits that contradict each other, or a coordinate not below the field's modulus.
    #[error("the signature is not a canonical compressed point")]
    Encoding,
    /// No point of the curve has this coordinate.
    #[error("the signature is not on the curve")]
    NotOnCurve,
    /// A point of the curve outside the prime-order subgroup.
    #[error("the signature is not in the prime-order subgroup")]
    NotInSubgroup,
}

/// Why well-formed keys and signatures do not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The signature was not made by these keys over these roots.
    #[error("the signature does not match the key and what was signed")]
    Mismatch,
    /// Nobody is said to have signed.
    #[error("no public key to verify with")]
    NoKeys,
}

impl Signature {
    /// Parses a compressed signature and checks its subgroup.
    ///
    /// # Errors
    /// If the bytes are not a canonical encoding of a point in the subgroup.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() != SIGNATURE_BYTES {
            return Err(SignatureError::Length { found: bytes.len() });
        }
        let point = blst::min_pk::Signature::uncompress(bytes).map_err(reason)?;
        point.validate(false).map_err(reason)?;
        Ok(Self(point))
    }

    /// The compressed signature.
    pub fn to_bytes(&self) -> [u8; SIGNATURE_BYTES] {
        self.0.compress()
    }

    /// Checks that `key` signed `root`.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] if it did not.
    pub fn verify(&self, key: &PublicKey, root: SigningRoot) -> Result<(), VerifyError> {
        self.verify_bytes(key, root.0.as_slice(), SIGNATURE_TAG)
    }

    pub(crate) fn verify_bytes(&self, key: &PublicKey, message: &[u8], tag: &[u8]) -> Result<(), VerifyError> {
        // Both points were checked when they were parsed.
        verdict(self.0.verify(false, message, tag, &[], &key.point, false))
    }
}

/// blst's answer as a result.
pub(crate) fn verdict(answer: BLST_ERROR) -> Result<(), VerifyError> {
    if answer == BLST_ERROR::BLST_SUCCESS { Ok(()) } else { Err(VerifyError::Mismatch) }
}

fn reason(error: BLST_ERROR) -> SignatureError {
    match error {
        BLST_ERROR::BLST_POINT_NOT_ON_CURVE => SignatureError::NotOnCurve,
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => SignatureError::NotInSubgroup,
        BLST_ERROR::BLST_SUCCESS
        | BLST_ERROR::BLST_BAD_ENCODING
        | BLST_ERROR::BLST_PK_IS_INFINITY
        | BLST_ERROR::BLST_AGGR_TYPE_MISMATCH
        | BLST_ERROR::BLST_VERIFY_FAIL
        | BLST_ERROR::BLST_BAD_SCALAR => SignatureError::Encoding,
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_prefixed(self.to_bytes()))
    }
}
