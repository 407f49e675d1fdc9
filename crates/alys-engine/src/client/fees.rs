//! What a block's transactions paid and burned, proven against the block's own hash.

use super::EngineClient;
use crate::{BlockFees, EngineError, Log as BlockLog, burns};
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{Header, ReceiptEnvelope, Transaction as _, TxEnvelope};
use alloy_primitives::{B256, U64, U256};
use alloy_rpc_types_eth::{Block, Log, Transaction, TransactionReceipt};
use alys_primitives::Burns;
use serde_json::json;

type RpcReceipt = TransactionReceipt<ReceiptEnvelope<Log>>;

/// A block whose parts were compared with its hash.
struct Proven {
    header: Header,
    transactions: Vec<TxEnvelope>,
    /// One for each transaction.
    receipts: Vec<ReceiptEnvelope>,
}

impl EngineClient {
    /// Header, transactions and receipts are fetched and checked: the header makes the hash, the transactions make the
    /// header's transactions root, the receipts its receipts root. Only then is counted.
    async fn proven(&self, block_hash: B256) -> Result<Proven, EngineError> {
        let unknown = || EngineError::UnknownBlock { hash: block_hash };
        let broken = |reason: &str| EngineError::Broken { reason: format!("block {block_hash}: {reason}") };
        let block: Option<Block<Transaction<TxEnvelope>>> =
            self.eth("eth_getBlockByHash", json!([block_hash, true])).await?;
        let block = block.ok_or_else(unknown)?;
        let header = block.header.inner;
        if header.hash_slow() != block_hash {
            return Err(broken("the header has another hash"));
        }
        let transactions: Vec<TxEnvelope> =
            block.transactions.into_transactions().map(|transaction| transaction.inner.into_inner()).collect();
        if calculate_transaction_root(&transactions) != header.transactions_root {
            return Err(broken("the transactions have another root"));
        }
        if transactions.is_empty() {
            return Ok(Proven { header, transactions, receipts: Vec::new() });
        }
        let receipts = self.receipts(block_hash, header.number).await?.ok_or_else(unknown)?;
        let receipts: Vec<ReceiptEnvelope> =
            receipts.into_iter().map(|receipt| receipt.inner.map_logs(|log| log.inner)).collect();
        if receipts.len() != transactions.len() || calculate_receipt_root(&receipts) != header.receipts_root {
            return Err(broken("the receipts have another root"));
        }
        Ok(Proven { header, transactions, receipts })
    }

    /// Base and priority fees together.
    pub(super) async fn fees(&self, block_hash: B256) -> Result<BlockFees, EngineError> {
        let broken = |reason: &str| EngineError::Broken { reason: format!("block {block_hash}: {reason}") };
        let Proven { header, transactions, receipts } = self.proven(block_hash).await?;
        let mut gas_before = 0_u64;
        let mut total = U256::ZERO;
        for (transaction, receipt) in transactions.iter().zip(&receipts) {
            let gas_after = receipt.cumulative_gas_used();
            let gas = gas_after.checked_sub(gas_before).ok_or_else(|| broken("its gas falls"))?;
            gas_before = gas_after;
            let price = transaction.effective_gas_price(header.base_fee_per_gas);
            total = total.saturating_add(U256::from(gas).saturating_mul(U256::from(price)));
        }
        Ok(BlockFees { total })
    }

    /// Some engines find receipts by the block's number only. Which block they are of is proven afterwards.
    async fn receipts(&self, block_hash: B256, number: u64) -> Result<Option<Vec<RpcReceipt>>, EngineError> {
        match self.eth("eth_getBlockReceipts", json!([block_hash])).await {
            Ok(Some(receipts)) => Ok(Some(receipts)),
            Ok(None) | Err(EngineError::Refused { .. }) => {
                self.eth("eth_getBlockReceipts", json!([U64::from(number)])).await
            }
            Err(error) => Err(error),
        }
    }

    /// What the bridge contract logged.
    pub(super) async fn burned(&self, block_hash: B256) -> Result<Burns, EngineError> {
        let Proven { receipts, .. } = self.proven(block_hash).await?;
        let logs = (0u64..).zip(receipts.iter().flat_map(ReceiptEnvelope::logs));
        let logs = logs.map(|(index, log)| BlockLog {
            index,
            address: log.address,
            topics: log.data.topics(),
            data: &log.data.data,
        });
        burns(logs).map_err(|error| EngineError::Broken { reason: format!("block {block_hash}: {error}") })
    }
}
