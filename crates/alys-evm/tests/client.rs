//! The Engine API client drives the Engine API server over HTTP: build, import, reorganise, finalize, kill, come back.

#![allow(clippy::unwrap_used)]

mod common;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address};
use alys_engine::{
    ChainIdentity, EndpointConfig, EngineClient, EngineClientConfig, EngineError, ExecutionEngine, ForkchoiceState,
    HistoryFuture, JwtSecret, NewPayload, PayloadHistory, PayloadStatus, RetryPolicy,
};
use common::node::Node;
use common::{CHAIN_ID, GENESIS_TIME, as_new, attributes, genesis, heads, wallet};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SINK: Address = address!("00000000000000000000000000000000000000aa");

async fn start(folder: &Path, port: u16) -> Node {
    Node::open(folder, genesis()).listen(port).await
}

fn config(endpoints: Vec<EndpointConfig>) -> EngineClientConfig {
    let genesis = genesis();
    let chain = ChainIdentity { chain_id: CHAIN_ID, genesis_hash: alys_evm::genesis_hash(&genesis).unwrap() };
    let forks = alys_evm::Forks::new(&genesis.config).unwrap().times();
    let mut config = EngineClientConfig::new(endpoints, chain, forks);
    let pause = Duration::from_millis(5);
    config.retry = RetryPolicy { attempts: 3, first_pause: pause, longest_pause: pause, seed: 3 };
    config
}

fn client(endpoints: Vec<EndpointConfig>) -> EngineClient {
    EngineClient::new(config(endpoints)).unwrap()
}

/// Builds on `parent`, imports and makes it the head.
async fn extend(client: &EngineClient, parent: B256, time: u64) -> NewPayload {
    let attributes = attributes(time);
    let outcome = client.forkchoice_updated(heads(parent), Some(attributes.clone())).await.unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
    let built = client.get_payload(outcome.payload_id.unwrap()).await.unwrap();
    let new = as_new(&built, &attributes);
    assert_eq!(client.new_payload(new.clone()).await.unwrap(), PayloadStatus::Valid);
    let outcome = client.forkchoice_updated(heads(new.payload.block_hash), None).await.unwrap();
    assert_eq!(outcome.status, PayloadStatus::Valid);
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_built_imported_reorganised_and_finalized_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path(), 0).await;
    let port = node.port();
    let client = client(vec![node.endpoint()]);
    let info = client.info().await.unwrap();
    assert_eq!((info.chain_id, info.head_number, info.client.as_str()), (CHAIN_ID, 0, "test/1"));
    let alice = wallet(1);
    let transfer = alice.call(0, TxKind::Call(SINK), U256::from(5), Bytes::new());
    node.pool.submit(alloy_eips::Encodable2718::encoded_2718(transfer.inner()).into()).await.unwrap();
    let first = extend(&client, info.head, GENESIS_TIME + 2).await;
    assert_eq!(first.payload.transactions.len(), 1);
    let fees = client.block_fees(first.payload.block_hash).await.unwrap();
    assert_eq!(fees.total, U256::from(21_000_u64) * U256::from(1_875_000_000_u64));
    let unknown = client.block_fees(B256::repeat_byte(4)).await;
    assert_eq!(unknown, Err(EngineError::UnknownBlock { hash: B256::repeat_byte(4) }));
    let second = extend(&client, first.payload.block_hash, GENESIS_TIME + 4).await;

    // A sibling of the second block takes its place.
    let sibling = extend(&client, first.payload.block_hash, GENESIS_TIME + 6).await;
    assert_eq!(node.reader.heads().latest.hash, sibling.payload.block_hash);
    let (head, safe) = (sibling.payload.block_hash, first.payload.block_hash);
    let finalized = ForkchoiceState { head, safe, finalized: safe };
    client.forkchoice_updated(finalized, None).await.unwrap();
    assert_eq!(node.reader.heads().finalized.hash, safe);
    let left = client.forkchoice_updated(heads(info.head), None).await;
    assert!(matches!(left, Err(EngineError::Refused { .. })), "{left:?}");
    let late = client.forkchoice_updated(heads(head), Some(attributes(GENESIS_TIME))).await;
    assert!(matches!(late, Err(EngineError::InvalidAttributes { .. })), "{late:?}");

    // While the engine is away nothing is known of any block; afterwards everything is there.
    node.kill().await;
    let away = client.new_payload(second.clone()).await;
    assert!(matches!(away, Err(EngineError::Unavailable { .. })), "{away:?}");
    let node = start(folder.path(), port).await;
    assert_eq!(client.info().await.unwrap().head, head);
    assert_eq!(client.new_payload(second).await.unwrap(), PayloadStatus::Valid);
    let third = extend(&client, head, GENESIS_TIME + 8).await;
    assert_eq!(node.reader.heads().latest.hash, third.payload.block_hash);

    let mut wrong = third.clone();
    wrong.payload.state_root = B256::ZERO;
    let fork = alys_engine::Fork::Prague;
    wrong.payload.block_hash = alys_engine::payload_hash(&wrong, fork).unwrap();
    let status = client.new_payload(wrong.clone()).await.unwrap();
    let PayloadStatus::Invalid { latest_valid_hash, reason } = status else { panic!("{status:?}") };
    assert_eq!(latest_valid_hash, Some(head));
    assert!(reason.contains("stateRoot"), "{reason}");
    let bad = node.call("debug_getBadBlocks", serde_json::json!([])).await;
    assert_eq!(bad.as_array().map(Vec::len), Some(1), "{bad}");
    assert_eq!(bad[0]["hash"], serde_json::json!(wrong.payload.block_hash));
    assert_eq!(bad[0]["block"]["hash"], bad[0]["hash"]);
    let mut orphan = third;
    orphan.payload.parent_hash = B256::repeat_byte(3);
    orphan.payload.block_hash = alys_engine::payload_hash(&orphan, fork).unwrap();
    assert_eq!(client.new_payload(orphan).await.unwrap(), PayloadStatus::Syncing);
    node.kill().await;
}

