//! The merged-mining calls, with the names, shapes and error codes of Namecoin Core.

use crate::actors::mining::{MiningMessage, Verdict};
use crate::mining::{Issued, MiningError};
use alys_actor::{Addr, AskError, Message, Reply};
use alys_auxpow::{DecodeError, Target, display_order};
use alys_chain::ChainView;
use alys_primitives::{Address, ChainSpec, MAX_AUXPOW_BYTES, Root};
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a mining call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the calls are answered from.
#[derive(Clone)]
pub struct MiningRpc {
    /// The mining actor.
    pub mining: Addr<MiningMessage>,
    /// The published view.
    pub view: watch::Receiver<ChainView>,
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// Who `getauxblock` mines for.
    pub payout: Option<Address>,
}

/// `createauxblock`, `submitauxblock`, `getauxblock`, `getqueuedpow` and `alys_checkAuxPow`.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn mining_module(rpc: MiningRpc) -> Result<RpcModule<MiningRpc>, jsonrpsee::core::RegisterMethodError> {
    let mut module = RpcModule::new(rpc);
    module.register_async_method("createauxblock", |params, rpc, _| async move {
        let arguments = arguments(&params, 1..=1, "createauxblock <address>")?;
        let payout = payout(arguments.first().unwrap_or(&Value::Null))?;
        rpc.create(payout).await
    })?;
    module.register_async_method("submitauxblock", |params, rpc, _| async move {
        let arguments = arguments(&params, 2..=2, "submitauxblock <hash> <auxpow>")?;
        rpc.submit(&arguments).await.map(|verdict| verdict.accepted)
    })?;
    module.register_async_method("getauxblock", |params, rpc, _| async move {
        let arguments = arguments(&params, 0..=2, "getauxblock (<hash> <auxpow>)")?;
        match arguments.len() {
            0 => {
                let payout = rpc.payout.ok_or_else(|| refuse(&MiningError::NoPayout))?;
                rpc.create(payout).await
            }
            2 => rpc.submit(&arguments).await.map(|verdict| json!(verdict.accepted)),
            _ => Err(refuse(&MiningError::Usage { usage: "getauxblock (<hash> <auxpow>)" })),
        }
    })?;
    module.register_async_method("getqueuedpow", |params, rpc, _| async move {
        arguments(&params, 0..=0, "getqueuedpow")?;
        Ok::<_, ErrorObjectOwned>(rpc.queued())
    })?;
    module.register_async_method("alys_checkAuxPow", |params, rpc, _| async move {
        let arguments = arguments(&params, 2..=2, "alys_checkAuxPow <hash> <auxpow>")?;
        let (hash, proof) = hash_and_proof(&arguments)?;
        let verdict = ask(&rpc.mining, |reply| MiningMessage::Check { hash, proof, reply }).await?;
        Ok::<_, ErrorObjectOwned>(explain(&verdict))
    })?;
    Ok(module)
}

impl MiningRpc {
    async fn create(&self, payout: Address) -> Result<Value, ErrorObjectOwned> {
        let issued = ask(&self.mining, |reply| MiningMessage::Create { payout, reply }).await?;
        self.describe(&issued)
    }

    async fn submit(&self, arguments: &[Value]) -> Result<Verdict, ErrorObjectOwned> {
        let (hash, proof) = hash_and_proof(arguments)?;
        ask(&self.mining, |reply| MiningMessage::Submit { hash, proof, reply }).await
    }

    fn describe(&self, issued: &Issued) -> Result<Value, ErrorObjectOwned> {
        let bundle = &issued.template.bundle;
        let target = Target::from_compact(bundle.bits)
            .map_err(|error| refuse(&MiningError::Unavailable { reason: error.to_string() }))?;
        // One satoshi is ten gwei.
        let sats = issued.template.reward.0 / 10;
        Ok(json!({
            "hash": display_hex(issued.hash),
            "chainid": self.spec.auxpow.chain_id,
            "previousblockhash": display_hex(self.view.borrow().committed.bundle),
            "coinbasevalue": sats,
            "bits": format!("{:08x}", bundle.bits),
            "height": issued.template.height.0,
            "_target": hex::encode(target.to_le_bytes()),
        }))
    }

