//! Spending by the recovery leaf: what is planned is what is signed, and everything else is refused with its reason.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod support;

use alys_bitcoin::script::{ScriptError, SpendError};
use alys_bitcoin::signing::decode_psbt;
use alys_bitcoin::{CustodyKey, PoolError, RecoveryError, RecoverySpend, Regtest, SigningError, TransactionError};
use alys_chain::peg::Custody;
use alys_primitives::{B256, Custodians, CustodyKeys, CustodyRecovery};
use bitcoin::psbt::Psbt;
use bitcoin::sighash::TapSighashType;
use bitcoin::{Amount, OutPoint, Sequence, TxOut, absolute};
use support::{NOW, funded, op_true, p2tr, p2wpkh, pay, sign_p2wpkh};

const BLOCKS: u32 = 144;

/// Whose coin the tests begin with.
const PAYER: u8 = 7;

fn key(seed: u8) -> CustodyKey {
    CustodyKey::from_bytes(&[seed; 32]).unwrap()
}

fn x_only(seeds: &[u8]) -> CustodyKeys {
    CustodyKeys::new(seeds.iter().map(|seed| B256::from(key(*seed).public_key().serialize())).collect()).unwrap()
}

/// Custody of keys from this seed on, two of three; two of the keys 201 to 203 recover.
fn custody(first: u8) -> Custody {
    let custodians = Custodians { keys: x_only(&[first, first + 1, first + 2]), threshold: 2 };
    let recovery = CustodyRecovery { keys: x_only(&[201, 202, 203]), threshold: 2, blocks: u64::from(BLOCKS) };
    Custody::of(&custodians, Some(&recovery)).unwrap()
}

fn custodies() -> Vec<Custody> {
    vec![custody(1), custody(11)]
}

fn coin(number: u8, custody: &Custody, sats: u64) -> (OutPoint, TxOut) {
    let txid = bitcoin::hashes::Hash::from_byte_array([number; 32]);
    (OutPoint { txid, vout: u32::from(number) }, custody.output(Amount::from_sat(sats)))
}

fn planned(coins: &[(OutPoint, TxOut)], fee_rate: u64) -> Result<RecoverySpend, RecoveryError> {
    RecoverySpend::plan(&custodies(), coins, p2tr(90), fee_rate)
}

/// A spend of one coin of each custody, and its PSBT signed by these keys.
fn signed(seeds: &[u8]) -> (RecoverySpend, Psbt) {
    let coins = [coin(2, &custody(11), 400_000), coin(1, &custody(1), 100_001)];
    let spend = planned(&coins, 2_000).unwrap();
    let mut psbt = spend.psbt().unwrap();
    for seed in seeds {
        spend.sign(&mut psbt, &key(*seed)).unwrap();
    }
    (spend, psbt)
}

/// A chain in which each custody holds a coin, in two blocks one after the other.
fn chain() -> (Regtest, Vec<(OutPoint, TxOut)>, Vec<u32>) {
    let (mut regtest, purse) = funded(&p2wpkh(PAYER), 2);
    let (mut coins, mut heights) = (Vec::new(), Vec::new());
    for (point, (custody, sats)) in purse.into_iter().zip(custodies().into_iter().zip([300_000, 200_001])) {
        let mut transaction = pay(&[point], &[(sats, custody.script_pubkey().clone())]);
        sign_p2wpkh(&mut transaction, 0, 5_000_000_000, PAYER);
        let txid = transaction.compute_txid();
        regtest.broadcast(transaction).unwrap();
        regtest.generate(&p2wpkh(99), NOW).unwrap();
        coins.push((OutPoint { txid, vout: 0 }, custody.output(Amount::from_sat(sats))));
        heights.push(regtest.best().height);
    }
    (regtest, coins, heights)
}

