//! Why a node does not start.

use crate::actors::chain::TargetError;
use crate::execution::ClientSetupError;
use crate::network::NetworkSetupError;
use crate::snapshot;
use crate::trouble::Trouble;
use alys_store::signing::SigningError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder can't be made.
    #[error("{path} can't be made")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An address that the node should listen on is taken, or is none of this machine's.
    #[error("can't listen on {address} (`{key}`)")]
    Listen {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The chain's database can't be opened.
    #[error("the chain's database can't be opened")]
    Store(#[from] alys_store::StoreError),
    /// The EVM's database can't be opened.
    #[error("the EVM can't be started")]
    Evm(#[from] alys_evm::ExecutorError),
    /// The executor's thread can't be started.
    #[error("the executor can't be started")]
    Engine(#[from] alys_engine::EngineError),
    /// The transaction pool can't be opened.
    #[error("the transaction pool can't be opened")]
    Pool(#[from] alys_evm::pool::PoolTaskError),
    /// The pool's journal can't be opened.
    #[error("the transaction journal can't be opened")]
    Journal(#[from] alys_evm::pool::JournalError),
    /// The external execution client can't be used.
    #[error("the execution client can't be used")]
    ExecutionClient(#[from] ClientSetupError),
    /// Two methods of one name.
    #[error("two methods of JSON-RPC have one name")]
    Methods(#[from] jsonrpsee::core::RegisterMethodError),
    /// The embedded Bitcoin can't be opened.
    #[error("the embedded Bitcoin can't be opened")]
    Bitcoin(#[from] alys_bitcoin::LogError),
    /// The chain can't begin.
    #[error("the chain can't begin")]
    Genesis(#[from] alys_chain::GenesisError),
    /// The signing record can't be used.
    #[error("the signing record can't be used")]
    Signing(#[from] SigningError),
    /// The network can't be set up.
    #[error("the network can't be set up")]
    Network(#[from] NetworkSetupError),
    /// A restore that was broken off can't be finished.
    #[error("a restored snapshot can't be brought into place")]
    Settle(#[from] snapshot::SettleError),
    /// The node can't begin from a snapshot.
    #[error("the node can't begin from a snapshot")]
    Join(#[from] snapshot::JoinError),
    /// A snapshot is asked for, and there is nobody to ask.
    #[error("`sync.checkpoint` is set, but the node has no network")]
    NoPeers,
    /// A snapshot holds the embedded EVM's state; an external client has its own ways.
    #[error("`sync.checkpoint` is set, and `execution.endpoints` too: an external client can't be given a snapshot")]
    ExternalState,
    /// A target of performance makes no sense on this chain.
    #[error("`{key}` {0}", key = .0.key)]
    Target(#[from] TargetError),
    /// A part met trouble while the others started, which nothing mends.
    #[error("a part failed for good during the start: {reason}")]
    Fatal {
        /// What kind.
        trouble: Trouble,
        /// What the part said.
        reason: String,
    },
    /// A part did not start.
    #[error(transparent)]
    Tree(#[from] alys_actor::StartError),
}
