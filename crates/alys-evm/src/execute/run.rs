//! What checking and building a block share: running it on the parent's state and summing up what it did.

use super::timings::BlockTimings;
use super::{BlockError, CheckError, StateDatabase};
use crate::db::{Outcome, StateDiff, StateScan};
use crate::trie::{AccountUpdate, StateUpdate, state_diff};
use crate::{Forks, FullBlock};
use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::{Eip658Value, Header, ReceiptEnvelope, Transaction, TxReceipt};
use alloy_eips::eip7685::Requests;
use alloy_evm::block::BlockExecutionResult;
use alloy_evm::revm::Database;
use alloy_evm::revm::database::states::bundle_state::BundleRetention;
use alloy_evm::revm::database::{BundleState, State, WrapDatabaseRef};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::{B256, Bloom, Bytes, U256};
use std::time::Instant;

/// The EVM's database while a block runs.
pub(super) type BlockState<'a, S> = State<WrapDatabaseRef<StateDatabase<'a, S>>>;

/// Opens the EVM's database.
pub(super) fn block_state<S: StateScan>(database: StateDatabase<'_, S>) -> BlockState<'_, S> {
    State::builder().with_database(WrapDatabaseRef(database)).with_bundle_update().build()
}

/// All that executing a block yields.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    /// What it changed.
    pub(crate) diff: StateDiff,
    /// Code that it deployed, by hash.
    pub(crate) codes: Vec<(B256, Bytes)>,
    /// One for each transaction.
    pub(crate) receipts: Vec<ReceiptEnvelope>,
    /// Fees and requests.
    pub(crate) outcome: Outcome,
    /// Root of the state after it.
    pub(crate) state_root: B256,
    /// Gas used by all transactions.
    pub(crate) gas_used: u64,
    /// Blob gas used by all transactions.
    pub(crate) blob_gas_used: u64,
    /// EIP-7685 requests.
    pub(crate) requests: Requests,
    /// Where the time went.
    pub(crate) timings: BlockTimings,
}

impl Executed {
    /// Puts the state roots after each transaction where later receipts have their status.
    pub(super) fn set_roots(&mut self, roots: Vec<B256>) {
        for (receipt, root) in self.receipts.iter_mut().zip(roots) {
            // Other types are of later forks.
            if let ReceiptEnvelope::Legacy(receipt) = receipt {
                receipt.receipt.status = Eip658Value::PostState(root);
            }
        }
    }

    /// Root of the receipts trie.
    pub(crate) fn receipts_root(&self) -> B256 {
        calculate_receipt_root(&self.receipts)
    }

    /// Bloom filter over all logs.
    pub(crate) fn logs_bloom(&self) -> Bloom {
        self.receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom())
    }
}

/// Sums up a block that ran in `state`.
pub(super) fn summarize<S: StateScan>(
    tables: &S,
    mut state: BlockState<'_, S>,
    result: BlockExecutionResult<ReceiptEnvelope>,
    header: &Header,
    block: &FullBlock,
) -> Result<Executed, CheckError> {
    state.merge_transitions(BundleRetention::PlainState);
    let bundle = state.take_bundle();
    let codes = bundle.contracts.iter().map(|(hash, code)| (*hash, code.original_bytes())).collect();
    let began = Instant::now();
    let (state_root, diff) = state_diff(tables, &state_update(bundle))?;
    let timings = BlockTimings { trie: began.elapsed(), ..BlockTimings::default() };
    let fees = fees(block, header.base_fee_per_gas, &result.receipts);
    let outcome = Outcome { fees, requests: result.requests.iter().cloned().collect() };
    Ok(Executed {
        diff,
        codes,
        receipts: result.receipts,
        outcome,
        state_root,
        gas_used: result.gas_used,
        blob_gas_used: result.blob_gas_used,
        requests: result.requests,
        timings,
    })
}

/// From Prague on a block is invalid where a contract that collects requests is missing (EIP-7002, EIP-7251).
/// Called after the transactions and before the calls.
pub(super) fn require_request_contracts<D: Database>(
    forks: &Forks,
    header: &Header,
    database: &mut D,
) -> Result<(), CheckError> {
    if !forks.spec_at(header.number, header.timestamp).is_enabled_in(SpecId::PRAGUE) {
        return Ok(());
    }
    for address in forks.request_contracts() {
        let account = database.basic(address).map_err(|error| CheckError::Internal(error.to_string()))?;
        if account.is_none_or(|account| account.is_empty_code_hash()) {
            return Err(BlockError::Execution(format!("system contract {address} has no code")).into());
        }
    }
    Ok(())
}

/// Root of the state as the block has made it so far: before Byzantium each receipt carries it instead of a status.
pub(super) fn intermediate_root<S: StateScan>(tables: &S, state: &mut BlockState<'_, S>) -> Result<B256, CheckError> {
    state.merge_transitions(BundleRetention::PlainState);
    Ok(state_diff(tables, &state_update(state.bundle_state.clone()))?.0)
}

fn state_update(bundle: BundleState) -> StateUpdate {
    let mut update = StateUpdate::new();
    for (address, account) in bundle.state {
        let wiped = account.was_destroyed();
        let storage = account.storage.into_iter().map(|(slot, value)| (slot, value.present_value)).collect();
        let info = account.info.map(|info| (info.nonce, info.balance, info.code_hash));
        update.insert(address, AccountUpdate { info, wiped, storage });
    }
    update
}

/// Base and priority fees of all transactions: the sum of `gas_used * effective_gas_price`.
pub(crate) fn fees(block: &FullBlock, base_fee: Option<u64>, receipts: &[ReceiptEnvelope]) -> U256 {
    let mut gas_before = 0_u64;
    let mut sum = U256::ZERO;
    for (transaction, receipt) in block.body.transactions.iter().zip(receipts) {
        let gas = receipt.cumulative_gas_used().saturating_sub(gas_before);
        gas_before = receipt.cumulative_gas_used();
        let price = transaction.effective_gas_price(base_fee);
        sum = sum.saturating_add(U256::from(gas).saturating_mul(U256::from(price)));
    }
    sum
}
