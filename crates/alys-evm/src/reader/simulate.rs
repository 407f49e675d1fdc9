//! `eth_simulateV1`: calls in a row of blocks that never were, on top of one that is.
//!
//! The blocks get real roots and hashes. Rules and numbers of errors are those of execution-apis (`eth_simulateV1`);
//! where that is silent, geth's.

use super::call::{evm_error, outcome};
use super::call_logs::CallLogs;
use super::simulate_plan::{Planned, chain};
use super::{CallOutcome, CallStatus, EvmReader, ReadError, StateAt};
use crate::execute::{block_env, create_evm, create_evm_with_inspector, next_base_fee, next_excess_blob_gas};
use crate::trie::{AccountUpdate, StateUpdate, state_diff};
use crate::{FullBlock, Tx};
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{
    Block, BlockBody, Header, Receipt, ReceiptEnvelope, SignableTransaction as _, Transaction as _, TxEip1559,
    TxEip4844, TxEip7702, TxLegacy, Typed2718 as _,
};
use alloy_eips::BlockId;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_evm::block::SystemCaller;
use alloy_evm::overrides::{OverrideBlockHashes as _, StateOverrideError, apply_state_overrides};
use alloy_evm::precompiles::PrecompilesMap;
use alloy_evm::revm::context::TxEnv;
use alloy_evm::revm::context::result::{EVMError, InvalidTransaction};
use alloy_evm::revm::database::{AccountState, CacheDB};
use alloy_evm::revm::precompile::{PrecompileSpecId, Precompiles};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_evm::{Evm, FromRecoveredTx as _};
use alloy_primitives::{Address, B256, Log, Sealed, Signature, TxKind, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_eth::simulate::SimulatePayload;
use alloy_rpc_types_eth::state::StateOverride;
use revm::{Database as _, DatabaseCommit as _};
use std::collections::{BTreeMap, BTreeSet};

/// The most calls of one simulation.
const MAX_CALLS: usize = 10_000;

/// Why a simulation is refused, with the number that execution-apis gives the reason.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The request makes no sense, or a call can't be executed.
    #[error("{message}")]
    Refused {
        /// JSON-RPC's error code.
        code: i32,
        /// What is wrong.
        message: String,
    },
    /// The block below can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

pub(super) fn refused(code: i32, message: impl Into<String>) -> SimulateError {
    SimulateError::Refused { code, message: message.into() }
}

/// A call of a simulated block.
#[derive(Clone, Debug)]
pub struct SimulatedCall {
    /// What it did.
    pub outcome: CallOutcome,
    /// Its logs with their numbers in the block, transfers among them if they were asked for.
    pub logs: Vec<(u64, Log)>,
    /// Gas before refunds.
    pub max_gas_used: u64,
}

/// A simulated block.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// The block, with the transactions that the calls stand for; they are not signed.
    pub block: Sealed<FullBlock>,
    /// Who sent them.
    pub senders: Vec<Address>,
    /// What they did.
    pub calls: Vec<SimulatedCall>,
}

type Database<'a> = CacheDB<&'a StateAt<'a>>;

impl EvmReader {
    /// Simulates calls in blocks on top of `base`, the first of `withdrawals` in the first of them and so on; `gas_cap` is
    /// the most gas of all calls together.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn simulate(
        &self,
        base: BlockId,
        payload: &SimulatePayload,
        withdrawals: &[Vec<Withdrawal>],
        gas_cap: u64,
    ) -> Result<Vec<Simulated>, SimulateError> {
        let header = self.header(base)?.ok_or(ReadError::UnknownBlock)?;
        let blocks = chain(&payload.block_state_calls, withdrawals, &header)?;
        let calls: usize = blocks.iter().map(|block| block.calls.len()).sum();
        if calls > MAX_CALLS {
            return Err(refused(-38026, format!("too many calls: {calls}, at most {MAX_CALLS}")));
        }
        let mut refusal = None;
        let done = self.with_state(BlockId::hash(header.hash()), |state, _| {
            let mut run = Simulation {
                reader: self,
                state,
                db: Database::new(state),
                payload,
                gas_left: gas_cap,
                parent: header.clone(),
            };
            let mut done = Vec::with_capacity(blocks.len());
            for block in &blocks {
                match run.block(block) {
                    Ok(simulated) => done.push(simulated),
                    Err(SimulateError::Read(error)) => return Err(error),
                    Err(error) => {
                        refusal = Some(error);
                        break;
                    }
                }
            }
            Ok(done)
        })?;
        refusal.map_or(Ok(done), Err)
    }
}

