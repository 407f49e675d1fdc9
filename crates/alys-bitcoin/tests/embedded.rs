//! The embedded chain behind the port.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alys_bitcoin::embedded::{EmbeddedError, MAX_GENERATED};
use alys_bitcoin::port::{MAX_HEADERS, MAX_LOCATOR};
use alys_bitcoin::{
    BitcoinPort, BlockError, BlockLog, BlockPlace, Invalid, PoolError, PortError, Regtest, RegtestHandle,
    RegtestLimits, Unavailable, embedded, grind,
};
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Txid};
use support::{NOW, op_true, p2wpkh, pay, solve};
use tokio::task::JoinHandle;

const COIN: u64 = 100_000_000;
const INBOX: NonZeroUsize = NonZeroUsize::new(4).unwrap();

type Task = JoinHandle<Result<(), EmbeddedError>>;

fn start(regtest: Regtest, log: Option<BlockLog>) -> (RegtestHandle, Task) {
    let (handle, task) = embedded(regtest, log, INBOX, || NOW);
    (handle, tokio::spawn(task))
}

fn fresh() -> (RegtestHandle, Task) {
    start(Regtest::new(RegtestLimits::default()), None)
}

#[tokio::test]
async fn a_deposit_is_mined_and_found_with_its_proofs() {
    let (handle, _task) = fresh();
    let mut tips = handle.subscribe();
    let hashes = handle.generate_to(op_true(), 101).await.unwrap();
    assert_eq!(handle.best_block().await.unwrap().hash, *hashes.last().unwrap());
    assert_eq!(tips.borrow_and_update().height, 101);
    let block = handle.block(hashes[0]).await.unwrap().unwrap();
    let coin = OutPoint { txid: block.txdata[0].compute_txid(), vout: 0 };
    let deposit = pay(&[coin], &[(COIN, p2wpkh(1)), (2 * COIN, op_true())]);
    let txid = handle.broadcast(deposit.clone()).await.unwrap();
    assert_eq!(handle.broadcast(deposit).await, Ok(txid));
    assert_eq!(handle.find_transaction(txid).await, Ok(None));

    let template = handle.block_template().await.unwrap();
    assert_eq!((template.height, template.transactions.len()), (102, 1));
    let coinbase = template.coinbase(&op_true(), b"extra").unwrap();
    let mut header = template.header(&coinbase);
    grind(&mut header, u32::MAX).unwrap().unwrap();
    let block = template.block(header, coinbase);
    assert_eq!(handle.submit_block(block.clone()).await, Ok(BlockPlace::Best));
    assert_eq!(handle.submit_block(block.clone()).await, Ok(BlockPlace::Known));
    tips.changed().await.unwrap();
    assert_eq!(tips.borrow().hash, block.block_hash());

    let found = handle.find_transaction(txid).await.unwrap().unwrap();
    assert!(found.proofs_hold());
    assert_eq!((found.block.height, found.position), (102, 1));
    assert_eq!(found.branch.len(), found.coinbase_branch.len());
    let coins = handle.coins_paying(p2wpkh(1), 10).await.unwrap();
    assert_eq!(coins[0].0, OutPoint { txid, vout: 0 });
    assert_eq!(handle.coin(coins[0].0).await.unwrap().unwrap(), coins[0].1);
    assert_eq!(handle.coin_totals().await.unwrap().0, 102 - 1 + 2);
}

#[tokio::test]
async fn headers_follow_a_locator() {
    let (handle, _task) = fresh();
    let hashes = handle.generate_to(op_true(), 10).await.unwrap();
    let after = handle.headers_after(vec![hashes[4]], 3).await.unwrap();
    assert_eq!(after.iter().map(|placed| placed.hash).collect::<Vec<_>>(), hashes[5..8]);
    assert_eq!(after[0].height, 6);
    assert_eq!(after[0].header.block_hash(), hashes[5]);
    assert_eq!(handle.headers_after(vec![hashes[9]], 3).await, Ok(Vec::new()));
    let unknown = BlockHash::all_zeros();
    let bridged = handle.headers_after(vec![unknown, hashes[8]], MAX_HEADERS).await.unwrap();
    assert_eq!(bridged.len(), 1);
    let refused = handle.headers_after(vec![unknown], 3).await;
    assert_eq!(refused, Err(PortError::Invalid(Invalid::UnknownHeaders { count: 1 })));
    let refused = handle.headers_after(vec![unknown], MAX_HEADERS + 1).await;
    assert!(matches!(refused, Err(PortError::Invalid(Invalid::TooMany { .. }))));
    let refused = handle.headers_after(vec![unknown; MAX_LOCATOR + 1], 1).await;
    assert!(matches!(refused, Err(PortError::Invalid(Invalid::TooMany { .. }))));
    assert_eq!(handle.header_at(11).await, Ok(None));
    assert_eq!(handle.header_at(10).await.unwrap().unwrap().hash, hashes[9]);
    assert_eq!(handle.block(unknown).await, Ok(None));
}

