//! The peg's calls, for depositors: where to pay, how far a deposit is, how far a withdrawal is.

use super::record::record;
use crate::actors::chain::ChainMessage;
use crate::bridge::{BridgeView, PaymentState};
use crate::execution::Evm;
use alys_actor::Addr;
use alys_chain::ChainView;
use alys_chain::peg::{PegLedger, PegRules, RETURN_LOG_INDEX, RecordedKind, Unclaimed, Unpayable};
use alys_primitives::{Address, B256, Height, Pause, PegOutId};
use alys_store::Reader;
use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Invalid parameters (JSON-RPC 2.0, section 5.1).
const INVALID_PARAMS: i32 = -32602;

/// Something in the node failed.
const INTERNAL: i32 = -32603;

/// What was asked for does not exist, or not yet.
const NOT_FOUND: i32 = -32001;

/// The node knows too little now to answer without risk to the caller's money.
const NOT_READY: i32 = -32002;

/// The chain has no peg.
const NO_PEG: i32 = -32003;

/// Bitcoin blocks that the chain's view may be behind the node's Bitcoin before deposit addresses are refused.
const MAX_LAG: u64 = 6;

/// The longest decision about pausing, in hex digits; it takes 300 or so.
const MAX_PAUSE_HEX: usize = 1_024;

/// How long checking a decision may take.
const PAUSE_DEADLINE: Duration = Duration::from_secs(10);

/// What the calls are answered from.
#[derive(Clone)]
pub struct PegRpc {
    /// The peg's rules; none for a chain without one.
    pub rules: Option<Arc<PegRules>>,
    /// The chain's published view.
    pub view: watch::Receiver<ChainView>,
    /// The bridge's published view.
    pub bridge: watch::Receiver<BridgeView>,
    /// The chain's database.
    pub store: Reader,
    /// The EVM's blocks.
    pub evm: Evm,
    /// Takes decisions about pausing.
    pub chain: Addr<ChainMessage>,
}

/// The module.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn peg_module(rpc: PegRpc) -> Result<RpcModule<PegRpc>, jsonrpsee::core::RegisterMethodError> {
    let mut module = RpcModule::new(rpc);
    for name in ["alys_depositAddress", "getdepositaddress"] {
        module.register_method(name, |params, rpc, _| rpc.deposit_address(&params))?;
    }
    module.register_method("alys_pegInStatus", |params, rpc, _| rpc.peg_in_status(&params))?;
    module.register_method("alys_custody", |_, rpc, _| rpc.custody())?;
    module.register_method("alys_pegPause", |_, rpc, _| rpc.pause())?;
    module
        .register_async_method("alys_submitPause", |params, rpc, _| async move { rpc.submit_pause(&params).await })?;
    module.register_async_method(
        "alys_pegOutStatus",
        |params, rpc, _| async move { rpc.peg_out_status(&params).await },
    )?;
    Ok(module)
}

impl PegRpc {
    fn rules(&self) -> Result<&PegRules, ErrorObjectOwned> {
        self.rules.as_deref().ok_or_else(|| refusal(NO_PEG, "this chain has no peg"))
    }

    /// Whether chain, node and Bitcoin agree closely enough to send somebody's money there.
    fn check_ready(&self) -> Result<(), ErrorObjectOwned> {
        let bridge = self.bridge.borrow();
        if let Some(failure) = &bridge.failure {
            return Err(refusal(NOT_READY, format!("bitcoin does not answer: {failure}")));
        }
        let best = bridge.bitcoin.ok_or_else(|| refusal(NOT_READY, "bitcoin has not answered yet"))?;
        let view = self.view.borrow();
        let known = view.peg.headers().tip_height();
        let lag = u64::from(best.height).saturating_sub(known);
        if lag > MAX_LAG {
            return Err(refusal(NOT_READY, format!("the chain's view of bitcoin is {lag} blocks behind")));
        }
        if view.peg.ledger().imbalance() != 0 {
            return Err(refusal(NOT_READY, "the peg is paused: its books do not balance"));
        }
        if view.peg.ledger().pause().pegin_paused {
            return Err(refusal(NOT_READY, "the peg is paused: the federation holds deposits"));
        }
        Ok(())
    }

