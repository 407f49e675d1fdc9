//! Building a block from the pool's transactions.

use super::env::{StateDatabase, block_env, next_base_fee, next_excess_blob_gas};
use super::evm::create_evm;
use super::header::MAX_BLOCK_RLP;
use super::import::CheckError;
use super::receipts::Receipts;
use super::relocated::RelocatedEvm;
use super::run::{Executed, block_state, require_request_contracts, summarize};
use crate::db::{Db, StateScan};
use crate::source::{BestTransactions, BuildTarget, Rejection, TransactionSource};
use crate::{Forks, FullBlock, Tx};
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_consensus::proofs::{calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Block, BlockBody, Header, Transaction};
use alloy_eips::Encodable2718;
use alloy_eips::eip1559::calculate_block_gas_limit;
use alloy_eips::eip4895::{Withdrawal, Withdrawals};
use alloy_evm::Evm;
use alloy_evm::block::{BlockExecutionError, BlockExecutor, BlockValidationError};
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::revm::context_interface::result::InvalidTransaction;
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::{Address, B256, Bytes};
use std::borrow::Cow;

/// The most transactions that are tried for one block, so that a pool full of misfits can't hold a slot up.
const MAX_ATTEMPTS: usize = 100_000;

/// Bytes kept free for header and withdrawals when transactions are summed up.
const SIZE_MARGIN: usize = 64 << 10;

/// Why no block could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The attributes can't follow the parent.
    #[error("payload attributes: {field} is {problem}")]
    Attributes {
        /// The attribute.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The state is damaged, or a system call failed.
    #[error("building failed: {0}")]
    Execution(String),
}

impl From<CheckError> for BuildError {
    fn from(error: CheckError) -> Self {
        Self::Execution(error.to_string())
    }
}

impl From<BlockExecutionError> for BuildError {
    fn from(error: BlockExecutionError) -> Self {
        Self::Execution(error.to_string())
    }
}

/// What consensus decides of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) timestamp: u64,
    pub(crate) prev_randao: B256,
    pub(crate) fee_recipient: Address,
    pub(crate) withdrawals: Vec<Withdrawal>,
    pub(crate) parent_beacon_block_root: B256,
}

/// What the operator decides of a block.
#[derive(Clone, Debug)]
pub(crate) struct BuildLimits {
    /// The gas limit to move towards.
    pub(crate) gas_limit: u64,
    /// Free bytes for the header, at most 32.
    pub(crate) extra_data: Bytes,
}

/// A built block with everything that executing it yielded.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) hash: B256,
    pub(crate) block: FullBlock,
    pub(crate) executed: Executed,
}

/// Builds the best block on `parent` that the source's transactions give now.
pub(crate) fn build_block<S: StateScan + Copy + std::fmt::Debug>(
    db: &Db,
    forks: &Forks,
    tables: S,
    parent: (&Header, B256),
    attributes: &Attributes,
    limits: &BuildLimits,
    source: &dyn TransactionSource,
) -> Result<Built, BuildError> {
    let (parent, parent_hash) = parent;
    if attributes.timestamp <= parent.timestamp {
        return Err(BuildError::Attributes { field: "timestamp", problem: "not later than the parent's" });
    }
    let mut header = blank_header(forks, parent, parent_hash, attributes, limits);
    let spec = forks.spec_at(header.number, header.timestamp);
    let withdrawals = if spec.is_enabled_in(SpecId::SHANGHAI) {
        Some(Withdrawals::new(attributes.withdrawals.clone()))
    } else if attributes.withdrawals.is_empty() {
        None
    } else {
        return Err(BuildError::Attributes { field: "withdrawals", problem: "not known before Shanghai" });
    };
    let mut state = block_state(StateDatabase::new(db, tables, parent_hash, parent.number));
    let evm = create_evm(&mut state, block_env(forks, &header));
    let evm = RelocatedEvm::new(evm, forks);
    let context = EthBlockExecutionCtx {
        parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &[],
        withdrawals: withdrawals.as_ref().map(|withdrawals| Cow::Borrowed(withdrawals.as_slice())),
        extra_data: header.extra_data.clone(),
        tx_count_hint: None,
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, forks, Receipts);
    executor.apply_pre_execution_changes()?;
    let target = BuildTarget {
        parent: parent_hash,
        number: header.number,
        timestamp: header.timestamp,
        base_fee: header.base_fee_per_gas.unwrap_or_default(),
        gas_limit: header.gas_limit,
    };
    let transactions = fill(&mut executor, source.best(target))?;
    require_request_contracts(forks, &header, executor.evm_mut().db_mut())?;
    let (_, result) = executor.finish()?;
    let mut block = Block { header: header.clone(), body: BlockBody { transactions, ommers: Vec::new(), withdrawals } };
    let executed = summarize(&tables, state, result, &header, &block)?;
    header.state_root = executed.state_root;
    header.transactions_root = calculate_transaction_root(&block.body.transactions);
    header.receipts_root = executed.receipts_root();
    header.logs_bloom = executed.logs_bloom();
    header.gas_used = executed.gas_used;
    header.withdrawals_root = block.body.withdrawals.as_ref().map(|list| calculate_withdrawals_root(list));
    if spec.is_enabled_in(SpecId::CANCUN) {
        header.blob_gas_used = Some(executed.blob_gas_used);
    }
    if spec.is_enabled_in(SpecId::PRAGUE) {
        header.requests_hash = Some(executed.requests.requests_hash());
    }
    let hash = header.hash_slow();
    block.header = header;
    Ok(Built { hash, block, executed })
}

