//! The Bitcoin key of a federation member.

use alys_bitcoin::CustodyKey;
use alys_crypto::SecretKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Tells the derivation apart from every other use of the secret.
const TAG: &[u8] = b"alys/custody-key/v1";

/// The member's key for deposits, derived from the one secret in its keystore: `sha256(tag || secret || counter)`, the
/// first counter from 0 that gives a key (the first one does, but for odds of 2^-128).
pub fn custody_key(secret: &SecretKey) -> Option<CustodyKey> {
    let secret = secret.to_bytes();
    (0u8..=255).find_map(|counter| {
        let digest = Sha256::new_with_prefix(TAG).chain_update(*secret).chain_update([counter]).finalize();
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(digest.into());
        CustodyKey::from_bytes(&bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_gives_one_key_and_another_another() {
        let secret = |byte| SecretKey::generate(&[byte; 32]).unwrap();
        let key = |byte| custody_key(&secret(byte)).unwrap().public_key();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_ne!(key(1).serialize(), *secret(1).to_bytes());
    }
}
