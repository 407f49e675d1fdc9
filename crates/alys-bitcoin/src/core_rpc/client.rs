//! The port's calls.

use std::sync::Arc;

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use serde_json::{Value, json};

use super::answers;
use super::transport::{CoreConfig, CoreConfigError, Refused, Transport, nonsense};
use crate::port::{
    BestBlock, BitcoinPort, BlockPlace, FoundTransaction, Invalid, MAX_HEADERS, MAX_LOCATOR, PlacedHeader, PortError,
    Unavailable,
};
use crate::template::BlockTemplate;

/// Calls in one exchange.
const BATCH: usize = 200;

/// `RPC_INVALID_ADDRESS_OR_KEY`: what was asked for is not known.
const NOT_FOUND: i64 = -5;
/// `RPC_INVALID_PARAMETER`: above all, a height beyond the tip.
const BAD_PARAMETER: i64 = -8;
/// `RPC_VERIFY_ERROR`: the inputs are missing or spent.
const VERIFY_ERROR: i64 = -25;
/// `RPC_VERIFY_REJECTED`: a rule of consensus or policy.
const VERIFY_REJECTED: i64 = -26;
/// `RPC_VERIFY_ALREADY_IN_UTXO_SET`: it is confirmed already.
const ALREADY_CONFIRMED: i64 = -27;
/// `RPC_DESERIALIZATION_ERROR`: bytes that are no transaction or block.
const UNDECODABLE: i64 = -22;

/// A Bitcoin Core node behind the port. Clones share connections.
#[derive(Clone, Debug)]
pub struct CoreRpc {
    transport: Arc<Transport>,
}

impl CoreRpc {
    /// A client; nothing is sent before the first call.
    ///
    /// # Errors
    /// [`CoreConfigError`] if the address can't be used.
    pub fn new(config: CoreConfig) -> Result<Self, CoreConfigError> {
        Ok(Self { transport: Arc::new(Transport::new(config)?) })
    }

    /// A call whose refusal can only be temporary.
    async fn must(&self, method: &'static str, params: Value) -> Result<Value, PortError> {
        self.transport.call(method, params).await?.map_err(|refused| not_ready(method, refused))
    }

    /// A call that may be about something unknown.
    async fn maybe(&self, method: &'static str, params: Value) -> Result<Option<Value>, PortError> {
        match self.transport.call(method, params).await? {
            Ok(answer) => Ok(Some(answer)),
            Err(refused) if is_unknown(&refused) => Ok(None),
            Err(refused) => Err(not_ready(method, refused)),
        }
    }

    async fn hashes(&self, heights: std::ops::RangeInclusive<u32>) -> Result<Vec<BlockHash>, PortError> {
        let method = "getblockhash";
        let mut hashes = Vec::new();
        let heights: Vec<u32> = heights.collect();
        for chunk in heights.chunks(BATCH) {
            let params = chunk.iter().map(|height| json!([height])).collect();
            for answer in self.transport.batch(method, params).await? {
                match answer {
                    Ok(hash) => hashes.push(answers::hash(method, &hash)?),
                    // The branch became shorter meanwhile.
                    Err(refused) if refused.code == BAD_PARAMETER => return Ok(hashes),
                    Err(refused) => return Err(not_ready(method, refused)),
                }
            }
        }
        Ok(hashes)
    }

    /// Headers with these hashes, which must follow each other.
    async fn placed(&self, hashes: &[BlockHash], first_height: u32) -> Result<Vec<PlacedHeader>, PortError> {
        let method = "getblockheader";
        let mut placed: Vec<PlacedHeader> = Vec::with_capacity(hashes.len());
        let mut height = first_height;
        for chunk in hashes.chunks(BATCH) {
            let params = chunk.iter().map(|hash| json!([hash, false])).collect();
            let answers = self.transport.batch(method, params).await?;
            for (hash, answer) in chunk.iter().zip(answers) {
                let answer = answer.map_err(|refused| not_ready(method, refused))?;
                let header = answers::header(method, &answer, *hash)?;
                if placed.last().is_some_and(|last| last.hash != header.prev_blockhash) {
                    return Err(nonsense(method, "headers of a branch that changed meanwhile"));
                }
                placed.push(PlacedHeader { header, hash: *hash, height });
                height = height.saturating_add(1);
            }
        }
        Ok(placed)
    }

    /// Height of a header if it is on the best branch.
    async fn best_height(&self, hash: BlockHash) -> Result<Option<u32>, PortError> {
        let method = "getblockheader";
        let Some(answer) = self.maybe(method, json!([hash, true])).await? else { return Ok(None) };
        let confirmations = answer.get("confirmations").and_then(Value::as_i64);
        let confirmations = confirmations.ok_or_else(|| nonsense(method, "`confirmations` is no number"))?;
        if confirmations < 1 {
            return Ok(None);
        }
        answers::number(method, &answer, "height").map(Some)
    }
}

impl BitcoinPort for CoreRpc {
    async fn best_block(&self) -> Result<BestBlock, PortError> {
        let method = "getblockchaininfo";
        let answer = self.must(method, json!([])).await?;
        let hash = answers::hash(method, answer.get("bestblockhash").unwrap_or(&Value::Null))?;
        Ok(BestBlock { hash, height: answers::number(method, &answer, "blocks")? })
    }

    async fn header_at(&self, height: u32) -> Result<Option<PlacedHeader>, PortError> {
        let Some(hash) = self.hashes(height..=height).await?.first().copied() else { return Ok(None) };
        Ok(self.placed(&[hash], height).await?.first().copied())
    }

