//! Passwords as EIP-2335 normalises them.

use std::fmt;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The most bytes of a password as it is entered.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// A normalised password, wiped from memory when dropped and never printed.
///
/// Normalisation is NFKD, then control codes (C0, C1 and Delete) are removed, then UTF-8: the same keys pressed on two
/// systems give the same bytes.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

/// Why a text is not a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// More than [`MAX_PASSWORD_BYTES`].
    #[error("a password has at most {MAX_PASSWORD_BYTES} bytes, not {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// Nothing is left after normalisation.
    #[error("the password is empty")]
    Empty,
}

impl Password {
    /// Normalises a password.
    ///
    /// # Errors
    /// [`PasswordError`] if it is too long or nothing of it is left.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong { found: text.len() });
        }
        // Room for the longest decomposition, so that no half-filled buffer is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len().saturating_mul(MAX_EXPANSION)));
        for letter in text.nfkd().filter(|letter| !letter.is_control()) {
            let mut buffer = Zeroizing::new([0; 4]);
            bytes.extend_from_slice(letter.encode_utf8(buffer.as_mut_slice()).as_bytes());
        }
        if bytes.is_empty() { Err(PasswordError::Empty) } else { Ok(Self(bytes)) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// NFKD turns one character of three bytes (U+FDFA) into 33 bytes; nothing grows more.
const MAX_EXPANSION: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> Vec<u8> {
        Password::new(text).expect("a password").as_bytes().to_vec()
    }

    #[test]
    fn compatibility_forms_and_control_codes_vanish() {
        // Fraktur letters and a key, the example of EIP-2335.
        assert_eq!(hex(&normalised("𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑")), "7465737470617373776f7264f09f9491");
        assert_eq!(normalised("a\u{0}b\u{1f}c\u{7f}d\u{80}e\u{9f}f\n"), b"abcdef");
        assert_eq!(normalised("\u{e9}"), normalised("e\u{301}"));
    }

    #[test]
    fn the_longest_expansion_fits_without_growing() {
        let text = "\u{fdfa}".repeat(MAX_PASSWORD_BYTES / 3);
        let password = Password::new(&text).expect("a password");
        assert!(password.0.len() <= text.len() * MAX_EXPANSION);
        assert_eq!(password.0.capacity(), text.len() * MAX_EXPANSION);
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        assert_eq!(Password::new("").err(), Some(PasswordError::Empty));
        assert_eq!(Password::new("\u{7f}\n").err(), Some(PasswordError::Empty));
        let found = MAX_PASSWORD_BYTES + 1;
        assert_eq!(Password::new(&"x".repeat(found)).err(), Some(PasswordError::TooLong { found }));
    }

    fn hex(bytes: &[u8]) -> String {
        alloy_primitives::hex::encode(bytes)
    }
}
