//! Keystores and passwords as files: bounded reads, private writes, never a secret on a command line or in a message.

use crate::bounded::{ReadError, read_bounded};
use alys_crypto::SecretKey;
use alys_crypto::keystore::{
    KdfCost, Keystore, KeystoreEntropy, KeystoreError, MAX_KEYSTORE_BYTES, Password, PasswordError,
};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest password file in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Where a member's key is derived from the seed of its own (EIP-2334); recorded in the keystore.
pub const KEY_PATH: &str = "m/12381/3600/0/0/0";

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] ReadError),
    /// The file can't be written. Existing files are never overwritten.
    #[error("{path} can't be written")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The keystore can't be used, or the password is wrong.
    #[error("keystore {path}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeystoreError,
    },
    /// The password can't be used.
    #[error("password of {path}")]
    Password {
        /// The keystore.
        path: PathBuf,
        /// What is wrong.
        source: PasswordError,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Entropy(#[source] rand::rand_core::OsError),
    /// The secret key in a file is none.
    #[error("{path} holds no secret key")]
    SecretKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: alys_crypto::SecretKeyError,
    },
}

/// A fresh random key.
///
/// # Errors
/// [`KeyFileError::Entropy`].
pub fn generate_key() -> Result<SecretKey, KeyFileError> {
    let mut material = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(&mut *material).map_err(KeyFileError::Entropy)?;
    SecretKey::generate(&*material)
        .map_err(|source| KeyFileError::SecretKey { path: PathBuf::from("generated material"), source })
}

/// Encrypts `key` into a new EIP-2335 keystore at `path`, readable by its owner only.
///
/// # Errors
/// The file exists or can't be written; no randomness; a password that can't be used.
pub fn write_keystore(path: &Path, key: &SecretKey, password: &Password, cost: KdfCost) -> Result<(), KeyFileError> {
    let mut entropy = KeystoreEntropy { salt: [0; 32], iv: [0; 16], uuid: [0; 16] };
    for part in [&mut entropy.salt[..], &mut entropy.iv[..], &mut entropy.uuid[..]] {
        OsRng.try_fill_bytes(part).map_err(KeyFileError::Entropy)?;
    }
    let keystore = Keystore::encrypt(key, password, KEY_PATH, cost, entropy)
        .map_err(|source| KeyFileError::Keystore { path: path.to_owned(), source })?;
    write_private(path, keystore.to_json().as_bytes())
}

/// Reads a keystore without decrypting it.
///
/// # Errors
/// An unreadable, oversized or malformed file.
pub fn read_keystore(path: &Path) -> Result<Keystore, KeyFileError> {
    let limit = u64::try_from(MAX_KEYSTORE_BYTES).unwrap_or(u64::MAX);
    let bytes = read_bounded(path, limit)?;
    Keystore::from_json(&bytes).map_err(|source| KeyFileError::Keystore { path: path.to_owned(), source })
}

/// Decrypts the keystore at `path` with the first line of `password_file`. Takes up to a second and 256 MiB.
///
/// # Errors
/// As [`read_keystore`], a bad password file, a wrong password.
pub fn unlock(path: &Path, password_file: &Path) -> Result<SecretKey, KeyFileError> {
    let keystore = read_keystore(path)?;
    let password = read_password(password_file)?;
    keystore.decrypt(&password).map_err(|source| KeyFileError::Keystore { path: path.to_owned(), source })
}

/// The first line of a file as a password.
///
/// # Errors
/// An unreadable or oversized file, or text that is no password.
pub fn read_password(path: &Path) -> Result<Password, KeyFileError> {
    let bytes = Zeroizing::new(read_bounded(path, MAX_PASSWORD_BYTES)?);
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    let line = text.lines().next().unwrap_or_default();
    Password::new(line).map_err(|source| KeyFileError::Password { path: path.to_owned(), source })
}

/// Creates a file that only its owner can read, with these bytes synced. Refuses to overwrite.
///
/// # Errors
/// [`KeyFileError::Unwritable`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const CHEAP: KdfCost = KdfCost::Scrypt { n: 1024, r: 8, p: 1 };

    #[test]
    fn a_written_keystore_unlocks_with_its_password_only() {
        let folder = tempfile::tempdir().unwrap();
        let (path, good, bad) = (folder.path().join("k.json"), folder.path().join("p"), folder.path().join("q"));
        std::fs::write(&good, "correct horse\n").unwrap();
        std::fs::write(&bad, "wrong\n").unwrap();
        let key = generate_key().unwrap();
        write_keystore(&path, &key, &read_password(&good).unwrap(), CHEAP).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(unlock(&path, &good).unwrap().public_key(), key.public_key());
        assert!(matches!(unlock(&path, &bad), Err(KeyFileError::Keystore { .. })));
        let again = write_keystore(&path, &key, &read_password(&good).unwrap(), CHEAP);
        assert!(matches!(again, Err(KeyFileError::Unwritable { .. })), "keystores are never overwritten");
    }

    #[test]
    fn damaged_and_oversized_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.json");
        for text in ["", "{", "{}", "[1,2]", "{\"version\":4}"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_keystore(&path), Err(KeyFileError::Keystore { .. })), "{text}");
        }
        std::fs::write(&path, vec![b' '; MAX_KEYSTORE_BYTES + 1]).unwrap();
        assert!(matches!(read_keystore(&path), Err(KeyFileError::File(ReadError::TooLarge { .. }))));
    }
}
