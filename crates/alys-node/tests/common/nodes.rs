//! Nodes embedded in the test's own process, with a network on loopback.

use alys_crypto::SecretKey;
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::{Node, Validator};
use alys_p2p::{Identity, PeerAddress};
use alys_primitives::{Address, Members};
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use std::path::Path;

use super::PATIENCE;

/// A chain of one member, which begins now with slots of a second.
pub fn chain(key: &SecretKey) -> ChainFiles {
    let members = Members::new(vec![member(key, Address::repeat_byte(1))]).unwrap();
    ChainFiles::dev(members, wall_now().0 / 1000, 1).unwrap()
}

/// The key with a new, empty record in `folder`.
pub fn validator(key: &SecretKey, files: &ChainFiles, folder: &Path) -> Validator {
    let identity =
        RecordIdentity { genesis_root: files.spec.genesis_root(), public_key: key.public_key().to_bytes().into() };
    let record = folder.join("signing-record");
    drop(SigningRecord::create(&record, &identity, &Watermarks::default()).unwrap());
    Validator { key: SecretKey::from_bytes(&*key.to_bytes()).unwrap(), record }
}

pub fn config(folder: &Path, peers: &[PeerAddress]) -> Config {
    let mut config = Config::default();
    config.node.data_dir = folder.to_owned();
    config.rpc.listen.set_port(0);
    config.metrics.listen.set_port(0);
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.network.peers = peers.iter().map(ToString::to_string).collect();
    config
}

/// Where a running node can be dialled.
pub async fn address(node: &Node, folder: &Path) -> PeerAddress {
    let peer = Identity::read(&folder.join(alys_node::network::NETWORK_KEY)).unwrap().peer_id();
    let mut peers = node.peers.clone();
    let view = tokio::time::timeout(PATIENCE, peers.wait_for(|view| !view.listening.is_empty())).await;
    PeerAddress { peer, address: view.unwrap().unwrap().listening[0].clone() }
}