    async fn headers_after(&self, locator: Vec<BlockHash>, limit: usize) -> Result<Vec<PlacedHeader>, PortError> {
        for (what, requested, limit) in
            [("headers", limit, MAX_HEADERS), ("locator hashes", locator.len(), MAX_LOCATOR)]
        {
            if requested > limit {
                return Err(Invalid::TooMany { what, requested, limit }.into());
            }
        }
        let mut known = None;
        for hash in &locator {
            known = self.best_height(*hash).await?.map(|height| (height, *hash));
            if known.is_some() {
                break;
            }
        }
        let (height, hash) = known.ok_or(Invalid::UnknownHeaders { count: locator.len() })?;
        let first = height.saturating_add(1);
        let count = u32::try_from(limit).unwrap_or(u32::MAX);
        let best = self.best_block().await?.height.min(height.saturating_add(count));
        if best < first {
            return Ok(Vec::new());
        }
        let hashes = self.hashes(first..=best).await?;
        let placed = self.placed(&hashes, first).await?;
        if placed.first().is_some_and(|placed| placed.header.prev_blockhash != hash) {
            return Err(nonsense("getblockhash", "headers of a branch that changed meanwhile"));
        }
        Ok(placed)
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<Block>, PortError> {
        let method = "getblock";
        let answer = self.maybe(method, json!([hash, 0])).await?;
        answer.map(|answer| answers::block(method, &answer, hash)).transpose()
    }

    async fn broadcast(&self, transaction: Transaction) -> Result<Txid, PortError> {
        let method = "sendrawtransaction";
        let txid = transaction.compute_txid();
        match self.transport.call(method, json!([serialize_hex(&transaction)])).await? {
            Ok(answer) => match answer.as_str().and_then(|text| text.parse::<Txid>().ok()) {
                Some(answered) if answered == txid => Ok(txid),
                Some(_) | None => Err(nonsense(method, "another transaction's id")),
            },
            Err(refused) if refused.code == ALREADY_CONFIRMED || refused.reason.contains("already-in-mempool") => {
                Ok(txid)
            }
            Err(Refused { code: code @ (VERIFY_ERROR | VERIFY_REJECTED | UNDECODABLE), reason }) => {
                // It may have confirmed and its outputs been spent, which the node can't tell from missing inputs.
                if code == VERIFY_ERROR && self.find_transaction(txid).await?.is_some() {
                    return Ok(txid);
                }
                Err(Invalid::TransactionRejected { code, reason }.into())
            }
            Err(refused) => Err(not_ready(method, refused)),
        }
    }

    async fn find_transaction(&self, txid: Txid) -> Result<Option<FoundTransaction>, PortError> {
        let method = "getrawtransaction";
        let answer = match self.transport.call(method, json!([txid, 1])).await? {
            Ok(answer) => answer,
            // Without the index nothing is known about confirmed transactions, which is no "no".
            Err(refused) if refused.code == NOT_FOUND && !refused.reason.contains("-txindex") => return Ok(None),
            Err(refused) => return Err(not_ready(method, refused)),
        };
        if answers::text(method, &answer, "txid")? != txid.to_string() {
            return Err(nonsense(method, "another transaction"));
        }
        let Some(hash) = answer.get("blockhash") else { return Ok(None) };
        let hash = answers::hash(method, hash)?;
        let Some(height) = self.best_height(hash).await? else { return Ok(None) };
        let Some(block) = self.block(hash).await? else { return Ok(None) };
        let position = block.txdata.iter().position(|transaction| transaction.compute_txid() == txid);
        let position = position.ok_or_else(|| nonsense(method, "a block without the transaction"))?;
        Ok(FoundTransaction::in_block(&block, height, position))
    }

    async fn estimate_fee_rate(&self, blocks: u16) -> Result<Option<u64>, PortError> {
        let answer = self.must("estimatesmartfee", json!([blocks])).await?;
        Ok(answers::fee_rate(&answer))
    }

    async fn block_template(&self) -> Result<BlockTemplate, PortError> {
        let method = "getblocktemplate";
        let answer = self.must(method, json!([{ "rules": ["segwit"] }])).await?;
        answers::template(method, &answer)
    }

    async fn submit_block(&self, block: Block) -> Result<BlockPlace, PortError> {
        let method = "submitblock";
        match self.transport.call(method, json!([serialize_hex(&block)])).await? {
            Ok(Value::Null) => Ok(BlockPlace::Best),
            Ok(Value::String(reason)) => match reason.as_str() {
                "duplicate" => Ok(BlockPlace::Known),
                // Neither refused nor connected: a side branch.
                "inconclusive" | "duplicate-inconclusive" => Ok(BlockPlace::Side),
                _ => Err(Invalid::BlockRejected { reason: super::transport::cut(&reason) }.into()),
            },
            Ok(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(nonsense(method, "neither nothing nor a reason"))
            }
            Err(refused) if refused.code == UNDECODABLE => {
                Err(Invalid::BlockRejected { reason: refused.reason }.into())
            }
            Err(refused) => Err(not_ready(method, refused)),
        }
    }
}

fn is_unknown(refused: &Refused) -> bool {
    refused.code == NOT_FOUND || refused.code == BAD_PARAMETER || refused.reason.contains("pruned")
}

fn not_ready(method: &'static str, refused: Refused) -> PortError {
    Unavailable::NotReady { method, code: refused.code, reason: refused.reason }.into()
}