#[test]
fn two_holders_take_the_coins_of_two_custodies_at_the_lock_and_not_one_block_before() {
    let (mut regtest, coins, heights) = chain();
    let spend = planned(&coins, 2_500).unwrap();
    // The holders sign copies, which somebody else puts together.
    let copy = |seed| {
        let mut psbt = decode_psbt(&spend.psbt().unwrap().serialize()).unwrap();
        let derived = RecoverySpend::of_psbt(&custodies(), &psbt).unwrap();
        assert_eq!(derived, spend, "derived anew from the PSBT");
        derived.sign(&mut psbt, &key(seed)).unwrap();
        decode_psbt(&psbt.serialize()).unwrap()
    };
    let mut psbt = copy(203);
    spend.combine(&mut psbt, &copy(201)).unwrap();
    assert_eq!(spend.signers(&psbt).unwrap(), [key(201).public_key(), key(203).public_key()]);
    let transaction = spend.assemble(&psbt).unwrap();

    let fee = (u64::try_from(transaction.vsize()).unwrap() * 2_500).div_ceil(1_000);
    assert_eq!(spend.fee(), Ok(fee), "the planned size is the signed one, to the virtual byte");
    assert_eq!(transaction.output, [TxOut { value: Amount::from_sat(500_001 - fee), script_pubkey: p2tr(90) }]);

    // The younger coin counts. Its block is one of the blocks for which it has lain.
    let first = heights[1] + BLOCKS;
    let heights: Vec<u32> =
        spend.coins().map(|(coin, _)| regtest.find_transaction(&coin.txid).unwrap().block.height).collect();
    let mut tip = regtest.best().height;
    while tip + 1 < first {
        let missing = first - tip - 1;
        let refused = spend.check_age(&heights, tip).unwrap_err();
        assert_eq!(refused, RecoveryError::TooEarly { coin: coins[1].0, first, missing });
        assert!(missing > 1 || refused.to_string().contains("1 blocks after the next one"), "{refused}");
        let bitcoin = regtest.broadcast(transaction.clone()).unwrap_err();
        assert!(matches!(bitcoin, PoolError::Transaction(TransactionError::RelativeLock(_))), "{bitcoin}");
        regtest.generate(&p2wpkh(99), NOW).unwrap();
        tip = regtest.best().height;
    }
    spend.check_age(&heights, tip).unwrap();
    regtest.broadcast(transaction.clone()).unwrap();
    regtest.generate(&p2wpkh(99), NOW).unwrap();
    assert!(regtest.find_transaction(&transaction.compute_txid()).is_some());
}

#[test]
fn every_number_of_keys_and_coins_has_the_planned_size() {
    for (keys, threshold) in [(1u8, 1u64), (2, 1), (3, 3), (16, 9)] {
        let seeds: Vec<u8> = (100..100 + keys).collect();
        let custodians = Custodians { keys: x_only(&[1, 2, 3]), threshold: 2 };
        let recovery = CustodyRecovery { keys: x_only(&seeds), threshold, blocks: 65_535 };
        let owner = Custody::of(&custodians, Some(&recovery)).unwrap();
        for count in [1u8, 5] {
            let coins: Vec<_> = (1..=count).map(|number| coin(number, &owner, 1_000_000)).collect();
            let spend = RecoverySpend::plan(std::slice::from_ref(&owner), &coins, p2wpkh(90), 1_000).unwrap();
            let mut psbt = spend.psbt().unwrap();
            for seed in &seeds {
                spend.sign(&mut psbt, &key(*seed)).unwrap();
            }
            let size = u64::try_from(spend.assemble(&psbt).unwrap().vsize()).unwrap();
            assert_eq!(spend.fee(), Ok(size), "{threshold} of {keys}, {count} coins");
        }
    }
}

