//! The chain's own calls: `alys_*`, and the names that existing tools know.

use super::NetworkRpc;
use super::describe;
use super::peg::paused;
use crate::actors::mining::MiningMessage;
use crate::actors::signer::Doppelganger;
use crate::actors::watcher::Anomaly;
use crate::mining::MiningError;
use alys_actor::{Addr, SystemRef};
use alys_chain::{ChainEvent, ChainView};
use alys_primitives::{Address, ChainSpec, Height, Root, U256};
use alys_store::{Reader, StoreError};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionMessage};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Invalid parameters (JSON-RPC 2.0, section 5.1).
const INVALID_PARAMS: i32 = -32602;

/// Something in the node failed.
pub(super) const INTERNAL: i32 = -32603;

/// What was asked for does not exist.
pub(super) const NOT_FOUND: i32 = -32001;

/// What the calls are answered from.
#[derive(Clone)]
pub struct AlysRpc {
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// The published view.
    pub view: watch::Receiver<ChainView>,
    /// The chain's database.
    pub store: Reader,
    /// What happens to the chain.
    pub events: broadcast::Sender<ChainEvent>,
    /// The mining actor, for `auxwork` subscriptions; none if mining is not served.
    pub mining: Option<(Addr<MiningMessage>, Option<Address>)>,
    /// The supervision tree.
    pub system: Option<SystemRef>,
    /// The network; none for a node without one.
    pub network: Option<NetworkRpc>,
    /// A signature of this member's key that was made elsewhere.
    pub doppelganger: watch::Receiver<Doppelganger>,
    /// What is unusual about the actors now.
    pub anomalies: watch::Receiver<Vec<Anomaly>>,
}

/// The module.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn alys_module(rpc: AlysRpc) -> Result<RpcModule<AlysRpc>, jsonrpsee::core::RegisterMethodError> {
    let mut module = RpcModule::new(rpc);
    module.register_method("alys_status", |_, rpc, _| rpc.status())?;
    module.register_method("alys_finality", |_, rpc, _| rpc.finality())?;
    module.register_method("alys_supply", |_, rpc, _| rpc.supply())?;
    module.register_method("alys_peers", |_, rpc, _| super::peers::list(rpc.network.as_ref()))?;
    module.register_method("alys_actors", |_, rpc, _| rpc.actors())?;
    module.register_method("alys_chainSpec", |_, rpc, _| json!(*rpc.spec))?;
    for name in ["alys_blockByHeight", "getblockbyheight"] {
        module.register_blocking_method(name, |params, rpc, _| rpc.block_by_height(height(&params)?))?;
    }
    for name in ["alys_blockByRoot", "getblockbyhash"] {
        module.register_blocking_method(name, |params, rpc, _| rpc.block_by_root(root(&params)?))?;
    }
    module.register_blocking_method("getheadblock", |_, rpc, _| {
        let head = rpc.view.borrow().head.root;
        rpc.block_by_root(head)
    })?;
    module.register_blocking_method("alys_notarization", |params, rpc, _| rpc.notarization(root(&params)?))?;
    module.register_blocking_method("alys_blockProof", |params, rpc, _| rpc.block_proof(height(&params)?))?;
    module.register_subscription(
        "alys_subscribe",
        "alys_subscription",
        "alys_unsubscribe",
        |params, pending, rpc, _| async move {
            subscribe(&params, pending, &rpc).await;
        },
    )?;
    Ok(module)
}

