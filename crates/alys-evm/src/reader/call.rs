//! Accounts, storage, proofs and calls at a block.

use super::{Account, CallOutcome, CallRequest, CallStatus, EvmReader, ReadError, StateAt, StateError};
use crate::BlockRef;
use crate::db::{Cf, DbError, HistoricalState, decode_hash};
use crate::execute::{block_env, create_evm, read_slot};
use crate::trie::{prove, read_account};
use alloy_consensus::constants::{EMPTY_ROOT_HASH, KECCAK_EMPTY};
use alloy_eips::BlockId;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_evm::overrides::{StateOverrideError, apply_block_overrides, apply_state_overrides};
use alloy_evm::revm::context::TxEnv;
use alloy_evm::revm::context::result::{EVMError, ExecutionResult, HaltReason, Output, ResultAndState};
use alloy_evm::revm::database::CacheDB;
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_evm::rpc::TryIntoTxEnv;
use alloy_evm::{Evm, EvmEnv};
use alloy_primitives::{Address, Bytes, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;
use std::collections::{BTreeMap, BTreeSet};

impl EvmReader {
    /// Runs `f` on the state after a canonical block, with that block's environment.
    ///
    /// # Errors
    /// [`ReadError::UnknownBlock`], [`ReadError::NotCanonical`], [`ReadError::Pruned`], the database's, and `f`'s.
    pub fn with_state<R>(
        &self,
        block: BlockId,
        f: impl FnOnce(&StateAt<'_>, EvmEnv) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let block = self.resolve(block)?.ok_or(ReadError::UnknownBlock)?;
        let header = self.db.header(block.hash)?.ok_or(ReadError::UnknownBlock)?;
        let state = StateAt { state: self.state_at(block)? };
        f(&state, block_env(&self.chain.forks, &header))
    }

    fn state_at(&self, block: BlockRef) -> Result<HistoricalState<'_>, ReadError> {
        let snapshot = self.db.rocks().snapshot();
        let canonical = self.db.cf(Cf::Canonical)?;
        let read = |number: u64| snapshot.get_cf(canonical, number.to_be_bytes()).map_err(DbError::from);
        let hash = read(block.number)?.map(|bytes| decode_hash(&bytes)).transpose()?;
        if hash != Some(block.hash) {
            return Err(ReadError::NotCanonical { hash: block.hash });
        }
        let oldest = self.db.history_from()?;
        if block.number < oldest {
            return Err(ReadError::Pruned { number: block.number, oldest });
        }
        let at_head = read(block.number.saturating_add(1))?.is_none();
        Ok(HistoricalState::new(&self.db, snapshot, block.number, at_head))
    }

    /// An account; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Self::with_state`].
    pub fn account(&self, block: BlockId, address: Address) -> Result<Option<Account>, ReadError> {
        let state = self.state_at(self.resolve(block)?.ok_or(ReadError::UnknownBlock)?)?;
        Ok(read_account(&state, &address)?.map(|account| Account {
            nonce: account.nonce,
            balance: account.balance,
            code_hash: account.code_hash,
            storage_root: account.storage_root,
        }))
    }

    /// A storage slot; zero if it was never set.
    ///
    /// # Errors
    /// As [`Self::with_state`].
    pub fn storage(&self, block: BlockId, address: Address, slot: U256) -> Result<U256, ReadError> {
        let state = self.state_at(self.resolve(block)?.ok_or(ReadError::UnknownBlock)?)?;
        Ok(read_slot(&state, &address, slot)?)
    }

    /// An account's code; empty if there is none.
    ///
    /// # Errors
    /// As [`Self::with_state`].
    pub fn code(&self, block: BlockId, address: Address) -> Result<Bytes, ReadError> {
        match self.account(block, address)? {
            Some(account) if account.code_hash != KECCAK_EMPTY => {
                let code = self.db.code(account.code_hash)?;
                Ok(code.ok_or(DbError::Corrupt { what: "a contract's code" })?.into())
            }
            _ => Ok(Bytes::new()),
        }
    }

    /// Merkle proofs of an account and some of its slots (EIP-1186).
    ///
    /// # Errors
    /// As [`Self::with_state`], and [`ReadError::Trie`].
    pub fn proof(
        &self,
        block: BlockId,
        address: Address,
        slots: &[U256],
    ) -> Result<EIP1186AccountProofResponse, ReadError> {
        self.with_state(block, |state, _| {
            let account = read_account(&state.state, &address)?;
            let (account_proof, storage_proofs) = prove(&state.state, &address, slots)?;
            let mut storage_proof = Vec::with_capacity(slots.len());
            for (slot, proof) in slots.iter().zip(storage_proofs) {
                let value = read_slot(&state.state, &address, *slot)?;
                storage_proof.push(EIP1186StorageProof { key: JsonStorageKey::from(*slot), value, proof });
            }
            Ok(EIP1186AccountProofResponse {
                address,
                balance: account.as_ref().map_or(U256::ZERO, |account| account.balance),
                code_hash: account.as_ref().map_or(KECCAK_EMPTY, |account| account.code_hash),
                nonce: account.as_ref().map_or(0, |account| account.nonce),
                storage_hash: account.as_ref().map_or(EMPTY_ROOT_HASH, |account| account.storage_root),
                account_proof,
                storage_proof,
            })
        })
    }

    /// Executes a call on the state after a block and in that block's environment, keeping nothing.
    ///
    /// Fees may be left out, the sender need not be able to pay for them, and its nonce does not matter.
    ///
    /// # Errors
    /// As [`Self::with_state`], [`ReadError::InvalidCall`] and [`ReadError::InvalidOverride`].
    pub fn call(&self, block: BlockId, request: CallRequest) -> Result<CallOutcome, ReadError> {
        self.with_state(block, |state, env| Ok(execute(state, env, request)?.0))
    }

    /// Executes a call as [`Self::call`] does and tells which accounts and slots it touched, as `eth_createAccessList`
    /// wants them: without sender, recipient and precompiles.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn access_list(&self, block: BlockId, request: CallRequest) -> Result<(AccessList, CallOutcome), ReadError> {
        self.with_state(block, |state, env| {
            let from = request.transaction.from.unwrap_or_default();
            let to = request.transaction.to.and_then(|kind| kind.into_to());
            let beneficiary = env.block_env.beneficiary;
            let spec = env.cfg_env.spec;
            let (outcome, touched) = execute(state, env, request)?;
            let created = match &outcome.status {
                CallStatus::Success { created, .. } => *created,
                CallStatus::Revert { .. } | CallStatus::Halt { .. } => None,
            };
            let free = |address: &Address| {
                *address == from
                    || Some(*address) == to
                    || Some(*address) == created
                    || *address == beneficiary
                    || is_precompile(spec, address)
            };
            let items = touched
                .into_iter()
                .filter(|(address, slots)| !slots.is_empty() || !free(address))
                .map(|(address, slots)| AccessListItem {
                    address,
                    storage_keys: slots.into_iter().map(Into::into).collect(),
                })
                .collect();
            Ok((AccessList(items), outcome))
        })
    }
}

