//! Key files (EIP-2335, version 4).
//!
//! A key file comes from outside: its size, its key-derivation cost and the length of every field are bounded before
//! anything is computed, and keys that the standard does not name are refused.

mod kdf;
mod layout;
mod password;

pub use kdf::{KdfCost, MAX_PBKDF2_ITERATIONS, MAX_SCRYPT_BYTES, MAX_SCRYPT_WORK};
pub use password::{MAX_PASSWORD_BYTES, Password, PasswordError};

use crate::{PublicKey, PublicKeyError, SECRET_KEY_BYTES, SecretKey, SecretKeyError};
use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use kdf::{DERIVED_KEY_BYTES, Kdf};
use layout::Document;
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

/// The most bytes of a key file.
pub const MAX_KEYSTORE_BYTES: usize = 16_384;

/// The most bytes of a description, name or path.
pub const MAX_TEXT_BYTES: usize = 1024;

/// An encrypted secret key with what is needed to decrypt it, all of it within bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct Keystore {
    kdf: Kdf,
    checksum: [u8; 32],
    iv: [u8; 16],
    ciphertext: [u8; SECRET_KEY_BYTES],
    public_key: PublicKey,
    path: String,
    description: Option<String>,
    name: Option<String>,
    uuid: [u8; 16],
}

/// Why a key file can't be used.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// More than [`MAX_KEYSTORE_BYTES`].
    #[error("a key file has at most {MAX_KEYSTORE_BYTES} bytes, not {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Not JSON, or not the JSON of EIP-2335.
    #[error("the file is not an EIP-2335 keystore")]
    Json(#[from] serde_json::Error),
    /// Another version of the format.
    #[error("keystore version {found} is not supported, only 4 is")]
    Version {
        /// The file's version.
        found: u64,
    },
    /// A byte field that is not hexadecimal or has a length that its place does not allow.
    #[error("`{field}` is not {expected}")]
    Field {
        /// The field's name in the file.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Key derivation that is malformed or would cost too much memory or time.
    #[error("key derivation with {parameter} = {found} is outside the limits ({limit})")]
    Cost {
        /// The offending parameter.
        parameter: &'static str,
        /// Its value.
        found: u64,
        /// The allowed range in words.
        limit: &'static str,
    },
    /// The file's public key is not one.
    #[error("the file's public key is unusable")]
    PublicKey(#[from] PublicKeyError),
    /// The checksum does not match: another password, or a damaged file.
    #[error("wrong password, or the file is damaged")]
    WrongPassword,
    /// The decrypted bytes are not a secret key.
    #[error("the decrypted bytes are not a secret key")]
    Secret(#[from] SecretKeyError),
    /// The decrypted key is not the one that the file names.
    #[error("the decrypted key does not belong to the file's public key {expected}")]
    OtherKey {
        /// The key that the file names.
        expected: Box<PublicKey>,
    },
}

/// Fresh random bytes for a new key file; never use the same ones twice.
#[derive(Clone, Copy, Debug)]
pub struct KeystoreEntropy {
    /// Salt of the key derivation.
    pub salt: [u8; 32],
    /// Initial counter of the cipher.
    pub iv: [u8; 16],
    /// Name of the file.
    pub uuid: [u8; 16],
}

impl Keystore {
    /// Parses and bounds a key file.
    ///
    /// # Errors
    /// [`KeystoreError`] says what is wrong; nothing expensive has been computed then.
    pub fn from_json(json: &[u8]) -> Result<Self, KeystoreError> {
        if json.len() > MAX_KEYSTORE_BYTES {
            return Err(KeystoreError::TooLong { found: json.len() });
        }
        Document::parse(json)?.into_keystore()
    }

    /// The file's JSON.
    pub fn to_json(&self) -> String {
        Document::of(self).to_json()
    }

    /// Encrypts a key. The cipher is AES-128 in counter mode, the checksum SHA-256, as the standard has them.
    ///
    /// # Errors
    /// [`KeystoreError::Cost`] for a cost that this crate would refuse to read back, [`KeystoreError::Field`] for a
    /// path of more than [`MAX_TEXT_BYTES`].
    pub fn encrypt(
        key: &SecretKey,
        password: &Password,
        path: &str,
        cost: KdfCost,
        entropy: KeystoreEntropy,
    ) -> Result<Self, KeystoreError> {
        bounded_text("path", path)?;
        let kdf = Kdf::new(cost, entropy.salt.to_vec())?;
        let derived = kdf.derive(password)?;
        let mut ciphertext = Zeroizing::new(*key.to_bytes());
        let (cipher_key, checksum_key) = halves(&derived);
        apply_cipher(cipher_key, entropy.iv, ciphertext.as_mut_slice());
        let mut uuid = entropy.uuid;
        // RFC 4122: version 4, variant 1.
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        Ok(Self {
            checksum: checksum(checksum_key, &ciphertext),
            kdf,
            iv: entropy.iv,
            ciphertext: *ciphertext,
            public_key: key.public_key(),
            path: path.to_owned(),
            description: None,
            name: None,
            uuid,
        })
    }

    /// Decrypts the key. Costs what the file asks for, which is within the limits of this module: up to 256 MiB of
    /// memory and a few seconds.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], or [`KeystoreError::Secret`] and [`KeystoreError::OtherKey`] for a file whose
    /// parts do not belong together.
    pub fn decrypt(&self, password: &Password) -> Result<SecretKey, KeystoreError> {
        let derived = self.kdf.derive(password)?;
        let (cipher_key, checksum_key) = halves(&derived);
        if checksum(checksum_key, &self.ciphertext) != self.checksum {
            return Err(KeystoreError::WrongPassword);
        }
        let mut secret = Zeroizing::new(self.ciphertext);
        apply_cipher(cipher_key, self.iv, secret.as_mut_slice());
        let key = SecretKey::from_bytes(secret.as_slice())?;
        if key.public_key() != self.public_key {
            return Err(KeystoreError::OtherKey { expected: Box::new(self.public_key) });
        }
        Ok(key)
    }

    /// The public key that the file is for.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The derivation path as written in the file; empty for a key that was not derived.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file's description.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The file's UUID in its usual text form.
    pub fn uuid(&self) -> String {
        layout::uuid_text(self.uuid)
    }
}

impl fmt::Debug for Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore")
            .field("public_key", &self.public_key)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The cipher's key and the checksum's.
fn halves(derived: &[u8; DERIVED_KEY_BYTES]) -> ([u8; 16], [u8; 16]) {
    let mut halves = ([0; 16], [0; 16]);
    for (to, from) in halves.0.iter_mut().chain(&mut halves.1).zip(derived) {
        *to = *from;
    }
    halves
}

fn apply_cipher(key: [u8; 16], iv: [u8; 16], bytes: &mut [u8]) {
    Ctr128BE::<Aes128>::new(&key.into(), &iv.into()).apply_keystream(bytes);
}

fn checksum(key: [u8; 16], ciphertext: &[u8; SECRET_KEY_BYTES]) -> [u8; 32] {
    Sha256::new_with_prefix(key).chain_update(ciphertext).finalize().into()
}

fn bounded_text(field: &'static str, text: &str) -> Result<(), KeystoreError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(KeystoreError::Field { field, expected: "a text of at most 1024 bytes" });
    }
    Ok(())
}