struct Simulation<'a> {
    reader: &'a EvmReader,
    state: &'a StateAt<'a>,
    db: Database<'a>,
    payload: &'a SimulatePayload,
    gas_left: u64,
    parent: Sealed<Header>,
}

impl Simulation<'_> {
    fn block(&mut self, planned: &Planned<'_>) -> Result<Simulated, SimulateError> {
        let forks = &self.reader.chain.forks;
        let mut header = self.header(planned);
        let mut env = block_env(forks, &header);
        if let Some(fee) = planned.overrides.blob_base_fee
            && let Some(blobs) = &mut env.block_env.blob_excess_gas_and_price
        {
            blobs.blob_gasprice = fee.saturating_to();
        }
        if let Some(hashes) = planned.overrides.block_hash.clone() {
            self.db.override_block_hashes(hashes);
        }
        let spec = env.cfg_env.spec;
        env.cfg_env.disable_eip3607 = true;
        env.cfg_env.disable_block_gas_limit = true;
        env.cfg_env.disable_nonce_check = !self.payload.validation;
        env.cfg_env.tx_gas_limit_cap = Some(u64::MAX);
        let mut precompiles = PrecompilesMap::from_static(Precompiles::new(PrecompileSpecId::from_spec_id(spec)));
        let mut moved = Vec::new();
        if let Some(overrides) = planned.state {
            moved = override_state(&mut self.db, overrides, &mut precompiles)?;
        }
        let mut logs = CallLogs::new(self.payload.trace_transfers, moved);
        {
            let mut evm = create_evm(&mut self.db, env.clone());
            SystemCaller::new(forks)
                .apply_pre_execution_changes(&header, &mut evm)
                .map_err(|error| refused(-32603, error.to_string()))?;
        }
        let mut transactions = Vec::with_capacity(planned.calls.len());
        let mut senders = Vec::with_capacity(planned.calls.len());
        let mut calls = Vec::with_capacity(planned.calls.len());
        let mut receipts = Vec::with_capacity(planned.calls.len());
        let (mut gas_used, mut blob_gas_used) = (0_u64, 0_u64);
        for call in planned.calls {
            let transaction = self.transaction(call, &header, gas_used)?;
            let mut env = env.clone();
            let free = transaction.max_fee_per_gas() == 0 && transaction.max_priority_fee_per_gas().unwrap_or(0) == 0;
            env.cfg_env.disable_base_fee = !self.payload.validation && free;
            let (result, max_gas_used) = self.execute(&transaction, env, &mut precompiles, &mut logs)?;
            gas_used = gas_used.saturating_add(result.gas_used);
            self.gas_left = self.gas_left.saturating_sub(result.gas_used);
            let blobs = transaction.blob_versioned_hashes().map_or(0, <[B256]>::len);
            let blobs = u64::try_from(blobs).unwrap_or(u64::MAX);
            blob_gas_used = blob_gas_used.saturating_add(blobs.saturating_mul(DATA_GAS_PER_BLOB));
            receipts.push(receipt(&transaction, &result, gas_used)?);
            calls.push(SimulatedCall { outcome: result, logs: logs.take(), max_gas_used });
            let (transaction, sender) = transaction.into_parts();
            transactions.push(transaction);
            senders.push(sender);
        }
        header.gas_used = gas_used;
        header.logs_bloom = receipts.iter().fold(Default::default(), |bloom, receipt| bloom | *receipt.logs_bloom());
        header.receipts_root = calculate_receipt_root(&receipts);
        header.transactions_root = calculate_transaction_root(&transactions);
        header.blob_gas_used = spec.is_enabled_in(SpecId::CANCUN).then_some(blob_gas_used);
        let withdrawals = spec.is_enabled_in(SpecId::SHANGHAI).then(|| Withdrawals::new(planned.withdrawals.to_vec()));
        for withdrawal in withdrawals.iter().flat_map(|list| list.iter()) {
            self.credit(withdrawal)?;
        }
        header.withdrawals_root = withdrawals.as_ref().map(|list| calculate_withdrawals_root(list));
        if spec.is_enabled_in(SpecId::PRAGUE) {
            header.requests_hash = Some(self.requests(env, &receipts)?.requests_hash());
        }
        header.state_root = self.state_root()?;
        let hash = header.hash_slow();
        self.db.override_block_hashes([(header.number, hash)].into());
        self.parent = Sealed::new_unchecked(header.clone(), hash);
        let block = Block { header, body: BlockBody { transactions, ommers: Vec::new(), withdrawals } };
        Ok(Simulated { block: Sealed::new_unchecked(block, hash), senders, calls })
    }

    /// The header before anything is executed.
    fn header(&self, planned: &Planned<'_>) -> Header {
        let forks = &self.reader.chain.forks;
        let parent = &self.parent;
        let overrides = &planned.overrides;
        let spec = forks.spec_at(planned.number, planned.timestamp);
        let base_fee = match overrides.base_fee {
            Some(fee) => Some(fee.saturating_to()),
            None if self.payload.validation => next_base_fee(forks, parent, planned.timestamp),
            None => Some(0),
        };
        let cancun = spec.is_enabled_in(SpecId::CANCUN);
        Header {
            parent_hash: parent.hash(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
            number: planned.number,
            timestamp: planned.timestamp,
            gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
            difficulty: if spec.is_enabled_in(SpecId::MERGE) {
                U256::ZERO
            } else {
                overrides.difficulty.unwrap_or(parent.difficulty)
            },
            mix_hash: overrides.random.unwrap_or_default(),
            base_fee_per_gas: base_fee.filter(|_| spec.is_enabled_in(SpecId::LONDON)),
            excess_blob_gas: next_excess_blob_gas(forks, parent, planned.timestamp),
            parent_beacon_block_root: cancun.then(|| overrides.beacon_root.unwrap_or_default()),
            ..Header::default()
        }
    }

    /// The transaction that a call stands for: what it leaves out is filled in.
    fn transaction(
        &mut self,
        call: &TransactionRequest,
        header: &Header,
        gas_used: u64,
    ) -> Result<Recovered<Tx>, SimulateError> {
        let from = call.from.unwrap_or_default();
        let nonce = match call.nonce {
            Some(nonce) => nonce,
            None => self.db.basic(from).map_err(ReadError::from)?.map_or(0, |account| account.nonce),
        };
        let remaining = header.gas_limit.saturating_sub(gas_used);
        let gas = call.gas.unwrap_or(remaining);
        if gas > remaining {
            let limit = header.gas_limit;
            return Err(refused(-38015, format!("block gas limit reached: {gas_used} + {gas} >= {limit}")));
        }
        let gas = gas.min(self.gas_left);
        if call.gas_price.is_some() && (call.max_fee_per_gas.is_some() || call.max_priority_fee_per_gas.is_some()) {
            return Err(refused(-32000, "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
        }
        let chain_id = self.reader.chain_id();
        let to = call.to.unwrap_or(TxKind::Create);
        let value = call.value.unwrap_or_default();
        let input = call.input.input().cloned().unwrap_or_default();
        let access_list = call.access_list.clone().unwrap_or_default();
        let max_fee = call.max_fee_per_gas.unwrap_or(0);
        let tip = call.max_priority_fee_per_gas.unwrap_or(0);
        let recipient = || match to {
            TxKind::Call(to) => Ok(to),
            TxKind::Create => Err(refused(-32602, "a transaction with blobs or authorizations can't create")),
        };
        let unsigned = Signature::new(U256::ZERO, U256::ZERO, false);
        let transaction = if let Some(gas_price) = call.gas_price {
            let legacy = TxLegacy { chain_id: Some(chain_id), nonce, gas_price, gas_limit: gas, to, value, input };
            Tx::Legacy(legacy.into_signed(unsigned))
        } else if let Some(authorization_list) = call.authorization_list.clone() {
            let set_code = TxEip7702 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to: recipient()?,
                value,
                access_list,
                authorization_list,
                input,
            };
            Tx::Eip7702(set_code.into_signed(unsigned))
        } else if let Some(blob_versioned_hashes) = call.blob_versioned_hashes.clone() {
            let blob = TxEip4844 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to: recipient()?,
                value,
                access_list,
                blob_versioned_hashes,
                max_fee_per_blob_gas: call.max_fee_per_blob_gas.unwrap_or(0),
                input,
            };
            Tx::Eip4844(blob.into_signed(unsigned))
        } else {
            let fee_market = TxEip1559 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: max_fee,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list,
                input,
            };
            Tx::Eip1559(fee_market.into_signed(unsigned))
        };
        Ok(Recovered::new_unchecked(transaction, from))
    }

    /// What the call did, and its gas before refunds.
    fn execute(
        &mut self,
        transaction: &Recovered<Tx>,
        env: alloy_evm::EvmEnv,
        precompiles: &mut PrecompilesMap,
        logs: &mut CallLogs,
    ) -> Result<(CallOutcome, u64), SimulateError> {
        let from = transaction.signer();
        let nonce = self.db.basic(from).map_err(ReadError::from)?.map_or(0, |account| account.nonce);
        if self.payload.validation {
            check_nonce(transaction.nonce(), nonce)?;
        }
        let mut tx = TxEnv::from_recovered_tx(transaction.inner(), from);
        if !self.payload.validation && tx.nonce == u64::MAX {
            // Not compared with anything here, and refused for its size alone.
            tx.nonce = 0;
        }
        let mut evm = create_evm_with_inspector(&mut self.db, env, &mut *logs);
        std::mem::swap(evm.components_mut().2, precompiles);
        let gas_limit = transaction.gas_limit();
        let done = evm.transact(tx).map_err(|error| invalid(error, gas_limit))?;
        let gas = *done.result.gas();
        let max_gas_used = gas.total_gas_spent().max(gas.floor_gas());
        let outcome = outcome(done.result);
        evm.db_mut().commit(done.state);
        std::mem::swap(evm.components_mut().2, precompiles);
        drop(evm);
        if nonce == u64::MAX
            && let Some(account) = self.db.cache.accounts.get_mut(&from)
        {
            // Where nonces do not matter, the largest one is followed by the first.
            account.info.nonce = 0;
        }
        Ok((outcome, max_gas_used))
    }

    /// EIP-7685 requests of the block.
    fn requests(
        &mut self,
        env: alloy_evm::EvmEnv,
        receipts: &[ReceiptEnvelope],
    ) -> Result<alloy_eips::eip7685::Requests, SimulateError> {
        use alloy_evm::eth::eip6110;
        let forks = &self.reader.chain.forks;
        let broken = |error: &dyn std::fmt::Display| refused(-32603, error.to_string());
        let mut requests = alloy_eips::eip7685::Requests::default();
        let deposits = eip6110::parse_deposits_from_receipts(forks, receipts).map_err(|error| broken(&error))?;
        if !deposits.is_empty() {
            requests.push_request_with_type(alloy_eips::eip6110::DEPOSIT_REQUEST_TYPE, deposits);
        }
        let evm = create_evm(&mut self.db, env);
        let mut evm = crate::execute::RelocatedEvm::new(evm, forks);
        SystemCaller::new(forks)
            .append_post_execution_changes(&mut evm, &mut requests)
            .map_err(|error| broken(&error))?;
        Ok(requests)
    }

    fn credit(&mut self, withdrawal: &Withdrawal) -> Result<(), ReadError> {
        if withdrawal.amount == 0 {
            return Ok(());
        }
        let account = self.db.load_account(withdrawal.address)?;
        account.info.balance = account.info.balance.saturating_add(withdrawal.amount_wei());
        if matches!(account.account_state, AccountState::None | AccountState::NotExisting) {
            account.account_state = AccountState::Touched;
        }
        Ok(())
    }

    /// Root of the state below with everything that was changed since.
    fn state_root(&self) -> Result<B256, ReadError> {
        let mut update = StateUpdate::new();
        for (address, account) in &self.db.cache.accounts {
            let wiped = match account.account_state {
                AccountState::None => continue,
                AccountState::StorageCleared | AccountState::NotExisting => true,
                AccountState::Touched => false,
            };
            let info = &account.info;
            let exists = !matches!(account.account_state, AccountState::NotExisting) && !info.is_empty();
            let info = exists.then_some((info.nonce, info.balance, info.code_hash));
            let storage = account.storage.iter().map(|(slot, value)| (*slot, *value)).collect();
            update.insert(*address, AccountUpdate { info, wiped, storage });
        }
        Ok(state_diff(&self.state.state, &update)?.0)
    }
}

