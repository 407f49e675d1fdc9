//! Reading Bitcoin Core's answers: bounded, typed, and compared with what was asked.

use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Amount, Block, BlockHash, CompactTarget, Transaction};
use serde_json::Value;

use super::transport::nonsense;
use crate::port::PortError;
use crate::template::{BlockTemplate, TemplateTransaction};

/// A number of 32 bits in a field.
pub(super) fn number(method: &'static str, answer: &Value, field: &'static str) -> Result<u32, PortError> {
    let found = answer.get(field).and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
    found.ok_or_else(|| nonsense(method, format!("`{field}` is no number of 32 bits")))
}

pub(super) fn text<'a>(method: &'static str, answer: &'a Value, field: &'static str) -> Result<&'a str, PortError> {
    answer.get(field).and_then(Value::as_str).ok_or_else(|| nonsense(method, format!("`{field}` is no text")))
}

pub(super) fn hash(method: &'static str, answer: &Value) -> Result<BlockHash, PortError> {
    let parsed = answer.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| nonsense(method, "no block hash"))
}

/// A header in hex that hashes to `expected`.
pub(super) fn header(method: &'static str, answer: &Value, expected: BlockHash) -> Result<Header, PortError> {
    let text = answer.as_str().ok_or_else(|| nonsense(method, "no text"))?;
    let header: Header = deserialize_hex(text).map_err(|error| nonsense(method, error))?;
    if header.block_hash() == expected { Ok(header) } else { Err(nonsense(method, "another header than asked for")) }
}

/// A block in hex that hashes to `expected` and holds the transactions that its header commits to.
pub(super) fn block(method: &'static str, answer: &Value, expected: BlockHash) -> Result<Block, PortError> {
    let text = answer.as_str().ok_or_else(|| nonsense(method, "no text"))?;
    let block: Block = deserialize_hex(text).map_err(|error| nonsense(method, error))?;
    if block.block_hash() != expected {
        return Err(nonsense(method, "another block than asked for"));
    }
    if !block.check_merkle_root() {
        return Err(nonsense(method, "transactions that the header does not commit to"));
    }
    Ok(block)
}

/// `getblocktemplate` (BIP-22, BIP-23, BIP-145).
pub(super) fn template(method: &'static str, answer: &Value) -> Result<BlockTemplate, PortError> {
    let bits = u32::from_str_radix(text(method, answer, "bits")?, 16).map_err(|error| nonsense(method, error))?;
    let version = answer.get("version").and_then(Value::as_i64).and_then(|version| i32::try_from(version).ok());
    let value = answer.get("coinbasevalue").and_then(Value::as_u64);
    let listed = answer.get("transactions").and_then(Value::as_array);
    let listed = listed.ok_or_else(|| nonsense(method, "`transactions` is no list"))?;
    let transactions = listed.iter().map(|entry| {
        let transaction: Transaction =
            deserialize_hex(text(method, entry, "data")?).map_err(|error| nonsense(method, error))?;
        let fee = entry.get("fee").and_then(Value::as_u64).unwrap_or(0);
        Ok(TemplateTransaction { txid: transaction.compute_txid(), transaction, fee: Amount::from_sat(fee) })
    });
    Ok(BlockTemplate {
        version: Version::from_consensus(version.ok_or_else(|| nonsense(method, "`version` is no number"))?),
        previous: hash(method, answer.get("previousblockhash").unwrap_or(&Value::Null))?,
        height: number(method, answer, "height")?,
        bits: CompactTarget::from_consensus(bits),
        min_time: number(method, answer, "mintime")?,
        time: number(method, answer, "curtime")?,
        coinbase_value: Amount::from_sat(value.ok_or_else(|| nonsense(method, "`coinbasevalue` is no number"))?),
        transactions: transactions.collect::<Result<_, PortError>>()?,
    })
}

/// `estimatesmartfee`: bitcoin per 1000 virtual bytes, as satoshis.
pub(super) fn fee_rate(answer: &Value) -> Option<u64> {
    let rate = answer.get("feerate")?.as_f64()?;
    Amount::from_btc(rate).ok().map(Amount::to_sat)
}
