//! Calls that only a development node with a regtest Bitcoin of its own serves: blocks and coins on demand.

use crate::miner::anyone_can_spend;
use alys_bitcoin::{BitcoinPort as _, PortError, RegtestHandle};
use bitcoin::absolute::LockTime;
use bitcoin::script::PushBytesBuf;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction,
};
use jsonrpsee::RpcModule;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde_json::{Value, json};

/// Invalid parameters (JSON-RPC 2.0, section 5.1).
const INVALID_PARAMS: i32 = -32602;

/// Something in the node failed.
const INTERNAL: i32 = -32603;

/// Blocks until a reward can be spent, and the one that brings it.
const MATURITY: u32 = 101;

/// The most blocks that one call makes.
const MAX_BLOCKS: u32 = 144;

/// What a payment gives to miners, in satoshis.
const FEE: u64 = 2_000;

/// Rewards looked at when one that can be spent is wanted.
const MAX_COINS: usize = 1_000;

/// The module.
///
/// # Errors
/// A method was registered twice, which is a bug.
pub fn dev_module(bitcoin: RegtestHandle) -> Result<RpcModule<RegtestHandle>, jsonrpsee::core::RegisterMethodError> {
    let mut module = RpcModule::new(bitcoin);
    module
        .register_async_method("dev_mineBitcoin", |params, bitcoin, _| async move { mine(&params, &bitcoin).await })?;
    module
        .register_async_method("dev_sendBitcoin", |params, bitcoin, _| async move { send(&params, &bitcoin).await })?;
    Ok(module)
}

/// `[blocks]`: makes Bitcoin blocks with what waits in the pool; gives their hashes.
async fn mine(params: &Params<'_>, bitcoin: &RegtestHandle) -> Result<Value, ErrorObjectOwned> {
    let blocks: u32 = params.one().map_err(|_| bad("a number of blocks is needed"))?;
    if !(1..=MAX_BLOCKS).contains(&blocks) {
        return Err(bad(format!("{blocks} blocks: must be 1 to {MAX_BLOCKS}")));
    }
    let hashes = bitcoin.generate_to(anyone_can_spend(), blocks).await.map_err(|error| failed(&error))?;
    Ok(json!(hashes))
}

/// `[address, satoshis, opReturn?]`: pays regtest coins to an address, with an OP_RETURN output if there is hex for one;
/// gives the transaction's id. It waits for the next block.
async fn send(params: &Params<'_>, bitcoin: &RegtestHandle) -> Result<Value, ErrorObjectOwned> {
    let mut sequence = params.sequence();
    let address: String = sequence.next().map_err(|_| bad("a Bitcoin address is needed"))?;
    let sats: u64 = sequence.next().map_err(|_| bad("an amount in satoshis is needed"))?;
    let note: Option<String> = sequence.optional_next().map_err(|_| bad("the third argument is hex"))?;
    let parsed = address.parse::<Address<_>>().ok().and_then(|address| address.require_network(Network::Regtest).ok());
    let script = parsed.ok_or_else(|| bad(format!("`{address}` is no regtest address")))?.script_pubkey();
    let note = note.map(|hex| op_return(&hex)).transpose()?;
    let (coin, worth) = spendable(bitcoin).await.map_err(|error| failed(&error))?;
    let rest = worth.checked_sub(sats).and_then(|rest| rest.checked_sub(FEE));
    let rest = rest.ok_or_else(|| bad(format!("{sats} satoshis are more than a reward of {worth} holds")))?;
    let output = |sats, script_pubkey| TxOut { value: Amount::from_sat(sats), script_pubkey };
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        }],
        output: std::iter::once(output(sats, script))
            .chain(note.map(|script| output(0, script)))
            .chain(std::iter::once(output(rest, anyone_can_spend())))
            .collect(),
    };
    let txid = bitcoin.broadcast(transaction).await.map_err(|error| failed(&error))?;
    Ok(json!(txid.to_string()))
}

/// The greatest coin of the dev miner that can be spent now; mines until there is one.
async fn spendable(bitcoin: &RegtestHandle) -> Result<(OutPoint, u64), PortError> {
    for _ in 0..2 {
        let best = bitcoin.best_block().await?.height;
        let coins = bitcoin.coins_paying(anyone_can_spend(), MAX_COINS).await?;
        let mature = coins
            .into_iter()
            .filter(|(_, coin)| !coin.coinbase || best.saturating_add(1).saturating_sub(coin.height) >= MATURITY - 1)
            .map(|(point, coin)| (point, coin.output.value.to_sat()))
            .max_by_key(|(_, worth)| *worth);
        if let Some(coin) = mature {
            return Ok(coin);
        }
        bitcoin.generate_to(anyone_can_spend(), MATURITY).await?;
    }
    Err(PortError::Bug("a fresh reward can't be spent"))
}

fn op_return(text: &str) -> Result<ScriptBuf, ErrorObjectOwned> {
    let bytes = hex::decode(text.trim_start_matches("0x")).map_err(|_| bad(format!("`{text}` is no hex")))?;
    let push = PushBytesBuf::try_from(bytes).map_err(|_| bad("too long for one push"))?;
    Ok(ScriptBuf::new_op_return(push))
}

fn bad(message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INVALID_PARAMS, message.into(), None::<()>)
}

fn failed(error: &PortError) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(INTERNAL, error.to_string(), None::<()>)
}
