//! What is taken, what is refused and in which words, and in which order it is offered.

use super::fake::{CHAIN_ID, ETHER, GWEI, Running, Wallet, transfer};
use crate::pool::{MAX_TRANSACTION_BYTES, PoolStatus};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip7702, TxLegacy};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes, keccak256};
use revm::primitives::hardfork::SpecId;

const ALICE: u8 = 1;

async fn check_refused(running: &Running, raw: Bytes, expected: &str) {
    let error = running.pool.submit(raw).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(expected), "{text:?} does not begin with {expected:?}");
    assert_eq!(running.pool.status(), PoolStatus::default(), "a refused transaction is not kept");
    assert_eq!(running.journal.len(), 0, "a refused transaction is not journalled");
}

fn eip1559(change: impl FnOnce(&mut TxEip1559)) -> Bytes {
    let mut transaction = transfer(0, 1);
    change(&mut transaction);
    Wallet::new(ALICE).sign(transaction)
}

#[tokio::test]
async fn broken_transactions_are_refused_in_the_words_that_wallets_know() {
    let running = Running::start();
    running.chain.set(Wallet::new(2), 5, ETHER);
    let cases = [
        (Bytes::new(), "transaction can't be decoded: no bytes"),
        (bytes!("deadbeef"), "transaction can't be decoded"),
        (bytes!("02c0"), "transaction can't be decoded"),
        (bytes!("03c0"), "transaction type not supported: blob"),
        (bytes!("7fc0"), "transaction type not supported: type 0x7f"),
        (vec![0x02; MAX_TRANSACTION_BYTES + 1].into(), "oversized data: transaction size 131073, limit 131072"),
        (eip1559(|tx| tx.chain_id = 1), "invalid sender: invalid chain id for signer: have 1 want 1337"),
        (eip1559(|tx| tx.max_priority_fee_per_gas = 100 * GWEI), "max priority fee per gas higher than max fee"),
        (eip1559(|tx| tx.nonce = u64::MAX), "nonce has max value"),
        (eip1559(|tx| tx.gas_limit = 20_999), "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (eip1559(|tx| tx.gas_limit = 30_000_001), "exceeds block gas limit"),
        (eip1559(|tx| tx.value = U256::from(101 * ETHER)), "insufficient funds for gas * price + value: balance"),
        (
            eip1559(|tx| {
                tx.input = vec![1; 1000].into();
                tx.gas_limit = 40_000;
            }),
            "insufficient gas for floor data gas cost: gas 40000, minimum needed 61000",
        ),
        (
            eip1559(|tx| {
                tx.to = TxKind::Create;
                tx.input = vec![0; 49_153].into();
                tx.gas_limit = 10_000_000;
            }),
            "max initcode size exceeded: code size 49153, limit 49152",
        ),
        (Wallet::new(2).pay(4, 1), "nonce too low: next nonce 5, tx nonce 4"),
        (
            Wallet::new(ALICE).sign(TxLegacy { chain_id: None, gas_limit: 21_000, ..TxLegacy::default() }),
            "only replay-protected (EIP-155) transactions allowed over RPC",
        ),
        (
            Wallet::new(ALICE).sign(TxEip7702 { chain_id: CHAIN_ID, gas_limit: 100_000, ..TxEip7702::default() }),
            "EIP-7702 transaction with empty auth list",
        ),
    ];
    for (raw, expected) in cases {
        check_refused(&running, raw, expected).await;
    }
}

#[tokio::test]
async fn malleable_signature_is_refused() {
    use alloy_consensus::crypto::secp256k1::sign_message;
    use alloy_eips::eip2718::Encodable2718 as _;
    let transaction = transfer(0, 1);
    let signature = sign_message(B256::repeat_byte(ALICE), transaction.signature_hash()).unwrap();
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let raw = crate::Tx::from(transaction.into_signed(high)).encoded_2718().into();
    check_refused(&Running::start(), raw, "invalid sender: signature recovers no address").await;
}

#[tokio::test]
async fn rules_follow_the_fork_of_the_next_block() {
    let running = Running::start();
    running.chain.change_head(|head| head.next_rules = SpecId::OSAKA);
    let too_much = eip1559(|tx| tx.gas_limit = 16_777_217);
    check_refused(&running, too_much, "transaction gas limit too high (cap: 16777216, tx: 16777217)").await;
    running.chain.advance(&[]);
    running.chain.change_head(|head| head.next_rules = SpecId::CANCUN);
    let authorization = Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 0 }
        .into_signed(Signature::test_signature());
    let delegation = TxEip7702 {
        chain_id: CHAIN_ID,
        gas_limit: 100_000,
        authorization_list: vec![authorization],
        ..TxEip7702::default()
    };
    let raw = Wallet::new(ALICE).sign(delegation);
    check_refused(&running, raw.clone(), "transaction type not supported: type 0x04").await;
    running.chain.advance(&[]);
    running.chain.change_head(|head| head.next_rules = SpecId::PRAGUE);
    running.pool.submit(raw).await.unwrap();
}

