//! What may wait for a block, what replaces what, and that the pool stays bounded.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use alys_bitcoin::regtest::pool::{MAX_ANCESTORS, MIN_TRANSACTION_BYTES};
use alys_bitcoin::{PoolError, Regtest, RegtestLimits, Submitted, TransactionError};
use bitcoin::{OutPoint, ScriptBuf, Transaction, Weight};
use support::{NOW, fork, funded, funded_within, op_true, p2wpkh, pay, point, sats, sign_p2wpkh, solve};

const COIN: u64 = 100_000_000;

fn paying(from: &[OutPoint], fee: u64) -> Transaction {
    let value = 50 * COIN * u64::try_from(from.len()).unwrap() - fee;
    pay(from, &[(value - COIN, op_true()), (COIN, op_true())])
}

#[test]
fn sending_again_changes_nothing_and_a_double_spend_must_outbid() {
    let (mut regtest, points) = funded(&op_true(), 2);
    let first = paying(&points[..1], 1_000);
    let txid = regtest.broadcast(first.clone()).unwrap();
    assert_eq!(regtest.broadcast(first.clone()), Ok(txid));
    assert_eq!(regtest.waiting_count(), 1);
    let child = pay(&[point(&first, 0)], &[(49 * COIN - 3_000, op_true()), (500, op_true())]);
    let child_txid = regtest.broadcast(child).unwrap();

    let minimum = |transaction: &Transaction| sats(1_000 + 1_500 + transaction.weight().to_vbytes_ceil());
    let rival = paying(&points, 2_000);
    let refused = PoolError::Replacement { fee: sats(2_000), minimum: minimum(&rival), conflict: txid };
    assert_eq!(regtest.broadcast(rival.clone()), Err(refused));
    assert_eq!(regtest.waiting(&txid), Some(&first));
    let enough = paying(&points, minimum(&rival).to_sat());
    let winner = regtest.broadcast(enough).unwrap();
    assert_eq!(regtest.waiting(&txid), None);
    assert_eq!(regtest.waiting(&child_txid), None);
    assert_eq!(regtest.spender(&points[0]), Some(winner));
    assert_eq!(regtest.waiting_count(), 1);
    let block = regtest.generate(&op_true(), NOW).unwrap();
    assert_eq!(block.txdata[1].compute_txid(), winner);
    // Confirmed: sending it once more is no error, and does not bring it back.
    assert_eq!(regtest.broadcast(block.txdata[1].clone()), Ok(winner));
    assert_eq!(regtest.waiting_count(), 0);
}

#[test]
fn a_greater_fee_at_a_smaller_rate_does_not_replace() {
    let (mut regtest, points) = funded(&op_true(), 1);
    let small = paying(&points, 1_000);
    let conflict = regtest.broadcast(small).unwrap();
    let many: Vec<(u64, ScriptBuf)> = (0..200).map(|_| (COIN / 10, p2wpkh(1))).collect();
    let mut large = pay(&points, &many);
    let fee = 8_000;
    large.output[0].value = sats(50 * COIN - 199 * COIN / 10 - fee);
    let minimum = sats(1_000 + large.weight().to_vbytes_ceil());
    assert!(sats(fee) > minimum, "only the rate is in the way");
    let refused = PoolError::Replacement { fee: sats(fee), minimum, conflict };
    assert_eq!(regtest.broadcast(large), Err(refused));
}

#[test]
fn what_a_transaction_spends_from_can_not_be_replaced_by_it() {
    let (mut regtest, points) = funded(&op_true(), 1);
    let parent = paying(&points, 1_000);
    let conflict = regtest.broadcast(parent.clone()).unwrap();
    let child = pay(&[points[0], point(&parent, 0)], &[(COIN, op_true()), (COIN, op_true())]);
    assert_eq!(regtest.broadcast(child), Err(PoolError::MayNotReplace { conflict }));
}

#[test]
fn form_and_fee_are_checked() {
    let (mut regtest, points) = funded(&op_true(), 2);
    let coinbase = regtest.block(&regtest.best().hash).unwrap().txdata[0].clone();
    let mut fresh = coinbase.clone();
    fresh.output[0].value = sats(1);
    assert_eq!(regtest.broadcast(fresh), Err(PoolError::Coinbase));
    let tiny = pay(&points[..1], &[(COIN, op_true())]);
    assert!(tiny.base_size() < MIN_TRANSACTION_BYTES);
    assert_eq!(regtest.broadcast(tiny.clone()), Err(PoolError::TooSmall { bytes: tiny.base_size() }));
    let cheap = paying(&points[..1], 50);
    let minimum = sats(cheap.weight().to_vbytes_ceil());
    assert_eq!(regtest.broadcast(cheap), Err(PoolError::FeeTooLow { fee: sats(50), minimum }));
    let huge: Vec<(u64, ScriptBuf)> = (0..4_000).map(|_| (1_000, p2wpkh(1))).collect();
    assert!(matches!(regtest.broadcast(pay(&points[..1], &huge)), Err(PoolError::TooHeavy { .. })));
    let missing = OutPoint { txid: coinbase.compute_txid(), vout: 5 };
    let refused = PoolError::Transaction(TransactionError::MissingCoin(missing));
    assert_eq!(regtest.broadcast(paying(&[missing], 1_000)), Err(refused));
    let mut unsigned = pay(&points[1..], &[(COIN, p2wpkh(1))]);
    unsigned.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
    let refused = regtest.broadcast(unsigned);
    assert!(matches!(refused, Err(PoolError::Transaction(TransactionError::Spend(_)))), "{refused:?}");
    assert_eq!(regtest.waiting_count(), 0);
}

