//! The embedded chain: what it takes, what it refuses, how it reorganises, and that it stays bounded.
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use alys_bitcoin::merkle::CommitmentError;
use alys_bitcoin::regtest::{HALVING_INTERVAL, subsidy};
use alys_bitcoin::script::ScriptError;
use alys_bitcoin::{
    BlockError, HeaderError, HeaderLimits, Regtest, RegtestLimits, Submitted, TemplateTransaction, TransactionError,
};
use bitcoin::absolute::LockTime;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, Witness};
use support::{NOW, fork, funded, funded_within, op_true, p2wpkh, pay, point, resolve, sats, sign_p2wpkh, solve};

const COIN: u64 = 100_000_000;

/// Two outputs, so that the transaction is no smaller than the pool takes.
fn split(from: OutPoint, value: u64) -> Transaction {
    pay(&[from], &[(value / 2, op_true()), (value / 2 - 1_000, op_true())])
}

fn empty() -> Regtest {
    Regtest::new(RegtestLimits::default())
}

fn next_block(regtest: &Regtest, transactions: Vec<Transaction>) -> Block {
    solve(&regtest.template(NOW), transactions, &op_true())
}

/// Offers a block and holds that nothing but the answer tells of it.
#[track_caller]
fn refused(regtest: &mut Regtest, block: Block) -> BlockError {
    let before = (regtest.best(), regtest.coin_totals(), regtest.headers().counts());
    let error = regtest.submit(block.clone(), NOW).unwrap_err();
    assert_eq!((regtest.best(), regtest.coin_totals(), regtest.headers().counts()), before);
    assert_eq!(regtest.block(&block.block_hash()), None);
    error
}

fn refused_transaction(regtest: &mut Regtest, transaction: Transaction) -> TransactionError {
    let block = next_block(regtest, vec![transaction]);
    let error = refused(regtest, block);
    let BlockError::Transaction { position: 1, source } = error else { panic!("{error}") };
    source
}

#[test]
fn generated_blocks_make_coins_that_mature_after_a_hundred_blocks() {
    let mut regtest = empty();
    let script = p2wpkh(1);
    let hashes = regtest.generate_to(&script, 100, NOW).unwrap();
    assert_eq!(regtest.best().hash, *hashes.last().unwrap());
    assert_eq!(regtest.best().height, 100);
    assert_eq!(regtest.coin_totals(), (100, sats(100 * 50 * COIN)));
    assert_eq!(regtest.coins_paying(&script).count(), 100);

    let first = point(&regtest.block(&hashes[0]).unwrap().txdata[0].clone(), 0);
    let mut spend = pay(&[first], &[(50 * COIN - 1_000, p2wpkh(2))]);
    sign_p2wpkh(&mut spend, 0, 50 * COIN, 1);
    // At height 101 exactly a hundred blocks lie on the coin of height 1; the coin of height 2 has to wait.
    let second = point(&regtest.block(&hashes[1]).unwrap().txdata[0].clone(), 0);
    let mut early = pay(&[second], &[(50 * COIN - 1_000, p2wpkh(2))]);
    sign_p2wpkh(&mut early, 0, 50 * COIN, 1);
    let immature = TransactionError::Immature { coin: second, height: 2, at: 101 };
    assert_eq!(refused_transaction(&mut regtest, early), immature);
    let txid = regtest.broadcast(spend).unwrap();
    let block = regtest.generate(&script, NOW).unwrap();
    assert_eq!(block.txdata[1].compute_txid(), txid);
    assert_eq!(block.txdata[0].output[0].value, sats(50 * COIN + 1_000));
    assert_eq!(regtest.coin(&first), None);
    assert_eq!(regtest.coin(&OutPoint { txid, vout: 0 }).unwrap().height, 101);
    assert_eq!(regtest.waiting_count(), 0);
    assert!(regtest.find_transaction(&txid).unwrap().proofs_hold());
}