impl AlysRpc {
    fn status(&self) -> Value {
        let view = self.view.borrow();
        let doppelganger = *self.doppelganger.borrow();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "genesisRoot": view.genesis_root,
            "evmChainId": self.spec.evm.chain_id,
            "head": describe::block_ref(&view.head),
            "safe": describe::block_ref(&view.safe),
            "finalized": describe::block_ref(&view.finalized),
            "slot": self.spec.slot_at(crate::clock::wall_now()).0,
            "stalled": view.stalled,
            "memberIndex": view.member_index,
            "federation": {
                "epoch": view.epoch.0,
                "members": view.members.len(),
                "quorum": view.quorum,
            },
            "auxpow": {
                "records": view.committed.records,
                "committedHeight": view.committed.end.height.0,
                "queued": view.queued_auxpow.len(),
                "blocksWithoutPow": view.blocks_without_pow,
                "maxBlocksWithoutPow": self.spec.max_blocks_without_pow,
            },
            "peg": (!self.spec.peg.is_empty()).then(|| paused(view.peg.ledger())),
            "pendingBlocks": view.pending_blocks,
            "stateRoot": view.state_root,
            "peers": self.network.as_ref().map_or(0, NetworkRpc::ready),
            "doppelganger": doppelganger.map(|met| json!({ "duty": met.duty.to_string(), "slot": met.slot.0 })),
            "sync": self.network.as_ref().map(NetworkRpc::sync),
            "anomalies": self.anomalies.borrow().iter().map(describe::anomaly).collect::<Vec<_>>(),
        })
    }

    fn finality(&self) -> Value {
        let view = self.view.borrow();
        json!({
            "finalized": describe::block_ref(&view.finalized),
            "safe": describe::block_ref(&view.safe),
            "committedHeight": view.committed.end.height.0,
            "records": view.committed.records,
            "minFinalizationDepth": self.spec.min_finalization_depth,
        })
    }

    fn supply(&self) -> Value {
        let view = self.view.borrow();
        let ledger = &view.ledger;
        let peg = view.peg.ledger();
        json!({
            "genesisWei": self.spec.evm.genesis_allocation,
            "depositedWei": ledger.deposited,
            "mintedWei": ledger.minted,
            "burnedWei": ledger.burned,
            "supplyWei": ledger.minted.saturating_sub(ledger.burned),
            "feesReMintedWei": ledger.fees_reminted,
            "feesPendingWei": view.pending_fees,
            "feesCarriedWei": view.carried_fees,
            "lockedSats": peg.locked().0,
            "unpaidSats": peg.unpaid().0,
            "unclaimedSats": peg.unclaimed().0,
            "absorbedSats": peg.totals().absorbed.0,
            "imbalanceSats": peg.imbalance().to_string(),
        })
    }

    fn actors(&self) -> Result<Value, ErrorObjectOwned> {
        let tree = self.system.as_ref().map(|system| system.tree().root);
        serde_json::to_value(tree).map_err(|error| refusal(INTERNAL, error.to_string()))
    }

    fn block_by_height(&self, height: Height) -> Result<Value, ErrorObjectOwned> {
        let block = self.store.block_at(height).map_err(|error| stored(&error))?;
        let block = block.ok_or_else(|| refusal(NOT_FOUND, format!("no block at height {height}")))?;
        Ok(self.with_stage(&block.block))
    }

    fn block_by_root(&self, root: Root) -> Result<Value, ErrorObjectOwned> {
        let block = self.store.block(root).map_err(|error| stored(&error))?;
        let block = block.ok_or_else(|| refusal(NOT_FOUND, format!("no block {root}")))?;
        Ok(self.with_stage(&block.block))
    }

    fn with_stage(&self, block: &alys_primitives::SignedBlock) -> Value {
        let mut value = describe::block(block);
        value["stage"] = json!(describe::stage(block.header.height.0, &self.view.borrow()));
        value
    }

    fn notarization(&self, root: Root) -> Result<Value, ErrorObjectOwned> {
        let certificate = self.store.certificate(root).map_err(|error| stored(&error))?;
        let certificate = certificate.ok_or_else(|| refusal(NOT_FOUND, format!("no certificate of {root}")))?;
        Ok(describe::notarization(&certificate))
    }
}

/// A height as a number, as decimal text or as `0x` hex.
fn height(params: &Params<'_>) -> Result<Height, ErrorObjectOwned> {
    let value: Value = first(params)?;
    let bad = || refusal(INVALID_PARAMS, format!("{value} is no height"));
    match &value {
        Value::Number(number) => number.as_u64().map(Height).ok_or_else(bad),
        Value::String(text) => {
            let parsed = text.parse::<U256>().map_err(|_| bad())?;
            u64::try_from(parsed).map(Height).map_err(|_| bad())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(bad()),
    }
}

fn root(params: &Params<'_>) -> Result<Root, ErrorObjectOwned> {
    let value: Value = first(params)?;
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| refusal(INVALID_PARAMS, format!("{value} is no block root (0x and 64 hex digits)")))
}

fn first(params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
    let values: Vec<Value> =
        params.parse().map_err(|_| refusal(INVALID_PARAMS, "one positional argument is needed".to_owned()))?;
    match <[Value; 1]>::try_from(values) {
        Ok([value]) => Ok(value),
        Err(values) => Err(refusal(INVALID_PARAMS, format!("one argument is needed, {} given", values.len()))),
    }
}

