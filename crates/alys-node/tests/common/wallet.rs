//! Signed transactions of the funded accounts.

#![allow(clippy::unwrap_used, reason = "a test or a measurement stops where it can't go on")]
#![allow(dead_code, unreachable_pub, reason = "shared by test binaries and benchmarks")]

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alys_node::chain_files::PRESET_CHAIN_ID;
use alys_node::dev_accounts::dev_accounts;
use k256::ecdsa::SigningKey;

/// A funded account that counts its nonces.
pub struct Wallet {
    key: SigningKey,
    pub address: Address,
    pub nonce: u64,
    /// Gas that each transaction may use.
    pub gas_limit: u64,
}

impl Wallet {
    /// The account of this number.
    pub fn dev(index: usize) -> Self {
        let account = dev_accounts().unwrap().swap_remove(index);
        let key = SigningKey::from_slice(&account.secret_key.secret_bytes()).unwrap();
        Self { key, address: account.address, nonce: 0, gas_limit: 500_000 }
    }

    /// The next transaction, raw and hashed.
    pub fn transaction(&mut self, to: TxKind, value: U256, input: Bytes) -> (String, B256) {
        let transaction = TxEip1559 {
            chain_id: PRESET_CHAIN_ID,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: 20_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        self.nonce += 1;
        let hash = transaction.signature_hash();
        let signature = Signature::from(self.key.sign_prehash_recoverable(hash.as_slice()).unwrap());
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        (format!("0x{}", hex::encode(envelope.encoded_2718())), *envelope.tx_hash())
    }

    /// The next value transfer.
    pub fn transfer(&mut self, to: Address, wei: u64) -> (String, B256) {
        self.transaction(TxKind::Call(to), U256::from(wei), Bytes::new())
    }
}
