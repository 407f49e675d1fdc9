//! New heads, reorganisations, crashes and faults.

use super::fake::{CHAIN_ID, FakeJournal, GWEI, Running, Wallet};
use crate::pool::{JournalEntry, PoolConfig, PoolStatus, PoolTaskError, RocksJournal, TransactionJournal as _};
use crate::{BuildTarget, Rejection, TransactionSource as _};
use alloy_primitives::{B256, Bytes, keccak256};
use std::sync::atomic::Ordering;

const ALICE: u8 = 1;

#[tokio::test]
async fn used_nonces_leave_and_come_back_with_a_reorganisation() {
    let running = Running::start();
    let alice = Wallet::new(ALICE);
    let first = running.pool.submit(alice.pay(0, 1)).await.unwrap();
    running.pool.submit(alice.pay(1, 1)).await.unwrap();
    let old = running.chain.advance(&[(alice, 1)]);
    running.follow().await;
    assert_eq!(running.order(0), [(alice.address(), 1)]);
    assert!(running.pool.get(first).await.unwrap().is_none());
    assert_eq!(running.journal.len(), 2, "a block that is not final may still be dropped");
    running.chain.fall_back(old, vec![alice.pay(0, 1)]);
    running.follow().await;
    assert_eq!(running.order(0), [(alice.address(), 0), (alice.address(), 1)]);
    running.chain.advance(&[(alice, 1)]);
    running.follow().await;
    running.chain.finalize();
    running.follow().await;
    assert_eq!(running.journal.len(), 1, "what is final is forgotten");
}

#[tokio::test]
async fn another_transaction_with_the_nonce_makes_one_stale() {
    let running = Running::start();
    let alice = Wallet::new(ALICE);
    running.pool.submit(alice.pay(0, 1)).await.unwrap();
    running.chain.advance(&[(alice, 1)]);
    running.follow().await;
    assert_eq!(running.pool.status(), PoolStatus::default());
    let error = running.pool.submit(alice.pay(0, 2)).await.unwrap_err().to_string();
    assert_eq!(error, "nonce too low: next nonce 1, tx nonce 0");
}

#[tokio::test]
async fn sender_that_lost_its_coins_waits_and_then_leaves() {
    let running = Running::with(|config| config.queued_lifetime_blocks = 3);
    let alice = Wallet::new(ALICE);
    running.pool.submit(alice.pay(0, 1)).await.unwrap();
    running.chain.advance(&[]);
    running.chain.set(alice, 0, GWEI);
    running.follow().await;
    assert_eq!(running.pool.status(), PoolStatus { pending: 0, queued: 1 });
    for _ in 0..3 {
        running.chain.advance(&[]);
        running.follow().await;
    }
    assert_eq!(running.pool.status(), PoolStatus::default());
    assert_eq!(running.journal.len(), 0);
}

#[tokio::test]
async fn acknowledged_transactions_survive_a_crash() {
    let running = Running::start();
    let [a, b] = [1, 2].map(Wallet::new);
    for raw in [a.pay(0, 1), a.pay(1, 1), a.pay(3, 1), b.pay(0, 2)] {
        running.pool.submit(raw).await.unwrap();
    }
    // a's first is in a final block, its second in one that is not.
    running.chain.advance(&[(a, 1)]);
    running.chain.finalize();
    let finalized = running.chain.advance(&[(a, 2)]);
    let (chain, journal) = running.crash().await;
    let reopened = Running::over(chain.clone(), journal.clone(), PoolConfig::new(CHAIN_ID));
    assert_eq!(reopened.pool.status(), PoolStatus { pending: 1, queued: 1 });
    assert_eq!(journal.len(), 3, "only what is final is forgotten");
    // The newest block did not survive: what it held was acknowledged and must be back.
    let (chain, journal) = reopened.crash().await;
    chain.fall_back(finalized, Vec::new());
    let again = Running::over(chain, journal, PoolConfig::new(CHAIN_ID));
    assert_eq!(again.pool.status(), PoolStatus { pending: 2, queued: 1 });
    assert_eq!(again.order(0), [(b.address(), 0), (a.address(), 1)]);
}