pub(super) fn stored(error: &StoreError) -> ErrorObjectOwned {
    refusal(INTERNAL, error.to_string())
}

pub(super) fn refusal(code: i32, message: String) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}

/// Topics of `alys_subscribe`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    NewBlocks,
    Notarizations,
    Finality,
    Reorgs,
    AuxWork,
}

impl Topic {
    fn parse(params: &Params<'_>) -> Result<Self, ErrorObjectOwned> {
        let value = first(params)?;
        match value.as_str() {
            Some("newBlocks") => Ok(Self::NewBlocks),
            Some("notarizations") => Ok(Self::Notarizations),
            Some("finality") => Ok(Self::Finality),
            Some("reorgs") => Ok(Self::Reorgs),
            Some("auxwork") => Ok(Self::AuxWork),
            Some(_) | None => Err(refusal(
                INVALID_PARAMS,
                format!("{value} is no topic: newBlocks, notarizations, finality, reorgs or auxwork"),
            )),
        }
    }

    /// What this topic's subscribers are told of an event.
    fn render(self, event: &ChainEvent) -> Option<Value> {
        match (self, event) {
            (Self::NewBlocks, ChainEvent::NewBlock(block)) | (Self::Notarizations, ChainEvent::Notarized(block)) => {
                Some(describe::block_ref(block))
            }
            (Self::Finality, ChainEvent::Safe(block)) => {
                Some(json!({ "tag": "safe", "block": describe::block_ref(block) }))
            }
            (Self::Finality, ChainEvent::Finalized { from, to, bundle, carrier }) => Some(json!({
                "tag": "finalized",
                "from": from.0,
                "block": describe::block_ref(to),
                "bundle": bundle,
                "carrier": carrier,
            })),
            (Self::Reorgs, ChainEvent::Reorg { common_ancestor, dropped, added, .. }) => Some(json!({
                "commonAncestor": describe::block_ref(common_ancestor),
                "dropped": dropped,
                "added": added,
            })),
            _ => None,
        }
    }
}

async fn subscribe(params: &Params<'_>, pending: PendingSubscriptionSink, rpc: &AlysRpc) {
    let topic = match Topic::parse(params) {
        Ok(topic) => topic,
        Err(error) => return pending.reject(error).await,
    };
    let mut events = rpc.events.subscribe();
    let Ok(sink) = pending.accept().await else { return };
    let mut last_work = None;
    loop {
        let message = if topic == Topic::AuxWork {
            match new_work(rpc, &mut last_work).await {
                Ok(work) => work,
                Err(error) => Some(json!({ "error": error.to_string() })),
            }
        } else {
            None
        };
        if let Some(value) = message
            && !send(&sink, &value).await
        {
            return;
        }
        let event = tokio::select! {
            biased;
            () = sink.closed() => return,
            event = events.recv() => event,
        };
        let value = match event {
            Ok(event) => topic.render(&event),
            // The subscriber learns that it missed something instead of missing it silently.
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(json!({ "missedEvents": missed })),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if let Some(value) = value
            && !send(&sink, &value).await
        {
            return;
        }
    }
}

async fn send(sink: &jsonrpsee::SubscriptionSink, value: &Value) -> bool {
    let Ok(message) = serde_json::value::to_raw_value(value) else { return true };
    sink.send(SubscriptionMessage::from(message)).await.is_ok()
}

/// The template of the configured payout address, if it differs from the last one sent.
async fn new_work(rpc: &AlysRpc, last: &mut Option<Root>) -> Result<Option<Value>, MiningError> {
    let Some((mining, Some(payout))) = &rpc.mining else { return Err(MiningError::NoPayout) };
    let payout = *payout;
    let issued = match mining.ask(|reply| MiningMessage::Create { payout, reply }).await {
        Ok(Ok(issued)) => issued,
        Ok(Err(MiningError::NoTemplate(_))) => return Ok(None),
        Ok(Err(error)) => return Err(error),
        Err(error) => return Err(MiningError::Unavailable { reason: error.to_string() }),
    };
    if last.replace(issued.hash) == Some(issued.hash) {
        return Ok(None);
    }
    Ok(Some(json!({
        "hash": hex::encode(alys_auxpow::display_order(issued.hash)),
        "chainid": rpc.spec.auxpow.chain_id,
        "bits": format!("{:08x}", issued.template.bundle.bits),
        "height": issued.template.height.0,
        "bundle": describe::bundle(&issued.template.bundle),
    })))
}
