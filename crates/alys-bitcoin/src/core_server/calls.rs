//! The calls, by Bitcoin Core's names and with its error codes.

use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Address, Block, BlockHash, Network, OutPoint, ScriptBuf, Transaction, Txid};
use serde_json::{Value, json};

use crate::embedded::{MAX_GENERATED, RegtestHandle};
use crate::port::{BitcoinPort as _, BlockPlace, Invalid, PortError, Unavailable};
use crate::regtest::{PoolError, TransactionError};
use crate::template::BlockTemplate;

/// `RPC_METHOD_NOT_FOUND`.
const METHOD_NOT_FOUND: i64 = -32_601;
/// `RPC_TYPE_ERROR`.
const TYPE_ERROR: i64 = -3;
/// `RPC_INVALID_ADDRESS_OR_KEY`.
const NOT_FOUND: i64 = -5;
/// `RPC_INVALID_PARAMETER`.
const INVALID_PARAMETER: i64 = -8;
/// `RPC_DESERIALIZATION_ERROR`.
const UNDECODABLE: i64 = -22;
/// `RPC_VERIFY_ERROR`.
const VERIFY_ERROR: i64 = -25;
/// `RPC_VERIFY_REJECTED`.
const VERIFY_REJECTED: i64 = -26;
/// `RPC_IN_WARMUP`.
const NOT_READY: i64 = -28;

/// Why a call has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

type Answer = Result<Value, Refusal>;

pub(super) async fn answer(regtest: &RegtestHandle, method: &str, params: &[Value]) -> Answer {
    match method {
        "getblockchaininfo" => chain_info(regtest).await,
        "getblockcount" => Ok(json!(regtest.best_block().await.map_err(other)?.height)),
        "getbestblockhash" => Ok(json!(regtest.best_block().await.map_err(other)?.hash)),
        "getblockhash" => block_hash(regtest, params).await,
        "getblockheader" => block_header(regtest, params).await,
        "getblock" => block(regtest, params).await,
        "getrawtransaction" => raw_transaction(regtest, params).await,
        "gettxout" => coin(regtest, params).await,
        "sendrawtransaction" => send(regtest, params).await,
        "estimatesmartfee" => Ok(json!({
            "errors": ["Insufficient data or no feerate found"],
            "blocks": number(params, 0, "blocks")?,
        })),
        "getblocktemplate" => Ok(template(&regtest.block_template().await.map_err(other)?)),
        "submitblock" => submit(regtest, params).await,
        "generatetoaddress" => {
            let script = address(text(params, 1, "address")?)?;
            generate(regtest, params, script).await
        }
        "generatetodescriptor" => {
            let script = described(text(params, 1, "descriptor")?)?;
            generate(regtest, params, script).await
        }
        _ => Err(Refusal::new(METHOD_NOT_FOUND, "Method not found")),
    }
}

async fn chain_info(regtest: &RegtestHandle) -> Answer {
    let best = regtest.best_block().await.map_err(other)?;
    Ok(json!({
        "chain": "regtest",
        "blocks": best.height,
        "headers": best.height,
        "bestblockhash": best.hash,
        "initialblockdownload": false,
        "pruned": false,
    }))
}

async fn block_hash(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let height = number(params, 0, "height")?;
    match regtest.header_at(height).await.map_err(other)? {
        Some(placed) => Ok(json!(placed.hash)),
        None => Err(Refusal::new(INVALID_PARAMETER, "Block height out of range")),
    }
}

async fn find_block(regtest: &RegtestHandle, params: &[Value]) -> Result<Block, Refusal> {
    let hash: BlockHash = parsed(text(params, 0, "blockhash")?, "blockhash")?;
    let found = regtest.block(hash).await.map_err(other)?;
    found.ok_or_else(|| Refusal::new(NOT_FOUND, "Block not found"))
}

/// Height on the best chain and confirmations there; the height that the coinbase claims and -1 beside it.
async fn place(regtest: &RegtestHandle, block: &Block) -> Result<(u64, i64), Refusal> {
    let (best, hash) = (regtest.best_block().await.map_err(other)?, block.block_hash());
    let height = match regtest.headers_after(vec![hash], 1).await {
        Ok(after) => after.first().map_or(best.height, |placed| placed.height.saturating_sub(1)),
        Err(PortError::Invalid(Invalid::UnknownHeaders { .. })) => {
            return Ok((block.bip34_block_height().unwrap_or(0), -1));
        }
        Err(error) => return Err(other(error)),
    };
    let confirmations = i64::from(best.height).saturating_sub(i64::from(height)).saturating_add(1);
    Ok((u64::from(height), confirmations))
}