#[test]
fn the_same_calls_give_the_same_chain() {
    let run = || {
        let (mut regtest, points) = funded(&op_true(), 3);
        regtest.broadcast(split(points[0], 50 * COIN)).unwrap();
        regtest.generate_to(&p2wpkh(1), 5, NOW + 60).unwrap();
        (regtest.best(), regtest.coin_totals())
    };
    assert_eq!(run(), run());
}

#[test]
fn the_subsidy_halves_until_nothing_is_left() {
    assert_eq!(subsidy(HALVING_INTERVAL - 1), sats(50 * COIN));
    assert_eq!(subsidy(HALVING_INTERVAL), sats(25 * COIN));
    assert_eq!(subsidy(HALVING_INTERVAL * 33), Amount::ZERO);
    assert_eq!(subsidy(u32::MAX), Amount::ZERO);
}

#[test]
fn a_chain_grows_past_a_retarget_without_one_and_keeps_what_its_limits_say() {
    let headers = HeaderLimits { best: 50, side: 3 };
    let mut regtest = Regtest::new(RegtestLimits { headers, ..RegtestLimits::default() });
    let first = regtest.generate(&op_true(), NOW).unwrap();
    regtest.generate_to(&op_true(), 2_100, NOW).unwrap();
    assert_eq!(regtest.best().height, 2_101);
    assert_eq!(regtest.headers().counts(), (50, 0));
    assert_eq!(regtest.header_at(2_101).unwrap().header.bits, first.header.bits);
    assert_eq!(regtest.block(&first.block_hash()), None);
    assert_eq!(regtest.find_transaction(&first.txdata[0].compute_txid()), None);
    assert_eq!(regtest.header_at(2_051), None);
    assert!(regtest.header_at(2_052).is_some());
    // The old coin can be spent all the same.
    regtest.broadcast(split(point(&first.txdata[0], 0), 50 * COIN)).unwrap();
    regtest.generate(&op_true(), NOW).unwrap();
    assert_eq!(regtest.coin(&point(&first.txdata[0], 0)), None);
}

#[test]
fn blocks_are_kept_up_to_a_number_of_bytes() {
    let mut regtest = Regtest::new(RegtestLimits { block_bytes: 5_000, ..RegtestLimits::default() });
    regtest.generate_to(&op_true(), 200, NOW).unwrap();
    let (best, _) = regtest.headers().counts();
    assert!(best < 30, "{best} blocks are kept");
    let bytes: usize = (0..=200)
        .filter_map(|height| regtest.header_at(height))
        .map(|placed| regtest.block(&placed.hash).unwrap().total_size())
        .sum();
    assert!(bytes <= 5_000);
    let oldest = regtest.header_at(regtest.headers().root_height()).unwrap();
    let side = solve(&regtest.template_on(&oldest.hash, NOW).unwrap(), Vec::new(), &p2wpkh(7));
    let side = Block { txdata: side.txdata, ..side };
    if bytes + side.total_size() > 5_000 {
        assert_eq!(refused(&mut regtest, side), BlockError::BlocksFull { limit: 5_000 });
    }
}

#[test]
fn more_coins_than_the_limit_are_not_taken() {
    let (mut regtest, points) = funded_within(RegtestLimits { coins: 103, ..RegtestLimits::default() }, &op_true(), 1);
    assert_eq!(regtest.coin_totals().0, 101);
    let many: Vec<(u64, ScriptBuf)> = (0..5).map(|_| (COIN, op_true())).collect();
    let block = next_block(&regtest, vec![pay(&[points[0]], &many)]);
    let error = refused(&mut regtest, block);
    assert_eq!(error, BlockError::CoinsFull { limit: 103 });
    assert!(error.is_temporary());
    regtest.generate(&op_true(), NOW).unwrap();
}

