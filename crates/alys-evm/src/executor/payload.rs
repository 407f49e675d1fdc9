//! Between the port's payloads and Ethereum's blocks.

use crate::execute::{BlockError, Built, requests_hash};
use crate::{Forks, FullBlock, Tx};
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::{Block, BlockBody, Header};
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_eips::eip7685::Requests;
use alloy_eips::{Decodable2718, Encodable2718};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::{B256, Bloom, Bytes, U256};
use alys_engine::{BuiltPayload, NewPayload};
use alys_primitives::{ExecutionPayload, ExecutionRequests, Gwei, VariableList};

/// The block that a payload describes. Its hash is checked: the fields make exactly the block that is named.
pub(crate) fn decode_payload(forks: &Forks, new: &NewPayload) -> Result<FullBlock, BlockError> {
    let payload = &new.payload;
    let spec = forks.spec_at(payload.block_number, payload.timestamp);
    let mut transactions = Vec::with_capacity(payload.transactions.len());
    for (index, bytes) in payload.transactions.iter().enumerate() {
        let transaction = Tx::decode_2718_exact(bytes)
            .map_err(|error| BlockError::Transaction { index, reason: error.to_string() })?;
        transactions.push(transaction);
    }
    let withdrawals: Vec<Withdrawal> = payload.withdrawals.iter().map(from_port).collect();
    let withdrawals = if spec.is_enabled_in(SpecId::SHANGHAI) {
        Some(Withdrawals::new(withdrawals))
    } else if withdrawals.is_empty() {
        None
    } else {
        return Err(BlockError::Presence { field: "withdrawals", present: true });
    };
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    if !cancun && (payload.blob_gas_used != 0 || payload.excess_blob_gas != 0) {
        return Err(BlockError::Presence { field: "blobGasUsed", present: true });
    }
    let requests = Requests::from_requests(new.execution_requests.iter().map(|request| request.to_vec()));
    let prague = spec.is_enabled_in(SpecId::PRAGUE);
    if !prague && !requests.is_empty() {
        return Err(BlockError::Presence { field: "executionRequests", present: true });
    }
    let base_fee = u64::try_from(payload.base_fee_per_gas).map_err(|_| BlockError::OutOfBounds {
        field: "baseFeePerGas",
        found: payload.base_fee_per_gas.to_string(),
        bounds: "at most 64 bits",
    })?;
    let header = Header {
        parent_hash: payload.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: payload.fee_recipient,
        state_root: payload.state_root,
        transactions_root: calculate_transaction_root(&transactions),
        receipts_root: payload.receipts_root,
        logs_bloom: Bloom::new(payload.logs_bloom.0),
        number: payload.block_number,
        gas_limit: payload.gas_limit,
        gas_used: payload.gas_used,
        timestamp: payload.timestamp,
        extra_data: Bytes::from(payload.extra_data.to_vec()),
        mix_hash: payload.prev_randao,
        base_fee_per_gas: Some(base_fee),
        withdrawals_root: withdrawals.as_ref().map(|list| calculate_withdrawals_root(list)),
        blob_gas_used: cancun.then_some(payload.blob_gas_used),
        excess_blob_gas: cancun.then_some(payload.excess_blob_gas),
        parent_beacon_block_root: cancun.then_some(new.parent_beacon_block_root),
        requests_hash: prague.then(|| requests_hash(&requests)).transpose()?,
        ..Header::default()
    };
    let hash: B256 = header.hash_slow();
    if hash != payload.block_hash {
        return Err(BlockError::Field {
            field: "blockHash",
            found: payload.block_hash.to_string(),
            expected: hash.to_string(),
        });
    }
    Ok(Block { header, body: BlockBody { transactions, ommers: Vec::new(), withdrawals } })
}

/// The payload of a built block. `Err` names what does not fit the port's bounds.
pub(super) fn encode_payload(built: &Built) -> Result<BuiltPayload, &'static str> {
    let Built { hash, block, executed } = built;
    let (header, requests) = (&block.header, &executed.requests);
    let burned = U256::from(header.gas_used).saturating_mul(U256::from(header.base_fee_per_gas.unwrap_or_default()));
    let block_value = executed.outcome.fees.saturating_sub(burned);
    let transactions = block
        .body
        .transactions
        .iter()
        .map(|transaction| VariableList::new(transaction.encoded_2718()).map_err(|_| "a transaction"))
        .collect::<Result<Vec<_>, _>>()?;
    let withdrawals = block.body.withdrawals.iter().flat_map(|list| list.iter()).map(to_port).collect();
    let execution_requests = requests
        .iter()
        .map(|request| VariableList::new(request.to_vec()).map_err(|_| "a request"))
        .collect::<Result<Vec<_>, _>>()?;
    let payload = ExecutionPayload {
        parent_hash: header.parent_hash,
        fee_recipient: header.beneficiary,
        state_root: header.state_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom.0,
        prev_randao: header.mix_hash,
        block_number: header.number,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        timestamp: header.timestamp,
        extra_data: VariableList::new(header.extra_data.to_vec()).map_err(|_| "extraData")?,
        base_fee_per_gas: U256::from(header.base_fee_per_gas.unwrap_or_default()),
        block_hash: *hash,
        transactions: VariableList::new(transactions).map_err(|_| "transactions")?,
        withdrawals: VariableList::new(withdrawals).map_err(|_| "withdrawals")?,
        blob_gas_used: header.blob_gas_used.unwrap_or_default(),
        excess_blob_gas: header.excess_blob_gas.unwrap_or_default(),
    };
    let execution_requests = ExecutionRequests::new(execution_requests).map_err(|_| "executionRequests")?;
    Ok(BuiltPayload { payload, execution_requests, block_value })
}

/// A withdrawal as Ethereum has it.
pub(super) fn from_port(withdrawal: &alys_primitives::Withdrawal) -> Withdrawal {
    Withdrawal {
        index: withdrawal.index,
        validator_index: withdrawal.validator_index,
        address: withdrawal.address,
        amount: withdrawal.amount.0,
    }
}

fn to_port(withdrawal: &Withdrawal) -> alys_primitives::Withdrawal {
    alys_primitives::Withdrawal {
        index: withdrawal.index,
        validator_index: withdrawal.validator_index,
        address: withdrawal.address,
        amount: Gwei(withdrawal.amount),
    }
}
