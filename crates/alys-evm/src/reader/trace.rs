//! Executing again with an observer: what `debug_trace…` shows.

use super::call::prepare;
use super::{CallRequest, EvmReader, ReadError, StateAt};
use crate::execute::{block_env, create_evm, create_evm_with_inspector};
use crate::{FullBlock, Tx};
use alloy_consensus::transaction::{Recovered, SignerRecoverable as _};
use alloy_eips::BlockId;
use alloy_evm::block::SystemCaller;
use alloy_evm::revm::context::{BlockEnv, TxEnv};
use alloy_evm::revm::context_interface::{ContextError, ContextTr};
use alloy_evm::revm::database::CacheDB;
use alloy_evm::revm::inspector::Inspector;
use alloy_evm::revm::interpreter::Interpreter;
use alloy_evm::revm::interpreter::interpreter_types::LoopControl as _;
use alloy_evm::{Evm, EvmEnv, FromRecoveredTx as _};
use alloy_primitives::{B256, Sealed};
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use revm::DatabaseCommit as _;
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use std::time::{Duration, Instant};

/// What one trace may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// Bytes of stack and memory that are recorded.
    pub max_bytes: u64,
    /// How long it may run.
    pub max_time: Duration,
}

impl Default for TraceLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_time: Duration::from_secs(20) }
    }
}

/// Steps between two looks at the clock.
const CLOCK_EVERY: u64 = 4096;

/// Bytes that a recorded step takes besides stack and memory.
const STEP_BYTES: u64 = 256;

/// Stops a trace that grows too large or runs too long.
#[derive(Clone, Debug)]
struct Budget {
    limits: TraceLimits,
    started: Instant,
    steps: u64,
    bytes: u64,
    records_steps: bool,
    records_memory: bool,
}

impl Budget {
    fn new(limits: TraceLimits, options: &GethDebugTracingOptions) -> Self {
        let default_tracer = options.tracer.is_none();
        Self {
            limits,
            started: Instant::now(),
            steps: 0,
            bytes: 0,
            records_steps: default_tracer,
            records_memory: default_tracer && options.config.enable_memory.unwrap_or(false),
        }
    }

    fn exceeded(&self) -> Option<String> {
        if self.bytes > self.limits.max_bytes {
            return Some(format!(
                "the trace has more than {} bytes: limit it, or leave parts out",
                self.limits.max_bytes
            ));
        }
        if self.steps.is_multiple_of(CLOCK_EVERY) && self.started.elapsed() > self.limits.max_time {
            return Some(format!("execution timeout: the trace takes more than {} s", self.limits.max_time.as_secs()));
        }
        None
    }
}

impl<CTX: ContextTr> Inspector<CTX> for Budget {
    fn step(&mut self, interp: &mut Interpreter, context: &mut CTX) {
        self.steps = self.steps.wrapping_add(1);
        if self.records_steps {
            let words = u64::try_from(interp.stack.len()).unwrap_or(u64::MAX);
            let memory = if self.records_memory { interp.memory.len() } else { 0 };
            self.bytes = self
                .bytes
                .saturating_add(STEP_BYTES)
                .saturating_add(words.saturating_mul(32))
                .saturating_add(u64::try_from(memory).unwrap_or(u64::MAX));
        }
        if let Some(reason) = self.exceeded() {
            if context.error().is_ok() {
                *context.error() = Err(ContextError::Custom(reason));
            }
            interp.bytecode.reset_action();
            interp.halt_fatal();
        }
    }
}

/// The trace of one transaction.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The transaction's hash.
    pub hash: B256,
    /// What its execution did.
    pub trace: GethTrace,
}

type Database<'a> = CacheDB<&'a StateAt<'a>>;

impl EvmReader {
    /// Executes a block's transactions again, on its parent's state, and records them; `only` records one of them.
    ///
    /// # Errors
    /// As [`Self::with_state`] for the parent; [`ReadError::InvalidCall`] for options that make no sense and traces
    /// beyond `limits`.
    pub fn trace_block(
        &self,
        block: Sealed<FullBlock>,
        only: Option<u64>,
        options: &GethDebugTracingOptions,
        limits: TraceLimits,
    ) -> Result<Vec<Traced>, ReadError> {
        let (block, hash) = block.into_parts();
        if block.header.number == 0 {
            return Err(ReadError::InvalidCall("genesis is not traceable".to_owned()));
        }
        self.with_state(BlockId::hash(block.header.parent_hash), |state, _| {
            let env = block_env(&self.chain.forks, &block.header);
            let mut db = Database::new(state);
            self.begin_block(&mut db, &env, &block)?;
            let mut budget = Budget::new(limits, options);
            let mut inspector = DebugInspector::new(options.clone()).map_err(invalid)?;
            let mut traced = Vec::new();
            for (index, transaction) in (0_u64..).zip(&block.body.transactions) {
                let recovered = recover(transaction)?;
                if only.is_some_and(|only| only != index) {
                    replay(&mut db, &env, &recovered)?;
                    continue;
                }
                inspector.fuse().map_err(invalid)?;
                let context = TransactionContext {
                    block_hash: Some(hash),
                    tx_index: usize::try_from(index).ok(),
                    tx_hash: Some(*transaction.tx_hash()),
                };
                let tx = TxEnv::from_recovered_tx(recovered.inner(), recovered.signer());
                let (trace, spent) = record(&mut db, &env, tx, inspector, budget, Some(context))?;
                (inspector, budget) = spent;
                traced.push(Traced { hash: *transaction.tx_hash(), trace });
                if only.is_some() {
                    break;
                }
            }
            Ok(traced)
        })
    }

