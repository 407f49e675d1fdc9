//! `debug_*`: executing again with a tracer, and blocks as bytes.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use crate::{CallRequest, FullBlock, ReadError};
use alloy_eips::BlockId;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, Bytes, Sealed};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace};
use serde::Serialize;
use std::sync::Arc;

/// A transaction of a traced block.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockTrace {
    tx_hash: B256,
    result: GethTrace,
}

fn options(args: &Args) -> Result<GethDebugTracingOptions, RpcError> {
    Ok(args.optional(1, "options")?.unwrap_or_default())
}

pub(super) async fn trace_transaction(rpc: Arc<EthRpc>, args: Args) -> Result<GethTrace, RpcError> {
    let args = args.at_most(2)?;
    let (hash, options) = (args.hash(0, "hash")?, options(&args)?);
    rpc.labour(move |rpc| {
        let missing = || RpcError::Failed("transaction not found".to_owned());
        let mined = rpc.reader.transaction(hash)?.ok_or_else(missing)?;
        let block = rpc.reader.block_by_hash(mined.block.hash)?.ok_or_else(missing)?;
        let traced = rpc.reader.trace_block(block, Some(mined.index), &options, rpc.config.trace)?;
        traced.into_iter().next().map(|traced| traced.trace).ok_or_else(missing)
    })
    .await
}

async fn trace_block(rpc: &EthRpc, block: BlockId, args: &Args) -> Result<Vec<BlockTrace>, RpcError> {
    let options = options(args)?;
    rpc.labour(move |rpc| {
        let block = rpc.reader.block(block)?.ok_or_else(|| RpcError::Failed("block not found".to_owned()))?;
        let traced = rpc.reader.trace_block(block, None, &options, rpc.config.trace)?;
        Ok(traced.into_iter().map(|traced| BlockTrace { tx_hash: traced.hash, result: traced.trace }).collect())
    })
    .await
}

pub(super) async fn trace_block_by_number(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<BlockTrace>, RpcError> {
    let args = args.at_most(2)?;
    trace_block(&rpc, args.block_number(0, "block")?.into(), &args).await
}

pub(super) async fn trace_block_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<BlockTrace>, RpcError> {
    let args = args.at_most(2)?;
    let hash = args.hash(0, "blockHash")?;
    trace_block(&rpc, BlockId::hash(hash), &args).await
}

pub(super) async fn trace_call(rpc: Arc<EthRpc>, args: Args) -> Result<GethTrace, RpcError> {
    let args = args.at_most(3)?;
    let transaction: TransactionRequest = args.required(0, "transaction")?;
    let block = args.block(1)?;
    let GethDebugTracingCallOptions { tracing_options, state_overrides, block_overrides, tx_index } =
        args.optional(2, "options")?.unwrap_or_default();
    let request = CallRequest {
        transaction,
        state_overrides,
        block_overrides: block_overrides.map(Box::new),
        gas_cap: rpc.config.gas_cap,
    };
    rpc.labour(move |rpc| Ok(rpc.reader.trace_call(block, tx_index, request, &tracing_options, rpc.config.trace)?))
        .await
}

async fn raw(rpc: &EthRpc, args: Args, of: fn(Sealed<FullBlock>) -> Vec<u8>) -> Result<Bytes, RpcError> {
    let block = args.at_most(1)?.required_block(0)?;
    rpc.read(move |rpc| {
        let block = rpc.reader.block(block)?.ok_or(ReadError::UnknownBlock)?;
        Ok(of(block).into())
    })
    .await
}

pub(super) async fn raw_block(rpc: Arc<EthRpc>, args: Args) -> Result<Bytes, RpcError> {
    raw(&rpc, args, |block| alloy_rlp::encode(block.into_inner())).await
}

pub(super) async fn raw_header(rpc: Arc<EthRpc>, args: Args) -> Result<Bytes, RpcError> {
    raw(&rpc, args, |block| alloy_rlp::encode(block.into_inner().header)).await
}

pub(super) async fn raw_receipts(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<Bytes>, RpcError> {
    let block = args.at_most(1)?.required_block(0)?;
    rpc.read(move |rpc| {
        let block = rpc.reader.resolve(block)?.ok_or(ReadError::UnknownBlock)?;
        let receipts = rpc.reader.receipts(block.hash)?.ok_or(ReadError::UnknownBlock)?;
        Ok(receipts.iter().map(|receipt| receipt.encoded_2718().into()).collect())
    })
    .await
}

/// A block that execution refused.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BadBlock {
    block: super::blocks::RpcBlock,
    hash: B256,
    rlp: Bytes,
}

/// The newest blocks that execution refused since the start.
pub(super) async fn bad_blocks(rpc: Arc<EthRpc>, args: Args) -> Result<Vec<BadBlock>, RpcError> {
    args.at_most(0)?;
    rpc.read(move |rpc| {
        let blocks = rpc.reader.bad_blocks();
        let bad = |block: Arc<Sealed<FullBlock>>| {
            let (hash, rlp) = (block.seal(), alloy_rlp::encode(block.inner()).into());
            Ok(BadBlock { block: super::blocks::describe(Arc::unwrap_or_clone(block), true)?, hash, rlp })
        };
        blocks.into_iter().map(bad).collect()
    })
    .await
}

/// The bytes of a transaction, mined or in the pool; empty if it is unknown.
pub(super) async fn raw_transaction(rpc: Arc<EthRpc>, args: Args) -> Result<Bytes, RpcError> {
    Ok(super::transactions::raw_by_hash(rpc, args).await?.unwrap_or_default())
}
