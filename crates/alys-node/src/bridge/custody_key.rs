//! The Bitcoin key of a federation member.

use alys_bitcoin::CustodyKey;
use alys_crypto::SecretKey;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Tells the derivation apart from every other use of the secret.
const TAG: &[u8] = b"alys/custody-key/v1";

/// Tells the recovery key of a keystore apart from its custody keys.
const RECOVERY_TAG: &[u8] = b"alys/recovery-key/v1";

/// How many keys a keystore has for custody, one after the other: a member that stays takes the next at each change.
pub const CUSTODY_GENERATIONS: u8 = 8;

/// The member's key for deposits, derived from the one secret in its keystore: `sha256(tag || secret || counter)`, the
/// first counter from 0 that gives a key (the first one does, but for odds of 2^-128). Keys of generations after the
/// first have the generation's number behind the counter.
pub fn custody_key(secret: &SecretKey, generation: u8) -> Option<CustodyKey> {
    derive(TAG, secret, (generation > 0).then_some(generation))
}

/// The recovery key of a keystore, which is kept for that and nothing else; derived as the custody key is, with a tag of its
/// own.
pub fn recovery_key(secret: &SecretKey) -> Option<CustodyKey> {
    derive(RECOVERY_TAG, secret, None)
}

fn derive(tag: &[u8], secret: &SecretKey, suffix: Option<u8>) -> Option<CustodyKey> {
    let secret = secret.to_bytes();
    (0u8..=255).find_map(|counter| {
        let digest = Sha256::new_with_prefix(tag).chain_update(*secret).chain_update([counter]);
        let digest = suffix.into_iter().fold(digest, |digest, number| digest.chain_update([number]));
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(digest.finalize().into());
        CustodyKey::from_bytes(&bytes)
    })
}

/// All custody keys of a keystore: a member serves with the one that a custody names.
pub fn custody_keys(secret: &SecretKey) -> Vec<CustodyKey> {
    (0..CUSTODY_GENERATIONS).filter_map(|generation| custody_key(secret, generation)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_gives_one_key_and_another_another() {
        let secret = |byte| SecretKey::generate(&[byte; 32]).unwrap();
        let key = |byte| custody_key(&secret(byte), 0).unwrap().public_key();
        assert_ne!(key(1), custody_key(&secret(1), 1).unwrap().public_key());
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_ne!(key(1).serialize(), *secret(1).to_bytes());
        let recovery = |byte| recovery_key(&secret(byte)).unwrap().public_key();
        assert_eq!(recovery(1), recovery(1));
        assert!(recovery(1) != recovery(2) && recovery(1) != key(1));
    }
}