#[test]
fn a_plan_that_can_not_be_is_refused_with_its_reason() {
    let ours = coin(1, &custody(1), 100_000);
    let refused = |coins: &[(OutPoint, TxOut)], fee_rate| planned(coins, fee_rate).unwrap_err();
    let plain = Custody::new(custody(1).keys().to_vec(), 2).unwrap();
    let none = RecoverySpend::plan(std::slice::from_ref(&plain), &[coin(1, &plain, 100_000)], p2tr(90), 2_000);
    assert_eq!(none, Err(RecoveryError::NoLeaf));
    assert_eq!(refused(&[], 2_000), RecoveryError::NoCoins);
    let many: Vec<_> = (1..=65).map(|number| coin(number, &custody(1), 100_000)).collect();
    assert_eq!(refused(&many, 2_000), RecoveryError::TooManyCoins { found: 65 });
    assert!(planned(&many[..64], 2_000).is_ok());
    assert_eq!(refused(&[ours.clone(), ours.clone()], 2_000), RecoveryError::Duplicate { coin: ours.0 });
    // Another script of the same keys, and one of later custodians that nobody told of.
    for other in [&plain, &custody(21)] {
        let coin = coin(3, other, 100_000);
        assert_eq!(refused(&[ours.clone(), coin.clone()], 2_000), RecoveryError::NotOurs { coin: coin.0 });
    }
    let back = custody(11).script_pubkey().clone();
    let to_custody = RecoverySpend::plan(&custodies(), std::slice::from_ref(&ours), back, 2_000);
    assert_eq!(to_custody, Err(RecoveryError::ToCustody));
    for fee_rate in [0, 1, 999] {
        assert_eq!(refused(std::slice::from_ref(&ours), fee_rate), RecoveryError::FeeRate { found: fee_rate });
    }
    let size = planned(std::slice::from_ref(&ours), 1_000).unwrap().fee().unwrap();
    // A fee of half is the most that is paid; dust is what no node passes on.
    assert!(planned(&[coin(1, &custody(1), 2 * 10 * size)], 10_000).is_ok());
    let coins = 20 * size - 1;
    assert_eq!(refused(&[coin(1, &custody(1), coins)], 10_000), RecoveryError::Fee { fee: 10 * size, coins });
    assert_eq!(refused(std::slice::from_ref(&ours), u64::MAX), RecoveryError::Overflow);
    let dust = RecoveryError::Dust { left: 329, least: 330 };
    assert_eq!(refused(&[coin(1, &custody(1), size + 329)], 1_000), dust);
    assert!(planned(&[coin(1, &custody(1), size + 330)], 1_000).is_ok());
    let rich: Vec<_> = (1..=2).map(|number| coin(number, &custody(1), Amount::MAX_MONEY.to_sat())).collect();
    assert_eq!(refused(&rich, 2_000), RecoveryError::Overflow);
    // 64 inputs of 128 keys each.
    let seeds: Vec<u8> = (1..=128).collect();
    let recovery = CustodyRecovery { keys: x_only(&seeds), threshold: 128, blocks: u64::from(BLOCKS) };
    let heavy = Custody::of(&Custodians { keys: x_only(&[1, 2, 3]), threshold: 2 }, Some(&recovery)).unwrap();
    let coins: Vec<_> = (1..=64).map(|number| coin(number, &heavy, 10_000_000)).collect();
    let refused = RecoverySpend::plan(&[heavy], &coins, p2tr(90), 1_000).unwrap_err();
    assert!(matches!(refused, RecoveryError::TooHeavy { weight } if weight > 400_000), "{refused}");
}

#[test]
fn a_psbt_of_anything_else_is_not_signed() {
    let (_, psbt) = signed(&[]);
    let refused = |change: &dyn Fn(&mut Psbt)| {
        let mut changed = psbt.clone();
        change(&mut changed);
        RecoverySpend::of_psbt(&custodies(), &changed).unwrap_err()
    };
    let shape = |error| matches!(error, RecoveryError::OtherShape { .. });
    assert!(shape(refused(&|psbt| psbt.inputs[0].witness_utxo = None)));
    assert!(shape(refused(&|psbt| psbt.unsigned_tx.output.clear())));
    let more = TxOut { value: Amount::from_sat(1_000), script_pubkey: p2wpkh(66) };
    assert!(shape(refused(&|psbt| psbt.unsigned_tx.output.push(more.clone()))));
    for sequence in [Sequence::MAX, Sequence::from_height(1), Sequence::ZERO] {
        assert!(shape(refused(&|psbt| psbt.unsigned_tx.input[1].sequence = sequence)), "{sequence}");
    }
    assert!(shape(refused(&|psbt| psbt.unsigned_tx.lock_time = absolute::LockTime::from_height(5).unwrap())));
    assert!(shape(refused(&|psbt| psbt.unsigned_tx.version = bitcoin::transaction::Version::ONE)));
    let alien = TxOut { value: Amount::from_sat(100_001), script_pubkey: op_true() };
    assert!(matches!(
        refused(&|psbt| psbt.inputs[0].witness_utxo = Some(alien.clone())),
        RecoveryError::NotOurs { .. }
    ));
    let back = custody(1).script_pubkey().clone();
    assert_eq!(refused(&|psbt| psbt.unsigned_tx.output[0].script_pubkey = back.clone()), RecoveryError::ToCustody);
    // A fee beyond half, and one below nothing.
    let paying = |sats| move |psbt: &mut Psbt| psbt.unsigned_tx.output[0].value = Amount::from_sat(sats);
    assert_eq!(refused(&paying(1_000)), RecoveryError::Fee { fee: 499_001, coins: 500_001 });
    assert_eq!(refused(&paying(500_002)), RecoveryError::Overspends { paid: 500_002, coins: 500_001 });

    // Bytes that are no PSBT at all.
    let bytes = psbt.serialize();
    for length in 0..bytes.len() {
        assert!(matches!(decode_psbt(&bytes[..length]), Err(SigningError::Malformed { .. })), "{length}");
    }
    assert!(matches!(decode_psbt(&vec![0; (4 << 20) + 1]), Err(SigningError::TooLarge { .. })));
}

