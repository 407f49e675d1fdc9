//! The hash that a payload's fields make.

use crate::{Fork, NewPayload};
use alloy_consensus::Header;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_withdrawals_root, ordered_trie_root_with_encoder};
use alloy_eips::eip4895::Withdrawal;
use alloy_eips::eip7685::Requests;
use alloy_primitives::{B256, Bloom, Bytes, U256};

/// The block hash of the payload under the rules of `fork`; `None` if its base fee exceeds 64 bits, which no block's
/// does. The transactions are taken as bytes: whether they can be decoded is another question.
pub fn payload_hash(new: &NewPayload, fork: Fork) -> Option<B256> {
    let payload = &new.payload;
    let transactions_root = ordered_trie_root_with_encoder(&payload.transactions, |transaction, out| {
        out.extend_from_slice(transaction);
    });
    let withdrawals: Vec<Withdrawal> = payload
        .withdrawals
        .iter()
        .map(|withdrawal| Withdrawal {
            index: withdrawal.index,
            validator_index: withdrawal.validator_index,
            address: withdrawal.address,
            amount: withdrawal.amount.0,
        })
        .collect();
    let requests = Requests::from_requests(new.execution_requests.iter().map(|request| request.to_vec()));
    let cancun = fork >= Fork::Cancun;
    let header = Header {
        parent_hash: payload.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: payload.fee_recipient,
        state_root: payload.state_root,
        transactions_root,
        receipts_root: payload.receipts_root,
        logs_bloom: Bloom::new(payload.logs_bloom.0),
        difficulty: U256::ZERO,
        number: payload.block_number,
        gas_limit: payload.gas_limit,
        gas_used: payload.gas_used,
        timestamp: payload.timestamp,
        extra_data: Bytes::from(payload.extra_data.to_vec()),
        mix_hash: payload.prev_randao,
        base_fee_per_gas: Some(u64::try_from(payload.base_fee_per_gas).ok()?),
        withdrawals_root: (fork >= Fork::Shanghai).then(|| calculate_withdrawals_root(&withdrawals)),
        blob_gas_used: cancun.then_some(payload.blob_gas_used),
        excess_blob_gas: cancun.then_some(payload.excess_blob_gas),
        parent_beacon_block_root: cancun.then_some(new.parent_beacon_block_root),
        requests_hash: (fork >= Fork::Prague).then(|| requests.requests_hash()),
        ..Header::default()
    };
    Some(header.hash_slow())
}