fn is_precompile(spec: SpecId, address: &Address) -> bool {
    use alloy_evm::revm::precompile::{PrecompileSpecId, Precompiles};
    Precompiles::new(PrecompileSpecId::from_spec_id(spec)).contains(address)
}

type Touched = BTreeMap<Address, BTreeSet<U256>>;

fn execute(state: &StateAt<'_>, env: EvmEnv, request: CallRequest) -> Result<(CallOutcome, Touched), ReadError> {
    let mut db = CacheDB::new(state);
    let (env, tx) = prepare(&mut db, env, request)?;
    let mut evm = create_evm(db, env);
    let ResultAndState { result, state: touched } = evm.transact(tx).map_err(evm_error)?;
    let touched =
        touched.into_iter().map(|(address, account)| (address, account.storage.into_keys().collect())).collect();
    Ok((outcome(result), touched))
}

/// Applies a request's overrides and gives the environment and transaction to execute.
pub(super) fn prepare(
    db: &mut CacheDB<&StateAt<'_>>,
    mut env: EvmEnv,
    request: CallRequest,
) -> Result<(EvmEnv, TxEnv), ReadError> {
    let CallRequest { mut transaction, state_overrides, block_overrides, gas_cap } = request;
    if let Some(overrides) = block_overrides {
        apply_block_overrides(*overrides, db, &mut env.block_env);
    }
    if let Some(overrides) = state_overrides {
        apply_state_overrides(overrides, db).map_err(|error| match error {
            StateOverrideError::Database(error) => ReadError::from(error),
            error @ (StateOverrideError::InvalidBytecode(_) | StateOverrideError::BothStateAndStateDiff(_)) => {
                ReadError::InvalidOverride(error.to_string())
            }
        })?;
    }
    env.cfg_env.disable_balance_check = false;
    env.cfg_env.disable_eip3607 = true;
    env.cfg_env.disable_base_fee = true;
    env.cfg_env.disable_nonce_check = true;
    env.cfg_env.disable_block_gas_limit = true;
    env.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
    let gas = transaction.gas.unwrap_or(env.block_env.gas_limit).min(gas_cap);
    transaction.gas = Some(gas);
    let tx = transaction.try_into_tx_env(&env).map_err(|error| ReadError::InvalidCall(error.to_string()))?;
    Ok((env, tx))
}

/// Why the EVM did not execute.
pub(super) fn evm_error(error: EVMError<StateError>) -> ReadError {
    match error {
        EVMError::Database(error) => error.into(),
        error @ (EVMError::Transaction(_) | EVMError::Header(_) | EVMError::Custom(_) | EVMError::CustomAny(_)) => {
            ReadError::InvalidCall(error.to_string())
        }
    }
}

/// What readers are told of a result.
pub(crate) fn outcome(result: ExecutionResult<HaltReason>) -> CallOutcome {
    let gas_used = result.gas().tx_gas_used();
    match result {
        ExecutionResult::Success { output, logs, .. } => {
            let created = match &output {
                Output::Create(_, address) => *address,
                Output::Call(_) => None,
            };
            CallOutcome { gas_used, status: CallStatus::Success { output: output.into_data(), created }, logs }
        }
        ExecutionResult::Revert { output, .. } => {
            CallOutcome { gas_used, status: CallStatus::Revert { output }, logs: Vec::new() }
        }
        ExecutionResult::Halt { reason, .. } => {
            let out_of_gas = matches!(reason, HaltReason::OutOfGas(_));
            let reason = format!("{reason:?}");
            CallOutcome { gas_used, status: CallStatus::Halt { reason, out_of_gas }, logs: Vec::new() }
        }
    }
}
