//! What can be said of a block without executing it.

use super::env::{next_base_fee, next_excess_blob_gas};
use super::import::BlockError;
use crate::{Forks, FullBlock};
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_ommers_root, calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::{Header, Transaction};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::{B64, U256};
use alloy_rlp::Encodable;

/// The least gas limit (yellow paper, 4.4.4).
const MIN_GAS_LIMIT: u64 = 5000;

/// The largest gas limit (EIP-1985).
const MAX_GAS_LIMIT: u64 = 0x7fff_ffff_ffff_ffff;

/// How far a gas limit may move: less than one 1024th of the parent's.
const GAS_LIMIT_DIVISOR: u64 = 1024;

/// The most bytes of extra data.
const MAX_EXTRA_DATA: usize = 32;

/// The longest RLP of a block from Osaka on (EIP-7934): 10 MiB less a margin of 2 MiB.
pub(super) const MAX_BLOCK_RLP: usize = 8 << 20;

/// Compares a header with its parent and its time's rules.
pub(super) fn check_header(forks: &Forks, parent: &Header, header: &Header) -> Result<(), BlockError> {
    let spec = forks.spec_at(header.number, header.timestamp);
    BlockError::compare("number", &header.number, &parent.number.saturating_add(1))?;
    if header.timestamp <= parent.timestamp {
        return Err(out_of_bounds("timestamp", header.timestamp, "must be later than the parent's"));
    }
    if header.extra_data.len() > MAX_EXTRA_DATA {
        return Err(out_of_bounds("extraData", header.extra_data.len(), "at most 32 bytes"));
    }
    if header.gas_used > header.gas_limit {
        return Err(out_of_bounds("gasUsed", header.gas_used, "at most the gas limit"));
    }
    let parent_is_london = forks.spec_at(parent.number, parent.timestamp).is_enabled_in(SpecId::LONDON);
    let london_begins = spec.is_enabled_in(SpecId::LONDON) && !parent_is_london;
    check_gas_limit(if london_begins { parent.gas_limit.saturating_mul(2) } else { parent.gas_limit }, header)?;
    let base_fee = if london_begins {
        Some(alloy_eips::eip1559::INITIAL_BASE_FEE)
    } else {
        next_base_fee(forks, parent, header.timestamp)
    };
    BlockError::compare("baseFeePerGas", &header.base_fee_per_gas, &base_fee)?;
    if spec.is_enabled_in(SpecId::MERGE) {
        BlockError::compare("difficulty", &header.difficulty, &U256::ZERO)?;
        BlockError::compare("nonce", &header.nonce, &B64::ZERO)?;
        BlockError::compare("sha3Uncles", &header.ommers_hash, &EMPTY_OMMER_ROOT_HASH)?;
    }
    presence("withdrawalsRoot", header.withdrawals_root.is_some(), spec.is_enabled_in(SpecId::SHANGHAI))?;
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    presence("blobGasUsed", header.blob_gas_used.is_some(), cancun)?;
    presence("excessBlobGas", header.excess_blob_gas.is_some(), cancun)?;
    presence("parentBeaconBlockRoot", header.parent_beacon_block_root.is_some(), cancun)?;
    presence("requestsHash", header.requests_hash.is_some(), spec.is_enabled_in(SpecId::PRAGUE))?;
    presence("blockAccessListHash", header.block_access_list_hash.is_some(), false)?;
    presence("slotNumber", header.slot_number.is_some(), false)?;
    let excess = next_excess_blob_gas(forks, parent, header.timestamp);
    BlockError::compare("excessBlobGas", &header.excess_blob_gas, &excess)
}

fn check_gas_limit(parent_gas_limit: u64, header: &Header) -> Result<(), BlockError> {
    if !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&header.gas_limit) {
        return Err(out_of_bounds("gasLimit", header.gas_limit, "5000 to 2^63 - 1"));
    }
    if header.gas_limit.abs_diff(parent_gas_limit) >= parent_gas_limit.checked_div(GAS_LIMIT_DIVISOR).unwrap_or(0) {
        let allowed = header.gas_limit == parent_gas_limit;
        if !allowed {
            return Err(out_of_bounds("gasLimit", header.gas_limit, "less than one 1024th from the parent's"));
        }
    }
    Ok(())
}

/// Compares a body with what its header commits to. A body that is another one says nothing about the header.
pub(crate) fn check_commitments(block: &FullBlock) -> Result<(), BlockError> {
    let header = &block.header;
    let body = &block.body;
    BlockError::compare("sha3Uncles", &header.ommers_hash, &calculate_ommers_root(&body.ommers))?;
    BlockError::compare(
        "transactionsRoot",
        &header.transactions_root,
        &calculate_transaction_root(&body.transactions),
    )?;
    let withdrawals_root = body.withdrawals.as_ref().map(|withdrawals| calculate_withdrawals_root(withdrawals));
    BlockError::compare("withdrawalsRoot", &header.withdrawals_root, &withdrawals_root)
}

/// Checks a body that is its header's by the rules of its time.
pub(super) fn check_body(forks: &Forks, block: &FullBlock) -> Result<(), BlockError> {
    let header = &block.header;
    let spec = forks.spec_at(header.number, header.timestamp);
    if spec.is_enabled_in(SpecId::OSAKA) {
        let length = block.length();
        if length > MAX_BLOCK_RLP {
            return Err(out_of_bounds("size", length, "at most 8 MiB (EIP-7934)"));
        }
    }
    let Some(params) = forks.blob_params_at(header.timestamp) else { return Ok(()) };
    let blobs: u64 = block
        .body
        .transactions
        .iter()
        .filter_map(|transaction| transaction.blob_versioned_hashes())
        .map(|hashes| u64::try_from(hashes.len()).unwrap_or(u64::MAX))
        .fold(0, u64::saturating_add);
    if blobs > params.max_blob_count {
        return Err(out_of_bounds("blobs", blobs, "at most what the schedule allows"));
    }
    BlockError::compare("blobGasUsed", &header.blob_gas_used, &Some(blobs.saturating_mul(DATA_GAS_PER_BLOB)))
}

fn out_of_bounds(field: &'static str, found: impl ToString, bounds: &'static str) -> BlockError {
    BlockError::OutOfBounds { field, found: found.to_string(), bounds }
}

fn presence(field: &'static str, present: bool, expected: bool) -> Result<(), BlockError> {
    if present == expected { Ok(()) } else { Err(BlockError::Presence { field, present }) }
}
