//! From a password to a key, at a bounded cost.

use super::{KeystoreError, Password};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Length of a derived key in bytes: half for the cipher, half for the checksum.
pub(super) const DERIVED_KEY_BYTES: usize = 32;

/// The most memory that scrypt may take: `128 * n * r` bytes. The standard's own parameters take exactly this.
pub const MAX_SCRYPT_BYTES: u64 = 1 << 28;

/// The most work that scrypt may do, as `n * r * p`: twice what the standard's own parameters do.
pub const MAX_SCRYPT_WORK: u64 = 1 << 22;

/// The most iterations of PBKDF2: sixteen times the standard's.
pub const MAX_PBKDF2_ITERATIONS: u32 = 1 << 22;

/// The most bytes of a salt.
const MAX_SALT_BYTES: usize = 128;

/// How much work a guess at the password costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KdfCost {
    /// scrypt (RFC 7914).
    Scrypt {
        /// Cost, a power of two.
        n: u32,
        /// Block size.
        r: u32,
        /// Parallelisation.
        p: u32,
    },
    /// PBKDF2 with HMAC-SHA-256.
    Pbkdf2 {
        /// Iterations.
        iterations: u32,
    },
}

impl KdfCost {
    /// The standard's scrypt parameters: 256 MiB.
    pub const SCRYPT: Self = Self::Scrypt { n: 262_144, r: 8, p: 1 };

    /// The standard's PBKDF2 parameters.
    pub const PBKDF2: Self = Self::Pbkdf2 { iterations: 262_144 };

    fn validate(self) -> Result<(), KeystoreError> {
        let check = |ok: bool, parameter, found: u32, limit| {
            if ok { Ok(()) } else { Err(KeystoreError::Cost { parameter, found: found.into(), limit }) }
        };
        match self {
            Self::Scrypt { n, r, p } => {
                check(n.is_power_of_two() && n >= 2, "n", n, "a power of two, at least 2")?;
                check(r >= 1, "r", r, "at least 1")?;
                check(p >= 1, "p", p, "at least 1")?;
                // RFC 7914 section 2: n < 2^(128 * r / 8), which only bites for r = 1.
                check(r > 1 || n < 1 << 16, "n", n, "less than 65536 when r is 1")?;
                let blocks = u64::from(n).saturating_mul(r.into());
                check(blocks.saturating_mul(128) <= MAX_SCRYPT_BYTES, "n", n, "128 * n * r at most 2^28 bytes")?;
                check(blocks.saturating_mul(p.into()) <= MAX_SCRYPT_WORK, "p", p, "n * r * p at most 2^22")
            }
            Self::Pbkdf2 { iterations } => {
                check((1..=MAX_PBKDF2_ITERATIONS).contains(&iterations), "c", iterations, "1 to 2^22")
            }
        }
    }
}

/// A cost within the limits, and a salt.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kdf {
    cost: KdfCost,
    salt: Vec<u8>,
}

impl Kdf {
    pub(super) fn new(cost: KdfCost, salt: Vec<u8>) -> Result<Self, KeystoreError> {
        cost.validate()?;
        if salt.len() > MAX_SALT_BYTES {
            return Err(KeystoreError::Field { field: "salt", expected: "at most 128 bytes in hexadecimal" });
        }
        // So that deriving can't fail later.
        if let KdfCost::Scrypt { n, r, p } = cost {
            scrypt_params(n, r, p)?;
        }
        Ok(Self { cost, salt })
    }

    pub(super) const fn cost(&self) -> KdfCost {
        self.cost
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(super) fn derive(&self, password: &Password) -> Result<Zeroizing<[u8; DERIVED_KEY_BYTES]>, KeystoreError> {
        let mut key = Zeroizing::new([0; DERIVED_KEY_BYTES]);
        match self.cost {
            KdfCost::Scrypt { n, r, p } => {
                let params = scrypt_params(n, r, p)?;
                scrypt::scrypt(password.as_bytes(), &self.salt, &params, key.as_mut_slice()).map_err(|_| refused(n))?;
            }
            KdfCost::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &self.salt, iterations, key.as_mut_slice());
            }
        }
        Ok(key)
    }
}

fn scrypt_params(n: u32, r: u32, p: u32) -> Result<scrypt::Params, KeystoreError> {
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| refused(n))?;
    scrypt::Params::new(log_n, r, p, DERIVED_KEY_BYTES).map_err(|_| refused(n))
}

fn refused(n: u32) -> KeystoreError {
    KeystoreError::Cost { parameter: "n", found: n.into(), limit: "what scrypt can do" }
}
