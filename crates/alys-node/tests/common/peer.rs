//! A peer that answers as a test wants it to.

#![allow(dead_code, reason = "shared by test binaries")]

use alys_node::clock::wall_now;
use alys_p2p::{
    Discovery, Event, Identity, Multiaddr, NetworkConfig, NetworkLimits, NetworkTask, PeerAddress, Request, Response,
    Status,
};
use alys_primitives::Root;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What somebody without a chain says of itself.
pub fn status(genesis_root: Root) -> Status {
    Status::at_genesis(genesis_root, Default::default(), Root::ZERO, wall_now())
}

/// A network with questions that are given up after a second.
pub fn network(
    identity: Identity,
    listen: Vec<Multiaddr>,
    peers: Vec<PeerAddress>,
    genesis_root: Root,
) -> NetworkConfig {
    let limits = NetworkLimits { request_timeout: Duration::from_secs(1), ..NetworkLimits::default() };
    NetworkConfig {
        identity,
        listen,
        peers,
        genesis_root,
        agent: "test".to_owned(),
        limits,
        discovery: Discovery::default(),
    }
}

/// A peer of its own on loopback; a question that `answer` gives nothing for stays open.
pub fn peer(
    genesis_root: Root,
    seed: u8,
    mut answer: impl FnMut(Request) -> Option<Response> + Send + 'static,
) -> (PeerAddress, JoinHandle<()>) {
    let identity = Identity::from_secret(&[seed; 32]).unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listen: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
    drop(listener);
    let address = PeerAddress { peer: identity.peer_id(), address: listen.clone() };
    let config = network(identity, vec![listen], Vec::new(), genesis_root);
    let (handle, mut events, task) = NetworkTask::open(config, status(genesis_root)).unwrap();
    let running = tokio::spawn(async move {
        let answering = async {
            while let Some(event) = events.next().await {
                if let Event::Request { id, request, .. } = event
                    && let Some(response) = answer(request)
                {
                    handle.answer(id, response).unwrap();
                }
            }
        };
        tokio::join!(task.run(std::future::pending()), answering);
    });
    (address, running)
}