#[test]
fn a_block_whose_shape_is_wrong_is_refused() {
    let (mut regtest, points) = funded(&op_true(), 4);
    let good = next_block(&regtest, vec![split(points[0], 50 * COIN)]);

    let mut block = good.clone();
    block.header.merkle_root = good.header.prev_blockhash.to_raw_hash().into();
    while alys_bitcoin::grind(&mut block.header, 1_000).unwrap().is_none() {}
    assert_eq!(refused(&mut regtest, block), BlockError::MerkleRoot);

    let three = next_block(&regtest, vec![split(points[0], 50 * COIN), split(points[1], 50 * COIN)]);
    let mut repeated = three.clone();
    repeated.txdata.push(three.txdata[2].clone());
    assert_eq!(repeated.block_hash(), three.block_hash());
    assert_eq!(regtest.submit(repeated, NOW), Err(BlockError::Mutated));

    let mut block = good.clone();
    block.txdata.remove(0);
    assert_eq!(refused(&mut regtest, resolve(block)), BlockError::NoCoinbase);
    let mut block = good.clone();
    block.txdata.clear();
    assert_eq!(refused(&mut regtest, block), BlockError::NoCoinbase);
    let mut block = good.clone();
    let mut second = block.txdata[0].clone();
    second.output.pop();
    block.txdata.push(second);
    assert_eq!(refused(&mut regtest, resolve(block)), BlockError::SecondCoinbase { position: 2 });

    let height = regtest.best().height + 1;
    let mut template = regtest.template(NOW);
    template.height += 1;
    let block = solve(&template, Vec::new(), &op_true());
    assert_eq!(refused(&mut regtest, block), BlockError::CoinbaseHeight { height });

    // Mutating and refusing left no trace: the honest blocks are still taken.
    assert!(matches!(regtest.submit(three, NOW), Ok(Submitted::Best(_))));
}

#[test]
fn witnesses_must_be_committed_to() {
    let (mut regtest, points) = funded(&p2wpkh(1), 1);
    let mut spend = pay(&[points[0]], &[(COIN, p2wpkh(2))]);
    sign_p2wpkh(&mut spend, 0, 50 * COIN, 1);
    let good = next_block(&regtest, vec![spend]);
    let mut block = good.clone();
    block.txdata[0].output.pop();
    assert_eq!(refused(&mut regtest, resolve(block)), BlockError::Commitment(CommitmentError::Missing));
    let mut block = good.clone();
    block.txdata[0].input[0].witness = Witness::from_slice(&[[0u8; 31]]);
    assert_eq!(refused(&mut regtest, resolve(block)), BlockError::Commitment(CommitmentError::ReservedValue));
    let mut block = good.clone();
    block.txdata[0].input[0].witness = Witness::from_slice(&[[1u8; 32]]);
    assert_eq!(refused(&mut regtest, resolve(block)), BlockError::Commitment(CommitmentError::Mismatch));
    // A witness changed after the fact does not change the txid, but is caught.
    let mut block = good.clone();
    block.txdata[1].input[0].witness.push([1]);
    assert_eq!(block.block_hash(), good.block_hash());
    assert_eq!(regtest.submit(block, NOW), Err(BlockError::Commitment(CommitmentError::Mismatch)));
    assert!(matches!(regtest.submit(good, NOW), Ok(Submitted::Best(_))));
}

#[test]
fn a_coinbase_takes_no_more_than_subsidy_and_fees() {
    let (mut regtest, points) = funded(&op_true(), 1);
    let spend = split(points[0], 50 * COIN);
    let mut template = regtest.template(NOW);
    template.coinbase_value += sats(1_000);
    let good = solve(&template, vec![spend.clone()], &op_true());
    template.coinbase_value += sats(1);
    let greedy = solve(&template, vec![spend], &op_true());
    let paid = template.coinbase_value;
    assert_eq!(refused(&mut regtest, greedy), BlockError::Reward { paid, allowed: paid - sats(1) });
    assert!(matches!(regtest.submit(good, NOW), Ok(Submitted::Best(_))));
}