#[tokio::test]
async fn journal_that_fails_ends_the_task_and_acknowledges_nothing() {
    let running = Running::start();
    running.journal.fails.store(true, Ordering::SeqCst);
    let error = running.pool.submit(Wallet::new(ALICE).pay(0, 1)).await.unwrap_err().to_string();
    assert_eq!(error, "transaction pool is not available: transactions can't be kept");
    assert_eq!(running.pool.status(), PoolStatus::default(), "what is not durable is not visible");
    let pool = running.pool.clone();
    assert!(matches!(running.ended().await, Err(PoolTaskError::Journal(_))));
    let error = pool.submit(Wallet::new(ALICE).pay(0, 1)).await.unwrap_err().to_string();
    assert_eq!(error, "transaction pool is not available: it has stopped or lost the request");
}

#[tokio::test]
async fn panic_costs_one_request_and_no_transaction() {
    let running = Running::start();
    let kept = running.pool.submit(Wallet::new(1).pay(0, 1)).await.unwrap();
    running.chain.panics.store(true, Ordering::SeqCst);
    running.pool.submit(Wallet::new(2).pay(0, 1)).await.unwrap_err();
    assert!(running.pool.get(kept).await.unwrap().is_some());
    running.pool.submit(Wallet::new(2).pay(0, 1)).await.unwrap();
    assert_eq!(running.pool.status(), PoolStatus { pending: 2, queued: 0 });
}

#[tokio::test]
async fn builder_tells_the_pool_what_no_block_can_hold() {
    let running = Running::start();
    let [a, b] = [1, 2].map(Wallet::new);
    for raw in [a.pay(0, 9), a.pay(1, 9), b.pay(0, 1), b.pay(1, 1)] {
        running.pool.submit(raw).await.unwrap();
    }
    let target = BuildTarget { parent: B256::ZERO, number: 2, timestamp: 2, base_fee: 7, gas_limit: 30_000_000 };
    let mut best = running.pool.best(target);
    let poison = best.next().unwrap();
    best.reject(&poison, Rejection::Invalid("planted".to_owned()));
    let used = best.next().unwrap();
    assert_eq!(used.signer(), b.address(), "nothing more of a refused sender");
    best.reject(&used, Rejection::NonceTooLow);
    let next = best.next().unwrap();
    assert_eq!(next.signer(), b.address(), "a used nonce does not hold up the next");
    assert!(best.next().is_none());
    assert!(running.pool.get(*poison.tx_hash()).await.unwrap().is_none());
    assert_eq!(running.pool.status(), PoolStatus { pending: 2, queued: 1 });
}

#[test]
fn journal_on_disk_keeps_order_and_drops_damage() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |text: &'static str| JournalEntry { hash: keccak256(text), raw: Bytes::from_static(text.as_bytes()) };
    let damaged = JournalEntry { hash: keccak256("x"), raw: Bytes::from_static(b"y") };
    let mut journal = RocksJournal::open(folder.path()).unwrap();
    journal.append(&[entry("one"), entry("two"), damaged]).unwrap();
    drop(journal);
    let mut journal = RocksJournal::open(folder.path()).unwrap();
    journal.append(&[entry("three")]).unwrap();
    journal.remove(&[entry("one").hash]).unwrap();
    drop(journal);
    let mut journal = RocksJournal::open(folder.path()).unwrap();
    assert_eq!(journal.load().unwrap(), [entry("two"), entry("three")]);
}

#[tokio::test]
async fn damaged_and_foreign_journal_entries_do_not_stop_the_pool() {
    let good = Wallet::new(ALICE).pay(0, 1);
    let journal = FakeJournal::default();
    let entry = |raw: Bytes| JournalEntry { hash: keccak256(&raw), raw };
    *journal.entries.lock().unwrap() = vec![entry(Bytes::from_static(b"\x02junk")), entry(good)];
    let running = Running::over(super::fake::FakeChain::new(), journal, PoolConfig::new(CHAIN_ID));
    assert_eq!(running.pool.status(), PoolStatus { pending: 1, queued: 0 });
    assert_eq!(running.journal.len(), 1);
}
