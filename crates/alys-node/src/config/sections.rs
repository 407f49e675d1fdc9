//! The configuration's sections and their defaults.

use crate::actors::chain::PerformanceTargets;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Files and logs.
    pub node: NodeSection,
    /// The member's key.
    pub validator: ValidatorSection,
    /// The EVM.
    pub execution: ExecutionSection,
    /// JSON-RPC.
    pub rpc: RpcSection,
    /// The operator's listener.
    pub metrics: MetricsSection,
    /// The node's Bitcoin.
    pub bitcoin: BitcoinSection,
    /// Merged mining.
    pub mining: MiningSection,
    /// Peers.
    pub network: NetworkSection,
    /// Beginning from a snapshot, and making some.
    pub sync: SyncSection,
    /// How fast the chain actor should be.
    pub performance: PerformanceTargets,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Folder of the databases and the signing record.
    pub data_dir: PathBuf,
    /// The chain spec.
    pub chain_spec: PathBuf,
    /// The EVM genesis.
    pub genesis: PathBuf,
    /// Log filter in `tracing`'s syntax.
    pub log: String,
    /// Form of the log lines.
    pub log_format: LogFormat,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// `[validator]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorSection {
    /// The keystore; without one the node observes.
    pub keystore: Option<PathBuf>,
    /// Holds the keystore's password.
    pub password_file: Option<PathBuf>,
    /// Slots that a member with peers listens for its own key before it signs.
    pub doppelganger_slots: u32,
    /// Where `alys-node custody-signer` listens, which signs the peg's payments instead of this process.
    pub custody_socket: Option<PathBuf>,
}

/// `[execution]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionSection {
    /// Engine APIs of external clients; the embedded EVM runs if there are none.
    pub endpoints: Vec<String>,
    /// Addresses of the clients' `eth_*`, one for each endpoint or none.
    pub rpc_endpoints: Vec<String>,
    /// The secret that the clients share.
    pub jwt_secret: Option<PathBuf>,
    /// Milliseconds between asking an external client for a payload and taking it.
    pub build_millis: u64,
    /// Whether the embedded EVM keeps the state of every block.
    pub archive: bool,
    /// The newest blocks whose state the embedded EVM keeps.
    pub history_blocks: u64,
}

impl Default for ExecutionSection {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            rpc_endpoints: Vec::new(),
            jwt_secret: None,
            build_millis: 250,
            archive: false,
            history_blocks: 8192,
        }
    }
}

/// `[rpc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpcSection {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Accepted `Host` headers.
    pub hosts: Vec<String>,
    /// Accepted `Origin` headers.
    pub origins: Vec<String>,
    /// Largest request body.
    pub max_body_bytes: u32,
    /// Largest response.
    pub max_response_bytes: u32,
    /// Most calls in one batch.
    pub max_batch: u32,
    /// Most connections at once.
    pub max_connections: u32,
    /// Most subscriptions of one connection.
    pub max_subscriptions: u32,
    /// Whether the merged-mining calls are served.
    pub mining: bool,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSection {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// `[bitcoin]`; a node with neither address nor regtest signs payments and leaves the rest to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinSection {
    /// Where Bitcoin Core's JSON-RPC is.
    pub url: Option<String>,
    /// The cookie that it writes at each start.
    pub cookie_file: Option<PathBuf>,
    /// A user of `rpcauth`.
    pub user: Option<String>,
    /// Holds that user's password.
    pub password_file: Option<PathBuf>,
    /// Whether the node keeps a regtest of its own.
    pub embedded: bool,
}

/// `[mining]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiningSection {
    /// Who is paid by `getauxblock`.
    pub payout: Option<alys_primitives::Address>,
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSection {
    /// Where to listen for peers.
    pub listen: Vec<String>,
    /// Peers to keep connected.
    pub peers: Vec<String>,
    /// Peers to find others by; dialled while few are connected.
    pub bootnodes: Vec<String>,
    /// Whether peers tell each other of peers.
    pub kademlia: bool,
    /// Whether peers are looked for in the local network.
    pub mdns: bool,
    /// The node's network key.
    pub key_file: Option<PathBuf>,
    /// Most connections of peers that are not listed.
    pub max_strangers: u32,
}

/// `[sync]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSection {
    /// Root of a block that the operator trusts; its parent's snapshot is where an empty node begins.
    pub checkpoint: Option<alys_primitives::Root>,
    /// Whether an empty node without a checkpoint follows the most work to its peers' snapshot.
    pub by_work: bool,
    /// Whether a node that began from a snapshot fetches the blocks before it.
    pub backfill: bool,
    /// Most bytes of records of merged mining that are kept on disk while a chain is followed.
    pub max_records_bytes: u64,
    /// Blocks between two snapshots; none are made with 0.
    pub snapshot_blocks: u64,
}

impl NetworkSection {
    /// Whether the node takes part in a network.
    pub fn is_on(&self) -> bool {
        !self.listen.is_empty() || !self.peers.is_empty() || !self.bootnodes.is_empty()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeSection {
                data_dir: PathBuf::from("data"),
                chain_spec: PathBuf::from("chain.json"),
                genesis: PathBuf::from("genesis.json"),
                log: "info".to_owned(),
                log_format: LogFormat::Text,
            },
            validator: ValidatorSection {
                keystore: None,
                password_file: None,
                doppelganger_slots: 2,
                custody_socket: None,
            },
            execution: ExecutionSection::default(),
            rpc: RpcSection {
                listen: SocketAddr::from(([127, 0, 0, 1], 8545)),
                hosts: ["127.0.0.1:*", "localhost:*", "[::1]:*"].map(str::to_owned).to_vec(),
                origins: Vec::new(),
                max_body_bytes: 2 * 1024 * 1024,
                max_response_bytes: 25 * 1024 * 1024,
                max_batch: 1000,
                max_connections: 200,
                max_subscriptions: 64,
                mining: false,
            },
            metrics: MetricsSection { listen: SocketAddr::from(([127, 0, 0, 1], 9100)) },
            bitcoin: BitcoinSection::default(),
            mining: MiningSection::default(),
            sync: SyncSection {
                checkpoint: None,
                by_work: false,
                backfill: true,
                max_records_bytes: 8 * 1024 * 1024 * 1024,
                snapshot_blocks: 7200,
            },
            network: NetworkSection {
                listen: Vec::new(),
                peers: Vec::new(),
                bootnodes: Vec::new(),
                kademlia: false,
                mdns: false,
                key_file: None,
                max_strangers: 64,
            },
            performance: PerformanceTargets::default(),
        }
    }
}
