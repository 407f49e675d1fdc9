//! A peer that speaks libp2p well and Alys badly.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_p2p::{Event, Topic};
use common::hostile::{Act, hostile};
use common::{CHAIN, PATIENCE, Running, approval, config};
use std::time::Duration;
use tokio::sync::mpsc;

/// A victim with an honest peer, and a hostile one beside them.
async fn stage() -> (Running, Running, mpsc::Sender<Act>, tokio::task::JoinHandle<()>) {
    let victim = Running::start(config(1, Vec::new()));
    let way = victim.address().await;
    let honest = Running::start(config(2, vec![way.clone()]));
    victim.until_ready(1).await;
    honest.until_ready(1).await;
    let (acts, queue) = mpsc::channel(1024);
    let hostile = tokio::spawn(hostile(CHAIN, way.address, way.peer, queue));
    victim.until("the hostile peer", |view| view.peers.len() == 2).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    (victim, honest, acts, hostile)
}

/// The hostile peer is sent away, and honest traffic goes on.
async fn overcome(mut victim: Running, honest: Running, hostile: tokio::task::JoinHandle<()>) {
    match tokio::time::timeout(PATIENCE, hostile).await {
        Ok(ended) => ended.unwrap(),
        Err(_) => panic!("the hostile peer is still there: {:?}", victim.handle.view().borrow()),
    }
    victim.until("the ban", |view| view.banned == 1 && view.ready().count() == 1).await;
    // What the flood left behind.
    while tokio::time::timeout(Duration::from_millis(200), victim.events.next()).await.is_ok() {}
    honest.handle.publish(approval(40)).unwrap();
    let Event::Gossip { id, message } = victim.next().await else { panic!("gossip") };
    assert_eq!((id.from(), message), (honest.id, approval(40)));
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_that_is_no_snappy_sends_its_sender_away() {
    let (victim, honest, acts, hostile) = stage().await;
    for byte in 0..8 {
        acts.send(Act::Gossip(Topic::Approval, vec![0xff, byte, 3])).await.unwrap();
    }
    overcome(victim, honest, hostile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_that_decompresses_beyond_its_limit_sends_its_sender_away() {
    let (victim, honest, acts, hostile) = stage().await;
    for byte in 0..8 {
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![byte; 1 << 20]).unwrap();
        acts.send(Act::Gossip(Topic::Approval, bomb)).await.unwrap();
    }
    overcome(victim, honest, hostile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_that_is_no_message_sends_its_sender_away() {
    let (victim, honest, acts, hostile) = stage().await;
    for byte in 0..8 {
        let bytes = snap::raw::Encoder::new().compress_vec(&[byte; 77]).unwrap();
        acts.send(Act::Gossip(Topic::Block, bytes)).await.unwrap();
    }
    overcome(victim, honest, hostile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_well_formed_messages_sends_its_sender_away() {
    let (victim, honest, acts, hostile) = stage().await;
    let flood = tokio::spawn(async move {
        for member in 0..4000u64 {
            let bytes = snap::raw::Encoder::new().compress_vec(&approval(100 + member).encode()).unwrap();
            if acts.send(Act::Gossip(Topic::Approval, bytes)).await.is_err() {
                return;
            }
        }
        // Keeps the queue open until the hostile peer is gone.
        acts.closed().await;
    });
    overcome(victim, honest, hostile).await;
    flood.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_send_their_sender_away() {
    let (victim, honest, acts, hostile) = stage().await;
    let mut bomb = vec![2u8];
    bomb.extend_from_slice(&u32::MAX.to_le_bytes());
    bomb.extend_from_slice(&16u32.to_le_bytes());
    let frames =
        [bomb, vec![0; 9], vec![0xee; 64], vec![2, 16, 0, 0, 0, 18, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]];
    for frame in frames.into_iter().cycle().take(8) {
        acts.send(Act::Request(frame)).await.unwrap();
    }
    overcome(victim, honest, hostile).await;
}
