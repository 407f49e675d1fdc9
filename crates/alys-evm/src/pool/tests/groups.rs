//! Which transactions share a sync.

use super::fake::{CHAIN_ID, Wallet};
use crate::pool::PooledTransaction;
use crate::pool::task::{Group, Request};
use alloy_primitives::B256;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

fn submit(nonce: u64) -> Request {
    let transaction = PooledTransaction::decode(Wallet::new(1).pay(nonce, 1), CHAIN_ID).unwrap();
    Request::Submit { transaction: Arc::new(transaction), reply: oneshot::channel().0 }
}

/// How many of three waiting requests join a first one, after a group of `taken`.
fn joined(taken: usize, synced: Duration, first: Request) -> usize {
    let (sender, mut requests) = mpsc::channel(8);
    (1..4).for_each(|nonce| sender.try_send(submit(nonce)).unwrap());
    let mut batch = vec![first];
    Group { taken, synced }.gather(&mut batch, &mut requests);
    batch.len() - 1
}

#[test]
fn a_group_waits_for_as_many_as_the_last_one_had_and_not_for_ever() {
    let synced = Duration::from_millis(1);
    assert_eq!(joined(0, synced, submit(0)), 0);
    assert_eq!(joined(1, synced, submit(0)), 0, "a lone sender's transaction goes at once");
    assert_eq!(joined(3, synced, submit(0)), 2);
    assert_eq!(joined(100, synced, submit(0)), 3);
    assert_eq!(joined(100, Duration::ZERO, submit(0)), 3);
    assert_eq!(joined(100, synced, Request::Discard { hash: B256::ZERO }), 0, "nobody waits for a sync");
}
