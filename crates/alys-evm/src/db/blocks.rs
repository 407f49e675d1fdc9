//! Headers, bodies, receipts, outcomes and diffs by block hash, and the canonical indexes.

use super::{Cf, Db, DbError, StateDiff};
use crate::{Tx, heads::BlockRef};
use alloy_consensus::{Block, BlockBody, Header, ReceiptEnvelope};
use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};
use rocksdb::{Direction, IteratorMode, WriteBatch};

/// What executing a block yields besides state and receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct Outcome {
    /// Sum of `gas_used * effective_gas_price` over the block's transactions, in wei.
    pub(crate) fees: U256,
    /// EIP-7685 requests: type byte and data each.
    pub(crate) requests: Vec<Bytes>,
}

/// Where a transaction stands in the canonical chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionPosition {
    /// Number of its block.
    pub(crate) number: u64,
    /// Its index in the block.
    pub(crate) index: u64,
}

impl TransactionPosition {
    fn encode(self) -> [u8; 16] {
        let mut out = [0; 16];
        let (number, index) = out.split_at_mut(8);
        number.copy_from_slice(&self.number.to_be_bytes());
        index.copy_from_slice(&self.index.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DbError> {
        match bytes.split_first_chunk::<8>() {
            Some((number, index)) if index.len() == 8 => Ok(Self {
                number: u64::from_be_bytes(*number),
                index: index.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
            }),
            _ => Err(DbError::Corrupt { what: "a transaction's position" }),
        }
    }
}

fn decode<T: Decodable>(bytes: &[u8], what: &'static str) -> Result<T, DbError> {
    alloy_rlp::decode_exact(bytes).map_err(|_| DbError::Corrupt { what })
}

fn executed_key(number: u64, hash: B256) -> [u8; 40] {
    let mut key = [0; 40];
    let (left, right) = key.split_at_mut(8);
    left.copy_from_slice(&number.to_be_bytes());
    right.copy_from_slice(hash.as_slice());
    key
}

impl Db {
    /// A header by hash.
    pub(crate) fn header(&self, hash: B256) -> Result<Option<Header>, DbError> {
        self.get(Cf::Headers, hash)?.map(|bytes| decode(&bytes, "a header")).transpose()
    }

    /// Whether a block was executed and is kept.
    pub(crate) fn is_executed(&self, hash: B256) -> Result<bool, DbError> {
        self.contains(Cf::Headers, hash)
    }

    /// A body by block hash.
    pub(crate) fn body(&self, hash: B256) -> Result<Option<BlockBody<Tx>>, DbError> {
        self.get(Cf::Bodies, hash)?.map(|bytes| decode(&bytes, "a body")).transpose()
    }

    /// A block by hash.
    pub(crate) fn block(&self, hash: B256) -> Result<Option<Block<Tx>>, DbError> {
        let Some(header) = self.header(hash)? else { return Ok(None) };
        let body = self.body(hash)?.ok_or(DbError::Corrupt { what: "a block without body" })?;
        Ok(Some(Block { header, body }))
    }

    /// The receipts of a block.
    pub(crate) fn receipts(&self, hash: B256) -> Result<Option<Vec<ReceiptEnvelope>>, DbError> {
        self.get(Cf::Receipts, hash)?.map(|bytes| decode(&bytes, "receipts")).transpose()
    }

    /// What a block's execution yielded.
    pub(crate) fn outcome(&self, hash: B256) -> Result<Option<Outcome>, DbError> {
        self.get(Cf::Outcomes, hash)?.map(|bytes| decode(&bytes, "an outcome")).transpose()
    }

    /// A block's state diff.
    pub(crate) fn diff(&self, hash: B256) -> Result<Option<StateDiff>, DbError> {
        self.get(Cf::Diffs, hash)?.map(|bytes| StateDiff::decode(&bytes)).transpose()
    }

    /// Bytecode by its hash.
    pub(crate) fn code(&self, hash: B256) -> Result<Option<Vec<u8>>, DbError> {
        self.get(Cf::Code, hash)
    }

    /// Hash of the canonical block of a number.
    pub(crate) fn canonical(&self, number: u64) -> Result<Option<B256>, DbError> {
        let Some(bytes) = self.get(Cf::Canonical, number.to_be_bytes())? else { return Ok(None) };
        decode_hash(&bytes).map(Some)
    }

    /// Where a transaction stands in the canonical chain.
    pub(crate) fn position(&self, transaction: B256) -> Result<Option<TransactionPosition>, DbError> {
        self.get(Cf::Transactions, transaction)?.map(|bytes| TransactionPosition::decode(&bytes)).transpose()
    }

    /// Name of an executed block.
    pub(crate) fn block_ref(&self, hash: B256) -> Result<Option<BlockRef>, DbError> {
        let header = self.header(hash)?;
        Ok(header.map(|header| BlockRef { hash, number: header.number, timestamp: header.timestamp }))
    }

    /// Hashes of all executed blocks of a number that are still kept.
    pub(crate) fn executed_at(&self, number: u64) -> Result<Vec<B256>, DbError> {
        let prefix = number.to_be_bytes();
        let mut hashes = Vec::new();
        let mode = IteratorMode::From(&prefix, Direction::Forward);
        for entry in self.rocks().iterator_cf(self.cf(Cf::Executed)?, mode) {
            let (key, _) = entry?;
            let Some(hash) = key.strip_prefix(prefix.as_slice()) else { break };
            hashes.push(decode_hash(hash)?);
        }
        Ok(hashes)
    }

    /// Adds an executed block to a batch.
    pub(crate) fn put_block(
        &self,
        batch: &mut WriteBatch,
        hash: B256,
        block: &Block<Tx>,
        receipts: &[ReceiptEnvelope],
        outcome: &Outcome,
    ) -> Result<(), DbError> {
        let mut encoded_receipts = Vec::new();
        alloy_rlp::encode_list(receipts, &mut encoded_receipts);
        batch.put_cf(self.cf(Cf::Headers)?, hash, alloy_rlp::encode(&block.header));
        batch.put_cf(self.cf(Cf::Bodies)?, hash, alloy_rlp::encode(&block.body));
        batch.put_cf(self.cf(Cf::Receipts)?, hash, encoded_receipts);
        batch.put_cf(self.cf(Cf::Outcomes)?, hash, alloy_rlp::encode(outcome));
        batch.put_cf(self.cf(Cf::Executed)?, executed_key(block.header.number, hash), []);
        Ok(())
    }

    /// Adds a block's diff to a batch.
    pub(crate) fn put_diff(&self, batch: &mut WriteBatch, hash: B256, diff: &StateDiff) -> Result<(), DbError> {
        batch.put_cf(self.cf(Cf::Diffs)?, hash, diff.encode());
        Ok(())
    }

    /// Removes a block's diff: its state can no longer be left or reached by it.
    pub(crate) fn delete_diff(&self, batch: &mut WriteBatch, hash: B256) -> Result<(), DbError> {
        batch.delete_cf(self.cf(Cf::Diffs)?, hash);
        Ok(())
    }

    /// Forgets a block that can never become canonical.
    pub(crate) fn delete_block(&self, batch: &mut WriteBatch, number: u64, hash: B256) -> Result<(), DbError> {
        for cf in [Cf::Headers, Cf::Bodies, Cf::Receipts, Cf::Outcomes, Cf::Diffs] {
            batch.delete_cf(self.cf(cf)?, hash);
        }
        batch.delete_cf(self.cf(Cf::Executed)?, executed_key(number, hash));
        Ok(())
    }

    /// Makes a block canonical, with its transactions.
    pub(crate) fn put_canonical(
        &self,
        batch: &mut WriteBatch,
        block: BlockRef,
        transactions: impl Iterator<Item = B256>,
    ) -> Result<(), DbError> {
        batch.put_cf(self.cf(Cf::Canonical)?, block.number.to_be_bytes(), block.hash);
        for (transaction, index) in transactions.zip(0..) {
            let position = TransactionPosition { number: block.number, index };
            batch.put_cf(self.cf(Cf::Transactions)?, transaction, position.encode());
        }
        Ok(())
    }

    /// Takes a block out of the canonical chain, with its transactions.
    pub(crate) fn delete_canonical(
        &self,
        batch: &mut WriteBatch,
        number: u64,
        transactions: impl Iterator<Item = B256>,
    ) -> Result<(), DbError> {
        batch.delete_cf(self.cf(Cf::Canonical)?, number.to_be_bytes());
        for transaction in transactions {
            batch.delete_cf(self.cf(Cf::Transactions)?, transaction);
        }
        Ok(())
    }
}

/// A hash as stored.
pub(crate) fn decode_hash(bytes: &[u8]) -> Result<B256, DbError> {
    B256::try_from(bytes).map_err(|_| DbError::Corrupt { what: "a hash" })
}
