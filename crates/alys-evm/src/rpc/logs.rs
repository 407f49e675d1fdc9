//! Searching logs.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use super::transactions::Place;
use crate::{BlockRef, ChainEvent};
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use std::sync::Arc;

/// The most addresses, or alternatives of one topic, that a filter names.
const MAX_ALTERNATIVES: usize = 1_000;

pub(super) async fn logs(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<Log>, RpcError> {
    let filter = filter(&args.at_most(1)?, 0)?;
    rpc.labour(move |rpc| search(rpc, &filter)).await
}

/// The filter argument; everything matches if it is missing.
pub(super) fn filter(args: &Args, index: usize) -> Result<Filter, RpcError> {
    args.check_range(index)?;
    let filter: Filter = args.optional(index, "filter")?.unwrap_or_default();
    let most = filter.topics.iter().map(|topic| topic.len()).chain([filter.address.len()]).max().unwrap_or(0);
    if most > MAX_ALTERNATIVES {
        return Err(RpcError::Params(format!(
            "exceed max addresses or topics per search position: {most}, at most {MAX_ALTERNATIVES}"
        )));
    }
    Ok(filter)
}

/// All logs that a filter with its range matches.
pub(super) fn search(rpc: &EthRpc, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    let mut found = Vec::new();
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = rpc.reader.resolve(BlockId::hash(hash))?;
            let block = block.ok_or_else(|| RpcError::Failed(format!("unknown block {hash}")))?;
            in_block(rpc, block, filter, false, &mut found)?;
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let head = rpc.reader.heads().latest.number;
            let number = |tag: Option<BlockNumberOrTag>| -> Result<u64, RpcError> {
                match tag.unwrap_or_default() {
                    BlockNumberOrTag::Number(number) => Ok(number),
                    tag @ (BlockNumberOrTag::Latest
                    | BlockNumberOrTag::Pending
                    | BlockNumberOrTag::Earliest
                    | BlockNumberOrTag::Safe
                    | BlockNumberOrTag::Finalized) => {
                        Ok(rpc.reader.resolve(tag.into())?.map_or(head, |block| block.number))
                    }
                }
            };
            let (from, to) = (number(from_block)?, number(to_block)?);
            if from > to {
                return Err(RpcError::Params(format!("invalid block range params: fromBlock {from}, toBlock {to}")));
            }
            if to > head {
                return Err(RpcError::Params("block range extends beyond current head block".to_owned()));
            }
            let blocks = to.saturating_sub(from).saturating_add(1);
            if from <= to && blocks > rpc.config.max_log_blocks {
                let limit = rpc.config.max_log_blocks;
                return Err(RpcError::Limit(format!("query exceeds max block range {limit}: {blocks} blocks")));
            }
            let time = rpc.time_limit();
            for number in from..=to {
                time.check()?;
                let Some(header) = rpc.reader.header_by_number(number)? else { break };
                if !filter.matches_bloom(header.logs_bloom) {
                    continue;
                }
                let block = BlockRef { hash: header.hash(), number, timestamp: header.timestamp };
                in_block(rpc, block, filter, false, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The logs that changes of the chain brought and took away.
pub(super) fn of_changes(rpc: &EthRpc, filter: &Filter, changes: &[ChainEvent]) -> Result<Vec<Log>, RpcError> {
    let mut found = Vec::new();
    for change in changes {
        for block in change.dropped() {
            in_range_and_block(rpc, *block, filter, true, &mut found)?;
        }
        for block in change.added() {
            in_range_and_block(rpc, *block, filter, false, &mut found)?;
        }
    }
    Ok(found)
}

fn in_range_and_block(
    rpc: &EthRpc,
    block: BlockRef,
    filter: &Filter,
    removed: bool,
    found: &mut Vec<Log>,
) -> Result<(), RpcError> {
    if !filter.matches_block_range(block.number) {
        return Ok(());
    }
    in_block(rpc, block, filter, removed, found)
}

fn in_block(
    rpc: &EthRpc,
    block: BlockRef,
    filter: &Filter,
    removed: bool,
    found: &mut Vec<Log>,
) -> Result<(), RpcError> {
    let receipts = rpc.reader.receipts(block.hash)?.unwrap_or_default();
    if !receipts.iter().any(|receipt| receipt.logs().iter().any(|log| filter.matches(log))) {
        return Ok(());
    }
    let Some(body) = rpc.reader.block_by_hash(block.hash)? else { return Ok(()) };
    let mut log_index = 0_u64;
    for ((index, transaction), receipt) in (0..).zip(&body.inner().body.transactions).zip(&receipts) {
        let place = Place { block, transaction_hash: *transaction.tx_hash(), index };
        for log in receipt.logs() {
            if filter.matches(log) {
                if found.len() >= rpc.config.max_logs {
                    let limit = rpc.config.max_logs;
                    return Err(RpcError::Limit(format!("query returned more than {limit} results")));
                }
                found.push(place.describe_log(log.clone(), log_index, removed));
            }
            log_index = log_index.saturating_add(1);
        }
    }
    Ok(())
}