    /// Who holds the coins: the present federation's custody and earlier ones', with what is left to sweep.
    fn custody(&self) -> Result<Value, ErrorObjectOwned> {
        let rules = self.rules()?;
        let (view, bridge) = (self.view.borrow(), self.bridge.borrow());
        let ledger = view.peg.ledger();
        let grace = rules.spec().old_address_grace;
        let entries = ledger.custodies().iter().map(|entry| {
            let script = bitcoin::Script::from_bytes(&entry.script);
            let sweep = ledger.batches().iter().find(|batch| batch.custody == entry.number && batch.is_sweep());
            json!({
                "number": entry.number,
                "isCurrent": entry.is_current,
                "address": bitcoin::Address::from_script(script, rules.network()).ok().map(|address| address.to_string()),
                "descriptor": rules.custody_of(ledger, entry.number).map(|custody| custody.descriptor()),
                "threshold": entry.custodians.threshold,
                "depositsUntil": (!entry.is_current).then(|| entry.retired_at.saturating_add(grace)),
                "sats": ledger.held_by(entry.number).0,
                "sweep": sweep.map(|batch| json!({
                    "batch": batch.number,
                    "to": batch.sweeps_to,
                    "txid": batch.attempts.last().map(|attempt| display(attempt.txid)),
                    "signers": bridge.payments.get(&batch.number).map(|payment| payment.signers),
                })),
            })
        });
        Ok(json!({
            "custodies": entries.collect::<Vec<_>>(),
            "next": ledger.next_custodians(),
        }))
    }

    /// How both directions are.
    fn pause(&self) -> Result<Value, ErrorObjectOwned> {
        self.rules()?;
        let view = self.view.borrow();
        Ok(paused(view.peg.ledger()))
    }

    /// A quorum's decision as SSZ in hex; it is told to the other members and waits for the next author.
    async fn submit_pause(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        self.rules()?;
        let pause = Box::new(record::<Pause>(params, "decision", MAX_PAUSE_HEX)?);
        let asked = self.chain.ask_within(PAUSE_DEADLINE, |reply| ChainMessage::PausePeg { pause, reply });
        match asked.await {
            Ok(Ok(())) => Ok(json!(true)),
            Ok(Err(error)) => Err(refusal(INVALID_PARAMS, error.to_string())),
            Err(error) => Err(refusal(NOT_READY, error.to_string())),
        }
    }

    fn deposit_address(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        let rules = self.rules()?;
        let recipient: Option<Address> = optional(params)?;
        self.check_ready()?;
        let view = self.view.borrow();
        let ledger = view.peg.ledger();
        let address = rules.deposit_address(ledger).ok_or_else(|| refusal(INTERNAL, "no address"))?;
        let custody = rules.current_custody(ledger).ok_or_else(|| refusal(INTERNAL, "no custody"))?;
        let spec = rules.spec();
        Ok(json!({
            "address": address.to_string(),
            "network": rules.network().to_core_arg(),
            "scriptPubKey": hex::encode(custody.script_pubkey().as_bytes()),
            "descriptor": custody.descriptor(),
            "minSats": spec.min_pegin.0,
            "confirmations": spec.confirmations,
            "recipient": recipient,
            // The script of the output that names the recipient: OP_RETURN and a push of 20 bytes.
            "opReturn": recipient.map(|address| format!("6a14{}", hex::encode(address))),
        }))
    }