    fn queued(&self) -> Value {
        let view = self.view.borrow();
        let queued: Vec<Value> = view
            .queued_auxpow
            .iter()
            .map(|queued| {
                json!({
                    "hash": display_hex(queued.hash),
                    "startRoot": queued.bundle.start_root,
                    "endRoot": queued.bundle.end_root,
                    "count": queued.bundle.count,
                    "payout": queued.bundle.miner_address,
                })
            })
            .collect();
        json!(queued)
    }
}

/// Takes positional arguments, also where older clients leave them out altogether.
fn arguments(
    params: &Params<'_>,
    count: std::ops::RangeInclusive<usize>,
    usage: &'static str,
) -> Result<Vec<Value>, ErrorObjectOwned> {
    let arguments: Vec<Value> = match params.as_str() {
        None => Vec::new(),
        Some(_) => params.parse().map_err(|_| refuse(&MiningError::Usage { usage }))?,
    };
    if count.contains(&arguments.len()) { Ok(arguments) } else { Err(refuse(&MiningError::Usage { usage })) }
}

fn payout(value: &Value) -> Result<Address, ErrorObjectOwned> {
    let bad = || refuse(&MiningError::BadPayout { given: shorten(&value.to_string()) });
    let text = value.as_str().ok_or_else(bad)?;
    // A checksummed address with a typing error must not become somebody else's.
    let hex = text.strip_prefix("0x").unwrap_or(text);
    let mixed = hex.chars().any(|c| c.is_ascii_lowercase()) && hex.chars().any(|c| c.is_ascii_uppercase());
    let parsed = if mixed && text.starts_with("0x") {
        Address::parse_checksummed(text, None).map_err(|_| bad())?
    } else {
        text.parse().map_err(|_| bad())?
    };
    if parsed == Address::ZERO { Err(bad()) } else { Ok(parsed) }
}

/// The hash is judged before the proof is looked at.
fn hash_and_proof(arguments: &[Value]) -> Result<(Root, Vec<u8>), ErrorObjectOwned> {
    let bad_hash = || refuse(&MiningError::BadHash);
    let mut hash = [0; 32];
    let text = arguments.first().and_then(Value::as_str).ok_or_else(bad_hash)?;
    hex::decode_to_slice(text, &mut hash).map_err(|_| bad_hash())?;
    let not_hex = || refuse(&MiningError::NotHex);
    let text = arguments.get(1).and_then(Value::as_str).ok_or_else(not_hex)?;
    if text.len() > MAX_AUXPOW_BYTES.saturating_mul(2) {
        return Err(refuse(&MiningError::Undecodable(DecodeError::TooLong { found: text.len() / 2 })));
    }
    // An unreadable text still needs its hash to be known first: an empty proof decodes to a typed error later.
    Ok((display_order(Root::from(hash)), hex::decode(text).unwrap_or_default()))
}

async fn ask<M: Message, T: Send + 'static>(
    actor: &Addr<M>,
    request: impl FnOnce(Reply<Result<T, MiningError>>) -> M,
) -> Result<T, ErrorObjectOwned> {
    let unavailable = |error: AskError| refuse(&MiningError::Unavailable { reason: error.to_string() });
    actor.ask_within(DEADLINE, request).await.map_err(unavailable)?.map_err(|error| refuse(&error))
}

fn explain(verdict: &Verdict) -> Value {
    json!({ "valid": verdict.accepted, "rule": verdict.rule, "reason": verdict.reason })
}

fn refuse(error: &MiningError) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(error.code(), error.to_string(), None::<()>)
}

fn display_hex(hash: Root) -> String {
    hex::encode(display_order(hash))
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