async fn described_block(regtest: &RegtestHandle, block: &Block) -> Answer {
    let (height, confirmations) = place(regtest, block).await?;
    let header = &block.header;
    Ok(json!({
        "hash": block.block_hash(),
        "confirmations": confirmations,
        "height": height,
        "version": header.version.to_consensus(),
        "merkleroot": header.merkle_root,
        "time": header.time,
        "nonce": header.nonce,
        "bits": format!("{:08x}", header.bits.to_consensus()),
        "previousblockhash": header.prev_blockhash,
        "nTx": block.txdata.len(),
    }))
}

async fn block_header(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let block = find_block(regtest, params).await?;
    match params.get(1) {
        Some(Value::Bool(false)) => Ok(json!(serialize_hex(&block.header))),
        _ => described_block(regtest, &block).await,
    }
}

async fn block(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let block = find_block(regtest, params).await?;
    match params.get(1).map_or(Some(1), Value::as_u64) {
        Some(0) => Ok(json!(serialize_hex(&block))),
        Some(1) => {
            let mut described = described_block(regtest, &block).await?;
            let txids: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
            if let Some(fields) = described.as_object_mut() {
                fields.insert("tx".to_owned(), json!(txids));
            }
            Ok(described)
        }
        _ => Err(Refusal::new(INVALID_PARAMETER, "verbosity must be 0 or 1")),
    }
}

async fn raw_transaction(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let txid: Txid = parsed(text(params, 0, "txid")?, "txid")?;
    let is_verbose = match params.get(1) {
        Some(Value::Bool(verbose)) => *verbose,
        Some(number) => number.as_u64().is_some_and(|verbosity| verbosity > 0),
        None => false,
    };
    let found = regtest.find_transaction(txid).await.map_err(other)?;
    let (transaction, block) = match found {
        Some(found) => (found.transaction, Some(found.block)),
        None => match regtest.waiting(txid).await.map_err(other)? {
            Some(transaction) => (transaction, None),
            None => return Err(Refusal::new(NOT_FOUND, "No such mempool or blockchain transaction")),
        },
    };
    let hex = serialize_hex(&transaction);
    if !is_verbose {
        return Ok(json!(hex));
    }
    let mut described =
        json!({ "txid": txid, "hash": transaction.compute_wtxid(), "vsize": transaction.vsize(), "hex": hex });
    if let (Some(block), Some(fields)) = (block, described.as_object_mut()) {
        let best = regtest.best_block().await.map_err(other)?;
        let confirmations = best.height.saturating_sub(block.height).saturating_add(1);
        fields.insert("blockhash".to_owned(), json!(block.hash));
        fields.insert("confirmations".to_owned(), json!(confirmations));
    }
    Ok(described)
}

async fn coin(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let txid: Txid = parsed(text(params, 0, "txid")?, "txid")?;
    let vout = number(params, 1, "n")?;
    let Some(coin) = regtest.coin(OutPoint { txid, vout }).await.map_err(other)? else { return Ok(Value::Null) };
    let best = regtest.best_block().await.map_err(other)?;
    Ok(json!({
        "bestblock": best.hash,
        "confirmations": best.height.saturating_sub(coin.height).saturating_add(1),
        "value": coin.output.value.to_btc(),
        "scriptPubKey": { "hex": coin.output.script_pubkey.to_hex_string() },
        "coinbase": coin.coinbase,
    }))
}

async fn send(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let hex = text(params, 0, "hexstring")?;
    let transaction: Transaction =
        deserialize_hex(hex).map_err(|error| Refusal::new(UNDECODABLE, format!("TX decode failed: {error}")))?;
    match regtest.broadcast(transaction).await {
        Ok(txid) => Ok(json!(txid)),
        Err(PortError::Invalid(Invalid::Transaction(error))) => Err(refused(&error)),
        Err(PortError::Unavailable(Unavailable::PoolFull)) => Err(Refusal::new(VERIFY_REJECTED, "mempool full")),
        Err(error) => Err(other(error)),
    }
}

fn refused(error: &PoolError) -> Refusal {
    match error {
        PoolError::Transaction(TransactionError::MissingCoin(_)) => {
            Refusal::new(VERIFY_ERROR, format!("bad-txns-inputs-missingorspent: {error}"))
        }
        PoolError::Transaction(_)
        | PoolError::Coinbase
        | PoolError::TooHeavy { .. }
        | PoolError::TooSmall { .. }
        | PoolError::FeeTooLow { .. }
        | PoolError::Replacement { .. }
        | PoolError::MayNotReplace { .. }
        | PoolError::TooManyAncestors { .. }
        | PoolError::Full { .. } => Refusal::new(VERIFY_REJECTED, error.to_string()),
    }
}

