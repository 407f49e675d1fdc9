//! What a block's transactions paid, proven against the block's own hash.

use super::EngineClient;
use crate::{BlockFees, EngineError};
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{ReceiptEnvelope, Transaction as _, TxEnvelope};
use alloy_primitives::{B256, U64, U256};
use alloy_rpc_types_eth::{Block, Log, Transaction, TransactionReceipt};
use serde_json::json;

type RpcReceipt = TransactionReceipt<ReceiptEnvelope<Log>>;

impl EngineClient {
    /// Header, transactions and receipts are fetched and checked: the header makes the hash, the transactions make the
    /// header's transactions root, the receipts its receipts root. Only then is counted.
    pub(super) async fn fees(&self, block_hash: B256) -> Result<BlockFees, EngineError> {
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
            return Ok(BlockFees { total: U256::ZERO });
        }
        let receipts = self.receipts(block_hash, header.number).await?.ok_or_else(unknown)?;
        let receipts: Vec<ReceiptEnvelope> =
            receipts.into_iter().map(|receipt| receipt.inner.map_logs(|log| log.inner)).collect();
        if receipts.len() != transactions.len() || calculate_receipt_root(&receipts) != header.receipts_root {
            return Err(broken("the receipts have another root"));
        }
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
}
