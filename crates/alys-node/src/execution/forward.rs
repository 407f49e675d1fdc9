//! `eth_*` of a node with an external execution client: handed through to it, but for what the client must not decide.
//!
//! - Accounts and signing are never forwarded: a client may have unlocked keys of its own.
//! - Transactions are checked for the chain's own rules (no blobs, the chain's id) first.
//! - Subscriptions are refused, with a word on where they are: clients have a WebSocket port for them. Filters and
//!   `alys_subscribe` work.

use super::transactions::{ClientTransactions, SendError};
use alys_engine::{EngineClient, ForwardError};
use alys_evm::pool::PoolError;
use alys_evm::rpc::{METHODS, NetStatus};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

const INVALID_PARAMS: i32 = -32602;
const INTERNAL: i32 = -32603;
const NO_METHOD: i32 = -32601;
const SERVER: i32 = -32000;
/// The client does not answer (EIP-1474's "resource unavailable").
const UNAVAILABLE: i32 = -32002;
/// EIP-1474's "limit exceeded".
const LIMIT: i32 = -32005;

/// Calls that are handed through at once.
const MAX_FORWARDED: usize = 64;

/// Calls that may wait for their turn besides those.
const MAX_WAITING: usize = 512;

/// What the calls are answered from.
#[derive(Debug)]
pub struct Forward {
    client: EngineClient,
    transactions: ClientTransactions,
    net: watch::Receiver<NetStatus>,
    admitted: Semaphore,
    running: Semaphore,
}

/// Every method of the embedded EVM's JSON-RPC, handed through.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn forward_module(
    client: EngineClient,
    transactions: ClientTransactions,
    net: watch::Receiver<NetStatus>,
) -> Result<RpcModule<Forward>, RegisterMethodError> {
    let mut module = RpcModule::new(Forward {
        client,
        transactions,
        net,
        admitted: Semaphore::new(MAX_FORWARDED.saturating_add(MAX_WAITING)),
        running: Semaphore::new(MAX_FORWARDED),
    });
    for name in METHODS.iter().copied() {
        match name {
            "eth_accounts" => module.register_method(name, |_, _, _| json!([]))?,
            "eth_sendTransaction" | "eth_signTransaction" | "eth_sign" => {
                module.register_method(name, |_, _, _| Err::<Value, _>(refusal(SERVER, NO_KEYS)))?
            }
            "eth_sendRawTransaction" => module
                .register_async_method(name, |params, forward, _| async move { forward.send_raw(&params).await })?,
            _ => module.register_async_method(name, move |params, forward, _| async move {
                forward.call(name, arguments(&params)?).await
            })?,
        };
    }
    for name in ["eth_subscribe", "eth_unsubscribe"] {
        module.register_method(name, |_, _, _| Err::<Value, _>(refusal(NO_METHOD, NO_SUBSCRIPTIONS)))?;
    }
    Ok(module)
}

const NO_KEYS: &str =
    "unknown account: this node keeps no keys; sign the transaction yourself and use eth_sendRawTransaction";

const NO_SUBSCRIPTIONS: &str = "eth_subscribe is not handed through to the external execution client: subscribe at its \
                                own WebSocket port, or use filters or alys_subscribe here";

impl Forward {
    async fn call(&self, method: &'static str, params: Value) -> Result<Value, ErrorObjectOwned> {
        let _admitted = self.admitted.try_acquire().map_err(|_| refusal(LIMIT, "too many calls are waiting"))?;
        // The semaphore is never closed.
        let _running = self.running.acquire().await.map_err(|error| refusal(INTERNAL, error.to_string()))?;
        self.client.forward(method, params).await.map_err(handed_on)
    }

    async fn send_raw(&self, params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
        if let Some(reason) = self.net.borrow().takes_no_transactions() {
            return Err(refusal(SERVER, reason));
        }
        let (text,): (String,) =
            params.parse().map_err(|_| refusal(INVALID_PARAMS, "a signed transaction in hex is needed"))?;
        let digits = text.strip_prefix("0x").ok_or_else(|| refusal(INVALID_PARAMS, "hex string without 0x prefix"))?;
        let raw =
            hex::decode(digits).map_err(|error| refusal(INVALID_PARAMS, format!("invalid argument 0: {error}")))?;
        let _admitted = self.admitted.try_acquire().map_err(|_| refusal(LIMIT, "too many calls are waiting"))?;
        self.transactions.send(raw).await.map_err(|error| match error {
            SendError::Pool(error @ PoolError::Busy) => refusal(LIMIT, error.to_string()),
            SendError::Pool(error) => refusal(SERVER, error.to_string()),
            SendError::Forward(error) => handed_on(error),
            error @ SendError::OtherTransaction => refusal(UNAVAILABLE, error.to_string()),
        })
    }
}

fn arguments(params: &Params<'_>) -> Result<Value, ErrorObjectOwned> {
    match params.as_str() {
        None => Ok(json!([])),
        Some(text) => serde_json::from_str(text).map_err(|error| refusal(INVALID_PARAMS, error.to_string())),
    }
}

/// The client's own error as it is; its silence as ours.
fn handed_on(error: ForwardError) -> ErrorObjectOwned {
    match error {
        ForwardError::Refused { code, message, data } => {
            ErrorObjectOwned::owned(i32::try_from(code).unwrap_or(SERVER), message, data)
        }
        ForwardError::Unavailable { .. } => refusal(UNAVAILABLE, error.to_string()),
    }
}

fn refusal(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}