/// Nonces are looked at before fees.
fn check_nonce(found: u64, next: u64) -> Result<(), SimulateError> {
    if found < next {
        return Err(refused(-38010, format!("err: nonce too low: next nonce {next}, tx nonce {found}")));
    }
    if found > next {
        return Err(refused(-38011, format!("err: nonce too high: next nonce {next}, tx nonce {found}")));
    }
    if found == u64::MAX {
        return Err(refused(-32603, "err: nonce has max value"));
    }
    Ok(())
}

/// The receipt; transfers that are no logs of contracts are not in it.
fn receipt(
    transaction: &Tx,
    outcome: &CallOutcome,
    cumulative_gas_used: u64,
) -> Result<ReceiptEnvelope, SimulateError> {
    let status = matches!(outcome.status, CallStatus::Success { .. });
    let kind =
        alloy_consensus::TxType::try_from(transaction.ty()).map_err(|error| refused(-32603, error.to_string()))?;
    let receipt = Receipt { status: status.into(), cumulative_gas_used, logs: outcome.logs.clone() };
    Ok(ReceiptEnvelope::from_typed(kind, receipt.with_bloom()))
}

/// Applies state overrides; precompiles that are overridden or moved away are none any more. Gives their addresses.
fn override_state(
    db: &mut Database<'_>,
    overrides: &StateOverride,
    precompiles: &mut PrecompilesMap,
) -> Result<Vec<Address>, SimulateError> {
    // In order, so that the same request always gives the same answer.
    let addresses: BTreeSet<Address> = overrides.keys().copied().collect();
    let mut moves = BTreeMap::new();
    let mut gone = Vec::new();
    for address in addresses {
        let Some(account) = overrides.get(&address) else { continue };
        let is_precompile = precompiles.get(&address).is_some();
        if is_precompile {
            gone.push(address);
        }
        if let Some(to) = account.move_precompile_to {
            if !is_precompile {
                return Err(refused(-32000, format!("account {address} is not a precompile")));
            }
            if overrides.contains_key(&to) {
                return Err(refused(-32000, format!("account {to} is already overridden")));
            }
            let mut moved = None;
            precompiles.apply_precompile(&address, |found| {
                moved = found;
                None
            });
            // Of two that move to one place the last one stays.
            moves.insert(to, moved);
        } else if is_precompile {
            precompiles.apply_precompile(&address, |_| None);
        }
        if account.state.is_some() && account.state_diff.is_some() {
            return Err(refused(-32000, format!("account {address} has both 'state' and 'stateDiff'")));
        }
    }
    for (to, moved) in moves {
        precompiles.apply_precompile(&to, |_| moved);
    }
    apply_state_overrides(overrides.clone(), db).map_err(|error| match error {
        StateOverrideError::Database(error) => SimulateError::Read(error.into()),
        error @ (StateOverrideError::InvalidBytecode(_) | StateOverrideError::BothStateAndStateDiff(_)) => {
            refused(-32000, error.to_string())
        }
    })?;
    Ok(gone)
}

