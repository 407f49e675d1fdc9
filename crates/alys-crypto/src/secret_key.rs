//! The secret half of a member's key.

use crate::{POSSESSION_TAG, PublicKey, SIGNATURE_TAG, Signature, SigningRoot};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of a secret key in bytes.
pub const SECRET_KEY_BYTES: usize = 32;

/// A BLS12-381 secret scalar, wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct SecretKey(pub(crate) blst::min_pk::SecretKey);

/// Why bytes are not a secret key. Never says which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretKeyError {
    /// The wrong number of bytes.
    #[error("a secret key is {SECRET_KEY_BYTES} bytes long, not {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Zero, or not below the group's order.
    #[error("the secret key is zero or not below the group order")]
    OutOfRange,
    /// Too little key material to derive a key from.
    #[error("key material must have at least 32 bytes, not {found}")]
    WeakMaterial {
        /// Bytes given.
        found: usize,
    },
}

impl SecretKey {
    /// Parses a big-endian scalar.
    ///
    /// # Errors
    /// If the length is not [`SECRET_KEY_BYTES`], or the scalar is zero or not below the group order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretKeyError> {
        if bytes.len() != SECRET_KEY_BYTES {
            return Err(SecretKeyError::Length { found: bytes.len() });
        }
        blst::min_pk::SecretKey::from_bytes(bytes).map(Self).map_err(|_| SecretKeyError::OutOfRange)
    }

    /// Makes a key from uniform secret bytes (`KeyGen` of draft-irtf-cfrg-bls-signature-05, the empty `key_info`).
    ///
    /// The caller brings the randomness; the same material always gives the same key.
    ///
    /// # Errors
    /// If there are fewer than 32 bytes.
    pub fn generate(material: &[u8]) -> Result<Self, SecretKeyError> {
        blst::min_pk::SecretKey::key_gen(material, &[])
            .map(Self)
            .map_err(|_| SecretKeyError::WeakMaterial { found: material.len() })
    }

    /// The scalar, big-endian, in a buffer that wipes itself.
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_KEY_BYTES]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_point(self.0.sk_to_pk())
    }

    /// Signs. BLS is deterministic: the same root always gives the same signature.
    ///
    /// Ask the signing record first; this function remembers nothing.
    pub fn sign(&self, root: SigningRoot) -> Signature {
        Signature(self.0.sign(root.0.as_slice(), SIGNATURE_TAG, &[]))
    }

    /// Proves possession of this key: a signature over the compressed public key under its own tag
    /// (draft-irtf-cfrg-bls-signature-05, 3.3.2 `PopProve`).
    pub fn prove_possession(&self) -> Signature {
        Signature(self.0.sign(&self.public_key().to_bytes(), POSSESSION_TAG, &[]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}
