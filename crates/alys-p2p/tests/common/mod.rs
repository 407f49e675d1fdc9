//! Real swarms on loopback.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]
#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

pub mod hostile;

use alys_p2p::{
    Discovery, Event, GossipMessage, Identity, NetworkConfig, NetworkEvents, NetworkHandle, NetworkLimits, NetworkTask,
    NetworkView, PeerAddress, PeerId, Status,
};
use alys_primitives::{Approval, ApprovalData, Epoch, FixedBytes, Height, Root, SignatureBytes, Slot, UnixMillis};
use std::time::Duration;
use tokio::sync::oneshot;

pub const CHAIN: Root = Root::repeat_byte(0xa1);

/// The longest that a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test waits for what must not happen.
pub const SILENCE: Duration = Duration::from_millis(400);

pub fn status(chain: Root, height: u64) -> Status {
    Status {
        head_height: Height(height),
        head_slot: Slot(height),
        safe_height: Height(height),
        ..Status::at_genesis(chain, FixedBytes::ZERO, Root::repeat_byte(7), UnixMillis(0))
    }
}

pub fn approval(member: u64) -> GossipMessage {
    GossipMessage::Approval(Approval {
        data: ApprovalData { block_root: Root::repeat_byte(3), slot: Slot(9), epoch: Epoch(0) },
        member_index: member,
        signature: SignatureBytes::repeat_byte(5),
    })
}

pub fn config(seed: u8, peers: Vec<PeerAddress>) -> NetworkConfig {
    NetworkConfig {
        identity: Identity::from_secret(&[seed; 32]).unwrap(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        peers,
        genesis_root: CHAIN,
        agent: format!("test/{seed}"),
        limits: NetworkLimits::default(),
        discovery: Discovery::default(),
    }
}

/// A running service.
pub struct Running {
    pub handle: NetworkHandle,
    pub events: NetworkEvents,
    pub id: PeerId,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub fn start(config: NetworkConfig) -> Self {
        let id = config.identity.peer_id();
        let own = status(config.genesis_root, 0);
        let (handle, events, task) = NetworkTask::open(config, own).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(task.run(async move {
            let _ = stopped.await;
        }));
        Self { handle, events, id, stop: Some(stop), task }
    }

    /// Waits until the view is as wanted.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&NetworkView) -> bool) -> NetworkView {
        let mut view = self.handle.view();
        match tokio::time::timeout(PATIENCE, view.wait_for(|view| wanted(view))).await {
            Ok(view) => view.unwrap().clone(),
            Err(_) => panic!("{what} did not happen: {:?}", self.handle.view().borrow()),
        }
    }

    pub async fn until_ready(&self, peers: usize) {
        self.until("handshakes", |view| view.ready().count() >= peers).await;
    }

    /// Where it can be dialled.
    pub async fn address(&self) -> PeerAddress {
        let view = self.until("listening", |view| !view.listening.is_empty()).await;
        PeerAddress { peer: self.id, address: view.listening[0].clone() }
    }

    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.next()).await.expect("an event").unwrap()
    }

    /// Nothing comes.
    pub async fn silent(&mut self) {
        if let Ok(event) = tokio::time::timeout(SILENCE, self.events.next()).await {
            panic!("unexpected: {event:?}");
        }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}
