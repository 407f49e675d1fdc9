//! An EVM account for the command line: signs a transaction and sends it over JSON-RPC.

use crate::rpc_client::{RpcClient, RpcClientError};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

/// Tip per unit of gas in wei: 1 gwei.
const TIP: u128 = 1_000_000_000;

/// Why a transaction can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The key is zero or beyond the curve's order.
    #[error("the key is no secp256k1 secret key")]
    Key,
    /// The node refused a call or gave no answer.
    #[error(transparent)]
    Rpc(#[from] RpcClientError),
    /// The node answered something that is no number or hash.
    #[error("`{method}` was answered with {answer}")]
    Answer {
        /// What was called.
        method: &'static str,
        /// The answer.
        answer: Value,
    },
    /// The signature can't be made.
    #[error("the transaction can't be signed")]
    Signature(#[from] k256::ecdsa::Error),
}

/// An account whose key this process holds.
pub struct EvmAccount {
    key: SigningKey,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The contract or account.
    pub to: Address,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub input: Bytes,
}

/// A transaction that a node took into its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its hash.
    pub hash: B256,
    /// The sender's nonce in it.
    pub nonce: u64,
}

impl EvmAccount {
    /// The account with this secret key.
    ///
    /// # Errors
    /// [`AccountError::Key`].
    pub fn new(secret: &[u8; 32]) -> Result<Self, AccountError> {
        SigningKey::from_slice(secret).map(|key| Self { key }).map_err(|_| AccountError::Key)
    }

    /// Its address.
    pub fn address(&self) -> Address {
        Address::from_public_key(self.key.verifying_key())
    }

    /// Signs and sends a call; gives the transaction's hash. Gas and fees are as the node estimates them.
    ///
    /// # Errors
    /// [`AccountError`].
    ///
    /// # Cancel safety
    /// A dropped future may have sent the transaction.
    pub async fn send(&self, rpc: &RpcClient, call: Call) -> Result<B256, AccountError> {
        self.submit(rpc, call).await.map(|acknowledged| acknowledged.hash)
    }

    /// [`EvmAccount::send`] that tells the nonce as well.
    ///
    /// # Errors
    /// [`AccountError`].
    ///
    /// # Cancel safety
    /// A dropped future may have sent the transaction.
    pub async fn submit(&self, rpc: &RpcClient, call: Call) -> Result<Acknowledged, AccountError> {
        let from = self.address();
        let request = json!({ "from": from, "to": call.to, "value": hex(call.value), "input": call.input });
        let chain_id = number(rpc, "eth_chainId", json!([])).await?;
        let nonce = number(rpc, "eth_getTransactionCount", json!([from, "pending"])).await?;
        let gas = number(rpc, "eth_estimateGas", json!([request])).await?;
        let price = number(rpc, "eth_gasPrice", json!([])).await?;
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            // What the next block's state costs may differ a little.
            gas_limit: gas.saturating_add(gas / 4),
            max_fee_per_gas: u128::from(price).saturating_mul(2).saturating_add(TIP),
            max_priority_fee_per_gas: TIP,
            to: TxKind::Call(call.to),
            value: call.value,
            input: call.input,
            ..TxEip1559::default()
        };
        let (signature, recovery) = self.key.sign_prehash_recoverable(transaction.signature_hash().as_slice())?;
        let envelope = TxEnvelope::from(transaction.into_signed(Signature::from((signature, recovery))));
        let raw = Bytes::from(envelope.encoded_2718());
        let method = "eth_sendRawTransaction";
        let answer = rpc.call(method, json!([raw])).await?;
        match answer.as_str().and_then(|text| text.parse().ok()) {
            Some(hash) => Ok(Acknowledged { hash, nonce }),
            None => Err(AccountError::Answer { method, answer }),
        }
    }
}

async fn number(rpc: &RpcClient, method: &'static str, params: Value) -> Result<u64, AccountError> {
    let answer = rpc.call(method, params).await?;
    let parsed = answer.as_str().and_then(|text| text.parse::<U256>().ok()).and_then(|value| u64::try_from(value).ok());
    parsed.ok_or(AccountError::Answer { method, answer })
}

fn hex(value: U256) -> String {
    format!("{value:#x}")
}
