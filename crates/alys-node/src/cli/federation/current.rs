//! What a node says of its chain: constants, members and epoch.

use super::RPC_DEADLINE;
use crate::cli::failure::Failure;
use crate::rpc_client::RpcClient;
use alys_chain::{Chain, ChainConfig};
use alys_primitives::{ChainSpec, Epoch, Member};
use serde::Deserialize;
use serde_json::{Value, json};

/// The federation of the next block.
#[derive(Deserialize)]
pub(super) struct Current {
    pub(super) epoch: Epoch,
    pub(super) quorum: u64,
    #[serde(deserialize_with = "members")]
    pub(super) members: Vec<Member>,
    /// A change in flight.
    pub(super) change: Option<Value>,
}

/// A member as `alys_federation` tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    public_key: alys_primitives::PublicKeyBytes,
    proof_of_possession: alys_primitives::SignatureBytes,
    fee_address: alys_primitives::Address,
}

fn members<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Member>, D::Error> {
    let told: Vec<Told> = Vec::deserialize(deserializer)?;
    let member = |told: Told| Member {
        public_key: told.public_key,
        proof_of_possession: told.proof_of_possession,
        fee_address: told.fee_address,
    };
    Ok(told.into_iter().map(member).collect())
}

/// A node's chain.
pub(super) struct NodeChain {
    pub(super) client: RpcClient,
    pub(super) spec: ChainSpec,
    pub(super) chain: Chain,
    pub(super) current: Current,
}

impl NodeChain {
    /// Asks the node at `url`.
    pub(super) async fn ask(url: &str) -> Result<Self, Failure> {
        let client = RpcClient::new(url, RPC_DEADLINE).map_err(Failure::usage)?;
        let odd = |error: serde_json::Error| Failure::work(error).help(format!("while reading what {url} answered"));
        let spec = client.call("alys_chainSpec", json!([])).await.map_err(Failure::work)?;
        let spec: ChainSpec = serde_json::from_value(spec).map_err(odd)?;
        let current = client.call("alys_federation", json!([])).await.map_err(Failure::work)?;
        let current = serde_json::from_value(current).map_err(odd)?;
        let chain = Chain::genesis(spec.clone(), ChainConfig::default()).map_err(Failure::work)?;
        Ok(Self { client, spec, chain, current })
    }
}
