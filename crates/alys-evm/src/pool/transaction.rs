//! A transaction whose bytes were decoded and whose sender was recovered.

use super::InvalidTransaction;
use crate::Tx;
use alloy_consensus::transaction::{Recovered, SignerRecoverable as _, Transaction as _};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, U256};
use std::sync::Arc;

/// The longest transaction in bytes.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

const BLOB_TYPE: u8 = 0x03;
const LAST_KNOWN_TYPE: u8 = 0x04;
const FIRST_LEGACY_BYTE: u8 = 0xc0;

/// A decoded transaction with its sender and its bytes. Having one proves that the signature is good and that the
/// transaction was signed for this chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PooledTransaction {
    transaction: Arc<Recovered<Tx>>,
    raw: Bytes,
    hash: B256,
}

impl PooledTransaction {
    /// Decodes EIP-2718 bytes and recovers the sender.
    ///
    /// # Errors
    /// The bytes are too many or no transaction, the type is not accepted, the signature is not good, or the
    /// transaction is for another chain.
    pub fn decode(raw: Bytes, chain_id: u64) -> Result<Self, InvalidTransaction> {
        // With their blobs these are always too long, which would be no help to whoever sent one.
        if raw.first() == Some(&BLOB_TYPE) {
            return Err(InvalidTransaction::Blob);
        }
        if raw.len() > MAX_TRANSACTION_BYTES {
            return Err(InvalidTransaction::Oversized { size: raw.len(), limit: MAX_TRANSACTION_BYTES });
        }
        match raw.first().copied() {
            None => return Err(InvalidTransaction::Undecodable { reason: "no bytes".to_owned() }),
            Some(kind) if (LAST_KNOWN_TYPE + 1..FIRST_LEGACY_BYTE).contains(&kind) => {
                return Err(InvalidTransaction::UnsupportedType { kind });
            }
            Some(_) => {}
        }
        let transaction = Tx::decode_2718_exact(&raw)
            .map_err(|error| InvalidTransaction::Undecodable { reason: error.to_string() })?;
        match transaction.chain_id() {
            None => return Err(InvalidTransaction::Unprotected),
            Some(have) if have != chain_id => return Err(InvalidTransaction::ChainId { have, want: chain_id }),
            Some(_) => {}
        }
        let hash = *transaction.tx_hash();
        let transaction = transaction.try_into_recovered().map_err(|_| InvalidTransaction::Signature)?;
        Ok(Self { transaction: Arc::new(transaction), raw, hash })
    }

    /// The transaction with its sender.
    pub fn recovered(&self) -> &Arc<Recovered<Tx>> {
        &self.transaction
    }

    /// The transaction.
    pub fn transaction(&self) -> &Tx {
        self.transaction.inner()
    }

    /// The sender.
    pub fn sender(&self) -> Address {
        self.transaction.signer()
    }

    /// The EIP-2718 bytes as they came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The transaction's hash.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The sender's nonce that it uses.
    pub fn nonce(&self) -> u64 {
        self.transaction().nonce()
    }

    /// The most that it can take from its sender: all gas at the highest price, and the value. Held at 2^256 − 1.
    pub fn cost(&self) -> U256 {
        let transaction = self.transaction();
        U256::from(transaction.gas_limit())
            .saturating_mul(U256::from(transaction.max_fee_per_gas()))
            .saturating_add(transaction.value())
    }

    /// `maxPriorityFeePerGas`, or the gas price of the older types.
    pub(super) fn tip(&self) -> u128 {
        self.transaction().priority_fee_or_price()
    }

    /// `maxFeePerGas`, or the gas price of the older types.
    pub(super) fn fee(&self) -> u128 {
        self.transaction().max_fee_per_gas()
    }
}