fn blank_header(
    forks: &Forks,
    parent: &Header,
    parent_hash: B256,
    attributes: &Attributes,
    limits: &BuildLimits,
) -> Header {
    let timestamp = attributes.timestamp;
    let excess_blob_gas = next_excess_blob_gas(forks, parent, timestamp);
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: attributes.fee_recipient,
        number: parent.number.saturating_add(1),
        gas_limit: calculate_block_gas_limit(parent.gas_limit, limits.gas_limit),
        timestamp,
        extra_data: limits.extra_data.clone(),
        mix_hash: attributes.prev_randao,
        base_fee_per_gas: next_base_fee(forks, parent, timestamp),
        excess_blob_gas,
        parent_beacon_block_root: excess_blob_gas.map(|_| attributes.parent_beacon_block_root),
        ..Header::default()
    }
}

/// Executes transactions until none is left or none fits.
fn fill<E>(executor: &mut E, mut best: Box<dyn BestTransactions>) -> Result<Vec<Tx>, BuildError>
where
    E: BlockExecutor<Transaction = Tx>,
    for<'a> Recovered<&'a Tx>: alloy_evm::block::ExecutableTx<E>,
{
    let mut included = Vec::new();
    let mut bytes = SIZE_MARGIN;
    for _ in 0..MAX_ATTEMPTS {
        let Some(transaction) = best.next() else { break };
        if transaction.inner().blob_versioned_hashes().is_some() {
            best.reject(&transaction, Rejection::Invalid("blob transactions are not taken".to_owned()));
            continue;
        }
        let after = bytes.saturating_add(transaction.encode_2718_len()).saturating_add(4);
        if after > MAX_BLOCK_RLP {
            best.reject(&transaction, Rejection::DoesNotFit);
            continue;
        }
        let recovered = Recovered::new_unchecked(transaction.inner(), transaction.signer());
        match executor.execute_transaction(recovered) {
            Ok(_) => {
                bytes = after;
                included.push(transaction.inner().clone());
            }
            Err(error) => best.reject(&transaction, rejection(error)?),
        }
    }
    Ok(included)
}

fn rejection(error: BlockExecutionError) -> Result<Rejection, BuildError> {
    let reason = error.to_string();
    match error {
        BlockExecutionError::Validation(BlockValidationError::InvalidTx { error, .. }) => {
            Ok(match error.as_invalid_tx_err() {
                Some(InvalidTransaction::NonceTooLow { .. }) => Rejection::NonceTooLow,
                Some(InvalidTransaction::CallerGasLimitMoreThanBlock) => Rejection::DoesNotFit,
                Some(
                    InvalidTransaction::NonceTooHigh { .. }
                    | InvalidTransaction::LackOfFundForMaxFee { .. }
                    | InvalidTransaction::GasPriceLessThanBasefee
                    | InvalidTransaction::RejectCallerWithCode,
                ) => Rejection::NotNow(reason),
                _ => Rejection::Invalid(reason),
            })
        }
        BlockExecutionError::Validation(BlockValidationError::TransactionGasLimitMoreThanAvailableBlockGas {
            ..
        }) => Ok(Rejection::DoesNotFit),
        error @ (BlockExecutionError::Validation(_) | BlockExecutionError::Internal(_)) => Err(error.into()),
    }
}