/// A node's store of payloads.
struct Stored(HashMap<B256, NewPayload>);

impl PayloadHistory for Stored {
    fn payload(&self, block_hash: B256, _: Option<u64>) -> HistoryFuture<'_> {
        Box::pin(async move { Ok(self.0.get(&block_hash).cloned()) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_lost_its_state_gets_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path(), 0).await;
    let port = node.port();
    let first = client(vec![node.endpoint()]);
    let mut head = first.info().await.unwrap().head;
    let mut stored = HashMap::new();
    let mut newest = None;
    for step in 1..=70 {
        let new = extend(&first, head, GENESIS_TIME + 2 * step).await;
        head = new.payload.block_hash;
        newest = Some(new.clone());
        stored.insert(head, new);
    }
    node.kill().await;

    let empty = tempfile::tempdir().unwrap();
    let node = start(empty.path(), port).await;
    let plain = client(vec![node.endpoint()]);
    let newest = newest.unwrap();
    assert_eq!(plain.new_payload(newest.clone()).await.unwrap(), PayloadStatus::Syncing);
    assert_eq!(plain.forkchoice_updated(heads(head), None).await.unwrap().status, PayloadStatus::Syncing);
    let history = Arc::new(Stored(stored));
    let healing = EngineClient::with_history(config(vec![node.endpoint()]), history.clone()).unwrap();
    assert_eq!(healing.new_payload(newest.clone()).await.unwrap(), PayloadStatus::Valid);
    assert_eq!(healing.forkchoice_updated(heads(head), None).await.unwrap().status, PayloadStatus::Valid);
    assert_eq!(node.reader.heads().latest.number, 70);
    node.kill().await;

    // And the head alone is enough.
    let empty = tempfile::tempdir().unwrap();
    let node = start(empty.path(), port).await;
    assert_eq!(healing.forkchoice_updated(heads(head), None).await.unwrap().status, PayloadStatus::Valid);
    assert_eq!(node.reader.heads().latest.hash, head);
    node.kill().await;

    // A history that does not reach back far enough leaves the engine to sync by itself.
    let empty = tempfile::tempdir().unwrap();
    let node = start(empty.path(), port).await;
    let short = Stored([(head, newest.clone())].into());
    let client = EngineClient::with_history(config(vec![node.endpoint()]), Arc::new(short)).unwrap();
    assert_eq!(client.forkchoice_updated(heads(head), None).await.unwrap().status, PayloadStatus::Syncing);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_asked_for_and_another_engine_answers() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (start(one.path(), 0).await, start(two.path(), 0).await);
    let wrong = EndpointConfig { secret: JwtSecret::new([1; 32]), ..first.endpoint() };
    let refused = client(vec![wrong.clone()]).info().await;
    assert!(matches!(&refused, Err(EngineError::Unavailable { reason }) if reason.contains("401")), "{refused:?}");
    assert_eq!(client(vec![wrong, second.endpoint()]).info().await.unwrap().head_number, 0);

    let both = client(vec![first.endpoint(), second.endpoint()]);
    let head = both.info().await.unwrap().head;
    let outcome = both.forkchoice_updated(heads(head), Some(attributes(GENESIS_TIME + 2))).await.unwrap();
    let id = outcome.payload_id.unwrap();
    first.kill().await;
    // The payload went with the engine that built it; the chain goes on with the other one.
    let lost = both.get_payload(id).await;
    assert!(matches!(lost, Err(EngineError::Unavailable { .. })), "{lost:?}");
    let new = extend(&both, head, GENESIS_TIME + 2).await;
    assert_eq!(second.reader.heads().latest.hash, new.payload.block_hash);
    second.kill().await;
}