#[test]
fn transactions_that_break_a_rule_make_a_block_invalid() {
    let (mut regtest, points) = funded(&op_true(), 3);
    let good = split(points[0], 50 * COIN);

    let mut broken = good.clone();
    broken.input.push(broken.input[0].clone());
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::DuplicateInput(points[0]));
    let mut broken = good.clone();
    broken.output.clear();
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::NoOutputs);
    let mut broken = good.clone();
    broken.output[0].value = Amount::MAX_MONEY;
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::OutputRange);
    let mut broken = good.clone();
    broken.output[0].value = sats(u64::MAX);
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::OutputRange);
    let broken = pay(&[points[0]], &[(50 * COIN + 1, op_true())]);
    let (inputs, outputs) = (sats(50 * COIN), sats(50 * COIN + 1));
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::Overspends { inputs, outputs });
    let mut broken = good.clone();
    broken.input.push(pay(&[OutPoint::null()], &[]).input[0].clone());
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::NullInput);
    let nowhere = OutPoint { txid: good.compute_txid(), vout: 9 };
    let broken = split(nowhere, 50 * COIN);
    assert_eq!(refused_transaction(&mut regtest, broken), TransactionError::MissingCoin(nowhere));
    let mut broken = good.clone();
    broken.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]);
    let TransactionError::Spend(error) = refused_transaction(&mut regtest, broken) else { panic!("no spend error") };
    assert_eq!((error.input, error.source), (0, ScriptError::ScriptSig));

    // The same coin twice in one block.
    let rival = pay(&[points[0]], &[(COIN, op_true()), (COIN, op_true())]);
    let block = next_block(&regtest, vec![good.clone(), rival]);
    let source = TransactionError::MissingCoin(points[0]);
    assert_eq!(refused(&mut regtest, block), BlockError::Transaction { position: 2, source });
    // Out of order: the child before its parent.
    let child = split(point(&good, 0), 25 * COIN);
    let block = next_block(&regtest, vec![child.clone(), good.clone()]);
    let source = TransactionError::MissingCoin(point(&good, 0));
    assert_eq!(refused(&mut regtest, block), BlockError::Transaction { position: 1, source });
    let block = next_block(&regtest, vec![good.clone(), child.clone()]);
    assert!(matches!(regtest.submit(block, NOW), Ok(Submitted::Best(_))));
    assert_eq!(regtest.coin(&point(&good, 0)), None);
    assert!(regtest.coin(&point(&child, 1)).is_some());
}

#[test]
fn absolute_and_relative_locks_hold() {
    let (mut regtest, points) = funded(&op_true(), 4);
    let next = regtest.best().height + 1;
    let median = regtest.headers().tip_median_time();
    let mut locked = split(points[0], 50 * COIN);
    locked.lock_time = LockTime::from_consensus(next);
    assert_eq!(refused_transaction(&mut regtest, locked.clone()), TransactionError::NotFinal(next));
    locked.lock_time = LockTime::from_consensus(median);
    assert_eq!(refused_transaction(&mut regtest, locked.clone()), TransactionError::NotFinal(median));
    locked.lock_time = LockTime::from_consensus(median - 1);
    regtest.broadcast(locked.clone()).unwrap();
    let mut final_anyway = split(points[1], 50 * COIN);
    final_anyway.lock_time = LockTime::from_consensus(next + 100);
    final_anyway.input[0].sequence = Sequence::MAX;
    regtest.broadcast(final_anyway).unwrap();
    regtest.generate(&op_true(), NOW).unwrap();

    // The coin was just confirmed: two blocks on it are not reached in the next one.
    let young = point(&locked, 0);
    let mut relative = split(young, 25 * COIN);
    relative.input[0].sequence = Sequence::from_height(2);
    assert_eq!(refused_transaction(&mut regtest, relative.clone()), TransactionError::RelativeLock(young));
    let mut old_version = relative.clone();
    old_version.version = bitcoin::transaction::Version::ONE;
    let block = next_block(&regtest, vec![old_version]);
    assert!(matches!(regtest.clone().submit(block, NOW), Ok(Submitted::Best(_))));
    regtest.generate(&op_true(), NOW).unwrap();
    regtest.broadcast(relative).unwrap();

    let mut in_seconds = split(points[2], 50 * COIN);
    in_seconds.input[0].sequence = Sequence::from_512_second_intervals(20);
    assert_eq!(refused_transaction(&mut regtest, in_seconds.clone()), TransactionError::RelativeLock(points[2]));
    regtest.generate_to(&op_true(), 11, NOW + 20 * 512 + 100).unwrap();
    regtest.broadcast(in_seconds).unwrap();
}

