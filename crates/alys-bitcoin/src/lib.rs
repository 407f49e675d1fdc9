//! The Bitcoin port and what stands behind it in a node without a Bitcoin Core of its own.
//!
//! - [`BitcoinPort`]: what the node asks of Bitcoin, with errors that tell *unavailable* from *invalid* from *bug*.
//! - [`Regtest`]: an embedded regtest chain as a plain value. Blocks with real (easy) work, all rules of blocks and
//!   transactions, coins, a pool, reorganisations. Time is passed in, nothing waits, the same calls give the same state.
//! - [`core_rpc`]: Bitcoin Core behind the same port, over its JSON-RPC.
//! - [`core_server`]: an embedded chain with Bitcoin Core's JSON-RPC, so that several nodes share it.
//! - [`embedded()`]: that value behind the port, owned by one task with a bounded inbox; [`BlockLog`] keeps its blocks in
//!   a file.
//! - [`BlockTemplate`] and [`grind`]: what a merged miner needs to put a commitment into a coinbase and find a nonce.
//! - [`signing`]: members' signatures of the federation's payments, exchanged as PSBTs.
//! - [`recovery`]: the last resort, by which recovery keys spend coins that nobody has moved for long.
//! - [`signer`]: a member's custody key behind its own policy, in this process or behind a Unix socket.
//! - [`HeaderChain`]: headers first, ordered by work, for every network, bounded.
//!
//! Invariants: everything kept is bounded by a named limit; nothing from outside is kept before it was checked; no
//! function here reads a clock or draws random numbers.
//!
//! Deliberately absent: a full script interpreter. [`script`] verifies the spends it knows completely and refuses all
//! others with a typed error, so an unsupported spend can never be mistaken for a valid one. No peer-to-peer protocol,
//! no wallet.

pub use block_log::{BlockLog, LogError, Opened};
pub use core_rpc::CoreRpc;
pub use embedded::{EmbeddedError, RegtestHandle, embedded};
pub use header_chain::{Checkpoint, EpochStart, HeaderChain, HeaderError, Inserted, Limits as HeaderLimits, TipChange};
pub use port::{BestBlock, BitcoinPort, BlockPlace, FoundTransaction, Invalid, PlacedHeader, PortError, Unavailable};
pub use recovery::{RecoveryError, RecoverySpend};
pub use regtest::{BlockError, Coin, Limits as RegtestLimits, PoolError, Regtest, Submitted, TransactionError};
pub use signer::{PaymentJob, Signer, SignerError};
pub use signing::{CustodyKey, SigningError, SigningSession};
pub use template::{BlockTemplate, GrindError, TemplateError, TemplateTransaction, grind, grind_to};

pub mod block_log;
pub mod compact;
pub mod core_rpc;
pub mod core_server;
pub mod embedded;
pub mod header_chain;
pub mod merkle;
pub mod port;
pub mod recovery;
pub mod regtest;
pub mod script;
pub mod signer;
pub mod signing;
pub mod template;
