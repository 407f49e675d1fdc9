//! `eth_capabilities`: from which block on what can be asked.

use super::EthRpc;
use super::args::Args;
use super::error::RpcError;
use alloy_primitives::U64;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn capabilities(rpc: Arc<EthRpc>, args: Args) -> Result<Value, RpcError> {
    args.at_most(0)?;
    rpc.read(|rpc| {
        let head = rpc.reader.heads().latest;
        let kept = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
        let (blocks, mut state) = (kept(rpc.reader.oldest_block()?), kept(rpc.reader.oldest_state()?));
        if let Some(window) = rpc.reader.history_blocks() {
            state["deleteStrategy"] = json!({ "type": "window", "retentionBlocks": U64::from(window) });
        }
        Ok(json!({
            "head": { "number": U64::from(head.number), "hash": head.hash },
            "state": state,
            "tx": blocks,
            "logs": blocks,
            "receipts": blocks,
            "blocks": blocks,
            "stateproofs": state,
        }))
    })
    .await
}
