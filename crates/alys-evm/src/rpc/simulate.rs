//! `eth_simulateV1`.

use super::EthRpc;
use super::args::Args;
use super::blocks::{RpcBlock, describe_with};
use super::call::failure;
use super::error::RpcError;
use super::transactions::Place;
use crate::{BlockRef, CallStatus, Simulated, SimulatedCall};
use alloy_consensus::transaction::Recovered;
use alloy_eips::eip4895::Withdrawal;
use alloy_rpc_types_eth::Log;
use alloy_rpc_types_eth::simulate::{SimCallResult, SimulateError, SimulatePayload, SimulatedBlock};
use serde::Deserialize;
use std::sync::Arc;

/// The number of a call's error that is no revert (execution-apis, `eth_simulateV1`).
const VM_ERROR: i32 = -32015;

/// What a payload overrides of its blocks' withdrawals.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Withdrawals {
    block_state_calls: Vec<BlockWithdrawals>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockWithdrawals {
    block_overrides: Option<OverriddenWithdrawals>,
}

#[derive(Deserialize)]
struct OverriddenWithdrawals {
    withdrawals: Option<Vec<Withdrawal>>,
}

pub(super) async fn simulate(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<SimulatedBlock<RpcBlock>>, RpcError> {
    let args = args.at_most(2)?;
    let payload: SimulatePayload = args.required(0, "payload")?;
    let overridden: Withdrawals = args.required(0, "payload")?;
    let of_block = |block: BlockWithdrawals| block.block_overrides.and_then(|overrides| overrides.withdrawals);
    let withdrawals: Vec<_> =
        overridden.block_state_calls.into_iter().map(|block| of_block(block).unwrap_or_default()).collect();
    let base = args.block(1)?;
    rpc.labour(move |rpc| {
        let simulated = rpc.reader.simulate(base, &payload, &withdrawals, rpc.config.gas_cap)?;
        simulated.into_iter().map(|block| describe(block, payload.return_full_transactions)).collect()
    })
    .await
}

fn describe(simulated: Simulated, full: bool) -> Result<SimulatedBlock<RpcBlock>, RpcError> {
    let Simulated { block, senders, calls } = simulated;
    let place = BlockRef { hash: block.hash(), number: block.header.number, timestamp: block.header.timestamp };
    let mut results = Vec::with_capacity(calls.len());
    for ((index, call), transaction) in (0_u64..).zip(calls).zip(&block.body.transactions) {
        let place = Place { block: place, transaction_hash: *transaction.tx_hash(), index };
        results.push(result(call, &place));
    }
    let mut senders = senders.into_iter();
    let inner = describe_with(block, full, |transaction| {
        let sender = senders.next().unwrap_or_default();
        Ok(Recovered::new_unchecked(transaction, sender))
    })?;
    Ok(SimulatedBlock { inner, calls: results })
}

fn result(call: SimulatedCall, place: &Place) -> SimCallResult {
    let SimulatedCall { outcome, logs, max_gas_used } = call;
    let logs: Vec<Log> = logs.into_iter().map(|(index, log)| place.describe_log(log, index, false)).collect();
    let (status, return_data, error) = match outcome.status {
        CallStatus::Success { output, .. } => (true, output, None),
        CallStatus::Revert { output } => {
            let message = RpcError::Reverted(output.clone()).to_string();
            let code = SimulateError::EXECUTION_REVERTED_CODE;
            (false, Default::default(), Some(SimulateError { code, message, data: Some(output) }))
        }
        halt @ CallStatus::Halt { .. } => {
            let message = failure(halt).to_string();
            (false, Default::default(), Some(SimulateError { code: VM_ERROR, message, data: None }))
        }
    };
    let gas_used = outcome.gas_used;
    SimCallResult { return_data, logs, gas_used, max_used_gas: Some(max_gas_used), status, error }
}
