//! The one task that owns the swarm, and the ways to it.

mod behaviour;
mod codec;
mod dialing;
mod discovery;
mod handle;
mod inbound;
mod outbound;
mod swarm;
mod task;
mod transform;
mod view;

pub use handle::{Event, GossipId, NetworkEvents, NetworkHandle, RequestError, RequestId, SendError, Verdict};
pub use task::{NetworkTask, StartError};
pub use view::{NetworkView, PeerView};
