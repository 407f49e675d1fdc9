//! What to pay: suggestions and history.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use crate::{FullBlock, ReadError};
use alloy_consensus::Transaction as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Sealed, U256};
use alloy_rpc_types_eth::FeeHistory;
use std::sync::Arc;

/// Blocks whose tips a suggestion looks at.
const SAMPLED_BLOCKS: u64 = 20;

/// The lowest tips of a block that count, so that one generous block does not decide.
const SAMPLES_OF_A_BLOCK: usize = 3;

/// The percentile of the sampled tips that is suggested.
const SUGGESTED_PERCENTILE: usize = 60;

/// The most percentiles of one fee history.
const MAX_PERCENTILES: usize = 100;

pub(super) async fn gas_price(rpc: Arc<EthRpc>, args: Args) -> Result<U256, RpcError> {
    args.at_most(0)?;
    rpc.compute(|rpc| {
        let tip = suggested_tip(rpc)?;
        Ok(U256::from(tip.saturating_add(u128::from(next_block(rpc)?.base_fee))))
    })
    .await
}

pub(super) async fn max_priority_fee(rpc: Arc<EthRpc>, args: Args) -> Result<U256, RpcError> {
    args.at_most(0)?;
    rpc.compute(|rpc| suggested_tip(rpc).map(U256::from)).await
}

pub(super) async fn blob_base_fee(rpc: Arc<EthRpc>, args: Args) -> Result<U256, RpcError> {
    args.at_most(0)?;
    rpc.read(|rpc| Ok(U256::from(next_block(rpc)?.blob_base_fee.unwrap_or_default()))).await
}

/// The base fee of the next block.
pub(super) async fn base_fee(rpc: Arc<EthRpc>, args: Args) -> Result<U256, RpcError> {
    args.at_most(0)?;
    rpc.read(|rpc| Ok(U256::from(next_block(rpc)?.base_fee))).await
}

fn next_block(rpc: &EthRpc) -> Result<crate::NextBlock, RpcError> {
    let head = rpc.reader.heads().latest;
    Ok(rpc.reader.next_block(BlockId::hash(head.hash), head.timestamp.saturating_add(1))?)
}

/// A tip that recent blocks took.
pub(super) fn suggested_tip(rpc: &EthRpc) -> Result<u128, RpcError> {
    let head = rpc.reader.heads().latest;
    let (known_at, known) = *rpc.tip.borrow();
    if known_at == head.hash {
        return Ok(known);
    }
    let mut tips = Vec::new();
    for number in head.number.saturating_sub(SAMPLED_BLOCKS).saturating_add(1)..=head.number {
        let Some(block) = rpc.reader.block_by_number(number)? else { continue };
        let block = block.into_inner();
        let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
        let tip_of = |transaction: &crate::Tx| transaction.effective_tip_per_gas(base_fee);
        let mut of_block: Vec<_> = block.body.transactions.iter().filter_map(tip_of).collect();
        of_block.sort_unstable();
        tips.extend(of_block.into_iter().filter(|tip| *tip > 0).take(SAMPLES_OF_A_BLOCK));
    }
    tips.sort_unstable();
    let at = tips.len().saturating_sub(1).saturating_mul(SUGGESTED_PERCENTILE) / 100;
    let tip = tips.get(at).copied().unwrap_or(rpc.config.default_tip).min(rpc.config.max_tip);
    rpc.tip.send_replace((head.hash, tip));
    Ok(tip)
}

pub(super) async fn fee_history(rpc: Arc<EthRpc>, args: Args) -> Result<FeeHistory, RpcError> {
    let args = args.at_most(3)?;
    let count = args.number(0, "blockCount")?.min(rpc.config.max_fee_history);
    let newest = args.block_number(1, "newestBlock")?;
    let percentiles: Vec<f64> = args.optional(2, "rewardPercentiles")?.unwrap_or_default();
    if percentiles.len() > MAX_PERCENTILES {
        let length = percentiles.len();
        return Err(RpcError::Params(format!("over the query limit {MAX_PERCENTILES}: {length} percentiles")));
    }
    if let Some(wrong) = percentiles.iter().find(|percentile| !(0.0..=100.0).contains(*percentile)) {
        return Err(RpcError::Params(format!("invalid reward percentile: {wrong} is not between 0 and 100")));
    }
    if let Some([a, b]) = percentiles.array_windows::<2>().find(|[a, b]| a > b) {
        return Err(RpcError::Params(format!("invalid reward percentile: {a} stands before {b}")));
    }
    rpc.compute(move |rpc| history(rpc, count, newest, &percentiles)).await
}

