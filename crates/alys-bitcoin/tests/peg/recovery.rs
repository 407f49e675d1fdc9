//! The last resort: recovery keys spend what nobody has moved for long, and nobody else can, and not before.

use crate::harness::{World, custody_keys, payee, text};
use crate::rotation::{hand_over, sign};
use crate::support::{keypair, p2wpkh, secp};
use alys_bitcoin::script::{ScriptError, SpendError};
use alys_bitcoin::{PoolError, TransactionError};
use alys_chain::peg::{Custody, Recovery};
use alys_primitives::{Address, B256, CustodyKeys, CustodyRecovery, Sats, VariableList};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::Message;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, OutPoint, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction};

const ALICE: Address = Address::repeat_byte(0xa1);

/// Seeds of the recovery keys, two of whom must sign, and how long a coin must have lain.
const RECOVERERS: [u8; 3] = [201, 202, 203];
const BLOCKS: u32 = 144;

fn recovery() -> CustodyRecovery {
    let keys = RECOVERERS.map(|seed| B256::from(keypair(seed).x_only_public_key().0.serialize()));
    CustodyRecovery { keys: CustodyKeys::new(keys.to_vec()).unwrap(), threshold: 2, blocks: u64::from(BLOCKS) }
}

fn world() -> World {
    World::with(custody_keys(3), 2, |spec| spec.recovery = VariableList::new(vec![recovery()]).unwrap())
}

/// Spends a coin of a custody by its recovery leaf, with the signatures of these.
fn recover(custody: &Custody, (coin, value): (OutPoint, u64), signers: &[u8], sequence: Sequence) -> Transaction {
    let leaf: &Recovery = custody.recovery().unwrap();
    let mut transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { previous_output: coin, sequence, ..TxIn::default() }],
        output: vec![TxOut { value: Amount::from_sat(value - 2_000), script_pubkey: p2wpkh(90) }],
    };
    let spent = [custody.output(Amount::from_sat(value))];
    let hash = SighashCache::new(&transaction)
        .taproot_script_spend_signature_hash(0, &Prevouts::All(&spent), leaf.leaf_hash(), TapSighashType::Default)
        .unwrap();
    let message = Message::from_digest(hash.to_byte_array());
    let signature = |seed: u8| {
        signers.contains(&seed).then(|| secp().sign_schnorr_no_aux_rand(&message, &keypair(seed)).serialize())
    };
    transaction.input[0].witness = leaf.witness(&RECOVERERS.map(signature));
    transaction
}

/// The only coin of the federation.
fn coin(world: &World) -> (OutPoint, u64) {
    let ledger = world.ledger();
    let [coin] = ledger.coins() else { panic!("{:?}", ledger.coins()) };
    (OutPoint { txid: Txid::from_byte_array(coin.txid.0), vout: coin.vout }, coin.value.0)
}

#[test]
fn recovery_keys_spend_a_coin_only_after_it_has_lain_for_the_lock() {
    let mut world = world();
    world.deposit(3_000_000, ALICE);
    world.bitcoin(6);
    world.slots(2);
    assert_eq!(world.ledger().locked(), Sats(3_000_000), "deposits come to the address with the leaf");
    let (custody, coin) = (world.custody().clone(), coin(&world));
    let honest = custody.recovery().unwrap().sequence();
    let spend = recover(&custody, coin, &RECOVERERS[..2], honest);
    let refused =
        |world: &mut World, transaction: &Transaction| world.regtest.broadcast(transaction.clone()).unwrap_err();

    // Seven blocks deep at most now. One less than the lock is too early; a sequence that lies is refused by the script.
    assert_eq!(refused(&mut world, &spend), PoolError::Transaction(TransactionError::RelativeLock(coin.0)));
    let hasty = recover(&custody, coin, &RECOVERERS[..2], Sequence::from_height(1));
    let lock = ScriptError::RelativeLock { lock: BLOCKS };
    let spend_error = |source| PoolError::Transaction(TransactionError::Spend(SpendError { input: 0, source }));
    assert_eq!(refused(&mut world, &hasty), spend_error(lock));
    let found = world.regtest.find_transaction(&coin.0.txid).unwrap();
    let lain = |world: &World| world.regtest.best().height - found.block.height + 1;
    world.bitcoin(BLOCKS - 1 - lain(&world));
    assert_eq!(lain(&world), BLOCKS - 1);
    assert_eq!(refused(&mut world, &spend), PoolError::Transaction(TransactionError::RelativeLock(coin.0)));

    // Then two of the three can, one can't, and custody keys have no part in it.
    world.bitcoin(1);
    let alone = recover(&custody, coin, &RECOVERERS[..1], honest);
    assert_eq!(refused(&mut world, &alone), spend_error(ScriptError::SignatureCount { found: 1, required: 2 }));
    let mut forged = spend.clone();
    forged.output[0].script_pubkey = payee(66);
    assert_eq!(refused(&mut world, &forged), spend_error(ScriptError::Signature));
    world.regtest.broadcast(spend.clone()).unwrap();
    world.bitcoin(1);
    assert!(world.regtest.find_transaction(&spend.compute_txid()).is_some(), "mined");
    assert!(world.regtest.coin(&coin.0).is_none());
}

