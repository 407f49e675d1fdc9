//! The accounts that a dev chain funds: those of the mnemonic that Ethereum's development tools share.

use alloy_primitives::keccak256;
use alys_primitives::Address;
use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, Xpriv};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use sha2::Sha512;
use std::sync::OnceLock;

/// Publicly known: whatever these accounts hold on a real chain is lost.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// How many of them are funded.
pub const ACCOUNTS: u32 = 10;

/// Bitcoin that each holds at genesis.
pub const BALANCE_BTC: u64 = 10_000;

/// Rounds of BIP-39's key stretching.
const SEED_ROUNDS: u32 = 2048;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevAccount {
    /// The EVM address.
    pub address: Address,
    /// The secp256k1 secret key.
    pub secret_key: SecretKey,
}

/// The first [`ACCOUNTS`] accounts of [`MNEMONIC`] at `m/44'/60'/0'/0/i` (BIP-39, BIP-32, BIP-44).
///
/// # Errors
/// Never in practice: BIP-32 leaves a derivation step undefined with probability below 2^-127.
pub fn dev_accounts() -> Result<Vec<DevAccount>, bitcoin::bip32::Error> {
    static DERIVED: OnceLock<Vec<DevAccount>> = OnceLock::new();
    if let Some(accounts) = DERIVED.get() {
        return Ok(accounts.clone());
    }
    let accounts = derive()?;
    Ok(DERIVED.get_or_init(|| accounts).clone())
}

fn derive() -> Result<Vec<DevAccount>, bitcoin::bip32::Error> {
    let seed = pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(MNEMONIC.as_bytes(), b"mnemonic", SEED_ROUNDS);
    let secp = Secp256k1::new();
    let path = [
        ChildNumber::from_hardened_idx(44)?,
        ChildNumber::from_hardened_idx(60)?,
        ChildNumber::from_hardened_idx(0)?,
        ChildNumber::from_normal_idx(0)?,
    ];
    let parent = Xpriv::new_master(NetworkKind::Main, &seed)?.derive_priv(&secp, &path)?;
    (0..ACCOUNTS)
        .map(|index| {
            let secret_key = parent.derive_priv(&secp, &[ChildNumber::from_normal_idx(index)?])?.private_key;
            let point = secret_key.public_key(&secp).serialize_uncompressed();
            // The address is the last 20 bytes of the hash of the point without its 0x04 tag.
            let hash = keccak256(point.split_first().map_or(&[][..], |(_, coordinates)| coordinates));
            Ok(DevAccount { address: Address::from_word(hash), secret_key })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_accounts_are_the_ones_that_every_tool_prints() {
        let accounts = dev_accounts().unwrap();
        assert_eq!(accounts[0].address.to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(accounts[1].address.to_string(), "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
        assert_eq!(
            accounts[0].secret_key.display_secret().to_string(),
            "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
        );
        assert_eq!(accounts.len(), 10);
    }
}