fn history(rpc: &EthRpc, count: u64, newest: BlockNumberOrTag, percentiles: &[f64]) -> Result<FeeHistory, RpcError> {
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let head = rpc.reader.heads().latest.number;
    let newest = match newest {
        BlockNumberOrTag::Number(number) if number > head => {
            return Err(RpcError::Failed(format!("request beyond head block: requested {number}, head {head}")));
        }
        tag @ (BlockNumberOrTag::Latest
        | BlockNumberOrTag::Finalized
        | BlockNumberOrTag::Safe
        | BlockNumberOrTag::Earliest
        | BlockNumberOrTag::Pending
        | BlockNumberOrTag::Number(_)) => rpc.reader.resolve(BlockId::Number(tag))?.ok_or(ReadError::UnknownBlock)?,
    };
    let oldest = newest.number.saturating_add(1).saturating_sub(count);
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    let forks = rpc.reader.forks();
    for number in oldest..=newest.number {
        let header = rpc.reader.header_by_number(number)?.ok_or(ReadError::UnknownBlock)?;
        history.base_fee_per_gas.push(u128::from(header.base_fee_per_gas.unwrap_or_default()));
        history.gas_used_ratio.push(ratio(header.gas_used, header.gas_limit));
        let blobs = forks.blob_params_at(header.timestamp);
        let blob_fee = header.excess_blob_gas.zip(blobs).map(|(excess, params)| params.calc_blob_fee(excess));
        history.base_fee_per_blob_gas.push(blob_fee.unwrap_or_default());
        let blob_limit = blobs.map_or(0, |params| params.max_blob_gas_per_block());
        history.blob_gas_used_ratio.push(ratio(header.blob_gas_used.unwrap_or_default(), blob_limit));
        if !percentiles.is_empty() {
            let block = rpc.reader.block_by_hash(header.hash())?.ok_or(ReadError::UnknownBlock)?;
            rewards.push(block_rewards(rpc, &block, percentiles)?);
        }
    }
    let next = rpc.reader.next_block(BlockId::hash(newest.hash), newest.timestamp.saturating_add(1))?;
    history.base_fee_per_gas.push(u128::from(next.base_fee));
    history.base_fee_per_blob_gas.push(next.blob_base_fee.unwrap_or_default());
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    Ok(history)
}

/// The effective tips at `percentiles` of the block's gas.
fn block_rewards(rpc: &EthRpc, block: &Sealed<FullBlock>, percentiles: &[f64]) -> Result<Vec<u128>, RpcError> {
    let transactions = &block.inner().body.transactions;
    if transactions.is_empty() {
        return Ok(vec![0; percentiles.len()]);
    }
    let receipts = rpc.reader.receipts(block.hash())?.ok_or(ReadError::UnknownBlock)?;
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut gas_before = 0;
    let mut paid: Vec<_> = transactions
        .iter()
        .zip(&receipts)
        .map(|(transaction, receipt)| {
            let gas_after = receipt.cumulative_gas_used();
            let gas = gas_after.saturating_sub(gas_before);
            gas_before = gas_after;
            (transaction.effective_tip_per_gas(base_fee).unwrap_or_default(), gas)
        })
        .collect();
    paid.sort_unstable();
    let total = float(block.header.gas_used);
    let mut rest = paid.iter().peekable();
    let mut sum = 0_u64;
    let mut current = 0;
    let mut rewards = Vec::with_capacity(percentiles.len());
    for percentile in percentiles {
        let threshold = total * percentile / 100.0;
        while (float(sum) < threshold || sum == 0)
            && let Some((tip, gas)) = rest.next()
        {
            current = *tip;
            sum = sum.saturating_add(*gas);
        }
        rewards.push(current);
    }
    Ok(rewards)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// Gas as a float; block gas limits are far below 2^53.
#[allow(clippy::as_conversions, clippy::cast_precision_loss)]
fn float(gas: u64) -> f64 {
    gas as f64
}
