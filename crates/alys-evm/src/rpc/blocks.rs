//! Blocks and headers.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use crate::{FullBlock, Tx};
use alloy_consensus::transaction::{Recovered, SignerRecoverable as _, TransactionInfo};
use alloy_eips::BlockId;
use alloy_primitives::{Sealed, U64, U256};
use alloy_rlp::Encodable as _;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Transaction};
use serde_json::Value;
use std::sync::Arc;

pub(super) type RpcTransaction = Transaction<Tx>;
pub(super) type RpcBlock = Block<RpcTransaction>;

pub(super) async fn number(rpc: Arc<EthRpc>, args: Args) -> Result<U64, RpcError> {
    args.at_most(0)?;
    Ok(U64::from(rpc.reader.heads().latest.number))
}

/// The block argument of a method that takes a number or a tag.
fn by_number(args: &Args) -> Result<BlockId, RpcError> {
    args.block_number(0, "block").map(BlockId::Number)
}

/// The block argument of a method that takes a hash.
fn by_hash(args: &Args) -> Result<BlockId, RpcError> {
    args.hash(0, "blockHash").map(BlockId::hash)
}

async fn block(rpc: &EthRpc, block: BlockId, full: bool) -> Result<Option<RpcBlock>, RpcError> {
    rpc.read(move |rpc| rpc.reader.block(block)?.map(|block| describe(block, full)).transpose()).await
}

pub(super) async fn block_by_number(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcBlock>, RpcError> {
    let args = args.at_most(2)?;
    block(&rpc, by_number(&args)?, args.optional(1, "full")?.unwrap_or(false)).await
}

pub(super) async fn block_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcBlock>, RpcError> {
    let args = args.at_most(2)?;
    block(&rpc, by_hash(&args)?, args.optional(1, "full")?.unwrap_or(false)).await
}

async fn header(rpc: &EthRpc, block: BlockId) -> Result<Option<Header>, RpcError> {
    rpc.read(move |rpc| Ok(rpc.reader.header(block)?.map(Header::from_sealed))).await
}

pub(super) async fn header_by_number(rpc: Arc<EthRpc>, args: Args) -> Result<Option<Header>, RpcError> {
    header(&rpc, by_number(&args.at_most(1)?)?).await
}

pub(super) async fn header_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<Header>, RpcError> {
    header(&rpc, by_hash(&args.at_most(1)?)?).await
}

async fn count(rpc: &EthRpc, block: BlockId, of: fn(&FullBlock) -> usize) -> Result<Option<U64>, RpcError> {
    rpc.read(move |rpc| Ok(rpc.reader.block(block)?.map(|block| U64::from(of(block.inner()))))).await
}

pub(super) async fn transaction_count_by_number(rpc: Arc<EthRpc>, args: Args) -> Result<Option<U64>, RpcError> {
    count(&rpc, by_number(&args.at_most(1)?)?, |block| block.body.transactions.len()).await
}

pub(super) async fn transaction_count_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<U64>, RpcError> {
    count(&rpc, by_hash(&args.at_most(1)?)?, |block| block.body.transactions.len()).await
}

pub(super) async fn uncle_count_by_number(rpc: Arc<EthRpc>, args: Args) -> Result<Option<U64>, RpcError> {
    count(&rpc, by_number(&args.at_most(1)?)?, |block| block.body.ommers.len()).await
}

pub(super) async fn uncle_count_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<U64>, RpcError> {
    count(&rpc, by_hash(&args.at_most(1)?)?, |block| block.body.ommers.len()).await
}

/// Blocks here have no uncles.
pub(super) async fn uncle_by_number(_: Arc<EthRpc>, args: Args) -> Result<Option<Value>, RpcError> {
    let args = args.at_most(2)?;
    by_number(&args)?;
    args.number(1, "index")?;
    Ok(None)
}

/// Blocks here have no uncles.
pub(super) async fn uncle_by_hash(_: Arc<EthRpc>, args: Args) -> Result<Option<Value>, RpcError> {
    let args = args.at_most(2)?;
    by_hash(&args)?;
    args.number(1, "index")?;
    Ok(None)
}

/// A block as JSON-RPC shows it, with transactions or only their hashes.
pub(super) fn describe(block: Sealed<FullBlock>, full: bool) -> Result<RpcBlock, RpcError> {
    describe_with(block, full, recover)
}

/// [`describe`] for blocks whose senders are known in another way.
pub(super) fn describe_with(
    block: Sealed<FullBlock>,
    full: bool,
    mut sender: impl FnMut(Tx) -> Result<Recovered<Tx>, RpcError>,
) -> Result<RpcBlock, RpcError> {
    let (block, hash) = block.into_parts();
    let size = U256::from(block.length());
    let FullBlock { header, body } = block;
    let transactions = if full {
        let mut described = Vec::with_capacity(body.transactions.len());
        for (index, transaction) in (0..).zip(body.transactions) {
            let info = TransactionInfo {
                hash: Some(*transaction.tx_hash()),
                index: Some(index),
                block_hash: Some(hash),
                block_number: Some(header.number),
                base_fee: header.base_fee_per_gas,
                block_timestamp: Some(header.timestamp),
            };
            described.push(Transaction::from_transaction(sender(transaction)?, info));
        }
        BlockTransactions::Full(described)
    } else {
        BlockTransactions::Hashes(body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
    };
    let header = Header::from_consensus(Sealed::new_unchecked(header, hash), None, Some(size));
    Ok(Block { header, uncles: Vec::new(), transactions, withdrawals: body.withdrawals })
}

fn recover(transaction: Tx) -> Result<Recovered<Tx>, RpcError> {
    transaction
        .try_into_recovered_unchecked()
        .map_err(|_| RpcError::Internal("a transaction's signature is damaged".to_owned()))
}

/// A transaction as JSON-RPC shows it.
pub(super) fn describe_transaction(transaction: Tx, info: TransactionInfo) -> Result<RpcTransaction, RpcError> {
    Ok(Transaction::from_transaction(recover(transaction)?, info))
}