#[tokio::test]
async fn taken_transaction_is_on_disk_visible_and_announced() {
    let running = Running::start();
    let mut announced = running.pool.subscribe().unwrap();
    let raw = Wallet::new(ALICE).pay(0, 1);
    let hash = running.pool.submit(raw.clone()).await.unwrap();
    assert_eq!(hash, keccak256(&raw));
    assert_eq!(running.journal.entries.lock().unwrap()[0].raw, raw);
    assert_eq!(announced.recv().await.unwrap().hash(), hash);
    let (found, pending) = running.pool.get(hash).await.unwrap().unwrap();
    assert_eq!((found.raw(), pending), (&raw, true));
    assert_eq!(running.pool.pending_nonce(Wallet::new(ALICE).address()), Some(1));
    assert_eq!(running.pool.submit(raw).await.unwrap_err().to_string(), "already known");
}

#[tokio::test]
async fn gap_waits_until_it_is_filled() {
    let running = Running::start();
    let mut announced = running.pool.subscribe().unwrap();
    let alice = Wallet::new(ALICE);
    let second = running.pool.submit(alice.pay(1, 5)).await.unwrap();
    assert_eq!(running.pool.status(), PoolStatus { pending: 0, queued: 1 });
    assert_eq!(running.pool.pending_nonce(alice.address()), Some(0));
    assert!(running.order(0).is_empty());
    let first = running.pool.submit(alice.pay(0, 1)).await.unwrap();
    assert_eq!(running.pool.status(), PoolStatus { pending: 2, queued: 0 });
    assert_eq!(running.order(0), [(alice.address(), 0), (alice.address(), 1)]);
    assert_eq!(announced.recv().await.unwrap().hash(), first);
    assert_eq!(announced.recv().await.unwrap().hash(), second);
}

#[tokio::test]
async fn replacement_needs_a_tenth_more_on_both_fees() {
    let running = Running::start();
    let alice = Wallet::new(ALICE);
    let fees = |fee: u128, tip: u128| {
        eip1559(|tx| {
            tx.max_fee_per_gas = fee * GWEI;
            tx.max_priority_fee_per_gas = tip * GWEI;
        })
    };
    let old = running.pool.submit(fees(100, 10)).await.unwrap();
    for (fee, tip) in [(100, 11), (110, 10), (109, 11)] {
        let error = running.pool.submit(fees(fee, tip)).await.unwrap_err().to_string();
        assert!(error.starts_with("replacement transaction underpriced"), "{error}");
    }
    let new = running.pool.submit(fees(110, 11)).await.unwrap();
    assert!(running.pool.get(old).await.unwrap().is_none());
    assert!(running.pool.get(new).await.unwrap().is_some());
    assert_eq!(running.order(0), [(alice.address(), 0)]);
    assert_eq!(running.journal.len(), 1, "the replaced one is forgotten");
}

