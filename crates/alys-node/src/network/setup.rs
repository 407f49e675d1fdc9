//! From the operator's configuration to the network's.

use crate::config::Config;
use alys_p2p::{AddressError, Discovery, Identity, IdentityError, NetworkConfig, NetworkLimits, listen_address};
use alys_primitives::Root;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Name of the network key in the data folder.
pub const NETWORK_KEY: &str = "network-key";

/// Why the network can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkSetupError {
    /// An address of the configuration is none.
    #[error("`{key}`")]
    Address {
        /// The configuration's key.
        key: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// The network key can't be used.
    #[error("the network key can't be used")]
    Identity(#[from] IdentityError),
    /// The system gives no randomness for a new key.
    #[error("the system gives no randomness")]
    Entropy(#[source] rand::rand_core::OsError),
}

/// The network that `config` asks for; none if it names neither an address to listen on nor anybody to dial. A missing key is made.
///
/// # Errors
/// [`NetworkSetupError`].
pub fn network_config(config: &Config, genesis_root: Root) -> Result<Option<NetworkConfig>, NetworkSetupError> {
    let section = &config.network;
    if !section.is_on() {
        return Ok(None);
    }
    let listen = section.listen.iter().map(|text| {
        listen_address(text).map_err(|source| NetworkSetupError::Address { key: "network.listen", source })
    });
    let peers = section
        .peers
        .iter()
        .map(|text| text.parse().map_err(|source| NetworkSetupError::Address { key: "network.peers", source }));
    let bootnodes = section
        .bootnodes
        .iter()
        .map(|text| text.parse().map_err(|source| NetworkSetupError::Address { key: "network.bootnodes", source }));
    Ok(Some(NetworkConfig {
        discovery: Discovery {
            bootnodes: bootnodes.collect::<Result<_, _>>()?,
            kademlia: section.kademlia,
            mdns: section.mdns,
            ..Discovery::default()
        },
        listen: listen.collect::<Result<_, _>>()?,
        peers: peers.collect::<Result<_, _>>()?,
        identity: identity(config)?,
        genesis_root,
        agent: format!("alys-node/{}", env!("CARGO_PKG_VERSION")),
        limits: NetworkLimits { strangers: section.max_strangers, ..NetworkLimits::default() },
    }))
}

fn identity(config: &Config) -> Result<Identity, NetworkSetupError> {
    let path: PathBuf = config.network.key_file.clone().unwrap_or_else(|| config.node.data_dir.join(NETWORK_KEY));
    if path.exists() {
        return Ok(Identity::read(&path)?);
    }
    let mut secret = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(&mut *secret).map_err(NetworkSetupError::Entropy)?;
    Ok(Identity::create(&path, &secret)?)
}
