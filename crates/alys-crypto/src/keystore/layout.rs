//! The JSON of EIP-2335.
//!
//! Every object refuses keys that the standard does not name; `name` is the one extension that is known to be in use.

use super::{Kdf, KdfCost, Keystore, KeystoreError, bounded_text};
use crate::PublicKey;
use alloy_primitives::hex;
use serde::{Deserialize, Serialize};

/// The only version of the format.
const VERSION: u64 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    crypto: Crypto,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    pubkey: String,
    #[serde(default)]
    path: String,
    uuid: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Crypto {
    kdf: KdfModule,
    checksum: ChecksumModule,
    cipher: CipherModule,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KdfModule {
    function: KdfFunction,
    params: KdfParams,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KdfFunction {
    Scrypt,
    Pbkdf2,
}

/// Which of the fields are there depends on the function; the conversion demands exactly the right ones.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KdfParams {
    dklen: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prf: Option<Prf>,
    salt: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Prf {
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksumModule {
    function: ChecksumFunction,
    params: NoParams,
    message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChecksumFunction {
    Sha256,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CipherModule {
    function: CipherFunction,
    params: CipherParams,
    message: String,
}

#[derive(Serialize, Deserialize)]
enum CipherFunction {
    #[serde(rename = "aes-128-ctr")]
    Aes128Ctr,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CipherParams {
    iv: String,
}

impl Document {
    pub(super) fn parse(json: &[u8]) -> Result<Self, KeystoreError> {
        Ok(serde_json::from_slice(json)?)
    }

    pub(super) fn to_json(&self) -> String {
        // Strings and numbers under fixed keys: writing them to memory has no way to fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn into_keystore(self) -> Result<Keystore, KeystoreError> {
        if self.version != VERSION {
            return Err(KeystoreError::Version { found: self.version });
        }
        bounded_text("path", &self.path)?;
        bounded_text("description", self.description.as_deref().unwrap_or_default())?;
        bounded_text("name", self.name.as_deref().unwrap_or_default())?;
        let Crypto { kdf, checksum, cipher } = self.crypto;
        if !kdf.message.is_empty() {
            return Err(KeystoreError::Field { field: "crypto.kdf.message", expected: "empty" });
        }
        let public_key: [u8; 48] = bytes("pubkey", "48 bytes in hexadecimal", &self.pubkey)?;
        Ok(Keystore {
            kdf: kdf.params.into_kdf(kdf.function)?,
            checksum: bytes("crypto.checksum.message", "32 bytes in hexadecimal", &checksum.message)?,
            iv: bytes("crypto.cipher.params.iv", "16 bytes in hexadecimal", &cipher.params.iv)?,
            ciphertext: bytes("crypto.cipher.message", "32 bytes in hexadecimal", &cipher.message)?,
            public_key: PublicKey::from_bytes(&public_key)?,
            path: self.path,
            description: self.description,
            name: self.name,
            uuid: parse_uuid(&self.uuid)?,
        })
    }

    pub(super) fn of(keystore: &Keystore) -> Self {
        let (function, n, r, p, c, prf) = match keystore.kdf.cost() {
            KdfCost::Scrypt { n, r, p } => (KdfFunction::Scrypt, Some(n), Some(r), Some(p), None, None),
            KdfCost::Pbkdf2 { iterations } => {
                (KdfFunction::Pbkdf2, None, None, None, Some(iterations), Some(Prf::HmacSha256))
            }
        };
        let salt = hex::encode(keystore.kdf.salt());
        Self {
            crypto: Crypto {
                kdf: KdfModule {
                    function,
                    params: KdfParams { dklen: DKLEN, n, r, p, c, prf, salt },
                    message: String::new(),
                },
                checksum: ChecksumModule {
                    function: ChecksumFunction::Sha256,
                    params: NoParams {},
                    message: hex::encode(keystore.checksum),
                },
                cipher: CipherModule {
                    function: CipherFunction::Aes128Ctr,
                    params: CipherParams { iv: hex::encode(keystore.iv) },
                    message: hex::encode(keystore.ciphertext),
                },
            },
            description: keystore.description.clone(),
            pubkey: hex::encode(keystore.public_key.to_bytes()),
            path: keystore.path.clone(),
            uuid: uuid_text(keystore.uuid),
            version: VERSION,
            name: keystore.name.clone(),
        }
    }
}

/// `dklen` of every file: [`super::kdf::DERIVED_KEY_BYTES`].
const DKLEN: u32 = 32;

impl KdfParams {
    fn into_kdf(self, function: KdfFunction) -> Result<Kdf, KeystoreError> {
        if self.dklen != DKLEN {
            let found = self.dklen.into();
            return Err(KeystoreError::Cost { parameter: "dklen", found, limit: "exactly 32" });
        }
        let cost = match (function, self.n, self.r, self.p, self.c, self.prf) {
            (KdfFunction::Scrypt, Some(n), Some(r), Some(p), None, None) => KdfCost::Scrypt { n, r, p },
            (KdfFunction::Pbkdf2, None, None, None, Some(iterations), Some(Prf::HmacSha256)) => {
                KdfCost::Pbkdf2 { iterations }
            }
            (KdfFunction::Scrypt, ..) => {
                return Err(KeystoreError::Field { field: "crypto.kdf.params", expected: "dklen, n, p, r and salt" });
            }
            (KdfFunction::Pbkdf2, ..) => {
                return Err(KeystoreError::Field { field: "crypto.kdf.params", expected: "dklen, c, prf and salt" });
            }
        };
        let salt = hex::decode(&self.salt)
            .map_err(|_| KeystoreError::Field { field: "crypto.kdf.params.salt", expected: "hexadecimal" })?;
        Kdf::new(cost, salt)
    }
}

/// Exactly `N` bytes in hexadecimal, with or without `0x`.
fn bytes<const N: usize>(field: &'static str, expected: &'static str, text: &str) -> Result<[u8; N], KeystoreError> {
    hex::decode_to_array(text).map_err(|_| KeystoreError::Field { field, expected })
}

/// Groups of 8, 4, 4, 4 and 12 digits.
fn parse_uuid(text: &str) -> Result<[u8; 16], KeystoreError> {
    let wrong = KeystoreError::Field { field: "uuid", expected: "a UUID" };
    let groups = text.split('-').map(str::len);
    if !groups.eq([8, 4, 4, 4, 12]) {
        return Err(wrong);
    }
    hex::decode_to_array(text.replace('-', "")).map_err(|_| wrong)
}

pub(super) fn uuid_text(uuid: [u8; 16]) -> String {
    let digits = hex::encode(uuid);
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}