    fn peg_in_status(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        let rules = self.rules()?;
        let text: String = required(params, "a Bitcoin transaction id")?;
        let txid: Txid = text
            .trim_start_matches("0x")
            .parse()
            .map_err(|_| refusal(INVALID_PARAMS, format!("`{text}` is no Bitcoin transaction id")))?;
        let (view, bridge) = (self.view.borrow(), self.bridge.borrow());
        let needed = rules.spec().confirmations;
        let headers = view.peg.headers();
        if let Some(recorded) = view.peg.ledger().find_recorded(&B256::from(txid.to_byte_array())) {
            let stage = match recorded.kind() {
                RecordedKind::Credited => tag(recorded.height, &view),
                RecordedKind::Unclaimed(_) => "unclaimed",
                RecordedKind::Payment => "payment",
            };
            let reason = match recorded.kind() {
                RecordedKind::Unclaimed(reason) => Some(Unclaimed::name(reason)),
                RecordedKind::Credited | RecordedKind::Payment => None,
            };
            let id = PegOutId { block_root: recorded.txid, log_index: RETURN_LOG_INDEX };
            let way_back =
                matches!(recorded.kind(), RecordedKind::Unclaimed(_)).then(|| request(&view, &bridge, &id).ok());
            return Ok(json!({
                "return": way_back.flatten(),
                "txid": txid.to_string(),
                "status": if recorded.is_lost { "lost" } else { stage },
                "reason": reason,
                "recipient": recorded.recipient,
                "sats": recorded.amount.0,
                "wei": in_wei(recorded.amount.0),
                "bitcoinHeight": recorded.bitcoin_height,
                "confirmations": headers.confirmations(recorded.bitcoin_height),
                "neededConfirmations": needed,
                "height": recorded.height.0,
            }));
        }
        let Some(found) = bridge.found.get(&txid) else {
            return Err(refusal(NOT_FOUND, format!("no deposit {txid} in the Bitcoin blocks that this node has seen")));
        };
        let (recipient, reason) = match found.deposit.recipient {
            Ok(recipient) => (Some(recipient), None),
            Err(reason) => (None, Some(reason.name())),
        };
        let confirmations = headers.confirmations(u64::from(found.height));
        let status = if found.record.is_none() {
            "too-large"
        } else if confirmations >= needed {
            "confirmed"
        } else {
            "seen"
        };
        Ok(json!({
            "txid": txid.to_string(),
            "status": status,
            "reason": reason,
            "recipient": recipient,
            "sats": found.deposit.amount.0,
            "wei": in_wei(found.deposit.amount.0),
            "bitcoinHeight": found.height,
            "confirmations": confirmations,
            "neededConfirmations": needed,
            "height": Value::Null,
        }))
    }

    /// By EVM transaction, or by block root and log index.
    async fn peg_out_status(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        self.rules()?;
        let values: Vec<Value> = params
            .parse()
            .map_err(|_| refusal(INVALID_PARAMS, "a transaction hash, or a block root and a log index, is needed"))?;
        let hash = |value: &Value| {
            let parsed = value.as_str().and_then(|text| text.parse::<B256>().ok());
            parsed.ok_or_else(|| refusal(INVALID_PARAMS, format!("{value} is no hash (0x and 64 hex digits)")))
        };
        let ids = match values.as_slice() {
            [transaction] => self.requests_of(hash(transaction)?).await?,
            [block_root, log_index] => {
                let log_index = log_index
                    .as_u64()
                    .ok_or_else(|| refusal(INVALID_PARAMS, format!("{log_index} is no log index")))?;
                vec![PegOutId { block_root: hash(block_root)?, log_index }]
            }
            other => {
                return Err(refusal(INVALID_PARAMS, format!("one or two arguments are needed, {} given", other.len())));
            }
        };
        if ids.is_empty() {
            return Err(refusal(NOT_FOUND, "the transaction is not in the chain, or asked for no bitcoin"));
        }
        let answers: Vec<Value> = ids.iter().map(|id| self.request(id)).collect::<Result<_, _>>()?;
        Ok(json!(answers))
    }

    /// The burns of a transaction.
    async fn requests_of(&self, transaction: B256) -> Result<Vec<PegOutId>, ErrorObjectOwned> {
        let failed = |error: String| refusal(INTERNAL, error);
        let mined = self.evm.burns_of(transaction).await.map_err(|error| failed(error.to_string()))?;
        let Some(mined) = mined else { return Ok(Vec::new()) };
        let root = self.store.canonical_root(Height(mined.number)).map_err(|error| failed(error.to_string()))?;
        let Some(block_root) = root else { return Ok(Vec::new()) };
        Ok(mined.logs.into_iter().map(|log_index| PegOutId { block_root, log_index }).collect())
    }

