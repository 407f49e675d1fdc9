//! What is not about blocks or accounts: `net_*`, `web3_*`, `txpool_*`, and `eth_*` of the node itself.

use super::EthRpc;
use super::args::Args;
use super::blocks::RpcTransaction;
use super::error::RpcError;
use super::filters::describe_pending;
use crate::pool::{Entries, PooledTransaction, SenderView};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes, U64, keccak256};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn chain_id(rpc: Arc<EthRpc>, args: Args) -> Result<U64, RpcError> {
    args.at_most(0)?;
    Ok(U64::from(rpc.reader.chain_id()))
}

pub(super) async fn accounts(_: Arc<EthRpc>, args: Args) -> Result<Vec<Address>, RpcError> {
    args.at_most(0)?;
    Ok(Vec::new())
}

pub(super) async fn syncing(rpc: Arc<EthRpc>, args: Args) -> Result<Value, RpcError> {
    args.at_most(0)?;
    let syncing = rpc.net.borrow().syncing;
    Ok(match syncing {
        None => Value::Bool(false),
        Some(syncing) => json!({
            "startingBlock": U64::from(syncing.starting),
            "currentBlock": U64::from(rpc.reader.heads().latest.number),
            "highestBlock": U64::from(syncing.highest),
        }),
    })
}

/// `net_version` is a decimal text, unlike `eth_chainId`.
pub(super) async fn net_version(rpc: Arc<EthRpc>, args: Args) -> Result<String, RpcError> {
    args.at_most(0)?;
    Ok(rpc.reader.chain_id().to_string())
}

pub(super) async fn net_listening(rpc: Arc<EthRpc>, args: Args) -> Result<bool, RpcError> {
    args.at_most(0)?;
    Ok(rpc.net.borrow().listening)
}

pub(super) async fn net_peer_count(rpc: Arc<EthRpc>, args: Args) -> Result<U64, RpcError> {
    args.at_most(0)?;
    Ok(U64::from(rpc.net.borrow().peers))
}

pub(super) async fn client_version(rpc: Arc<EthRpc>, args: Args) -> Result<String, RpcError> {
    args.at_most(0)?;
    Ok(rpc.config.client_version.clone())
}

pub(super) async fn sha3(_: Arc<EthRpc>, args: Args) -> Result<B256, RpcError> {
    let data: Bytes = args.at_most(1)?.required(0, "data")?;
    Ok(keccak256(data))
}

pub(super) async fn pool_status(rpc: Arc<EthRpc>, args: Args) -> Result<Value, RpcError> {
    args.at_most(0)?;
    let status = rpc.pool.status();
    Ok(json!({ "pending": U64::from(status.pending), "queued": U64::from(status.queued) }))
}

/// Transactions of the pool by sender (with EIP-55's checksum) and nonce.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Content<T> {
    pending: BTreeMap<String, BTreeMap<u64, T>>,
    queued: BTreeMap<String, BTreeMap<u64, T>>,
}

fn content<T>(rpc: &EthRpc, show: fn(&PooledTransaction) -> T) -> Content<T> {
    let view = rpc.pool.view();
    let part = |entries: fn(&SenderView) -> &Entries| {
        let senders = view.senders().iter().filter(|(_, sender)| !entries(sender).is_empty());
        senders.map(|(address, sender)| (address.to_checksum(None), by_nonce(entries(sender), show))).collect()
    };
    Content { pending: part(|sender| &sender.pending), queued: part(|sender| &sender.queued) }
}

fn by_nonce<T>(entries: &Entries, show: fn(&PooledTransaction) -> T) -> BTreeMap<u64, T> {
    entries.iter().map(|entry| (entry.transaction.nonce(), show(&entry.transaction))).collect()
}

pub(super) async fn pool_content(rpc: Arc<EthRpc>, args: Args) -> Result<Content<RpcTransaction>, RpcError> {
    args.at_most(0)?;
    rpc.compute(|rpc| Ok(content(rpc, describe_pending))).await
}

pub(super) async fn pool_inspect(rpc: Arc<EthRpc>, args: Args) -> Result<Content<String>, RpcError> {
    args.at_most(0)?;
    rpc.compute(|rpc| Ok(content(rpc, summary))).await
}

pub(super) async fn pool_content_from(rpc: Arc<EthRpc>, args: Args) -> Result<Value, RpcError> {
    let address = args.at_most(1)?.address(0, "address")?;
    let view = rpc.pool.view();
    let sender = view.senders().get(&address);
    let part = |entries: Option<&Entries>| entries.map(|entries| by_nonce(entries, describe_pending));
    Ok(json!({
        "pending": part(sender.map(|sender| &*sender.pending)).unwrap_or_default(),
        "queued": part(sender.map(|sender| &*sender.queued)).unwrap_or_default(),
    }))
}

fn summary(pooled: &PooledTransaction) -> String {
    let transaction = pooled.transaction();
    let to = transaction.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_string());
    let (value, gas, price) = (transaction.value(), transaction.gas_limit(), transaction.max_fee_per_gas());
    format!("{to}: {value} wei + {gas} gas × {price} wei")
}