    /// Executes a call as [`Self::call`] does and records it. With `index` the state is that before the block's
    /// transaction of that index, instead of after the block.
    ///
    /// # Errors
    /// As [`Self::call`] and [`Self::trace_block`].
    pub fn trace_call(
        &self,
        block: BlockId,
        index: Option<u64>,
        request: CallRequest,
        options: &GethDebugTracingOptions,
        limits: TraceLimits,
    ) -> Result<GethTrace, ReadError> {
        let record_on = |state: &StateAt<'_>, env: EvmEnv, within: Option<(&FullBlock, usize)>| {
            let mut db = Database::new(state);
            if let Some((block, count)) = within {
                self.begin_block(&mut db, &env, block)?;
                for transaction in block.body.transactions.iter().take(count) {
                    replay(&mut db, &env, &recover(transaction)?)?;
                }
            }
            let (env, tx) = prepare(&mut db, env, request)?;
            let inspector = DebugInspector::new(options.clone()).map_err(invalid)?;
            record(&mut db, &env, tx, inspector, Budget::new(limits, options), None).map(|(trace, _)| trace)
        };
        let Some(index) = index else {
            return self.with_state(block, |state, env| record_on(state, env, None));
        };
        let block = self.block(block)?.ok_or(ReadError::UnknownBlock)?.into_inner();
        let count = usize::try_from(index).unwrap_or(usize::MAX);
        self.with_state(BlockId::hash(block.header.parent_hash), |state, _| {
            let env = block_env(&self.chain.forks, &block.header);
            record_on(state, env, Some((&block, count)))
        })
    }

    /// What happens in a block before its first transaction.
    fn begin_block(&self, db: &mut Database<'_>, env: &EvmEnv, block: &FullBlock) -> Result<(), ReadError> {
        let mut evm = create_evm(db, env.clone());
        SystemCaller::new(&self.chain.forks)
            .apply_pre_execution_changes(&block.header, &mut evm)
            .map_err(|error| ReadError::InvalidCall(error.to_string()))
    }
}

fn recover(transaction: &Tx) -> Result<Recovered<&Tx>, ReadError> {
    transaction.try_to_recovered_ref().map_err(|_| crate::DbError::Corrupt { what: "a transaction's signature" }.into())
}

/// Executes a transaction without recording it.
fn replay(db: &mut Database<'_>, env: &EvmEnv, transaction: &Recovered<&Tx>) -> Result<(), ReadError> {
    let mut evm = create_evm(db, env.clone());
    let tx = TxEnv::from_recovered_tx(*transaction.inner(), transaction.signer());
    let done = evm.transact(tx).map_err(super::call::evm_error)?;
    evm.db_mut().commit(done.state);
    Ok(())
}

/// Executes and records, and gives the observers back for the next transaction.
fn record(
    db: &mut Database<'_>,
    env: &EvmEnv,
    tx: TxEnv,
    inspector: DebugInspector,
    budget: Budget,
    context: Option<TransactionContext>,
) -> Result<(GethTrace, (DebugInspector, Budget)), ReadError> {
    let block: BlockEnv = env.block_env.clone();
    let mut evm = create_evm_with_inspector(db, env.clone(), (budget, inspector));
    let done = evm.transact(tx.clone()).map_err(super::call::evm_error)?;
    let (db, (budget, inspector), _) = evm.components_mut();
    let trace = inspector.get_result(context, &tx, &block, &done, *db).map_err(|error| match error {
        DebugInspectorError::Database(error) => ReadError::from(error),
        error @ (DebugInspectorError::InvalidTracerConfig
        | DebugInspectorError::UnsupportedTracer
        | DebugInspectorError::JsTracerNotEnabled
        | DebugInspectorError::MuxInspector(_)) => ReadError::InvalidCall(error.to_string()),
    })?;
    let spent = (inspector.try_clone().map_err(invalid)?, budget.clone());
    db.commit(done.state);
    Ok((trace, spent))
}

fn invalid(error: DebugInspectorError) -> ReadError {
    ReadError::InvalidCall(error.to_string())
}
