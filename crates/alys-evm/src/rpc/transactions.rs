//! Sending and finding transactions and receipts.

use super::EthRpc;
use super::args::Args;
use super::blocks::{RpcTransaction, describe_transaction};
use super::error::RpcError;
use crate::{BlockRef, MinedTransaction};
use alloy_consensus::ReceiptEnvelope;
use alloy_consensus::transaction::{Recovered, SignerRecoverable as _, Transaction as _, TransactionInfo};
use alloy_eips::BlockId;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, Bytes, Log as PlainLog};
use alloy_rpc_types_eth::{Log, Transaction, TransactionReceipt};
use serde_json::Value;
use std::sync::Arc;

pub(super) type RpcReceipt = TransactionReceipt<ReceiptEnvelope<Log>>;

pub(super) async fn send_raw(rpc: Arc<EthRpc>, args: Args) -> Result<B256, RpcError> {
    let raw: Bytes = args.at_most(1)?.required(0, "transaction")?;
    if let Some(reason) = rpc.net.borrow().takes_no_transactions() {
        return Err(RpcError::Failed(reason));
    }
    Ok(rpc.pool.submit(raw).await?)
}

/// The node keeps no keys, so it signs nothing.
pub(super) async fn no_keys(_: Arc<EthRpc>, _: Args) -> Result<Value, RpcError> {
    Err(RpcError::Failed(
        "unknown account: this node keeps no keys; sign the transaction yourself and use eth_sendRawTransaction"
            .to_owned(),
    ))
}

pub(super) async fn by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcTransaction>, RpcError> {
    let hash = args.at_most(1)?.hash(0, "hash")?;
    if let Some(mined) = rpc.read(move |rpc| Ok(rpc.reader.transaction(hash)?)).await? {
        return Ok(Some(describe_mined(mined)));
    }
    let pooled = rpc.pool.get(hash).await?;
    if let Some((pooled, _)) = pooled {
        let transaction = Recovered::clone(pooled.recovered());
        return Ok(Some(Transaction::from_transaction(transaction, TransactionInfo::default())));
    }
    // It may have moved from the pool into a block between the two looks.
    Ok(rpc.read(move |rpc| Ok(rpc.reader.transaction(hash)?)).await?.map(describe_mined))
}

pub(super) async fn raw_by_hash(rpc: Arc<EthRpc>, args: Args) -> Result<Option<Bytes>, RpcError> {
    let hash = args.at_most(1)?.hash(0, "hash")?;
    if let Some((pooled, _)) = rpc.pool.get(hash).await? {
        return Ok(Some(pooled.raw().clone()));
    }
    let mined = rpc.read(move |rpc| Ok(rpc.reader.transaction(hash)?)).await?;
    Ok(mined.map(|mined| mined.transaction.inner().encoded_2718().into()))
}

async fn in_block(rpc: &EthRpc, block: BlockId, index: u64) -> Result<Option<RpcTransaction>, RpcError> {
    rpc.read(move |rpc| {
        let Some(block) = rpc.reader.block(block)? else { return Ok(None) };
        let hash = block.hash();
        let block = block.into_inner();
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(transaction) = block.body.transactions.into_iter().nth(position) else { return Ok(None) };
        let info = TransactionInfo {
            hash: Some(*transaction.tx_hash()),
            index: Some(index),
            block_hash: Some(hash),
            block_number: Some(block.header.number),
            base_fee: block.header.base_fee_per_gas,
            block_timestamp: Some(block.header.timestamp),
        };
        describe_transaction(transaction, info).map(Some)
    })
    .await
}

