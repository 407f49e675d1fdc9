//! What checking and building a block share: running it on the parent's state and summing up what it did.

use super::{CheckError, StateDatabase};
use crate::FullBlock;
use crate::db::{Outcome, StateDiff, StateScan};
use crate::trie::{AccountUpdate, StateUpdate, state_diff};
use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::{Header, ReceiptEnvelope, Transaction, TxReceipt};
use alloy_eips::eip7685::Requests;
use alloy_evm::block::BlockExecutionResult;
use alloy_evm::revm::database::states::bundle_state::BundleRetention;
use alloy_evm::revm::database::{BundleState, State, WrapDatabaseRef};
use alloy_primitives::{B256, Bloom, Bytes, U256};

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
}

impl Executed {
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
    let (state_root, diff) = state_diff(tables, &state_update(bundle))?;
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
    })
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
fn fees(block: &FullBlock, base_fee: Option<u64>, receipts: &[ReceiptEnvelope]) -> U256 {
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
