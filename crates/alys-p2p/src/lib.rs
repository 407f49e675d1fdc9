//! The network of Alys nodes over libp2p.
//!
//! One task owns the swarm ([`NetworkTask`]); a bounded channel of commands leads to it ([`NetworkHandle`]), a bounded
//! channel of events leads away ([`NetworkEvents`]), and a view of the peers is published ([`NetworkView`]). Nothing is
//! shared. What the messages mean is not known here: the node gives a verdict on each message before it is passed on, and
//! answers the questions of peers.
//!
//! - **Gossip** ([`GossipMessage`]): blocks, approvals, certificates, AuxPoW, transactions, evidence; a topic each, whose
//!   name holds the chain's, so that two chains never mix.
//! - **Questions** ([`Request`]): status (the handshake, repeated), blocks by height and by root, certificates,
//!   snapshots of the state.
//! - **Peers**: an identity that outlives restarts ([`Identity`]); listed peers ([`PeerAddress`]) are dialled for ever and
//!   have places of their own; everyone has quotas, a penalty that decays, and a ban that expires ([`Offence`]).
//!
//! Invariants:
//! - bytes from a peer are measured, as compressed and as decompressed, before they are decompressed or decoded;
//! - no message is passed on before the node has called it valid;
//! - every queue, cache and table has a limit ([`NetworkLimits`]); when the node is slow, gossip is dropped and questions
//!   are refused, and nothing grows;
//! - a peer of another chain is sent away by the handshake.
//!
//! Deliberately absent: what blocks and votes mean, NAT traversal, names instead of addresses (no DNS).

mod address;
mod config;
mod identity;
mod peers;
mod service;
mod wire;

pub use address::{AddressError, PeerAddress, listen_address};
pub use config::{Discovery, NetworkConfig, NetworkLimits};
pub use identity::{Identity, IdentityError};
pub use libp2p::{Multiaddr, PeerId};
pub use peers::Offence;
pub use service::{
    Event, GossipId, NetworkEvents, NetworkHandle, NetworkTask, NetworkView, PeerView, RequestError, RequestId,
    SendError, StartError, Verdict,
};
pub use wire::{
    BlockRange, BlockRoots, Blocks, BundleProof, Certificates, FrameError, GossipError, GossipMessage, LightRecords,
    MAX_BLOCK_BYTES, MAX_LIGHT_BYTES, MAX_LIGHT_RECORDS, MAX_PART_BYTES, MAX_PSBT_BYTES, MAX_RANGE_BLOCKS,
    MAX_RANGE_BYTES, MAX_ROOTS, OlderBlock, OlderBlocks, PegSignatures, Refusal, Request, Response, SnapshotOffer,
    SnapshotOffers, SnapshotPart, Status, Topic,
};