#[tokio::test]
async fn sender_must_afford_all_of_its_pending_transactions() {
    let running = Running::start();
    let alice = Wallet::new(ALICE);
    running.chain.set(alice, 0, ETHER);
    let spend = |nonce, value: u128| alice.sign(TxEip1559 { value: U256::from(value), ..transfer(nonce, 1) });
    running.pool.submit(spend(0, ETHER / 2)).await.unwrap();
    let error = running.pool.submit(spend(1, ETHER / 2)).await.unwrap_err().to_string();
    assert!(error.starts_with("insufficient funds for gas * price + value"), "{error}");
    running.pool.submit(spend(1, ETHER / 4)).await.unwrap();
}

#[tokio::test]
async fn candidates_come_by_tip_and_each_senders_by_nonce() {
    let running = Running::start();
    let [a, b, c] = [1, 2, 3].map(Wallet::new);
    for raw in [a.pay(0, 1), a.pay(1, 9), b.pay(0, 5), b.pay(1, 2), c.pay(0, 5)] {
        running.pool.submit(raw).await.unwrap();
    }
    let [a, b, c] = [a, b, c].map(Wallet::address);
    assert_eq!(running.order(0), [(b, 0), (c, 0), (b, 1), (a, 0), (a, 1)]);
    let mut candidates = running.pool.candidates(0);
    assert_eq!(candidates.next().unwrap().sender(), b);
    candidates.skip_sender(b);
    let rest: Vec<_> = candidates.map(|tx| (tx.sender(), tx.nonce())).collect();
    assert_eq!(rest, [(c, 0), (a, 0), (a, 1)]);
    // 12 gwei is the most that b's second transaction pays: with a higher base fee it is not offered.
    let base_fee = 12_500_000_000;
    assert_eq!(running.order(base_fee), [(b, 0), (c, 0)]);
}

#[tokio::test]
async fn full_pool_gives_up_the_cheapest_tail_and_nothing_better() {
    let running = Running::with(|config| config.max_transactions = 3);
    let [a, b, c] = [1, 2, 3].map(Wallet::new);
    for raw in [a.pay(0, 1), a.pay(1, 9), b.pay(0, 5)] {
        running.pool.submit(raw).await.unwrap();
    }
    let error = running.pool.submit(c.pay(0, 5)).await.unwrap_err().to_string();
    assert!(error.starts_with("txpool is full"), "{error}");
    running.pool.submit(c.pay(0, 6)).await.unwrap();
    assert_eq!(running.order(0), [(c.address(), 0), (a.address(), 0), (a.address(), 1)]);
    assert_eq!(running.journal.len(), 3);
}

#[tokio::test]
async fn senders_have_limits() {
    let running = Running::with(|config| {
        config.max_per_sender = 3;
        config.max_queued_per_sender = 1;
    });
    let alice = Wallet::new(ALICE);
    running.pool.submit(alice.pay(7, 1)).await.unwrap();
    let error = running.pool.submit(alice.pay(8, 1)).await.unwrap_err().to_string();
    assert_eq!(error, "account limit exceeded: sender has 1 transactions waiting for nonce 0, limit 1");
    running.pool.submit(alice.pay(0, 1)).await.unwrap();
    running.pool.submit(alice.pay(1, 1)).await.unwrap();
    let error = running.pool.submit(alice.pay(2, 1)).await.unwrap_err().to_string();
    assert_eq!(error, "account limit exceeded: sender has 3 transactions in the pool, limit 3");
}

#[tokio::test]
async fn tip_below_the_operators_least_is_refused() {
    let running = Running::with(|config| config.min_tip = 2 * GWEI);
    check_refused(&running, Wallet::new(ALICE).pay(0, 1), "transaction underpriced: gas tip cap 1000000000").await;
}