pub(super) async fn by_number_and_index(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcTransaction>, RpcError> {
    let args = args.at_most(2)?;
    in_block(&rpc, args.block_number(0, "block")?.into(), args.number(1, "index")?).await
}

pub(super) async fn by_hash_and_index(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcTransaction>, RpcError> {
    let args = args.at_most(2)?;
    let hash = args.hash(0, "blockHash")?;
    in_block(&rpc, BlockId::hash(hash), args.number(1, "index")?).await
}

pub(super) async fn receipt(rpc: Arc<EthRpc>, args: Args) -> Result<Option<RpcReceipt>, RpcError> {
    let hash = args.at_most(1)?.hash(0, "hash")?;
    rpc.read(move |rpc| {
        let Some(mined) = rpc.reader.receipt(hash)? else { return Ok(None) };
        let place = Place { block: mined.transaction.block, transaction_hash: hash, index: mined.transaction.index };
        let transaction = &mined.transaction.transaction;
        Ok(Some(TransactionReceipt {
            inner: place.describe_logs(mined.receipt, mined.first_log_index),
            transaction_hash: hash,
            transaction_index: Some(place.index),
            block_hash: Some(place.block.hash),
            block_number: Some(place.block.number),
            gas_used: mined.gas_used,
            effective_gas_price: mined.effective_gas_price,
            blob_gas_used: mined.blob_gas_used,
            blob_gas_price: mined.blob_gas_price,
            from: transaction.signer(),
            to: transaction.to(),
            contract_address: mined.contract_address,
        }))
    })
    .await
}

pub(super) async fn block_receipts(rpc: Arc<EthRpc>, args: Args) -> Result<Option<Vec<RpcReceipt>>, RpcError> {
    let block = args.at_most(1)?.required_block(0)?;
    rpc.compute(move |rpc| {
        let Some(block) = rpc.reader.block(block)? else { return Ok(None) };
        let hash = block.hash();
        let Some(receipts) = rpc.reader.receipts(hash)? else { return Ok(None) };
        let block = block.into_inner();
        let header = block.header;
        let block_ref = BlockRef { hash, number: header.number, timestamp: header.timestamp };
        let mut described = Vec::with_capacity(receipts.len());
        let (mut gas_before, mut logs_before) = (0, 0_u64);
        for ((index, transaction), receipt) in (0..).zip(block.body.transactions).zip(receipts) {
            let transaction_hash = *transaction.tx_hash();
            let from = transaction
                .recover_signer_unchecked()
                .map_err(|_| RpcError::Internal("a transaction's signature is damaged".to_owned()))?;
            let place = Place { block: block_ref, transaction_hash, index };
            let gas_after = receipt.cumulative_gas_used();
            let log_count = u64::try_from(receipt.logs().len()).unwrap_or(u64::MAX);
            described.push(TransactionReceipt {
                inner: place.describe_logs(receipt, logs_before),
                transaction_hash,
                transaction_index: Some(index),
                block_hash: Some(hash),
                block_number: Some(header.number),
                gas_used: gas_after.saturating_sub(gas_before),
                effective_gas_price: transaction.effective_gas_price(header.base_fee_per_gas),
                blob_gas_used: None,
                blob_gas_price: None,
                from,
                to: transaction.to(),
                contract_address: transaction.is_create().then(|| from.create(transaction.nonce())),
            });
            gas_before = gas_after;
            logs_before = logs_before.saturating_add(log_count);
        }
        Ok(Some(described))
    })
    .await
}

fn describe_mined(mined: MinedTransaction) -> RpcTransaction {
    let info = TransactionInfo {
        hash: Some(*mined.transaction.inner().tx_hash()),
        index: Some(mined.index),
        block_hash: Some(mined.block.hash),
        block_number: Some(mined.block.number),
        base_fee: mined.base_fee,
        block_timestamp: Some(mined.block.timestamp),
    };
    Transaction::from_transaction(mined.transaction, info)
}

/// Where a transaction stands.
pub(super) struct Place {
    pub(super) block: BlockRef,
    pub(super) transaction_hash: B256,
    pub(super) index: u64,
}

impl Place {
    /// A log of the transaction as JSON-RPC shows it.
    pub(super) fn describe_log(&self, log: PlainLog, log_index: u64, removed: bool) -> Log {
        Log {
            inner: log,
            block_hash: Some(self.block.hash),
            block_number: Some(self.block.number),
            block_timestamp: Some(self.block.timestamp),
            transaction_hash: Some(self.transaction_hash),
            transaction_index: Some(self.index),
            log_index: Some(log_index),
            removed,
        }
    }

    fn describe_logs(&self, receipt: ReceiptEnvelope, first: u64) -> ReceiptEnvelope<Log> {
        let mut next = first;
        receipt.map_logs(|log| {
            let described = self.describe_log(log, next, false);
            next = next.saturating_add(1);
            described
        })
    }
}
