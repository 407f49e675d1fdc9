//! What the pool reads of the chain.

use crate::{EvmReader, ReadError};
use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_eips::BlockId;
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_eips::eip7702::constants::EIP7702_DELEGATION_DESIGNATOR;
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::primitives::hardfork::SpecId;

/// The block that the pool's transactions would follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolHead {
    /// Hash of the head block.
    pub hash: B256,
    /// Its number.
    pub number: u64,
    /// Its gas limit.
    pub gas_limit: u64,
    /// Base fee of the block that follows it, in wei.
    pub next_base_fee: u64,
    /// Rules of the block that follows it.
    pub next_rules: SpecId,
    /// Number of the newest block that can't be reverted.
    pub finalized_number: u64,
    /// Its hash.
    pub finalized_hash: B256,
}

/// An account as the pool's rules see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolAccount {
    /// The next nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Whether it has code other than an EIP-7702 delegation.
    pub is_contract: bool,
}

/// The chain could not be read. Says nothing about any transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain's state can't be read: {reason}")]
pub struct ChainUnavailable {
    /// What the store said.
    pub reason: String,
}

/// Read access to the chain.
pub trait PoolChain: Send + Sync + 'static {
    /// The newest head.
    ///
    /// # Errors
    /// The store can't be read.
    fn head(&self) -> Result<PoolHead, ChainUnavailable>;

    /// Whether `head` is the newest one still. Costs next to nothing: it is asked before every group of transactions.
    fn is_at(&self, head: &PoolHead) -> bool;

    /// The account after block `block`.
    ///
    /// # Errors
    /// The store can't be read, or does not keep that state.
    fn account(&self, block: B256, address: Address) -> Result<PoolAccount, ChainUnavailable>;

    /// The transactions of those blocks that are ancestors of `old` (or `old` itself) but not of `new`, oldest first.
    /// Empty if `new` follows `old`. Bounded: past [`MAX_REORG_BLOCKS`] the older ones are left out.
    ///
    /// # Errors
    /// The store can't be read.
    fn dropped(&self, old: B256, new: B256) -> Result<Vec<Bytes>, ChainUnavailable>;
}

/// The most blocks whose transactions come back after a reorganisation.
pub const MAX_REORG_BLOCKS: usize = 256;

impl PoolChain for EvmReader {
    fn head(&self) -> Result<PoolHead, ChainUnavailable> {
        let heads = self.heads();
        let header = self.header_by_hash(heads.latest.hash)?.ok_or(ReadError::UnknownBlock)?;
        let next_timestamp = header.timestamp.saturating_add(1);
        let next = self.next_block(BlockId::hash(heads.latest.hash), next_timestamp)?;
        Ok(PoolHead {
            hash: heads.latest.hash,
            number: heads.latest.number,
            gas_limit: next.gas_limit,
            next_base_fee: next.base_fee,
            next_rules: next.spec,
            finalized_number: heads.finalized.number,
            finalized_hash: heads.finalized.hash,
        })
    }

    fn is_at(&self, head: &PoolHead) -> bool {
        let heads = self.heads();
        // All else that a head says follows from these two.
        heads.latest.hash == head.hash && heads.finalized.hash == head.finalized_hash
    }

    fn account(&self, block: B256, address: Address) -> Result<PoolAccount, ChainUnavailable> {
        let block = BlockId::hash(block);
        let Some(account) = Self::account(self, block, address)? else { return Ok(PoolAccount::default()) };
        let is_contract = account.code_hash != KECCAK_EMPTY && {
            let code = self.code(block, address)?;
            code.len() != DELEGATION_BYTES || !code.starts_with(&EIP7702_DELEGATION_DESIGNATOR)
        };
        Ok(PoolAccount { nonce: account.nonce, balance: account.balance, is_contract })
    }

    fn dropped(&self, old: B256, new: B256) -> Result<Vec<Bytes>, ChainUnavailable> {
        let header = |hash| -> Result<_, ReadError> { self.header_by_hash(hash)?.ok_or(ReadError::UnknownBlock) };
        let (mut old, mut new) = (header(old)?, header(new)?);
        let mut blocks = Vec::new();
        while old.hash() != new.hash() {
            // The deeper one steps back, so that both meet at the newest common ancestor; genesis is common to all.
            if new.number > old.number {
                new = header(new.parent_hash)?;
                continue;
            }
            let block = self.block_by_hash(old.hash())?.ok_or(ReadError::UnknownBlock)?;
            blocks.push(block.into_inner().body.transactions);
            if blocks.len() >= MAX_REORG_BLOCKS || old.number == 0 {
                break;
            }
            old = header(old.parent_hash)?;
        }
        Ok(blocks.into_iter().rev().flatten().map(|transaction| transaction.encoded_2718().into()).collect())
    }
}

impl From<ReadError> for ChainUnavailable {
    fn from(error: ReadError) -> Self {
        Self { reason: error.to_string() }
    }
}

/// `0xef0100` and an address (EIP-7702).
const DELEGATION_BYTES: usize = 23;
