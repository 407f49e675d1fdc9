//! The EVM's surroundings: state tables as its database, and a block's environment.

use super::evm::StoredStorage;
use crate::Forks;
use crate::db::{Cf, Db, DbError, StateRead, Table, decode_hash, storage_key};
use crate::reader::StateError;
use crate::trie::read_account;
use alloy_consensus::{BlockHeader, Header};
use alloy_evm::EvmEnv;
use alloy_evm::revm::bytecode::Bytecode;
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_evm::revm::state::AccountInfo;
use alloy_evm::revm::{DatabaseRef, primitives};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use alloy_trie::EMPTY_ROOT_HASH;

/// Answers the EVM from state tables; block hashes come by walking back from a block.
#[derive(Debug)]
pub(crate) struct StateDatabase<'a, S> {
    db: &'a Db,
    state: S,
    parent: B256,
    parent_number: u64,
}

impl<'a, S: StateRead> StateDatabase<'a, S> {
    /// The state to execute the child of `parent` on.
    pub(crate) const fn new(db: &'a Db, state: S, parent: B256, parent_number: u64) -> Self {
        Self { db, state, parent, parent_number }
    }
}

/// Code by its hash, analysed.
pub(crate) fn read_code(db: &Db, hash: B256) -> Result<Bytecode, DbError> {
    if hash == KECCAK256_EMPTY || hash.is_zero() {
        return Ok(Bytecode::default());
    }
    let bytes = db.get(Cf::Code, hash)?.ok_or(DbError::Corrupt { what: "a contract's code" })?;
    Bytecode::new_raw_checked(bytes.into()).map_err(|_| DbError::Corrupt { what: "a contract's code" })
}

/// An account as the EVM wants it.
pub(crate) fn read_info<S: StateRead>(state: &S, address: &Address) -> Result<Option<AccountInfo>, DbError> {
    Ok(read_account(state, address)?.map(|account| AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        account_id: None,
        code: None,
    }))
}

/// Whether an account has storage.
pub(crate) fn has_storage<S: StateRead>(state: &S, address: &Address) -> Result<bool, DbError> {
    Ok(read_account(state, address)?.is_some_and(|account| account.storage_root != EMPTY_ROOT_HASH))
}

/// A slot's value.
pub(crate) fn read_slot<S: StateRead>(state: &S, address: &Address, slot: U256) -> Result<U256, DbError> {
    let Some(bytes) = state.get(Table::Storage, &storage_key(address, slot))? else { return Ok(U256::ZERO) };
    U256::try_from_be_slice(&bytes).ok_or(DbError::Corrupt { what: "a storage value" })
}

impl<S: StateRead> DatabaseRef for StateDatabase<'_, S> {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        Ok(read_info(&self.state, &address)?)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Self::Error> {
        Ok(read_code(self.db, code_hash)?)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Self::Error> {
        Ok(read_slot(&self.state, &address, index)?)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Self::Error> {
        Ok(ancestor_hash(self.db, self.parent, self.parent_number, number)?)
    }
}

impl<S: StateRead> StoredStorage for StateDatabase<'_, S> {
    fn has_storage(&self, address: Address) -> Result<bool, Self::Error> {
        Ok(has_storage(&self.state, &address)?)
    }
}

/// Hash of the ancestor of a block that has a number, at most 256 back; zero outside.
fn ancestor_hash(db: &Db, block: B256, block_number: u64, number: u64) -> Result<B256, DbError> {
    match block_number.checked_sub(number) {
        Some(distance) if distance < primitives::BLOCK_HASH_HISTORY => {}
        _ => return Ok(B256::ZERO),
    }
    let (mut hash, mut at) = (block, block_number);
    while at > number {
        // As soon as the walk is on the canonical chain, the index answers.
        if db.canonical(at)? == Some(hash) {
            let bytes = db.get(Cf::Canonical, number.to_be_bytes())?;
            return bytes.map_or(Ok(B256::ZERO), |bytes| decode_hash(&bytes));
        }
        hash = db.header(hash)?.ok_or(DbError::Corrupt { what: "a block's ancestor" })?.parent_hash;
        at = at.saturating_sub(1);
    }
    Ok(hash)
}

/// The environment of a block, whose header needs no roots yet.
pub(crate) fn block_env(forks: &Forks, header: &Header) -> EvmEnv {
    EvmEnv::for_eth_block(header, forks, forks.chain_id(), forks.blob_params_at(header.timestamp))
}

/// EIP-1559 base fee of the child of `parent`; `None` before London.
pub(crate) fn next_base_fee(forks: &Forks, parent: &Header, timestamp: u64) -> Option<u64> {
    let number = parent.number.saturating_add(1);
    if !forks.spec_at(number, timestamp).is_enabled_in(SpecId::LONDON) {
        return None;
    }
    Some(parent.next_block_base_fee(forks.base_fee_params()).unwrap_or(crate::INITIAL_BASE_FEE))
}

/// EIP-4844 (and EIP-7918) excess blob gas of the child of `parent`; `None` before Cancun.
pub(crate) fn next_excess_blob_gas(forks: &Forks, parent: &Header, timestamp: u64) -> Option<u64> {
    let params = forks.blob_params_at(timestamp)?;
    let (Some(excess), Some(used)) = (parent.excess_blob_gas(), parent.blob_gas_used()) else { return Some(0) };
    if params.max_blob_count == 0 {
        // Nothing can be used; the formulas of EIP-7918 would divide by the maximum.
        return Some(excess.saturating_add(used));
    }
    let base_fee = parent.base_fee_per_gas().unwrap_or_default();
    Some(params.next_block_excess_blob_gas_osaka(excess, used, base_fee))
}
