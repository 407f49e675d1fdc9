//! Embedded execution of EVM payloads: exactly Ethereum's blocks, on a state of its own.
//!
//! - [`Executor`] owns the database: it executes payloads, builds them from a [`TransactionSource`], and moves the
//!   canonical head. It runs on one thread ([`spawn`]), reached through [`EmbeddedEngine`], which implements the
//!   execution port of `alys-engine`.
//! - [`EvmReader`] answers questions about blocks, state and calls, from any number of threads, without asking the
//!   executor: it reads snapshots of the database and the published [`Heads`].
//! - [`rpc`] answers wallets and consensus clients, [`pool`] keeps what is not in a block yet.
//! - [`snapshot`] gives a state as a list of records and makes a database from one.
//! - [`parse_genesis`] and [`alys_genesis`] give the first block; [`ChainFile`] reads blocks from a file, [`fixtures`] runs
//!   Ethereum's own tests.
//!
//! Invariants:
//! - a block is `VALID` only after every field of its header was recomputed and the block is on disk;
//! - the canonical state, its trie and its indexes move together in one synced batch, or not at all;
//! - a finalized block is never left.
//!
//! Absent on purpose: consensus (who may build when), networking, blobs (transactions that carry them are invalid where
//! the schedule allows none, and never taken from the pool).

mod chain_file;
mod db;
mod engine;
mod execute;
mod executor;
pub mod fixtures;
mod forks;
mod genesis;
mod heads;
pub mod pool;
mod reader;
pub mod rpc;
pub mod snapshot;
mod source;
pub mod threads;
mod trie;

pub use chain_file::{ChainFile, ChainFileError};
pub use db::{DbConfig, DbError, StorageFailure};
pub use engine::{EmbeddedEngine, EngineRequest, ExecutorThread, Reply, spawn};
pub use execute::{BlockError, BlockTimings, BuildError};
pub use executor::{Executor, ExecutorConfig, ExecutorError, SampleBlock};
pub use forks::{ForkError, Forks};
pub use genesis::{
    AlysGenesis, BRIDGE_ADDRESS, DEFAULT_GAS_LIMIT, GenesisError, INITIAL_BASE_FEE, MAX_GENESIS_BYTES, alys_genesis,
    genesis_hash, genesis_header, parse_genesis,
};
pub use heads::{BlockRef, ChainEvent, Heads};
pub use reader::{
    Account, CallOutcome, CallRequest, CallStatus, EvmReader, MinedReceipt, MinedTransaction, NextBlock, ReadError,
    SimulateError, Simulated, SimulatedCall, StateAt, StateError, TraceLimits, Traced,
};
pub use source::{BestTransactions, BuildTarget, NoTransactions, Rejection, TransactionSource};

/// A transaction as blocks and the pool hold it: any of Ethereum's types, blob transactions without their blobs.
pub type Tx = alloy_consensus::EthereumTxEnvelope<alloy_consensus::TxEip4844>;

/// A block with header, transactions and withdrawals.
pub type FullBlock = alloy_consensus::Block<Tx>;
