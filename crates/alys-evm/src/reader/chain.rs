//! Blocks, transactions and receipts.

use super::{EvmReader, MinedReceipt, MinedTransaction, NextBlock, ReadError};
use crate::db::{Cf, DbError};
use crate::execute::{next_base_fee, next_excess_blob_gas};
use crate::{BlockRef, FullBlock};
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Header, ReceiptEnvelope, Transaction};
use alloy_eips::{BlockId, BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::{B256, Sealed, TxKind};
use rocksdb::{Direction, IteratorMode};

impl EvmReader {
    /// The block that a name stands for; `None` if there is none.
    ///
    /// # Errors
    /// [`ReadError::NotCanonical`] if canonicity was required and is missing; else only the database's errors.
    pub fn resolve(&self, block: BlockId) -> Result<Option<BlockRef>, ReadError> {
        match block {
            BlockId::Hash(RpcBlockHash { block_hash, require_canonical }) => {
                let found = self.db.block_ref(block_hash)?;
                match found {
                    Some(block) if require_canonical == Some(true) && !self.is_canonical(block)? => {
                        Err(ReadError::NotCanonical { hash: block_hash })
                    }
                    found => Ok(found),
                }
            }
            BlockId::Number(BlockNumberOrTag::Latest | BlockNumberOrTag::Pending) => Ok(Some(self.heads().latest)),
            BlockId::Number(BlockNumberOrTag::Safe) => Ok(Some(self.heads().safe)),
            BlockId::Number(BlockNumberOrTag::Finalized) => Ok(Some(self.heads().finalized)),
            BlockId::Number(BlockNumberOrTag::Earliest) => Ok(self.db.block_ref(self.genesis_hash())?),
            BlockId::Number(BlockNumberOrTag::Number(number)) => match self.db.canonical(number)? {
                Some(hash) => Ok(self.db.block_ref(hash)?),
                None => Ok(None),
            },
        }
    }

    /// The oldest canonical block whose state can be read.
    ///
    /// # Errors
    /// The database's.
    pub fn oldest_state(&self) -> Result<u64, ReadError> {
        Ok(self.db.history_from()?)
    }

    /// The oldest block from which on all canonical ones are there: the first after genesis, or the one of the snapshot that
    /// the database began with.
    ///
    /// # Errors
    /// The database's.
    pub fn oldest_block(&self) -> Result<u64, ReadError> {
        let first = self.chain.genesis.number.unwrap_or(0).saturating_add(1);
        let key = first.to_be_bytes();
        let from = IteratorMode::From(&key, Direction::Forward);
        let mut canonical = self.db.rocks().iterator_cf(self.db.cf(Cf::Canonical)?, from);
        let Some(found) = canonical.next() else { return Ok(first.saturating_sub(1)) };
        let (key, _) = found.map_err(DbError::from)?;
        let key = <[u8; 8]>::try_from(&*key).map_err(|_| DbError::Corrupt { what: "the index of numbers" })?;
        let number = u64::from_be_bytes(key);
        Ok(if number == first { first.saturating_sub(1) } else { number })
    }

    /// Hash of the canonical block of a number.
    ///
    /// # Errors
    /// The database's.
    pub fn canonical_hash(&self, number: u64) -> Result<Option<B256>, ReadError> {
        Ok(self.db.canonical(number)?)
    }

    /// Number of an executed block, canonical or not.
    ///
    /// # Errors
    /// The database's.
    pub fn number_of(&self, hash: B256) -> Result<Option<u64>, ReadError> {
        Ok(self.db.header(hash)?.map(|header| header.number))
    }

    /// Whether a block is on the canonical chain.
    ///
    /// # Errors
    /// The database's.
    pub fn is_canonical(&self, block: BlockRef) -> Result<bool, ReadError> {
        Ok(self.db.canonical(block.number)? == Some(block.hash))
    }

    /// A header by name.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn header(&self, block: BlockId) -> Result<Option<Sealed<Header>>, ReadError> {
        match self.resolve(block)? {
            Some(block) => self.header_by_hash(block.hash),
            None => Ok(None),
        }
    }

    /// The canonical header of a number.
    ///
    /// # Errors
    /// The database's.
    pub fn header_by_number(&self, number: u64) -> Result<Option<Sealed<Header>>, ReadError> {
        match self.db.canonical(number)? {
            Some(hash) => self.header_by_hash(hash),
            None => Ok(None),
        }
    }

    /// The header of an executed block, canonical or not.
    ///
    /// # Errors
    /// The database's.
    pub fn header_by_hash(&self, hash: B256) -> Result<Option<Sealed<Header>>, ReadError> {
        Ok(self.db.header(hash)?.map(|header| Sealed::new_unchecked(header, hash)))
    }

    /// A block by name.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn block(&self, block: BlockId) -> Result<Option<Sealed<FullBlock>>, ReadError> {
        match self.resolve(block)? {
            Some(block) => self.block_by_hash(block.hash),
            None => Ok(None),
        }
    }

    /// The canonical block of a number.
    ///
    /// # Errors
    /// The database's.
    pub fn block_by_number(&self, number: u64) -> Result<Option<Sealed<FullBlock>>, ReadError> {
        match self.db.canonical(number)? {
            Some(hash) => self.block_by_hash(hash),
            None => Ok(None),
        }
    }

    /// An executed block, canonical or not.
    ///
    /// # Errors
    /// The database's.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<Sealed<FullBlock>>, ReadError> {
        Ok(self.db.block(hash)?.map(|block| Sealed::new_unchecked(block, hash)))
    }

    /// The receipts of an executed block, canonical or not, in order.
    ///
    /// # Errors
    /// The database's.
    pub fn receipts(&self, block_hash: B256) -> Result<Option<Vec<ReceiptEnvelope>>, ReadError> {
        Ok(self.db.receipts(block_hash)?)
    }

    /// A transaction of the canonical chain.
    ///
    /// # Errors
    /// The database's.
    pub fn transaction(&self, hash: B256) -> Result<Option<MinedTransaction>, ReadError> {
        Ok(self.locate(hash)?.map(|(_, transaction)| transaction))
    }

    /// The receipt of a transaction of the canonical chain.
    ///
    /// # Errors
    /// The database's.
    pub fn receipt(&self, transaction_hash: B256) -> Result<Option<MinedReceipt>, ReadError> {
        let Some((header, transaction)) = self.locate(transaction_hash)? else { return Ok(None) };
        let missing = DbError::Corrupt { what: "a block's receipts" };
        let Some(receipts) = self.db.receipts(transaction.block.hash)? else { return Err(missing.into()) };
        let index = usize::try_from(transaction.index).unwrap_or(usize::MAX);
        let (mut gas_before, mut first_log_index) = (0, 0_u64);
        for receipt in receipts.iter().take(index) {
            gas_before = receipt.cumulative_gas_used();
            first_log_index = first_log_index.saturating_add(receipt.logs().len().try_into().unwrap_or(u64::MAX));
        }
        let Some(receipt) = receipts.into_iter().nth(index) else { return Err(missing.into()) };
        let tx = transaction.transaction.inner();
        let contract_address = match tx.kind() {
            TxKind::Create => Some(transaction.transaction.signer().create(tx.nonce())),
            TxKind::Call(_) => None,
        };
        let blob_gas_used = tx.blob_gas_used();
        let blob_gas_price = blob_gas_used
            .and_then(|_| header.excess_blob_gas.zip(self.chain.forks.blob_params_at(header.timestamp)))
            .map(|(excess, params)| params.calc_blob_fee(excess));
        Ok(Some(MinedReceipt {
            gas_used: receipt.cumulative_gas_used().saturating_sub(gas_before),
            first_log_index,
            effective_gas_price: tx.effective_gas_price(header.base_fee_per_gas),
            contract_address,
            blob_gas_used,
            blob_gas_price,
            receipt,
            transaction,
        }))
    }

    fn locate(&self, hash: B256) -> Result<Option<(Header, MinedTransaction)>, ReadError> {
        let Some(position) = self.db.position(hash)? else { return Ok(None) };
        // The head may move between these reads: whatever no longer fits is no longer there.
        let Some(block_hash) = self.db.canonical(position.number)? else { return Ok(None) };
        let Some(block) = self.db.block(block_hash)? else { return Ok(None) };
        let index = usize::try_from(position.index).unwrap_or(usize::MAX);
        let Some(transaction) = block.body.transactions.into_iter().nth(index) else { return Ok(None) };
        if *transaction.tx_hash() != hash {
            return Ok(None);
        }
        let transaction = transaction
            .try_into_recovered_unchecked()
            .map_err(|_| DbError::Corrupt { what: "a transaction's signature" })?;
        let header = block.header;
        let mined = MinedTransaction {
            transaction,
            block: BlockRef { hash: block_hash, number: position.number, timestamp: header.timestamp },
            index: position.index,
            base_fee: header.base_fee_per_gas,
        };
        Ok(Some((header, mined)))
    }

    /// What a block on top of `parent` at `timestamp` will be like.
    ///
    /// # Errors
    /// [`ReadError::UnknownBlock`], and the database's.
    pub fn next_block(&self, parent: BlockId, timestamp: u64) -> Result<NextBlock, ReadError> {
        let parent = self.header(parent)?.ok_or(ReadError::UnknownBlock)?;
        let forks = &self.chain.forks;
        let excess = next_excess_blob_gas(forks, &parent, timestamp);
        Ok(NextBlock {
            spec: forks.spec_at(parent.number.saturating_add(1), timestamp),
            base_fee: next_base_fee(forks, &parent, timestamp).unwrap_or_default(),
            gas_limit: parent.gas_limit,
            blob_base_fee: excess
                .zip(forks.blob_params_at(timestamp))
                .map(|(excess, params)| params.calc_blob_fee(excess)),
        })
    }
}
