//! The node's name on the network: an Ed25519 key that outlives restarts.

use libp2p::PeerId;
use libp2p::identity::{DecodingError, Keypair};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a secret key.
const SECRET: usize = 32;

/// The longest key file: the key in hex and a line's end.
const MAX_FILE: u64 = 2 * 32 + 2;

/// Why an identity can't be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error("network key {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not hold 64 hex digits.
    #[error("network key {path} does not hold 64 hex digits")]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are no key.
    #[error("bytes that are no Ed25519 key")]
    Key(#[from] DecodingError),
}

/// The key behind a peer id. Its `Debug` shows the id only.
#[derive(Clone)]
pub struct Identity(Keypair);

impl Identity {
    /// The key with these secret bytes.
    ///
    /// # Errors
    /// [`IdentityError::Key`].
    pub fn from_secret(secret: &[u8; SECRET]) -> Result<Self, IdentityError> {
        let bytes = Zeroizing::new(*secret);
        Ok(Self(Keypair::ed25519_from_bytes(*bytes)?))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let at = |source| IdentityError::File { path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(at)?;
        file.take(MAX_FILE).read_to_string(&mut text).map_err(at)?;
        let mut secret = Zeroizing::new([0; SECRET]);
        hex::decode_to_slice(text.trim_end(), &mut *secret)
            .map_err(|_| IdentityError::Form { path: path.to_owned() })?;
        Self::from_secret(&secret)
    }

    /// Writes a new key file that only its owner can read; an existing one is never overwritten.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn create(path: &Path, secret: &[u8; SECRET]) -> Result<Self, IdentityError> {
        let identity = Self::from_secret(secret)?;
        let text = Zeroizing::new(hex::encode(secret));
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
        Ok(identity)
    }

    /// The id by which peers know this node.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_file_gives_the_same_peer_id_again_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network-key");
        let made = Identity::create(&path, &[7; 32]).unwrap();
        assert_eq!(Identity::read(&path).unwrap().peer_id(), made.peer_id());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Identity::create(&path, &[8; 32]), Err(IdentityError::File { .. })), "never overwritten");
        assert!(!format!("{made:?}").contains("0707"), "no secret in Debug");
    }

    #[test]
    fn files_that_hold_no_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network-key");
        assert!(matches!(Identity::read(&path), Err(IdentityError::File { .. })));
        for text in ["", "07", &"zz".repeat(32), &"07".repeat(33), &"7".repeat(4096)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Identity::read(&path), Err(IdentityError::Form { .. })), "{text}");
        }
    }
}