    fn request(&self, id: &PegOutId) -> Result<Value, ErrorObjectOwned> {
        request(&self.view.borrow(), &self.bridge.borrow(), id)
    }
}

/// How far a request is.
fn request(view: &ChainView, bridge: &BridgeView, id: &PegOutId) -> Result<Value, ErrorObjectOwned> {
    let ledger = view.peg.ledger();
    if let Some(request) = ledger.find_request(id) {
        let payment = bridge.payments.get(&request.batch);
        let status = match (request.unpayable(), request.batch, payment.map(|payment| payment.state)) {
            (Some(_), _, _) => "refund-due",
            (None, 0, _) if request.height > view.finalized.height => "queued",
            (None, 0, _) => "finalized",
            (None, _, Some(PaymentState::Broadcast)) => "broadcast",
            (None, _, Some(PaymentState::Confirmed { .. })) => "confirmed",
            (None, _, Some(PaymentState::Signing | PaymentState::Complete)) => "signing",
            (None, _, Some(PaymentState::Held)) => "held",
            (None, _, Some(PaymentState::AwaitsFinality) | None) => "batched",
        };
        return Ok(json!({
            "blockRoot": id.block_root,
            "logIndex": id.log_index,
            "status": status,
            "reason": request.unpayable().map(Unpayable::name),
            "sender": request.sender,
            "sats": request.amount.0,
            "bitcoinAddress": String::from_utf8_lossy(&request.address),
            "height": request.height.0,
            "batch": (request.batch != 0).then_some(request.batch),
            "txid": payment.map(|payment| display(payment.txid)),
        }));
    }
    if let Some(finished) = ledger.finished().iter().rev().find(|finished| finished.id == *id) {
        let refunded = finished.refunded();
        return Ok(json!({
            "blockRoot": id.block_root,
            "logIndex": id.log_index,
            "status": if refunded.is_some() { "refunded" } else { "paid" },
            "stage": tag(finished.height, view),
            "reason": refunded.map(Unpayable::name),
            "sender": finished.sender,
            "sats": finished.amount.0,
            "paidSats": finished.paid.0,
            "feeSats": refunded.is_none().then(|| finished.amount.saturating_sub(finished.paid.0).0),
            "batch": (finished.batch != 0).then_some(finished.batch),
            "txid": refunded.is_none().then(|| display(finished.txid)),
            "vout": refunded.is_none().then_some(finished.vout),
            "settledAt": finished.height.0,
        }));
    }
    Err(refusal(
        NOT_FOUND,
        format!("no request {} {} is open or among the newest finished ones", id.block_root, id.log_index),
    ))
}

/// Which directions are held, and why.
pub(super) fn paused(ledger: &PegLedger) -> Value {
    let pause = ledger.pause();
    json!({
        "sequence": pause.sequence,
        "peginPaused": pause.pegin_paused,
        "pegoutPaused": pause.pegout_paused,
        "booksBalance": ledger.imbalance() == 0,
    })
}

/// How safe a height is: `credited` at the head, then `safe`, then `finalized`.
fn tag(height: Height, view: &ChainView) -> &'static str {
    if height <= view.finalized.height {
        "finalized"
    } else if height <= view.safe.height {
        "safe"
    } else {
        "credited"
    }
}

/// A transaction id as Bitcoin's tools print it.
fn display(txid: B256) -> String {
    Txid::from_byte_array(txid.0).to_string()
}

fn in_wei(sats: u64) -> String {
    u128::from(sats).saturating_mul(10_000_000_000).to_string()
}

fn optional<T: serde::de::DeserializeOwned>(params: &Params<'_>) -> Result<Option<T>, ErrorObjectOwned> {
    params.sequence().optional_next().map_err(|error| refusal(INVALID_PARAMS, error.message().to_owned()))
}

fn required<T: serde::de::DeserializeOwned>(params: &Params<'_>, what: &str) -> Result<T, ErrorObjectOwned> {
    params.one().map_err(|_| refusal(INVALID_PARAMS, format!("one argument is needed: {what}")))
}

fn refusal(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message.into(), None::<()>)
}
