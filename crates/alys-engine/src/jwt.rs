//! The Engine API's authentication: HS256 tokens of a shared secret, each good for a minute (execution-apis,
//! `engine/authentication.md`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// How far a token's `iat` may be from the clock, in seconds.
pub const MAX_CLOCK_SKEW: u64 = 60;

/// The largest secret file that is read; the secret has 66 characters at most.
const MAX_FILE_BYTES: u64 = 1024;

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 4096;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not 256 bits in hexadecimal.
    #[error("a JWT secret is 64 hexadecimal digits, with or without 0x; this has {length} characters")]
    Malformed {
        /// How many characters there are. The text itself may be a secret, so it is not repeated.
        length: usize,
    },
    /// The file can't be read or written.
    #[error("JWT secret file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three parts of base64url with the right JSON inside.
    #[error("token is malformed")]
    Malformed,
    /// Another algorithm than HS256.
    #[error("token is not signed with HS256")]
    Algorithm,
    /// Signed with another secret.
    #[error("token is signed with another secret")]
    Signature,
    /// Too old, or from the future.
    #[error("token was issued {distance} s from now, at most {MAX_CLOCK_SKEW} s are allowed: check the clocks")]
    Stale {
        /// Seconds between `iat` and now.
        distance: u64,
    },
}

/// A secret that engine and node share.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtSecret([u8; 32]);

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(…)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iat: u64,
    exp: Option<u64>,
}

impl JwtSecret {
    /// A secret from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A secret from 64 hexadecimal digits, with or without `0x`; white space around them does not count.
    ///
    /// # Errors
    /// [`SecretError::Malformed`].
    pub fn from_hex(text: &str) -> Result<Self, SecretError> {
        let digits = text.trim();
        let malformed = || SecretError::Malformed { length: digits.chars().count() };
        let mut bytes = [0; 32];
        alloy_primitives::hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed())?;
        Ok(Self(bytes))
    }

    /// Reads a secret file.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let file = |source| SecretError::File { path: path.to_owned(), source };
        let mut text = String::new();
        std::fs::File::open(path).map_err(file)?.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(file)?;
        Self::from_hex(&text)
    }

    /// Reads a secret file, or writes a new one with `fresh` bytes, readable by its owner alone, if there is none.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_or_create(path: &Path, fresh: impl FnOnce() -> [u8; 32]) -> Result<Self, SecretError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
        let source = match options.open(path) {
            Ok(mut file) => {
                let secret = Self(fresh());
                let text = alloy_primitives::hex::encode(secret.0);
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                return match written {
                    Ok(()) => Ok(secret),
                    Err(source) => Err(SecretError::File { path: path.to_owned(), source }),
                };
            }
            Err(source) => source,
        };
        if source.kind() == std::io::ErrorKind::AlreadyExists {
            return Self::read(path);
        }
        Err(SecretError::File { path: path.to_owned(), source })
    }

    /// A token issued at `now`, in seconds since the Unix epoch.
    pub fn token(&self, now: u64) -> String {
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"iat\":{now}}}"));
        let signed = format!("{HEADER}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.mac(signed.as_bytes()).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// Checks a token at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn verify(&self, token: &str, now: u64) -> Result<(), JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != "HS256" {
            return Err(JwtError::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwtError::Malformed)?;
        self.mac(signed.as_bytes()).verify_slice(&signature).map_err(|_| JwtError::Signature)?;
        let claims: Claims = decode(claims)?;
        let distance = claims.iat.abs_diff(now);
        if distance > MAX_CLOCK_SKEW {
            return Err(JwtError::Stale { distance });
        }
        match claims.exp {
            Some(exp) if exp < now => Err(JwtError::Stale { distance: now.saturating_sub(exp) }),
            Some(_) | None => Ok(()),
        }
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        // A block of SHA-256 has 64 bytes: a shorter key is filled up with zeros, which is what HMAC does with it.
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        key.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(&key);
        mac.update(message);
        mac
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn secret() -> JwtSecret {
        JwtSecret::new([7; 32])
    }

    #[test]
    fn tokens_are_good_for_a_minute_around_their_time() {
        let token = secret().token(1_000);
        for now in [940, 1_000, 1_060] {
            assert_eq!(secret().verify(&token, now), Ok(()));
        }
        assert_eq!(secret().verify(&token, 939), Err(JwtError::Stale { distance: 61 }));
        assert_eq!(secret().verify(&token, 1_061), Err(JwtError::Stale { distance: 61 }));
        assert_eq!(JwtSecret::new([8; 32]).verify(&token, 1_000), Err(JwtError::Signature));
    }

    #[test]
    fn the_token_is_what_other_implementations_make() {
        // Computed with Python: hmac.new(key, msg, sha256) over base64url header and claims.
        let expected = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDB9.";
        let token = secret().token(1_700_000_000);
        assert_eq!(&token[..expected.len()], expected);
        assert_eq!(&token[expected.len()..], "q7vdxvYJozZ6UoScEnMgFSivYb-nzMGBXN-k-GD5t_8");
    }

    #[test]
    fn nonsense_and_other_algorithms_are_refused() {
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000}"#);
        assert_eq!(secret().verify(&format!("{none}.{claims}."), 1_000), Err(JwtError::Algorithm));
        for token in ["", ".", "..", "a.b.c", HEADER, &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert_eq!(secret().verify(token, 1_000), Err(JwtError::Malformed), "{token}");
        }
        let token = secret().token(1_000);
        for cut in 0..token.len() {
            assert!(secret().verify(&token[..cut], 1_000).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn secret_files_hold_64_digits_and_are_made_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt.hex");
        assert!(matches!(JwtSecret::read(&path), Err(SecretError::File { .. })));
        let made = JwtSecret::read_or_create(&path, || [9; 32]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(JwtSecret::read(&path).unwrap(), made);
        assert_eq!(JwtSecret::read_or_create(&path, || [1; 32]).unwrap(), made, "an existing secret stays");
        let digits = "07".repeat(32);
        for text in [digits.clone(), format!("0x{digits}"), format!(" 0x{digits}\n")] {
            assert_eq!(JwtSecret::from_hex(&text).unwrap(), secret());
        }
        for text in ["", "0x", &digits[2..], &format!("{digits}00"), &digits.replace('7', "g")] {
            assert!(matches!(JwtSecret::from_hex(text), Err(SecretError::Malformed { .. })), "{text}");
        }
        assert!(!format!("{:?}", secret()).contains('7'), "never printed");
    }
}
