//! Keys derived from a seed along a path (EIP-2333, paths as in EIP-2334).

use crate::SecretKey;
use std::{fmt, str::FromStr};
use thiserror::Error;

/// The shortest seed EIP-2333 allows, in bytes.
pub const MIN_SEED_BYTES: usize = 32;

/// The longest seed accepted, in bytes; a BIP-39 seed has 64.
pub const MAX_SEED_BYTES: usize = 1024;

/// The most levels of a path; EIP-2334 uses four or five.
pub const MAX_PATH_DEPTH: usize = 16;

/// Why a key can't be derived.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DerivationError {
    /// The seed's length is outside [`MIN_SEED_BYTES`] to [`MAX_SEED_BYTES`].
    #[error("a seed must have {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes, not {found}")]
    SeedLength {
        /// Bytes given.
        found: usize,
    },
    /// The path does not start with `m`.
    #[error("a derivation path starts with `m`, as in m/12381/3600/0/0/0")]
    NoRoot,
    /// More than [`MAX_PATH_DEPTH`] levels.
    #[error("a derivation path has at most {MAX_PATH_DEPTH} levels")]
    TooDeep,
    /// A level that is not a number below 2^32, in decimal digits without sign, blanks or a hardening mark.
    #[error("level {level} of the derivation path is not a plain number below 2^32")]
    BadIndex {
        /// Which level, from 1.
        level: usize,
    },
}

/// A path such as `m/12381/3600/0/0/0`; at most [`MAX_PATH_DEPTH`] levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DerivationPath(Vec<u32>);

impl DerivationPath {
    /// The child index at each level below the master key.
    pub fn indexes(&self) -> &[u32] {
        &self.0
    }
}

impl FromStr for DerivationPath {
    type Err = DerivationError;

    fn from_str(text: &str) -> Result<Self, DerivationError> {
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(DerivationError::NoRoot);
        }
        let mut indexes = Vec::new();
        for part in parts {
            if indexes.len() == MAX_PATH_DEPTH {
                return Err(DerivationError::TooDeep);
            }
            let level = indexes.len().saturating_add(1);
            // `u32::from_str` would also take a leading plus.
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(DerivationError::BadIndex { level });
            }
            indexes.push(part.parse().map_err(|_| DerivationError::BadIndex { level })?);
        }
        Ok(Self(indexes))
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|index| write!(f, "/{index}"))
    }
}

impl SecretKey {
    /// The master key of a seed (`derive_master_SK`).
    ///
    /// # Errors
    /// [`DerivationError::SeedLength`].
    pub fn derive_master(seed: &[u8]) -> Result<Self, DerivationError> {
        let wrong_length = DerivationError::SeedLength { found: seed.len() };
        if !(MIN_SEED_BYTES..=MAX_SEED_BYTES).contains(&seed.len()) {
            return Err(wrong_length);
        }
        blst::min_pk::SecretKey::derive_master_eip2333(seed).map(Self).map_err(|_| wrong_length)
    }

    /// One child of this key (`derive_child_SK`).
    pub fn derive_child(&self, index: u32) -> Self {
        Self(self.0.derive_child_eip2333(index))
    }

    /// The key at `path` under the seed's master key.
    ///
    /// # Errors
    /// [`DerivationError::SeedLength`].
    pub fn derive(seed: &[u8], path: &DerivationPath) -> Result<Self, DerivationError> {
        let master = Self::derive_master(seed)?;
        Ok(path.indexes().iter().fold(master, |key, &index| key.derive_child(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back_as_written() {
        for text in ["m", "m/0", "m/12381/3600/0/0/0", "m/4294967295"] {
            assert_eq!(text.parse::<DerivationPath>().map(|path| path.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn malformed_paths_are_rejected() {
        use DerivationError::{BadIndex, NoRoot, TooDeep};
        for (text, error) in [
            ("", NoRoot),
            ("12381/0", NoRoot),
            ("M/0", NoRoot),
            ("m/", BadIndex { level: 1 }),
            ("m/0/+1", BadIndex { level: 2 }),
            ("m/0'", BadIndex { level: 1 }),
            ("m/4294967296", BadIndex { level: 1 }),
            ("m/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0", TooDeep),
        ] {
            assert_eq!(text.parse::<DerivationPath>(), Err(error), "{text}");
        }
    }
}