fn template(template: &BlockTemplate) -> Value {
    let transactions: Vec<Value> = template
        .transactions
        .iter()
        .map(|entry| {
            json!({
                "data": serialize_hex(&entry.transaction),
                "txid": entry.txid,
                "hash": entry.transaction.compute_wtxid(),
                "fee": entry.fee.to_sat(),
                "weight": entry.transaction.weight().to_wu(),
            })
        })
        .collect();
    json!({
        "capabilities": ["proposal"],
        "rules": ["csv", "!segwit", "taproot"],
        "version": template.version.to_consensus(),
        "previousblockhash": template.previous,
        "transactions": transactions,
        "coinbasevalue": template.coinbase_value.to_sat(),
        "mintime": template.min_time,
        "curtime": template.time,
        "bits": format!("{:08x}", template.bits.to_consensus()),
        "height": template.height,
        "noncerange": "00000000ffffffff",
        "weightlimit": bitcoin::Weight::MAX_BLOCK.to_wu(),
    })
}

async fn submit(regtest: &RegtestHandle, params: &[Value]) -> Answer {
    let block: Block = deserialize_hex(text(params, 0, "hexdata")?)
        .map_err(|error| Refusal::new(UNDECODABLE, format!("Block decode failed: {error}")))?;
    match regtest.submit_block(block).await {
        Ok(BlockPlace::Best) => Ok(Value::Null),
        Ok(BlockPlace::Known) => Ok(json!("duplicate")),
        Ok(BlockPlace::Side) => Ok(json!("inconclusive")),
        Err(PortError::Invalid(reason)) => Ok(json!(reason.to_string())),
        Err(error) => Err(other(error)),
    }
}

async fn generate(regtest: &RegtestHandle, params: &[Value], script: ScriptBuf) -> Answer {
    let count = number(params, 0, "nblocks")?;
    if count > MAX_GENERATED {
        return Err(Refusal::new(INVALID_PARAMETER, format!("at most {MAX_GENERATED} blocks in one call")));
    }
    Ok(json!(regtest.generate_to(script, count).await.map_err(other)?))
}

/// `raw(HEX)` or `addr(ADDRESS)`, with or without a checksum, which is not looked at.
fn described(descriptor: &str) -> Result<ScriptBuf, Refusal> {
    let bad = || Refusal::new(NOT_FOUND, "only raw(HEX) and addr(ADDRESS) are understood here");
    let bare = descriptor.split_once('#').map_or(descriptor, |(bare, _)| bare);
    let inner = |prefix: &str| bare.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(hex) = inner("raw(") {
        return ScriptBuf::from_hex(hex).map_err(|_| bad());
    }
    address(inner("addr(").ok_or_else(bad)?)
}

fn address(text: &str) -> Result<ScriptBuf, Refusal> {
    let address: Option<Address<NetworkUnchecked>> = text.parse().ok();
    let address = address.and_then(|address| address.require_network(Network::Regtest).ok());
    address.map(|address| address.script_pubkey()).ok_or_else(|| Refusal::new(NOT_FOUND, "Invalid address"))
}

fn text<'a>(params: &'a [Value], position: usize, name: &str) -> Result<&'a str, Refusal> {
    let given = params.get(position).and_then(Value::as_str);
    given.ok_or_else(|| Refusal::new(TYPE_ERROR, format!("parameter {position}, {name}, must be a text")))
}

fn number(params: &[Value], position: usize, name: &str) -> Result<u32, Refusal> {
    let given = params.get(position).and_then(Value::as_u64).and_then(|value| u32::try_from(value).ok());
    given.ok_or_else(|| Refusal::new(TYPE_ERROR, format!("parameter {position}, {name}, must be a whole number")))
}

fn parsed<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::new(INVALID_PARAMETER, format!("{name} must be 64 hex digits")))
}

/// What the port says where no call of Core's fails.
fn other(error: PortError) -> Refusal {
    match error {
        PortError::Invalid(reason) => Refusal::new(INVALID_PARAMETER, reason.to_string()),
        PortError::Unavailable(_) | PortError::Bug(_) => Refusal::new(NOT_READY, error.to_string()),
    }
}
