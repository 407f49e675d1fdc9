//! Blocks on the Bitcoin that a federation of processes shares: mined, replaced, looked through.

use super::{GLANCE, PATIENCE, Result, World};
use alys_bitcoin::regtest::subsidy;
use alys_bitcoin::{BitcoinPort as _, BlockTemplate, TemplateTransaction, grind};
use bitcoin::{OutPoint, ScriptBuf, Txid};
use std::collections::BTreeMap;
use std::time::Instant;

impl World {
    /// Mines Bitcoin blocks with what waits in the pool; gives their coinbases.
    pub async fn mine(&self, payout: &ScriptBuf, blocks: u32) -> Result<Vec<Txid>> {
        let mut coinbases = Vec::new();
        for number in 0..blocks {
            coinbases.push(self.append(self.bitcoin.block_template().await?, payout, number).await?);
        }
        Ok(coinbases)
    }

    /// Mines blocks with these transactions in the first and nothing in the others, whatever waits in the pool.
    pub async fn mine_only(&self, transactions: &[TemplateTransaction], blocks: u32) -> Result<()> {
        for number in 0..blocks {
            let mut template = self.bitcoin.block_template().await?;
            template.transactions = if number == 0 { transactions.to_vec() } else { Vec::new() };
            template.coinbase_value = subsidy(template.height);
            self.append(template, &ScriptBuf::new_op_return([0; 4]), number).await?;
        }
        Ok(())
    }

    async fn append(&self, template: BlockTemplate, payout: &ScriptBuf, number: u32) -> Result<Txid> {
        // Two blocks of one second would else be twins.
        let coinbase = template.coinbase(payout, &number.to_le_bytes())?;
        let mut header = template.header(&coinbase);
        while grind(&mut header, 1_000_000)?.is_none() {}
        let txid = coinbase.compute_txid();
        self.bitcoin.submit_block(template.block(header, coinbase)).await?;
        Ok(txid)
    }

    /// Mines blocks that pay nobody in particular.
    pub async fn confirm(&self, blocks: u32) -> Result<()> {
        self.mine(&ScriptBuf::new_op_return([0; 4]), blocks).await.map(drop)
    }

    /// Replaces the newest `depth` blocks by one more empty ones.
    pub async fn reorganise(&self, depth: u32) -> Result<()> {
        self.reorganise_with(depth, &[]).await
    }

    /// Replaces the newest `depth` blocks by one more, the first of which holds these transactions.
    pub async fn reorganise_with(&self, depth: u32, transactions: &[TemplateTransaction]) -> Result<()> {
        let mut template = self.bitcoin.block_template().await?;
        let base = template.height.checked_sub(depth + 1).ok_or("too few blocks")?;
        let fork = self.bitcoin.header_at(base).await?.ok_or("no block to fork from")?;
        (template.previous, template.height) = (fork.hash, base + 1);
        template.transactions = transactions.to_vec();
        for _ in 0..=depth {
            template.coinbase_value = subsidy(template.height);
            let coinbase = template.coinbase(&ScriptBuf::new_op_return([7; 4]), b"fork")?;
            let mut header = template.header(&coinbase);
            while grind(&mut header, 1_000_000)?.is_none() {}
            let block = template.block(header, coinbase);
            (template.previous, template.height) = (block.block_hash(), template.height + 1);
            template.time += 1;
            template.transactions.clear();
            self.bitcoin.submit_block(block).await?;
        }
        let best = self.bitcoin.best_block().await?;
        if best.hash == template.previous { Ok(()) } else { Err("the branch did not win".into()) }
    }

    /// Waits until a transaction can be mined, and gives it: a template made a moment after a send may lack it.
    pub async fn waits_for_a_block(&self, txid: Txid) -> Result<TemplateTransaction> {
        let began = Instant::now();
        loop {
            let template = self.bitcoin.block_template().await?;
            if let Some(found) = template.transactions.into_iter().find(|entry| entry.txid == txid) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("transaction {txid} never came into a template\n{}", self.logs()).into());
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What the best branch holds for a script and nothing has spent: outputs with their satoshis, in order.
    pub async fn unspent(&self, script: &ScriptBuf) -> Result<BTreeMap<OutPoint, u64>> {
        let mut coins = BTreeMap::new();
        for height in 0..=self.bitcoin.best_block().await?.height {
            let placed = self.bitcoin.header_at(height).await?.ok_or("no header")?;
            let block = self.bitcoin.block(placed.hash).await?.ok_or("no block")?;
            for transaction in &block.txdata {
                for input in &transaction.input {
                    coins.remove(&input.previous_output);
                }
                let txid = transaction.compute_txid();
                let ours = (0u32..).zip(&transaction.output).filter(|(_, output)| output.script_pubkey == *script);
                coins.extend(ours.map(|(vout, output)| (OutPoint { txid, vout }, output.value.to_sat())));
            }
        }
        Ok(coins)
    }
}
