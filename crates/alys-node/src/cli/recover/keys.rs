//! Where recovery keys come from: keystores and files, never the command line.

use crate::bounded::read_bounded;
use crate::bridge::recovery_key;
use crate::cli::failure::Failure;
use crate::key_files::unlock;
use alys_bitcoin::CustodyKey;
use clap::Args;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest file with a secret key in hex.
const MAX_SECRET_BYTES: u64 = 256;

// One recovery key or several.
#[derive(Args)]
pub(in crate::cli) struct KeySource {
    /// EIP-2335 keystore that is kept for recovery; its recovery key is derived from it.
    #[arg(long, requires = "password_file", required_unless_present = "secret_file")]
    keystore: Option<PathBuf>,
    /// File whose first line is the keystore's password.
    #[arg(long, requires = "keystore")]
    password_file: Option<PathBuf>,
    /// File with a secp256k1 secret key as 64 hex digits; one for each key.
    #[arg(long)]
    secret_file: Vec<PathBuf>,
}

impl KeySource {
    /// The keys. A keystore takes up to a second and 256 MiB.
    pub(super) fn read(&self) -> Result<Vec<CustodyKey>, Failure> {
        let mut keys = self.secret_file.iter().map(|path| from_file(path)).collect::<Result<Vec<_>, _>>()?;
        if let (Some(keystore), Some(password)) = (&self.keystore, &self.password_file) {
            let secret = unlock(keystore, password).map_err(Failure::work)?;
            keys.push(recovery_key(&secret).ok_or_else(|| Failure::work("the keystore has no recovery key"))?);
        }
        Ok(keys)
    }
}

fn from_file(path: &Path) -> Result<CustodyKey, Failure> {
    let bytes = Zeroizing::new(read_bounded(path, MAX_SECRET_BYTES).map_err(Failure::usage)?);
    let bad =
        || Failure::usage(format!("{} holds no secret key", path.display())).help("64 hex digits, with or without 0x");
    let text = std::str::from_utf8(&bytes).map_err(|_| bad())?.trim();
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut *secret).map_err(|_| bad())?;
    CustodyKey::from_bytes(&secret).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_holds_one_key_in_hex_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            from_file(&path).map(|key| key.public_key().to_string())
        };
        let one = format!("{:064x}\n", 1);
        let generator = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert_eq!(read(&one).unwrap(), generator);
        assert_eq!(read(&format!("0x{one}")).unwrap(), generator);
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for bad in ["", "00", &"0".repeat(64), order, &"g".repeat(64), &format!("{one}{one}"), &"1".repeat(300)] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(from_file(&folder.path().join("nothing")).is_err());
    }
}
