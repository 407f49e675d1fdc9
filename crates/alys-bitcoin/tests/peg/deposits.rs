//! Bitcoin in.

use crate::harness::{COIN, World, op_return, record};
use crate::support::p2wpkh;
use alys_chain::BlockError;
use alys_chain::peg::{PegError, ProofError, RecordedKind, Unclaimed};
use alys_primitives::{Address, B256, Sats, VariableList};
use bitcoin::hashes::Hash as _;

const ALICE: Address = Address::repeat_byte(0xa1);

/// `validatorIndex` of deposits.
const PEG_IN: u64 = 3;

#[test]
fn a_deposit_is_minted_once_it_has_six_confirmations_and_exactly() {
    let mut world = World::new();
    let txid = world.deposit(123_456_789, ALICE);
    world.bitcoin(4);
    world.slots(3);
    assert_eq!(world.mints(PEG_IN), [], "five confirmations are too few");
    world.bitcoin(1);
    world.slots(1);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 1_234_567_890)]);
    world.bitcoin(10);
    world.slots(5);
    assert_eq!(world.mints(PEG_IN).len(), 1, "offered again and again, minted once");
    let ledger = world.ledger();
    let recorded = ledger.find_recorded(&B256::from(txid.to_byte_array())).unwrap();
    assert_eq!(
        (recorded.kind(), recorded.recipient, recorded.amount),
        (RecordedKind::Credited, ALICE, Sats(123_456_789))
    );
    assert_eq!(ledger.locked(), Sats(123_456_789));
}

#[test]
fn both_forms_of_the_recipient_count_and_so_do_all_outputs() {
    let mut world = World::new();
    // 20 bytes that happen to be text are an address all the same.
    let textual = Address::from(*b"ABCDEFGHIJ0123456789");
    let federation = world.federation();
    let hex_text = hex::encode(ALICE);
    let upper = format!("0x{}", hex_text.to_uppercase());
    let cases = [
        (vec![(20_000, federation.clone()), (0, op_return(textual.as_slice()))], textual, 20_000),
        (vec![(0, op_return(hex_text.as_bytes())), (30_000, federation.clone())], ALICE, 30_000),
        (vec![(40_000, federation.clone()), (0, op_return(upper.as_bytes()))], ALICE, 40_000),
        (
            vec![
                (50_001, federation.clone()),
                (7_777, p2wpkh(60)),
                (60_002, federation.clone()),
                (0, op_return(b"another protocol's note")),
                (0, op_return(ALICE.as_slice())),
            ],
            ALICE,
            110_003,
        ),
    ];
    for (outputs, _, _) in &cases {
        let txid = world.send(outputs).compute_txid();
        world.pegins.push(txid);
    }
    world.bitcoin(6);
    world.slots(2);
    let mut expected: Vec<(Address, u64)> = cases.iter().map(|(_, who, sats)| (*who, sats * 10)).collect();
    let mut minted = world.mints(PEG_IN);
    expected.sort_unstable();
    minted.sort_unstable();
    assert_eq!(minted, expected);
}

#[test]
fn what_can_not_be_credited_is_recorded_with_its_reason() {
    let mut world = World::new();
    let federation = world.federation();
    let other = Address::repeat_byte(0x0b);
    let cases = [
        (vec![(9_999, federation.clone()), (0, op_return(ALICE.as_slice()))], Unclaimed::TooSmall),
        (vec![(20_000, federation.clone())], Unclaimed::NoRecipient),
        (vec![(20_000, federation.clone()), (0, op_return(&[7; 19]))], Unclaimed::MalformedRecipient),
        (
            vec![(20_000, federation.clone()), (0, op_return(ALICE.as_slice())), (0, op_return(other.as_slice()))],
            Unclaimed::AmbiguousRecipient,
        ),
    ];
    let mut reasons = Vec::new();
    for (outputs, reason) in &cases {
        let txid = world.send(outputs).compute_txid();
        world.pegins.push(txid);
        reasons.push((txid, *reason));
    }
    world.bitcoin(6);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), []);
    let ledger = world.ledger();
    for (txid, reason) in reasons {
        let recorded = ledger.find_recorded(&B256::from(txid.to_byte_array())).unwrap();
        assert_eq!(recorded.kind(), RecordedKind::Unclaimed(reason));
    }
    assert_eq!(ledger.unclaimed(), Sats(69_999), "the coins are not forgotten");
    assert_eq!(ledger.locked(), Sats(69_999));
}

