//! A block's state as the EVM's database.

use super::ReadError;
use crate::db::{Cf, DbError, HistoricalState, decode_hash};
use crate::execute::{StoredStorage, has_storage, read_code, read_info, read_slot};
use alloy_evm::revm::bytecode::Bytecode;
use alloy_evm::revm::database_interface::DBErrorMarker;
use alloy_evm::revm::database_interface::bal::EvmDatabaseError;
use alloy_evm::revm::state::AccountInfo;
use alloy_evm::revm::{DatabaseRef, primitives::BLOCK_HASH_HISTORY};
use alloy_primitives::{Address, B256, U256};

/// The database failed while the EVM ran.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StateError(#[from] DbError);

impl DBErrorMarker for StateError {}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> Self {
        Self::Database(error.0)
    }
}

impl From<EvmDatabaseError<StateError>> for ReadError {
    fn from(error: EvmDatabaseError<StateError>) -> Self {
        match error {
            EvmDatabaseError::Database(error) => error.into(),
            EvmDatabaseError::Bal(error) => Self::InvalidCall(error.to_string()),
        }
    }
}

impl From<StateError> for DbError {
    fn from(error: StateError) -> Self {
        error.0
    }
}

/// The state after a canonical block, for executing on top of it.
#[derive(Debug)]
pub struct StateAt<'a> {
    pub(super) state: HistoricalState<'a>,
}

impl DatabaseRef for StateAt<'_> {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        Ok(read_info(&self.state, &address)?)
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Self::Error> {
        Ok(read_code(self.state.db(), code_hash)?)
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Self::Error> {
        Ok(read_slot(&self.state, &address, index)?)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Self::Error> {
        match self.state.number().checked_sub(number) {
            Some(distance) if distance < BLOCK_HASH_HISTORY => {}
            _ => return Ok(B256::ZERO),
        }
        let db = self.state.db();
        let cf = db.cf(Cf::Canonical)?;
        let found = self.state.snapshot().get_cf(cf, number.to_be_bytes()).map_err(DbError::from)?;
        Ok(found.map_or(Ok(B256::ZERO), |bytes| decode_hash(&bytes))?)
    }
}

impl StoredStorage for &StateAt<'_> {
    fn has_storage(&self, address: Address) -> Result<bool, Self::Error> {
        Ok(has_storage(&self.state, &address)?)
    }
}
