//! A peer that speaks libp2p well and Alys badly.

#![allow(dead_code, unreachable_pub, reason = "shared by test binaries")]
#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

use alys_p2p::Topic;
use alys_primitives::Root;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::request_response::{self, Codec, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use std::io;
use tokio::sync::mpsc;

/// Writes any bytes as a request and reads anything as an answer.
#[derive(Clone, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T>(&mut self, protocol: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_request(protocol, io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, protocol: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_request(protocol, io, bytes).await
    }
}

#[derive(NetworkBehaviour)]
pub struct HostileBehaviour {
    gossip: gossipsub::Behaviour,
    requests: request_response::Behaviour<RawCodec>,
}

fn hostile_swarm() -> Swarm<HostileBehaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| {
            let settings = gossipsub::ConfigBuilder::default()
                .validation_mode(ValidationMode::Anonymous)
                .max_transmit_size(64 << 20)
                // Without it all anonymous messages would have one id, and only the first would be sent.
                .message_id_fn(|message| message.data.clone().into())
                .build()
                .unwrap();
            HostileBehaviour {
                gossip: gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, settings).unwrap(),
                requests: request_response::Behaviour::with_codec(
                    RawCodec,
                    [(StreamProtocol::new("/alys/req/1/ssz_snappy"), ProtocolSupport::Full)],
                    request_response::Config::default(),
                ),
            }
        })
        .unwrap()
        .build()
}

/// What the hostile peer does once it is connected.
pub enum Act {
    Gossip(Topic, Vec<u8>),
    Request(Vec<u8>),
}

/// Connects and carries out what is sent; ends when the connection is closed for good, which it reports.
pub async fn hostile(genesis_root: Root, address: Multiaddr, victim: alys_p2p::PeerId, mut acts: mpsc::Receiver<Act>) {
    let mut swarm = hostile_swarm();
    for topic in Topic::ALL {
        swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic.wire_name(genesis_root))).unwrap();
    }
    swarm.dial(address).unwrap();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::ConnectionClosed { num_established: 0, .. } = event {
                    return;
                }
            }
            Some(act) = acts.recv() => match act {
                Act::Gossip(topic, bytes) => {
                    let topic = IdentTopic::new(topic.wire_name(genesis_root));
                    let _ = swarm.behaviour_mut().gossip.publish(topic, bytes);
                }
                Act::Request(bytes) => {
                    swarm.behaviour_mut().requests.send_request(&victim, bytes);
                }
            },
        }
    }
}