#[test]
fn headers_are_held_against_the_given_time() {
    let mut regtest = empty();
    regtest.generate_to(&op_true(), 12, NOW).unwrap();
    let mut template = regtest.template(NOW);
    template.time = NOW + 2 * 60 * 60 + 1;
    let block = solve(&template, Vec::new(), &op_true());
    let error = refused(&mut regtest, block.clone());
    assert!(matches!(error, BlockError::Header(HeaderError::TimeTooNew { .. })), "{error}");
    assert!(error.is_temporary());
    assert!(matches!(regtest.submit(block, NOW + 1), Ok(Submitted::Best(_))));
    let mut template = regtest.template(NOW);
    template.time = template.min_time - 1;
    let block = solve(&template, Vec::new(), &op_true());
    assert!(matches!(refused(&mut regtest, block), BlockError::Header(HeaderError::TimeTooOld { .. })));
    let mut block = next_block(&regtest, Vec::new());
    while bitcoin::Target::from(block.header.bits).is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    assert!(matches!(refused(&mut regtest, block), BlockError::Header(HeaderError::Work(_))));
}

#[test]
fn a_longer_branch_takes_over_with_coins_pool_and_index() {
    let (mut regtest, points) = funded(&op_true(), 2);
    let root = regtest.best();
    let spend = split(points[0], 50 * COIN);
    let txid = regtest.broadcast(spend.clone()).unwrap();
    let confirmed = regtest.generate(&p2wpkh(3), NOW).unwrap();
    let reward = point(&confirmed.txdata[0], 0);
    let before = regtest.coin_totals();
    assert!(regtest.find_transaction(&txid).is_some());

    let (branch, results) = fork(&mut regtest, root.hash, 2, 8);
    assert_eq!(results[0], Submitted::Side);
    let Submitted::Best(change) = &results[1] else { panic!("{results:?}") };
    assert_eq!(change.disconnected, [confirmed.block_hash()]);
    assert_eq!(change.connected, [branch[0].block_hash(), branch[1].block_hash()]);
    assert_eq!(regtest.best().height, root.height + 2);
    assert_eq!(regtest.coin(&reward), None);
    assert!(regtest.coin(&points[0]).is_some());
    assert_eq!(regtest.find_transaction(&txid), None);
    assert_eq!(regtest.waiting(&txid), Some(&spend));
    assert_eq!(regtest.headers_after(&[confirmed.block_hash()], 10), None);
    let heights = regtest.headers_after(&[confirmed.block_hash(), root.hash], 10).unwrap();
    assert_eq!(heights.iter().map(|placed| placed.hash).collect::<Vec<_>>(), change.connected);

    // And back again.
    let (_, results) = fork(&mut regtest, confirmed.block_hash(), 2, 9);
    assert!(matches!(&results[1], Submitted::Best(change) if change.disconnected.len() == 2));
    assert!(regtest.coin(&reward).is_some());
    assert!(regtest.find_transaction(&txid).is_some());
    assert_eq!(regtest.waiting_count(), 0);
    assert_eq!(regtest.coin_totals().0, before.0 + 2);
}