/// A transaction that can't be executed, by execution-apis' numbers.
fn invalid(error: EVMError<super::StateError>, gas: u64) -> SimulateError {
    let EVMError::Transaction(reason) = &error else { return SimulateError::Read(evm_error(error)) };
    use InvalidTransaction as Invalid;
    let numbers = [
        (matches!(reason, Invalid::NonceTooLow { .. }), -38010),
        (matches!(reason, Invalid::NonceTooHigh { .. } | Invalid::NonceOverflowInTransaction), -38011),
        (matches!(reason, Invalid::GasPriceLessThanBasefee), -38012),
        (
            matches!(reason, Invalid::CallGasCostMoreThanGasLimit { .. } | Invalid::GasFloorMoreThanGasLimit { .. }),
            -38013,
        ),
        (matches!(reason, Invalid::LackOfFundForMaxFee { .. } | Invalid::OverflowPaymentInTransaction), -38014),
        (matches!(reason, Invalid::RejectCallerWithCode), -38024),
        (matches!(reason, Invalid::CreateInitCodeSizeLimit), -38025),
        (matches!(reason, Invalid::PriorityFeeGreaterThanMaxFee), -32602),
    ];
    let code = numbers.into_iter().find(|(fits, _)| *fits).map_or(-32603, |(_, code)| code);
    refused(code, format!("err: {reason} (supplied gas {gas})"))
}
