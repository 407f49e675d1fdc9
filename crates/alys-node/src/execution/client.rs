//! An external client, from the configuration to the actor that drives it.

use super::forward::forward_module;
use super::history::StoredPayloads;
use super::{ClientTransactions, Evm, ExecutionParts, Transactions};
use crate::actors::execution::ExecutionActor;
use crate::chain_files::ChainFiles;
use crate::config::ExecutionSection;
use alys_actor::{Child, Supervisor};
use alys_engine::{
    ChainIdentity, ConfigError, EndpointConfig, EngineClient, EngineClientConfig, EngineError, ExecutionEngine as _,
    JwtSecret, SecretError,
};
use alys_evm::rpc::NetStatus;
use alys_evm::{ForkError, Forks};
use alys_store::Reader;
use jsonrpsee::core::RegisterMethodError;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Tries of one request for each endpoint.
const ATTEMPTS: u32 = 2;

/// Why an external execution client can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetupError {
    /// No secret is named.
    #[error("`execution.endpoints` is set, `execution.jwt_secret` is not")]
    NoSecret,
    /// The secret's file.
    #[error("`execution.jwt_secret` {path} can't be used")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SecretError,
    },
    /// Not every endpoint has an address for `eth_*`.
    #[error("`execution.rpc_endpoints` has {rpc} addresses, `execution.endpoints` {engines}: one for each, or none")]
    Counts {
        /// Addresses of `eth_*`.
        rpc: usize,
        /// Addresses of Engine APIs.
        engines: usize,
    },
    /// An address.
    #[error("`execution.endpoints`")]
    Endpoint(#[from] ConfigError),
    /// The genesis file's forks.
    #[error("the genesis file's forks")]
    Forks(#[from] ForkError),
    /// The client serves another chain, or lacks what this one needs.
    #[error("the execution client")]
    Mismatch(#[source] EngineError),
    /// Two methods of one name.
    #[error("the calls that are handed through")]
    Methods(#[from] RegisterMethodError),
}

/// Introduces the node to its client and adds the actor that drives it. A client that does not answer yet is no error:
/// the node runs without votes until it does. One that does not fit is.
pub(crate) async fn open_client(
    root: &mut Supervisor,
    section: &ExecutionSection,
    files: &ChainFiles,
    store: &Reader,
    net: watch::Receiver<NetStatus>,
) -> Result<ExecutionParts, ClientSetupError> {
    let evm = &files.spec.evm;
    let endpoints = endpoints(section)?;
    let chain = ChainIdentity { chain_id: evm.chain_id, genesis_hash: evm.genesis_hash };
    let mut config = EngineClientConfig::new(endpoints, chain, Forks::new(&files.genesis.config)?.times());
    let count = u32::try_from(config.endpoints.len()).unwrap_or(u32::MAX);
    config.retry.attempts = count.saturating_mul(ATTEMPTS).max(config.retry.attempts);
    config.retry.seed = rand::random();
    let client = EngineClient::with_history(config, Arc::new(StoredPayloads::new(store.clone())))?;
    let failure = match client.info().await {
        Ok(info) => {
            tracing::info!(client = info.client, head = info.head_number, "execution client");
            None
        }
        Err(error @ EngineError::Mismatch { .. }) => return Err(ClientSetupError::Mismatch(error)),
        Err(error) => {
            tracing::warn!(%error, "the execution client does not answer: nothing is built or voted for until it does");
            Some(error.to_string())
        }
    };
    let (failure, failure_view) = watch::channel(failure);
    let failure = Arc::new(failure);
    let build_time = Duration::from_millis(section.build_millis);
    let actor = {
        let (client, genesis) = (client.clone(), evm.genesis_hash);
        root.add(Child::new("execution", move || {
            ExecutionActor::new(client.clone(), genesis).build_time(build_time).failure(failure.clone())
        }))
    };
    let transactions = ClientTransactions::new(client.clone(), evm.chain_id);
    Ok(ExecutionParts {
        actor,
        failure: failure_view,
        methods: forward_module(client.clone(), transactions.clone(), net)?.into(),
        transactions: Transactions::Client(transactions),
        evm: Evm::Client(client),
    })
}

fn endpoints(section: &ExecutionSection) -> Result<Vec<EndpointConfig>, ClientSetupError> {
    let path = section.jwt_secret.as_ref().ok_or(ClientSetupError::NoSecret)?;
    let secret = JwtSecret::read(path).map_err(|source| ClientSetupError::Secret { path: path.clone(), source })?;
    let (engines, rpc) = (section.endpoints.len(), section.rpc_endpoints.len());
    if rpc != 0 && rpc != engines {
        return Err(ClientSetupError::Counts { rpc, engines });
    }
    let endpoint = |(index, url): (usize, &String)| EndpointConfig {
        url: url.clone(),
        secret: secret.clone(),
        rpc_url: section.rpc_endpoints.get(index).cloned(),
    };
    Ok(section.endpoints.iter().enumerate().map(endpoint).collect())
}