#[test]
fn a_branch_with_an_invalid_block_is_not_followed_and_nothing_moves() {
    let (mut regtest, points) = funded(&op_true(), 1);
    let root = regtest.best();
    regtest.broadcast(split(points[0], 50 * COIN)).unwrap();
    regtest.generate_to(&p2wpkh(3), 2, NOW).unwrap();
    let before = (regtest.best(), regtest.coin_totals(), regtest.waiting_count());

    let (good, _) = fork(&mut regtest, root.hash, 1, 8);
    // The spend is only looked at when the branch is about to win.
    let bad = pay(&[points[0]], &[(51 * COIN, op_true())]);
    let template = regtest.template_on(&good[0].block_hash(), NOW).unwrap();
    let invalid = solve(&template, vec![bad], &op_true());
    assert_eq!(regtest.submit(invalid.clone(), NOW), Ok(Submitted::Side));
    let template = regtest.template_on(&invalid.block_hash(), NOW).unwrap();
    let last = solve(&template, Vec::new(), &op_true());
    let error = regtest.submit(last.clone(), NOW).unwrap_err();
    assert!(matches!(&error, BlockError::Ancestor { ancestor, .. } if *ancestor == invalid.block_hash()), "{error}");
    assert_eq!((regtest.best(), regtest.coin_totals(), regtest.waiting_count()), before);
    assert_eq!(regtest.block(&invalid.block_hash()), None);
    assert!(regtest.block(&good[0].block_hash()).is_some());
    let again = regtest.submit(last, NOW).unwrap_err();
    assert!(matches!(again, BlockError::Header(HeaderError::UnknownParent { .. })));
    // The good beginning of the branch can still win.
    let (_, results) = fork(&mut regtest, good[0].block_hash(), 2, 10);
    assert!(matches!(results[1], Submitted::Best(_)));
}

#[test]
fn side_blocks_are_bounded_and_a_deep_fork_is_refused() {
    let headers = HeaderLimits { best: 10, side: 3 };
    let mut regtest = Regtest::new(RegtestLimits { headers, ..RegtestLimits::default() });
    let hashes = regtest.generate_to(&op_true(), 30, NOW).unwrap();
    assert_eq!(regtest.template_on(&hashes[10], NOW), None);
    for tag in 1..=6 {
        let template = regtest.template_on(&hashes[28], NOW).unwrap();
        let block = solve(&template, Vec::new(), &p2wpkh(tag));
        let result = regtest.submit(block, NOW);
        if tag <= 3 {
            assert_eq!(result, Ok(Submitted::Side));
        } else {
            assert_eq!(result, Err(BlockError::Header(HeaderError::SideFull { limit: 3 })));
        }
    }
    assert_eq!(regtest.headers().counts(), (10, 3));
    regtest.generate_to(&op_true(), 20, NOW).unwrap();
    assert_eq!(regtest.headers().counts(), (10, 0));
}

#[test]
fn a_template_orders_by_fee_with_parents_first() {
    let (mut regtest, points) = funded(&op_true(), 3);
    let outputs = |fee: u64| [(25 * COIN, op_true()), (25 * COIN - fee, op_true())];
    let poor = pay(&[points[0]], &outputs(200));
    let rich_child = pay(&[point(&poor, 0)], &[(25 * COIN - 50_000, op_true()), (1_000, op_true())]);
    let middle = pay(&[points[1]], &outputs(5_000));
    let rich = pay(&[points[2]], &outputs(90_000));
    for transaction in [&poor, &rich_child, &middle, &rich] {
        regtest.broadcast(transaction.clone()).unwrap();
    }
    let template = regtest.template(NOW);
    let order: Vec<_> = template.transactions.iter().map(|entry: &TemplateTransaction| entry.txid).collect();
    assert_eq!(order, [&rich, &poor, &rich_child, &middle].map(Transaction::compute_txid));
    let fees: u64 = template.transactions.iter().map(|entry| entry.fee.to_sat()).sum();
    assert_eq!(fees, 90_000 + 200 + 49_000 + 5_000);
    assert_eq!(template.coinbase_value, subsidy(template.height) + sats(fees));
    regtest.generate(&op_true(), NOW).unwrap();
    assert_eq!(regtest.waiting_count(), 0);
}