#[test]
fn a_block_takes_so_many_deposits_and_the_rest_waits() {
    let mut world = World::new();
    for number in 0..6u8 {
        let outputs =
            [(20_000 + u64::from(number), world.federation()), (0, op_return(Address::repeat_byte(number).as_slice()))];
        let txid = world.send(&outputs).compute_txid();
        world.pegins.push(txid);
    }
    world.bitcoin(6);
    world.slots(1);
    assert_eq!(world.mints(PEG_IN).len(), 4, "the limit of the spec");
    world.slots(1);
    assert_eq!(world.mints(PEG_IN).len(), 6);
}

#[test]
fn records_that_break_a_rule_make_the_block_invalid() {
    let mut world = World::new();
    let txid = world.deposit(70_000, ALICE);
    world.bitcoin(5);
    world.slots(1);
    let good = world.record(txid);
    let early = world.deposit(80_000, ALICE);
    world.pegins.clear();
    world.slots(1);
    let early = world.record(early);
    let spends_nothing = {
        let transaction = world.send(&[(COIN - 10_000, p2wpkh(60))]).compute_txid();
        world.bitcoin(6);
        world.slots(1);
        world.record(transaction)
    };
    let mut with = |record| {
        world
            .judge(|block| block.body.pegins = VariableList::new(vec![record]).unwrap())
            .expect_err("an invalid record")
    };
    let peg = |error| BlockError::Peg(error);
    let proof = |error| BlockError::Peg(PegError::Proof(error));
    let duplicate = PegError::Duplicate { txid: B256::from(txid.to_byte_array()) };
    assert_eq!(with(good.clone()), peg(duplicate), "minted already");
    let mut bad = early.clone();
    bad.bitcoin_block = B256::repeat_byte(9);
    assert_eq!(with(bad), peg(PegError::UnknownBlock { block: B256::repeat_byte(9) }));
    let mut bad = early.clone();
    bad.index += 1 << bad.branch.len();
    assert!(matches!(with(bad), BlockError::Peg(PegError::Proof(ProofError::Index { .. }))));
    let mut bad = early.clone();
    bad.coinbase_branch = VariableList::empty();
    assert!(matches!(with(bad), BlockError::Peg(PegError::Proof(ProofError::Depth { .. }))));
    let mut bad = early.clone();
    bad.coinbase = bad.transaction.clone();
    assert_eq!(with(bad), proof(ProofError::NoCoinbase));
    let mut bad = early.clone();
    let last = bad.transaction.len() - 1;
    bad.transaction[last] ^= 1;
    assert_eq!(with(bad), proof(ProofError::Root { which: "transaction" }));
    let mut bad = early.clone();
    bad.transaction = VariableList::new(vec![0; 64]).unwrap();
    assert_eq!(with(bad), proof(ProofError::NodeSized { which: "transaction" }));
    for cut in [0, 1, 10, last] {
        let mut bad = early.clone();
        bad.transaction = VariableList::new(early.transaction[..cut].to_vec()).unwrap();
        if cut != 64 {
            assert_eq!(with(bad), proof(ProofError::Transaction { which: "transaction" }), "{cut} bytes");
        }
    }
    assert!(matches!(with(spends_nothing), BlockError::Peg(PegError::NoDeposit { .. })));
    // The block's own withdrawals are those of a block without deposits.
    assert!(matches!(with(early), BlockError::Payload(_)), "a deposit whose withdrawal is missing");
}

#[test]
fn a_deposit_that_is_too_young_is_refused_even_with_its_withdrawal() {
    let mut world = World::new();
    let txid = world.deposit(70_000, ALICE);
    world.bitcoin(3);
    world.slots(1);
    let record = world.record(txid);
    let error = world.judge(|block| block.body.pegins = VariableList::new(vec![record]).unwrap()).unwrap_err();
    assert_eq!(error, BlockError::Peg(PegError::Unconfirmed { found: 4, needed: 6 }));
}

#[test]
fn a_proof_of_an_inner_node_is_no_transaction() {
    let mut world = World::new();
    let txid = world.deposit(70_000, ALICE);
    world.bitcoin(6);
    world.pegins.clear();
    world.slots(1);
    let found = world.regtest.find_transaction(&txid).unwrap();
    let mut record = record(&found);
    // One level up: both branches a hash shorter, the pair's hash as a leaf can't be met by any bytes that decode.
    record.branch = VariableList::new(record.branch[1..].to_vec()).unwrap();
    record.coinbase_branch = VariableList::new(record.coinbase_branch[1..].to_vec()).unwrap();
    record.index >>= 1;
    let error = world.judge(|block| block.body.pegins = VariableList::new(vec![record]).unwrap()).unwrap_err();
    assert!(matches!(error, BlockError::Peg(PegError::Proof(_))), "{error}");
}
