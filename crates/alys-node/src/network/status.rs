//! What peers are told of this node.

use crate::actors::service::ServiceEnd;
use crate::sync::{SyncState, SyncView};
use alys_actor::CancellationToken;
use alys_chain::ChainView;
use alys_evm::rpc::{NetStatus, Syncing};
use alys_p2p::{NetworkView, Status};
use alys_primitives::{ChainSpec, Height, UnixMillis};
use tokio::sync::watch;

/// The status that follows from the published view, which shows only what is durable.
pub(super) fn of(spec: &ChainSpec, view: &ChainView, earliest_height: Height, now: UnixMillis) -> Status {
    Status {
        genesis_root: view.genesis_root,
        fork_version: spec.fork_version(view.head.height),
        epoch: view.epoch,
        head_root: view.head.root,
        head_height: view.head.height,
        head_slot: view.head.slot,
        safe_height: view.safe.height,
        finalized_root: view.finalized.root,
        finalized_height: view.finalized.height,
        earliest_height,
        time: now,
    }
}

/// Keeps what `net_*` and `eth_syncing` tell current. A node that is not `networked` has nobody to wait for.
pub async fn follow(
    networked: bool,
    mut peers: watch::Receiver<NetworkView>,
    mut sync: watch::Receiver<SyncView>,
    status: watch::Sender<NetStatus>,
    stop: CancellationToken,
) -> ServiceEnd {
    let first = sync.borrow().head;
    loop {
        let now = {
            let (peers, sync) = (peers.borrow_and_update(), sync.borrow_and_update());
            let syncing =
                (sync.state == SyncState::Syncing).then(|| Syncing { starting: first.0, highest: sync.target.0 });
            let count = u64::try_from(peers.peers.len()).unwrap_or(u64::MAX);
            let waiting = networked && sync.state == SyncState::Waiting;
            NetStatus { listening: !peers.listening.is_empty(), peers: count, syncing, waiting }
        };
        status.send_if_modified(|current| std::mem::replace(current, now) != now);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Ok(()) = peers.changed() => {}
            Ok(()) = sync.changed() => {}
            else => {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}
