//! Checking a block: execute it on its parent's state and compare every field with what it claims.

use super::env::{StateDatabase, block_env};
use super::evm::create_evm;
use super::header::{check_body, check_header};
use super::receipts::Receipts;
use super::relocated::RelocatedEvm;
pub(crate) use super::run::Executed;
use super::run::{block_state, intermediate_root, require_request_contracts, summarize};
use super::senders::recover_senders;
use super::timings::BlockTimings;
use crate::db::{Db, DbError, StateScan};
use crate::trie::TrieError;
use crate::{Forks, FullBlock};
use alloy_consensus::Header;
use alloy_consensus::transaction::Recovered;
use alloy_eips::eip7685::Requests;
use alloy_evm::Evm;
use alloy_evm::block::{BlockExecutionError, BlockExecutor};
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_primitives::B256;
use std::borrow::Cow;
use std::time::Instant;

/// Why a block is invalid. Each names the field or transaction that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// A field is not what the parent, the body or the execution makes it.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Name of the field in JSON-RPC.
        field: &'static str,
        /// What the block says.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A field is outside its bounds.
    #[error("{field} is {found}, which is out of bounds: {bounds}")]
    OutOfBounds {
        /// Name of the field in JSON-RPC.
        field: &'static str,
        /// What the block says.
        found: String,
        /// What it must be, in words.
        bounds: &'static str,
    },
    /// A field is missing, or there under rules that do not know it.
    #[error("{field} is {}", if *.present { "present, but the rules of the block's time do not know it" } else { "missing" })]
    Presence {
        /// Name of the field in JSON-RPC.
        field: &'static str,
        /// Whether it is there.
        present: bool,
    },
    /// A transaction can't be decoded, or has no valid signature.
    #[error("transaction {index}: {reason}")]
    Transaction {
        /// Its index in the block.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// Execution found the block invalid: a transaction that can't be executed, or a failed system call.
    #[error("{0}")]
    Execution(String),
}

impl BlockError {
    /// A comparison of one field.
    pub(super) fn compare<T: PartialEq + std::fmt::Debug>(
        field: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Field { field, found: format!("{found:?}"), expected: format!("{expected:?}") })
    }
}

/// Why a block could not be judged, or that it is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The block is invalid.
    #[error(transparent)]
    Invalid(#[from] BlockError),
    /// The database or the trie is damaged; nothing is known about the block.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// The EVM failed for a reason of its own; nothing is known about the block.
    #[error("execution failed: {0}")]
    Internal(String),
}

impl From<DbError> for CheckError {
    fn from(error: DbError) -> Self {
        Self::Trie(error.into())
    }
}

impl From<BlockExecutionError> for CheckError {
    fn from(error: BlockExecutionError) -> Self {
        match error {
            BlockExecutionError::Validation(error) => Self::Invalid(BlockError::Execution(error.to_string())),
            BlockExecutionError::Internal(error) => Self::Internal(error.to_string()),
        }
    }
}

/// Executes `block` on the state of `parent` and compares everything that its header claims.
///
/// `requests` are the EIP-7685 requests that came with the block, if they came apart from it.
pub(crate) fn check_block<S: StateScan + Copy + std::fmt::Debug>(
    db: &Db,
    forks: &Forks,
    tables: S,
    parent: &Header,
    block: &FullBlock,
) -> Result<Executed, CheckError> {
    let header = &block.header;
    check_header(forks, parent, header)?;
    check_body(forks, block)?;
    let began = Instant::now();
    let senders = recover_senders(&block.body.transactions)?;
    let recover = began.elapsed();
    let began = Instant::now();
    let mut state = block_state(StateDatabase::new(db, tables, header.parent_hash, parent.number));
    let evm = create_evm(&mut state, block_env(forks, header));
    let evm = RelocatedEvm::new(evm, forks);
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &block.body.ommers,
        withdrawals: block.body.withdrawals.as_ref().map(|withdrawals| Cow::Borrowed(withdrawals.as_slice())),
        extra_data: header.extra_data.clone(),
        tx_count_hint: Some(block.body.transactions.len()),
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, forks, Receipts);
    executor.apply_pre_execution_changes()?;
    let roots_in_receipts = !forks.spec_at(header.number, header.timestamp).is_enabled_in(SpecId::BYZANTIUM);
    let mut roots = Vec::new();
    for (transaction, sender) in block.body.transactions.iter().zip(senders) {
        executor.execute_transaction(Recovered::new_unchecked(transaction, sender))?;
        if roots_in_receipts {
            roots.push(intermediate_root(&tables, executor.evm_mut().db_mut())?);
        }
    }
    require_request_contracts(forks, header, executor.evm_mut().db_mut())?;
    let (_, result) = executor.finish()?;
    let run = began.elapsed();
    let mut executed = summarize(&tables, state, result, header, block)?;
    executed.set_roots(roots);
    let began = Instant::now();
    compare_results(header, &executed)?;
    let compare = began.elapsed();
    executed.timings = BlockTimings { recover, run, compare, ..executed.timings };
    Ok(executed)
}

fn compare_results(header: &Header, executed: &Executed) -> Result<(), BlockError> {
    BlockError::compare("gasUsed", &header.gas_used, &executed.gas_used)?;
    BlockError::compare("receiptsRoot", &header.receipts_root, &executed.receipts_root())?;
    BlockError::compare("logsBloom", &header.logs_bloom, &executed.logs_bloom())?;
    if header.requests_hash.is_some() {
        BlockError::compare("requestsHash", &header.requests_hash, &Some(executed.requests.requests_hash()))?;
    }
    if header.blob_gas_used.is_some() {
        BlockError::compare("blobGasUsed", &header.blob_gas_used, &Some(executed.blob_gas_used))?;
    }
    BlockError::compare("stateRoot", &header.state_root, &executed.state_root)
}

/// The hash that a list of requests gives, if its form is right: types rise and no request is empty (EIP-7685).
pub(crate) fn requests_hash(requests: &Requests) -> Result<B256, BlockError> {
    let types: Vec<Option<u8>> = requests.iter().map(|request| request.first().copied()).collect();
    let rising = types.windows(2).all(|pair| pair.first() < pair.get(1));
    if !rising || requests.iter().any(|request| request.len() < 2) {
        return Err(BlockError::OutOfBounds {
            field: "executionRequests",
            found: format!("{types:?}"),
            bounds: "types must rise and no request may be empty",
        });
    }
    Ok(requests.requests_hash())
}
