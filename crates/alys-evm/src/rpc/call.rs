//! Calls that leave no trace: `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use crate::{CallOutcome, CallRequest, CallStatus, ReadError};
use alloy_eips::BlockId;
use alloy_primitives::{Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{AccessListResult, BlockOverrides, TransactionRequest};
use revm::primitives::eip7825::TX_GAS_LIMIT_CAP;
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;

/// What a plain transfer costs.
const TRANSFER_GAS: u64 = 21_000;

/// Gas that a call with value is given on top.
const CALL_STIPEND: u64 = 2_300;

/// An estimate may be this many thousandths above the least gas.
const ESTIMATE_TOLERANCE: u64 = 15;

/// How often an access list is computed again because it changed what was touched.
const MAX_ACCESS_LIST_ROUNDS: usize = 8;

/// A call's arguments.
struct Call {
    block: BlockId,
    request: CallRequest,
}

impl Call {
    /// Transaction, block, state overrides, block overrides.
    fn parse(rpc: &EthRpc, args: &Args) -> Result<Self, RpcError> {
        let mut call = Self::of(rpc, args.required(0, "transaction")?, args.block(1)?)?;
        call.request.state_overrides = args.optional::<StateOverride>(2, "stateOverrides")?;
        call.request.block_overrides = args.optional::<BlockOverrides>(3, "blockOverrides")?.map(Box::new);
        Ok(call)
    }

    fn of(rpc: &EthRpc, transaction: TransactionRequest, block: BlockId) -> Result<Self, RpcError> {
        let blobs = transaction.max_fee_per_blob_gas.is_some() || transaction.blob_versioned_hashes.is_some();
        if blobs && !allows_blobs(rpc) {
            return Err(RpcError::Params("blob transactions are invalid on this chain".to_owned()));
        }
        Ok(Self { block, request: CallRequest { transaction, gas_cap: rpc.config.gas_cap, ..CallRequest::default() } })
    }

    fn with_gas(&self, gas: u64) -> CallRequest {
        let mut request = self.request.clone();
        request.transaction.gas = Some(gas);
        request
    }
}

/// Whether the newest block's rules allow blobs.
fn allows_blobs(rpc: &EthRpc) -> bool {
    let params = rpc.reader.forks().blob_params_at(rpc.reader.heads().latest.timestamp);
    params.is_some_and(|params| params.max_blob_count > 0)
}

pub(super) async fn call(rpc: Arc<EthRpc>, args: Args) -> Result<Bytes, RpcError> {
    let Call { block, request } = Call::parse(&rpc, &args.at_most(4)?)?;
    rpc.compute(move |rpc| match rpc.reader.call(block, request)?.status {
        CallStatus::Success { output, .. } => Ok(output),
        status @ (CallStatus::Revert { .. } | CallStatus::Halt { .. }) => Err(failure(status)),
    })
    .await
}

pub(super) async fn estimate_gas(rpc: Arc<EthRpc>, args: Args) -> Result<U64, RpcError> {
    let call = Call::parse(&rpc, &args.at_most(4)?)?;
    rpc.compute(move |rpc| estimate(rpc, &call).map(U64::from)).await
}

pub(super) async fn create_access_list(rpc: Arc<EthRpc>, args: Args) -> Result<AccessListResult, RpcError> {
    let Call { block, mut request } = Call::parse(&rpc, &args.at_most(3)?)?;
    rpc.compute(move |rpc| {
        let time = rpc.time_limit();
        let mut rounds = 0;
        loop {
            time.check()?;
            let (access_list, outcome) = rpc.reader.access_list(block, request.clone())?;
            rounds += 1;
            let settled = request.transaction.access_list.as_ref() == Some(&access_list);
            if !settled && rounds < MAX_ACCESS_LIST_ROUNDS {
                request.transaction.access_list = Some(access_list);
                continue;
            }
            let error = match outcome.status {
                CallStatus::Success { .. } => None,
                status @ (CallStatus::Revert { .. } | CallStatus::Halt { .. }) => Some(failure(status).to_string()),
            };
            return Ok(AccessListResult { access_list, gas_used: U256::from(outcome.gas_used), error });
        }
    })
    .await
}

/// What `eth_estimateGas` says of a transaction on the head.
pub(super) fn least_gas(rpc: &EthRpc, transaction: TransactionRequest) -> Result<u64, RpcError> {
    estimate(rpc, &Call::of(rpc, transaction, BlockId::latest())?)
}

/// The least gas with which the call succeeds, give or take [`ESTIMATE_TOLERANCE`].
fn estimate(rpc: &EthRpc, call: &Call) -> Result<u64, RpcError> {
    let time = rpc.time_limit();
    let most = most_gas(rpc, call)?;
    if is_transfer(rpc, call)? && most >= TRANSFER_GAS && succeeds(rpc, call, TRANSFER_GAS)?.is_some() {
        return Ok(TRANSFER_GAS);
    }
    let outcome = match rpc.reader.call(call.block, call.with_gas(most))? {
        CallOutcome { status: CallStatus::Halt { out_of_gas: true, .. }, .. } => {
            return Err(RpcError::Failed(format!("gas required exceeds allowance ({most})")));
        }
        CallOutcome { status: status @ (CallStatus::Revert { .. } | CallStatus::Halt { .. }), .. } => {
            return Err(failure(status));
        }
        outcome @ CallOutcome { status: CallStatus::Success { .. }, .. } => outcome,
    };
    let (mut enough, mut too_little) = (most, outcome.gas_used.saturating_sub(1));
    // A call keeps back a 64th of its gas from the calls that it makes.
    let likely = outcome.gas_used.saturating_add(CALL_STIPEND).saturating_mul(64) / 63;
    if likely < enough {
        time.check()?;
        match succeeds(rpc, call, likely)? {
            Some(_) => enough = likely,
            None => too_little = likely,
        }
    }
    while too_little.saturating_add(1) < enough
        && enough.saturating_sub(too_little).saturating_mul(1_000) / enough.max(1) >= ESTIMATE_TOLERANCE
    {
        let middle = too_little.midpoint(enough);
        // Most calls need little more than they use.
        let next = middle.min(too_little.saturating_mul(2)).max(too_little.saturating_add(1));
        time.check()?;
        match succeeds(rpc, call, next)? {
            Some(_) => enough = next,
            None => too_little = next,
        }
    }
    Ok(enough)
}

/// The outcome if the call succeeds with this gas, which may be too little to begin with.
fn succeeds(rpc: &EthRpc, call: &Call, gas: u64) -> Result<Option<CallOutcome>, RpcError> {
    match rpc.reader.call(call.block, call.with_gas(gas)) {
        Ok(outcome) => Ok(matches!(outcome.status, CallStatus::Success { .. }).then_some(outcome)),
        Err(ReadError::InvalidCall(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The most gas that the call can have: what it asks for or the block's, the caps, and what the sender can pay.
fn most_gas(rpc: &EthRpc, call: &Call) -> Result<u64, RpcError> {
    let transaction = &call.request.transaction;
    let header = rpc.reader.header(call.block)?.ok_or(ReadError::UnknownBlock)?;
    let asked = transaction.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(header.gas_limit);
    let rules = rpc.reader.next_block(call.block, header.timestamp.saturating_add(1))?.spec;
    let rule_cap = if rules.is_enabled_in(SpecId::OSAKA) { TX_GAS_LIMIT_CAP } else { u64::MAX };
    let most = asked.min(call.request.gas_cap).min(rule_cap);
    let price = transaction.max_fee_per_gas.or(transaction.gas_price).unwrap_or(0);
    let Some(from) = transaction.from.filter(|_| price > 0) else { return Ok(most) };
    let overridden = call.request.state_overrides.as_ref().and_then(|accounts| accounts.get(&from)?.balance);
    let balance = match overridden {
        Some(balance) => balance,
        None => rpc.reader.account(call.block, from)?.map_or(U256::ZERO, |account| account.balance),
    };
    let value = transaction.value.unwrap_or_default();
    let Some(left) = balance.checked_sub(value) else {
        return Err(RpcError::Failed("insufficient funds for transfer".to_owned()));
    };
    let affordable = u64::try_from(left / U256::from(price)).unwrap_or(u64::MAX);
    if affordable < TRANSFER_GAS {
        return Err(RpcError::Failed(format!(
            "insufficient funds for gas * price + value: address {from} have {balance} want {}",
            value.saturating_add(U256::from(price).saturating_mul(U256::from(TRANSFER_GAS)))
        )));
    }
    Ok(most.min(affordable))
}

/// Whether the call only moves coins: it has no data and its recipient no code.
fn is_transfer(rpc: &EthRpc, call: &Call) -> Result<bool, RpcError> {
    let transaction = &call.request.transaction;
    let Some(TxKind::Call(to)) = transaction.to else { return Ok(false) };
    let plain = transaction.input.input().is_none_or(|input| input.is_empty())
        && transaction.access_list.is_none()
        && transaction.authorization_list.is_none()
        && call.request.state_overrides.is_none();
    Ok(plain && rpc.reader.code(call.block, to)?.is_empty())
}

pub(super) fn failure(status: CallStatus) -> RpcError {
    match status {
        CallStatus::Revert { output } => RpcError::Reverted(output),
        CallStatus::Halt { out_of_gas: true, .. } => RpcError::Failed("out of gas".to_owned()),
        CallStatus::Halt { reason, .. } => {
            let words = match reason.as_str() {
                "OpcodeNotFound" | "InvalidFEOpcode" => "invalid opcode",
                "StackUnderflow" => "stack underflow",
                "StackOverflow" => "stack limit reached",
                "InvalidJump" => "invalid jump destination",
                "CallTooDeep" => "max call depth exceeded",
                "CreateCollision" => "contract address collision",
                "CreateContractSizeLimit" => "max code size exceeded",
                "CreateInitCodeSizeLimit" => "max initcode size exceeded",
                "OutOfFunds" => "insufficient balance for transfer",
                _ => return RpcError::Failed(format!("execution failed: {reason}")),
            };
            RpcError::Failed(words.to_owned())
        }
        CallStatus::Success { .. } => RpcError::Internal("a success is no failure".to_owned()),
    }
}