#[tokio::test]
async fn what_breaks_a_rule_is_invalid_and_names_it() {
    let (handle, _task) = fresh();
    handle.generate_to(op_true(), 1).await.unwrap();
    let nowhere = OutPoint { txid: Txid::all_zeros(), vout: 1 };
    let error = handle.broadcast(pay(&[nowhere], &[(COIN, p2wpkh(1))])).await.unwrap_err();
    let PortError::Invalid(Invalid::Transaction(rule)) = &error else { panic!("{error}") };
    assert!(matches!(**rule, PoolError::Transaction(_)));
    assert!(!error.is_retryable());
    let mut template = handle.block_template().await.unwrap();
    template.coinbase_value += template.coinbase_value;
    let error = handle.submit_block(solve(&template, Vec::new(), &op_true())).await.unwrap_err();
    let PortError::Invalid(Invalid::Block(rule)) = &error else { panic!("{error}") };
    assert!(matches!(**rule, BlockError::Reward { .. }));
    let error = handle.generate_to(op_true(), MAX_GENERATED + 1).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid(Invalid::TooMany { .. })));
    assert_eq!(handle.best_block().await.unwrap().height, 1);
}

#[tokio::test]
async fn a_full_pool_is_a_matter_of_time() {
    let limits = RegtestLimits { pool_transactions: 1, ..RegtestLimits::default() };
    let (handle, _task) = start(Regtest::new(limits), None);
    handle.generate_to(op_true(), 102).await.unwrap();
    let coins = handle.coins_paying(op_true(), 1_000).await.unwrap();
    let mut old = coins.iter().filter(|(_, coin)| coin.height <= 2).map(|(point, _)| *point);
    let mut spend = || pay(&[old.next().unwrap()], &[(COIN, op_true()), (COIN, op_true())]);
    handle.broadcast(spend()).await.unwrap();
    let error = handle.broadcast(spend()).await.unwrap_err();
    assert_eq!(error, PortError::Unavailable(Unavailable::PoolFull));
    assert!(error.is_retryable());
}

#[tokio::test]
async fn the_task_ends_with_its_last_handle_and_a_dead_task_is_unavailable() {
    let (handle, task) = fresh();
    let other = handle.clone();
    drop(handle);
    assert_eq!(other.best_block().await.unwrap().height, 0);
    drop(other);
    assert!(matches!(task.await, Ok(Ok(()))));

    let (handle, task) = fresh();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(handle.best_block().await, Err(PortError::Unavailable(Unavailable::Stopped)));
}

#[tokio::test]
async fn callers_wait_while_the_inbox_is_full_and_all_are_served() {
    let (handle, _task) = fresh();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.generate_to(op_true(), 1).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(handle.best_block().await.unwrap().height, 50);
}

#[tokio::test]
async fn acknowledged_blocks_survive_the_task() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("blocks");
    let opened = BlockLog::open(&path, RegtestLimits::default()).unwrap();
    let (handle, task) = start(opened.regtest, Some(opened.log));
    let hashes = handle.generate_to(op_true(), 3).await.unwrap();
    let template = handle.block_template().await.unwrap();
    let mined = solve(&template, Vec::new(), &p2wpkh(1));
    handle.submit_block(mined.clone()).await.unwrap();
    let totals = handle.coin_totals().await.unwrap();
    // Nothing is closed in order: only what was acknowledged counts.
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());

    let opened = BlockLog::open(&path, RegtestLimits::default()).unwrap();
    assert_eq!((opened.replayed, opened.cut_bytes), (4, 0));
    assert_eq!(opened.regtest.best().hash, mined.block_hash());
    let (handle, _task) = start(opened.regtest, Some(opened.log));
    assert_eq!(handle.coin_totals().await.unwrap(), totals);
    assert_eq!(handle.header_at(3).await.unwrap().unwrap().hash, hashes[2]);
    handle.generate_to(op_true(), 1).await.unwrap();
    assert_eq!(handle.best_block().await.unwrap().height, 5);
}

#[tokio::test]
async fn block_times_follow_the_clock_that_was_given() {
    let now = Arc::new(AtomicU32::new(NOW));
    let clock = Arc::clone(&now);
    let read = move || clock.load(Ordering::Relaxed);
    let (handle, task) = embedded(Regtest::new(RegtestLimits::default()), None, INBOX, read);
    let _task = tokio::spawn(task);
    handle.generate_to(op_true(), 1).await.unwrap();
    now.store(NOW + 777, Ordering::Relaxed);
    handle.generate_to(op_true(), 1).await.unwrap();
    assert_eq!(handle.header_at(1).await.unwrap().unwrap().header.time, NOW);
    assert_eq!(handle.header_at(2).await.unwrap().unwrap().header.time, NOW + 777);
}
