//! A quorum holds a direction of the peg, and what nobody can be credited with goes back.

use crate::harness::{World, op_return, payee, text};
use crate::support::p2wpkh;
use alys_chain::BlockError;
use alys_chain::peg::{PauseError, PauseState, PegError, RETURN_LOG_INDEX, Unclaimed};
use alys_primitives::{Address, B256, BitVector, Epoch, Pause, PegOutId, Sats, SignatureBytes, VariableList};
use bitcoin::hashes::Hash as _;

const ALICE: Address = Address::repeat_byte(0xa1);

const PEG_IN: u64 = 3;

fn decision(world: &World, sequence: u64, pegin_paused: bool, pegout_paused: bool) -> Pause {
    let state = PauseState { sequence, pegin_paused, pegout_paused };
    let root = world.cluster.nodes[0].chain.verifier().pause_signing_root(Epoch(0), &state);
    let mut bitfield = BitVector::new();
    bitfield.set(0, true).unwrap();
    let signature = world.cluster.fixture.sign_as(0, root);
    Pause {
        genesis_root: world.cluster.fixture.spec.genesis_root(),
        epoch: Epoch(0),
        sequence,
        pegin_paused,
        pegout_paused,
        bitfield,
        aggregate_signature: world.cluster.fixture.sum(&[signature]).unwrap(),
    }
}

fn decide(world: &mut World, sequence: u64, pegin_paused: bool, pegout_paused: bool) {
    let pause = decision(world, sequence, pegin_paused, pegout_paused);
    world.pause = Some(world.cluster.nodes[0].chain.verifier().pause(pause).unwrap());
    world.slots(1);
    assert_eq!(*world.ledger().pause(), PauseState { sequence, pegin_paused, pegout_paused });
}

#[test]
fn each_direction_is_held_and_let_go_by_a_quorum() {
    let mut world = World::new();
    world.deposit(3_000_000, ALICE);
    world.bitcoin(6);
    world.slots(2);
    decide(&mut world, 1, true, false);
    world.deposit(50_000, ALICE);
    world.bitcoin(6);
    world.burn(&[(1_000_000, &text(&payee(70)))]);
    world.finalize();
    world.slots(1);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 30_000_000)], "deposits are held");
    let ledger = world.ledger();
    assert_eq!(ledger.batches().len(), 1, "payments are not");

    // The other way round. What was sent before settles all the same.
    decide(&mut world, 2, false, true);
    let signed = world.sign(&ledger.batches()[0]);
    world.regtest.broadcast(signed).unwrap();
    world.bitcoin(6);
    world.burn(&[(500_000, &text(&payee(71)))]);
    world.finalize();
    world.slots(1);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 30_000_000), (ALICE, 500_000)], "deposits go on");
    let ledger = world.ledger();
    assert_eq!((ledger.batches().len(), ledger.finished().len(), ledger.unpaid()), (0, 1, Sats(500_000)));
    assert!(ledger.holds_pegouts() && !ledger.holds_pegins());

    decide(&mut world, 3, false, false);
    world.slots(1);
    assert_eq!(world.ledger().batches().len(), 1);
}

#[test]
fn a_decision_counts_once_in_its_order_and_by_a_quorum_of_this_chain_only() {
    let mut world = World::new();
    decide(&mut world, 1, true, true);
    // Blocks are judged in the place of the newest one.
    world.slots(1);
    let good = decision(&world, 2, false, false);
    let mut with = |change: &dyn Fn(&mut Pause)| {
        let mut pause = good.clone();
        change(&mut pause);
        world.judge(|block| block.body.pause = VariableList::new(vec![pause]).unwrap()).err()
    };
    let refused = |error: PauseError| Some(BlockError::Peg(PegError::Pause(error)));
    assert_eq!(with(&|_| {}), None, "the next one is fine");
    assert!(
        matches!(with(&|pause| pause.sequence = 3), Some(BlockError::Peg(PegError::Pause(PauseError::Quorum(_)))),)
    );
    assert!(matches!(
        with(&|pause| pause.pegin_paused = true),
        Some(BlockError::Peg(PegError::Pause(PauseError::Quorum(_)))),
    ));
    assert!(matches!(
        with(&|pause| pause.aggregate_signature = SignatureBytes::ZERO),
        Some(BlockError::Peg(PegError::Pause(PauseError::Quorum(_)))),
    ));
    assert!(matches!(
        with(&|pause| pause.bitfield = BitVector::new()),
        Some(BlockError::Peg(PegError::Pause(PauseError::Quorum(_)))),
    ));
    assert_eq!(with(&|pause| pause.genesis_root = B256::repeat_byte(1)), refused(PauseError::OtherChain));
    let again = decision(&world, 1, true, true);
    let error = world.judge(|block| block.body.pause = VariableList::new(vec![again]).unwrap());
    assert_eq!(error.err(), refused(PauseError::Sequence { found: 1, expected: 2 }));
    let skipped = decision(&world, 4, false, false);
    let error = world.judge(|block| block.body.pause = VariableList::new(vec![skipped]).unwrap());
    assert_eq!(error.err(), refused(PauseError::Sequence { found: 4, expected: 2 }));
}

#[test]
fn an_unclaimed_deposit_goes_back_to_the_only_other_output_and_the_books_balance() {
    let mut world = World::new();
    // Enough to pay from.
    world.deposit(5_000_000, ALICE);
    let (federation, change) = (world.federation(), p2wpkh(61));
    let note = op_return(b"not an address");
    let clear = world.send(&[(70_000, federation.clone()), (0, note.clone()), (9_000, change.clone())]);
    let two = world.send(&[(80_000, federation.clone()), (9_000, change.clone()), (9_000, p2wpkh(62))]);
    let none = world.send(&[(90_000, federation.clone()), (0, note)]);
    let small = world.send(&[(9_999, federation.clone()), (9_000, change.clone())]);
    for transaction in [&clear, &two, &none, &small] {
        world.pegins.push(transaction.compute_txid());
    }
    world.bitcoin(6);
    world.slots(3);
    let ledger = world.ledger();
    assert_eq!(ledger.unclaimed(), Sats(80_000 + 90_000 + 9_999), "no way back is clear");
    let txid = B256::from(clear.compute_txid().to_byte_array());
    let id = PegOutId { block_root: txid, log_index: RETURN_LOG_INDEX };
    assert_eq!(ledger.requests().iter().map(|request| request.id).collect::<Vec<_>>(), [id]);
    assert_eq!((ledger.unpaid(), ledger.totals().returned), (Sats(70_000), Sats(70_000)));
    let reason = ledger.find_recorded(&txid).unwrap().kind();
    assert_eq!(reason, alys_chain::peg::RecordedKind::Unclaimed(Unclaimed::MalformedRecipient));

    world.finalize();
    world.slots(1);
    let ledger = world.ledger();
    let payment = world.payment(&ledger.batches()[0]);
    assert_eq!(payment.transaction.output[0].script_pubkey, change);
    assert_eq!(payment.transaction.output[0].value.to_sat(), 70_000 - payment.fee.0);
    world.regtest.broadcast(world.sign(&ledger.batches()[0])).unwrap();
    world.bitcoin(6);
    world.slots(2);
    let ledger = world.ledger();
    assert_eq!((ledger.unpaid(), ledger.batches().len()), (Sats(0), 0));
    assert_eq!(ledger.finished().last().unwrap().id, id);
    assert_eq!(ledger.locked(), Sats(5_000_000 + 80_000 + 90_000 + 9_999));
}
