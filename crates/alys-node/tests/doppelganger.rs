//! Two processes with one member's key: the second one notices and signs nothing.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_crypto::SecretKey;
use alys_node::NodeBuilder;
use alys_node::sync::SyncState;
use alys_primitives::Height;
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use common::PATIENCE;
use common::nodes::{address, chain, config, validator};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hears_its_own_key_signs_nothing() {
    let key = SecretKey::generate(&[8; 32]).unwrap();
    let files = chain(&key);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let started = tokio::time::Instant::now();
    let first = NodeBuilder::new(config(folders[0].path(), &[]), files.clone())
        .validator(validator(&key, &files, folders[0].path()))
        .start()
        .await
        .unwrap();
    // A federation of one listens for two slots, although nobody is there, and then begins.
    let mut view = first.view.clone();
    tokio::time::timeout(PATIENCE, view.wait_for(|view| view.head.height >= Height(1))).await.unwrap().unwrap();
    assert!(started.elapsed().as_secs() >= 2, "two slots of a second are listened for");

    let way = address(&first, folders[0].path()).await;
    let second_validator = validator(&key, &files, folders[1].path());
    let record = second_validator.record.clone();
    let second = NodeBuilder::new(config(folders[1].path(), &[way]), files.clone())
        .validator(second_validator)
        .start()
        .await
        .unwrap();
    let mut met = second.doppelganger.clone();
    tokio::time::timeout(PATIENCE, met.wait_for(Option::is_some)).await.unwrap().unwrap();
    // Synced or not, it stays silent, and the chain goes on by the first one alone.
    let mut sync = second.sync.clone();
    tokio::time::timeout(PATIENCE, sync.wait_for(|sync| sync.state == SyncState::Synced)).await.unwrap().unwrap();
    let head = second.view.borrow().head.height;
    let mut view = second.view.clone();
    let goes_on = view.wait_for(|view| view.head.height >= head.saturating_add(2));
    tokio::time::timeout(PATIENCE, goes_on).await.unwrap().unwrap();
    assert!(first.doppelganger.borrow().is_none(), "nothing but its own messages reach the first one");
    first.shutdown().await;
    second.shutdown().await;
    let identity =
        RecordIdentity { genesis_root: files.spec.genesis_root(), public_key: key.public_key().to_bytes().into() };
    let record = SigningRecord::open(&record, &identity).unwrap();
    assert_eq!(*record.watermarks(), Watermarks::default(), "nothing was signed");
}
