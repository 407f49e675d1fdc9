//! Keys and signatures from peers and files.

use alys_crypto::keystore::Keystore;
use alys_crypto::{AggregateSignature, PublicKey, SecretKey, Signature, SigningRoot};
use alys_primitives::B256;

/// A public key has one encoding, and anything that parses can be verified with.
///
/// # Panics
/// On a finding.
pub fn public_key(bytes: &[u8]) {
    let Ok(key) = PublicKey::from_bytes(bytes) else { return };
    assert_eq!(key.to_bytes(), bytes);
    if let Ok(other) = SecretKey::generate(&[1; 32]) {
        let signature = other.sign(SigningRoot(B256::ZERO));
        assert_eq!(signature.verify(&key, SigningRoot(B256::ZERO)).is_ok(), key == other.public_key());
    }
}

/// A signature has one encoding and may be summed.
///
/// # Panics
/// On a finding.
pub fn signature(bytes: &[u8]) {
    let parsed = Signature::from_bytes(bytes);
    assert_eq!(parsed.is_ok(), AggregateSignature::from_bytes(bytes).is_ok());
    let Ok(signature) = parsed else { return };
    assert_eq!(signature.to_bytes(), bytes);
    let sum = AggregateSignature::aggregate([&signature]).map(|sum| sum.to_bytes());
    assert_eq!(sum, Ok(signature.to_bytes()));
}

/// A key file that parses is within its bounds and is written back as the same file. It is not decrypted: that is slow
/// on purpose.
///
/// # Panics
/// On a finding.
pub fn keystore(bytes: &[u8]) {
    let Ok(file) = Keystore::from_json(bytes) else { return };
    let again = Keystore::from_json(file.to_json().as_bytes());
    assert!(again.is_ok_and(|again| again == file));
}
