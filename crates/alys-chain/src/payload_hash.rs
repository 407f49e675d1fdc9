//! The EVM block hash of an execution payload: keccak-256 over the RLP of the header that its fields make.
//!
//! Computed here so that a payload is bound to its block's header before anyone executes it: otherwise a stranger could
//! pass a good block on with a damaged payload, and the block would get the blame.

use alloy_primitives::{B64, b256};
use alloy_rlp::{Encodable as _, Header};
use alys_primitives::{B256, ExecutionPayload, ExecutionRequests, Root, U256, Withdrawal};
use sha2::{Digest as _, Sha256};

/// Keccak-256 of the RLP of an empty list: every header's `ommersHash`.
const NO_OMMERS: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");

/// The forms that a header had since withdrawals exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadShape {
    /// Up to `withdrawalsRoot`.
    Shanghai,
    /// Up to `parentBeaconBlockRoot`.
    Cancun,
    /// Up to `requestsHash`.
    Prague,
}

impl PayloadShape {
    /// All of them, newest first.
    pub const ALL: [Self; 3] = [Self::Prague, Self::Cancun, Self::Shanghai];
}

/// The hash of the EVM block that a payload makes on a parent Alys block. Shapes before Prague have no requests, so a
/// payload with requests has no hash in them and gets zero.
pub fn payload_hash(
    payload: &ExecutionPayload,
    parent_beacon_block_root: Root,
    requests: &ExecutionRequests,
    shape: PayloadShape,
) -> B256 {
    if shape != PayloadShape::Prague && !requests.is_empty() {
        return B256::ZERO;
    }
    let mut fields = Vec::with_capacity(768);
    payload.parent_hash.encode(&mut fields);
    NO_OMMERS.encode(&mut fields);
    payload.fee_recipient.encode(&mut fields);
    payload.state_root.encode(&mut fields);
    transactions_root(payload).encode(&mut fields);
    payload.receipts_root.encode(&mut fields);
    payload.logs_bloom.encode(&mut fields);
    // Difficulty, number, gas.
    U256::ZERO.encode(&mut fields);
    payload.block_number.encode(&mut fields);
    payload.gas_limit.encode(&mut fields);
    payload.gas_used.encode(&mut fields);
    payload.timestamp.encode(&mut fields);
    payload.extra_data.as_ref().encode(&mut fields);
    payload.prev_randao.encode(&mut fields);
    B64::ZERO.encode(&mut fields);
    payload.base_fee_per_gas.encode(&mut fields);
    withdrawals_root(&payload.withdrawals).encode(&mut fields);
    if shape != PayloadShape::Shanghai {
        payload.blob_gas_used.encode(&mut fields);
        payload.excess_blob_gas.encode(&mut fields);
        parent_beacon_block_root.encode(&mut fields);
    }
    if shape == PayloadShape::Prague {
        requests_hash(requests).encode(&mut fields);
    }
    let mut rlp = Vec::with_capacity(fields.len().saturating_add(4));
    Header { list: true, payload_length: fields.len() }.encode(&mut rlp);
    rlp.extend_from_slice(&fields);
    alloy_primitives::keccak256(&rlp)
}

fn transactions_root(payload: &ExecutionPayload) -> B256 {
    alloy_trie::root::ordered_trie_root_with_encoder(&payload.transactions, |transaction, out| {
        out.extend_from_slice(transaction);
    })
}

fn withdrawals_root(withdrawals: &[Withdrawal]) -> B256 {
    alloy_trie::root::ordered_trie_root_with_encoder(withdrawals, |withdrawal, out| {
        let mut fields = Vec::with_capacity(48);
        withdrawal.index.encode(&mut fields);
        withdrawal.validator_index.encode(&mut fields);
        withdrawal.address.encode(&mut fields);
        withdrawal.amount.0.encode(&mut fields);
        Header { list: true, payload_length: fields.len() }.encode(out);
        out.extend_from_slice(&fields);
    })
}

/// EIP-7685: SHA-256 over the SHA-256 of each request that has more than its type byte.
fn requests_hash(requests: &ExecutionRequests) -> B256 {
    let mut hash = Sha256::new();
    for request in requests.iter().filter(|request| request.len() > 1) {
        hash.update(Sha256::digest(request.as_ref()));
    }
    B256::from(<[u8; 32]>::from(hash.finalize()))
}