#[test]
fn payments_and_sweeps_take_the_members_leaf_at_the_planned_weight() {
    let mut world = world();
    world.deposit(3_000_000, ALICE);
    world.deposit(2_000_000, ALICE);
    world.bitcoin(6);
    world.slots(3);
    let plain = Custody::new(world.custody().keys().to_vec(), 2).unwrap();
    assert_ne!(plain.script_pubkey(), world.custody().script_pubkey());
    let control = |custody: &Custody| custody.control_block().serialize().len();
    assert_eq!((control(&plain), control(world.custody())), (33, 65), "one of two leaves");

    world.burn(&[(500_000, &text(&payee(70)))]);
    world.finalize();
    world.slots(1);
    let batch = world.ledger().batches()[0].clone();
    let (planned, signed) = (world.payment(&batch), world.sign(&batch));
    assert_eq!(u64::try_from(signed.vsize()).unwrap(), planned.virtual_bytes, "to the virtual byte");
    assert_eq!(planned.fee.0, (planned.virtual_bytes * 2_000).div_ceil(1_000));
    world.regtest.broadcast(signed).unwrap();
    world.bitcoin(6);
    world.slots(3);

    // The next custody has the same recovery keys, and the sweep goes to its address.
    let keys: Vec<_> = (100..105).map(|seed| alys_bitcoin::CustodyKey::from_bytes(&[seed; 32]).unwrap()).collect();
    hand_over(&mut world, &keys, 3);
    let ledger = world.ledger();
    let next = world.rules.current_custody(&ledger).unwrap();
    assert_eq!((next.keys().len(), next.recovery().unwrap().sequence()), (5, Sequence::from_height(144)));
    let sweep = ledger.batches().iter().find(|batch| batch.is_sweep()).unwrap().clone();
    world.finalize();
    let (planned, signed) = (world.payment(&sweep), sign(&world, &sweep, &custody_keys(3)));
    assert_eq!(planned.transaction.output[0].script_pubkey, *next.script_pubkey());
    assert_eq!(u64::try_from(signed.vsize()).unwrap(), planned.virtual_bytes, "to the virtual byte");
    world.regtest.broadcast(signed).unwrap();
    world.bitcoin(6);
    world.slots(3);
    let ledger = world.ledger();
    assert_eq!((ledger.held_by(0), ledger.held_by(1)), (Sats(0), ledger.locked()));
    assert_eq!(ledger.locked().0 + ledger.totals().absorbed.0, 4_500_000);
}

#[test]
fn the_members_leaf_needs_no_patience_and_the_recovery_leaf_no_member() {
    let mut world = world();
    world.deposit(3_000_000, ALICE);
    world.bitcoin(6);
    world.slots(2);
    let (custody, coin) = (world.custody().clone(), coin(&world));
    world.bitcoin(BLOCKS);
    // A witness of the members' leaf with recovery keys' signatures, and the other way round.
    let mut mixed = recover(&custody, coin, &RECOVERERS[..2], custody.recovery().unwrap().sequence());
    let stack: Vec<Vec<u8>> = mixed.input[0].witness.to_vec();
    let mut other = stack[..3].to_vec();
    other.extend([custody.leaf().to_bytes(), custody.control_block().serialize()]);
    mixed.input[0].witness = Witness::from_slice(&other);
    let refused = world.regtest.broadcast(mixed.clone()).unwrap_err();
    let source = ScriptError::Signature;
    assert_eq!(refused, PoolError::Transaction(TransactionError::Spend(SpendError { input: 0, source })));
    // The recovery leaf with the control block of the other one is no part of the output.
    let mut control = stack[..4].to_vec();
    control.push(custody.control_block().serialize());
    mixed.input[0].witness = Witness::from_slice(&control);
    assert!(world.regtest.broadcast(mixed).is_err());
}
