//! What wallets and execution clients send.

use alloy_consensus::Transaction as _;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Bytes, keccak256};
use alys_engine::wire::{Payload, PayloadVersion};
use alys_evm::pool::{MAX_TRANSACTION_BYTES, PooledTransaction};

/// EIP-155 chain id of the seeds.
pub(crate) const EVM_CHAIN_ID: u64 = 212_121;

/// A signed transaction, as `eth_sendRawTransaction` and the network bring it: what the pool takes has one encoding,
/// one hash, one sender, and is for this chain.
///
/// # Panics
/// On a finding.
pub fn transaction(bytes: &[u8]) {
    let Ok(pooled) = PooledTransaction::decode(Bytes::copy_from_slice(bytes), EVM_CHAIN_ID) else { return };
    assert!(bytes.len() <= MAX_TRANSACTION_BYTES);
    assert_eq!(pooled.transaction().encoded_2718(), bytes, "one encoding");
    assert_eq!(pooled.hash(), keccak256(bytes));
    assert_eq!(pooled.transaction().chain_id(), Some(EVM_CHAIN_ID));
    assert_eq!(pooled.transaction().blob_versioned_hashes(), None);
    let again = PooledTransaction::decode(pooled.raw().clone(), EVM_CHAIN_ID);
    assert_eq!(again.as_ref().map(PooledTransaction::sender), Ok(pooled.sender()));
    // Whatever its fields are, its cost can be told.
    assert!(pooled.cost() >= pooled.transaction().value());
}

/// An execution payload, as an execution client answers it and a consensus client sends it.
///
/// # Panics
/// On a finding.
pub fn payload(bytes: &[u8]) {
    let Ok(payload) = serde_json::from_slice::<Payload>(bytes) else { return };
    for version in [PayloadVersion::V1, PayloadVersion::V2, PayloadVersion::V3] {
        let Ok(ours) = payload.clone().into_port(version) else { continue };
        let again = Payload::from_port(&ours, version);
        assert_eq!(again, payload, "nothing is lost");
    }
}