#[test]
fn signatures_of_others_or_for_others_count_for_nothing() {
    let (spend, psbt) = signed(&[201]);
    assert_eq!(spend.assemble(&psbt), Err(RecoveryError::TooFew { found: 1, needed: 2 }));
    // Nothing is gained by signing twice.
    let mut twice = psbt.clone();
    spend.sign(&mut twice, &key(201)).unwrap();
    assert_eq!(twice, psbt);
    let stranger = key(1);
    let refused = spend.sign(&mut twice, &stranger).unwrap_err();
    assert_eq!(
        refused,
        RecoveryError::NotARecoveryKey { key: stranger.public_key() },
        "a custody key recovers nothing"
    );

    let (other, other_psbt) = {
        let spend = planned(&[coin(5, &custody(1), 200_000)], 2_000).unwrap();
        let mut psbt = spend.psbt().unwrap();
        spend.sign(&mut psbt, &key(202)).unwrap();
        (spend, psbt)
    };
    let expected = spend.transaction().compute_txid();
    let found = other.transaction().compute_txid();
    let mut into = psbt.clone();
    assert_eq!(spend.combine(&mut into, &other_psbt), Err(RecoveryError::OtherTransaction { found, expected }));
    assert_eq!(into, psbt, "nothing was taken");

    let place = *psbt.inputs[0].tap_script_sigs.keys().next().unwrap();
    let with = |change: &dyn Fn(&mut Psbt)| {
        let mut changed = signed(&[201, 202]).1;
        change(&mut changed);
        spend.assemble(&changed).unwrap_err()
    };
    // Of a stranger; for the members' leaf; of another transaction; over less than everything; not on every input.
    let signature = psbt.inputs[0].tap_script_sigs[&place];
    let strange = (stranger.public_key(), place.1);
    let added = with(&|psbt| {
        psbt.inputs[0].tap_script_sigs.insert(strange, signature);
    });
    assert_eq!(added, RecoveryError::NoRecoveryKey { input: 0, key: stranger.public_key() });
    let members = (place.0, custody(1).leaf_hash());
    let added = with(&|psbt| {
        psbt.inputs[0].tap_script_sigs.insert(members, signature);
    });
    assert_eq!(added, RecoveryError::NoRecoveryKey { input: 0, key: place.0 });
    let false_one = with(&|psbt| {
        psbt.inputs[1].tap_script_sigs.insert(place, signature);
    });
    assert_eq!(false_one, RecoveryError::Signature { input: 1, key: place.0 });
    let mut partial = signature;
    partial.sighash_type = TapSighashType::None;
    let false_one = with(&|psbt| {
        psbt.inputs[0].tap_script_sigs.insert(place, partial);
    });
    assert_eq!(false_one, RecoveryError::Signature { input: 0, key: place.0 });
    let half = with(&|psbt| {
        psbt.inputs[1].tap_script_sigs.remove(&place);
    });
    assert_eq!(half, RecoveryError::Incomplete { key: place.0, found: 1, inputs: 2 });
    // Signed with a wrong amount: it counts for the wrong one, and not for the right one.
    let lie = planned(&[coin(2, &custody(11), 400_001), coin(1, &custody(1), 100_000)], 2_000).unwrap();
    assert_eq!(lie.transaction(), spend.transaction());
    let mut lied = lie.psbt().unwrap();
    lie.sign(&mut lied, &key(201)).unwrap();
    assert_eq!(spend.signers(&lied), Err(RecoveryError::Signature { input: 0, key: key(201).public_key() }));
}

#[test]
fn more_signatures_than_needed_are_left_out() {
    let (spend, psbt) = signed(&[201, 202, 203]);
    let transaction = spend.assemble(&psbt).unwrap();
    let used = transaction.input[0].witness.iter().take(3).filter(|item| !item.is_empty()).count();
    assert_eq!(used, 2);
    // The script itself would refuse the third one.
    let mut over = transaction;
    let mut witness = over.input[0].witness.to_vec();
    let third = psbt.inputs[0].tap_script_sigs.iter().find(|((key_, _), _)| *key_ == key(203).public_key()).unwrap().1;
    witness[0] = third.to_vec();
    over.input[0].witness = bitcoin::Witness::from_slice(&witness);
    let spent: Vec<TxOut> = spend.coins().map(|(_, spent)| spent.clone()).collect();
    let source = ScriptError::SignatureCount { found: 3, required: 2 };
    assert_eq!(alys_bitcoin::script::Verifier::default().verify(&over, &spent), Err(SpendError { input: 0, source }));
}