#[test]
fn chains_of_waiting_transactions_are_bounded() {
    let (mut regtest, points) = funded(&op_true(), 1);
    let mut from = points[0];
    let mut value = 50 * COIN;
    for length in 1..=MAX_ANCESTORS + 1 {
        value -= 2_000;
        let next = pay(&[from], &[(value, op_true()), (1_000, op_true())]);
        from = point(&next, 0);
        let result = regtest.broadcast(next);
        if length <= MAX_ANCESTORS {
            assert!(result.is_ok(), "{length}: {result:?}");
        } else {
            assert_eq!(result, Err(PoolError::TooManyAncestors { limit: MAX_ANCESTORS }));
        }
    }
    let block = regtest.generate(&op_true(), NOW).unwrap();
    assert_eq!(block.txdata.len(), MAX_ANCESTORS + 1);
}

fn fill(regtest: &mut Regtest, points: &[OutPoint]) -> Vec<Result<bitcoin::Txid, PoolError>> {
    points.iter().map(|point| regtest.broadcast(paying(&[*point], 1_000))).collect()
}

#[test]
fn the_pool_takes_no_more_than_its_limits() {
    let limits = RegtestLimits { pool_transactions: 2, ..RegtestLimits::default() };
    let (mut regtest, points) = funded_within(limits, &op_true(), 3);
    let results = fill(&mut regtest, &points);
    assert!(results[0].is_ok() && results[1].is_ok());
    assert_eq!(results[2], Err(PoolError::Full { limit: 2 }));
    // A replacement takes the place of what it throws out.
    regtest.broadcast(paying(&points[..1], 9_000)).unwrap();

    let weight = paying(&points[..1], 1_000).weight() * 2;
    let limits = RegtestLimits { pool_weight: weight, ..RegtestLimits::default() };
    let (mut regtest, points) = funded_within(limits, &op_true(), 3);
    let results = fill(&mut regtest, &points);
    assert!(results[1].is_ok() && results[2].is_err());
    assert!(weight > Weight::ZERO);
}

#[test]
fn a_block_throws_out_what_contradicts_it_with_all_that_follows() {
    let (mut regtest, points) = funded(&op_true(), 2);
    let waiting = paying(&points[..1], 1_000);
    let txid = regtest.broadcast(waiting.clone()).unwrap();
    let child = pay(&[point(&waiting, 0)], &[(COIN, op_true()), (COIN, op_true())]);
    regtest.broadcast(child).unwrap();
    let bystander = regtest.broadcast(paying(&points[1..], 1_000)).unwrap();
    let rival = pay(&points[..1], &[(COIN, op_true()), (COIN, op_true())]);
    let block = solve(&regtest.template(NOW), vec![rival], &op_true());
    assert!(matches!(regtest.submit(block, NOW), Ok(Submitted::Best(_))));
    assert_eq!(regtest.waiting(&txid), None);
    assert_eq!(regtest.waiting_count(), 1);
    assert!(regtest.waiting(&bystander).is_some());
}

#[test]
fn a_reorganisation_drops_what_spent_coins_that_are_gone() {
    let (mut regtest, _) = funded(&p2wpkh(1), 1);
    let root = regtest.best();
    let script = p2wpkh(1);
    let (coin, value) =
        regtest.coins_paying(&script).map(|(point, coin)| (point, coin.output.value.to_sat())).next().unwrap();
    let mut parent = pay(&[coin], &[(value - 2_000, op_true()), (1_000, op_true())]);
    sign_p2wpkh(&mut parent, 0, value, 1);
    regtest.broadcast(parent.clone()).unwrap();
    regtest.generate(&op_true(), NOW).unwrap();
    let child = pay(&[point(&parent, 0)], &[(COIN, op_true()), (COIN, op_true())]);
    regtest.broadcast(child.clone()).unwrap();

    // On the other branch the coin goes elsewhere, so that parent and child are void.
    let mut rival = pay(&[coin], &[(COIN, p2wpkh(9))]);
    sign_p2wpkh(&mut rival, 0, value, 1);
    let template = regtest.template_on(&root.hash, NOW).unwrap();
    let block = solve(&template, vec![rival], &op_true());
    regtest.submit(block.clone(), NOW).unwrap();
    fork(&mut regtest, block.block_hash(), 1, 5);
    assert_eq!(regtest.best().height, root.height + 2);
    assert_eq!(regtest.waiting_count(), 0);
    assert!(regtest.broadcast(child).is_err());
}
