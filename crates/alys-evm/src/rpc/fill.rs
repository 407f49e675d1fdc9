//! `eth_fillTransaction`: a transaction that its sender has only to sign.

use super::EthRpc;
use super::args::Args;
use super::call::least_gas;
use super::error::RpcError;
use super::fees::suggested_tip;
use crate::ReadError;
use alloy_eips::BlockId;
use alloy_primitives::U256;
use alloy_rpc_types_eth::TransactionRequest;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn fill(rpc: Arc<EthRpc>, args: Args) -> Result<Value, RpcError> {
    let transaction: TransactionRequest = args.at_most(1)?.required(0, "transaction")?;
    let from = transaction.from.unwrap_or_default();
    let pooled = rpc.pool.pending_nonce(from).unwrap_or(0);
    let chain_id = rpc.reader.chain_id();
    if let Some(found) = transaction.chain_id.filter(|found| *found != chain_id) {
        return Err(RpcError::Failed(format!("chainId does not match node's (have={found}, want={chain_id})")));
    }
    rpc.compute(move |rpc| {
        let mut filled = transaction;
        let account = rpc.reader.account(BlockId::latest(), from)?;
        filled.nonce = filled.nonce.or(Some(account.map_or(0, |account| account.nonce).max(pooled)));
        filled.chain_id = Some(chain_id);
        filled.value = filled.value.or(Some(U256::ZERO));
        fill_fees(rpc, &mut filled)?;
        if filled.gas.is_none() {
            filled.gas = Some(least_gas(rpc, filled.clone())?);
        }
        filled.transaction_type = Some(match (filled.gas_price, &filled.access_list, &filled.authorization_list) {
            (Some(_), None, _) => 0,
            (Some(_), Some(_), _) => 1,
            (None, _, None) => 2,
            (None, _, Some(_)) => 4,
        });
        if filled.transaction_type != Some(0) {
            filled.access_list.get_or_insert_default();
        }
        // The signature tells who sends it.
        filled.from = None;
        Ok(json!({ "tx": filled }))
    })
    .await
}

/// As geth: a tip that recent blocks took, and twice the base fee.
fn fill_fees(rpc: &EthRpc, filled: &mut TransactionRequest) -> Result<(), RpcError> {
    let dynamic = filled.max_fee_per_gas.is_some() || filled.max_priority_fee_per_gas.is_some();
    if filled.gas_price.is_some() {
        return match dynamic {
            true => {
                let text = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified";
                Err(RpcError::Failed(text.to_owned()))
            }
            false => Ok(()),
        };
    }
    let head = rpc.reader.header(BlockId::latest())?.ok_or(ReadError::UnknownBlock)?;
    let base_fee = u128::from(head.base_fee_per_gas.unwrap_or_default());
    let tip = match filled.max_priority_fee_per_gas {
        Some(tip) => tip,
        None => suggested_tip(rpc)?,
    };
    let fee = filled.max_fee_per_gas.unwrap_or_else(|| base_fee.saturating_mul(2).saturating_add(tip));
    if fee < tip {
        return Err(RpcError::Failed(format!("maxFeePerGas ({fee}) < maxPriorityFeePerGas ({tip})")));
    }
    (filled.max_fee_per_gas, filled.max_priority_fee_per_gas) = (Some(fee), Some(tip));
    Ok(())
}
