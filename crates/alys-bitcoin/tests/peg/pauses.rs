//! A quorum holds a direction of the peg, and what nobody can be credited with goes back.

use crate::harness::{World, custody_keys, op_return, payee, spec, text};
use crate::support::p2wpkh;
use alys_chain::peg::{PauseError, PauseState, PegError, RETURN_LOG_INDEX, Unclaimed, pause_root};
use alys_chain::testing::{Cluster, Fixture};
use alys_chain::{BlockError, Message, RestoreError};
use alys_primitives::{Address, B256, BitVector, Epoch, Pause, PegOutId, Sats, SignatureBytes, VariableList};
use bitcoin::hashes::Hash as _;

const ALICE: Address = Address::repeat_byte(0xa1);

const PEG_IN: u64 = 3;

/// A decision that these members of epoch 0 signed.
fn signed(cluster: &Cluster, signers: &[usize], state: PauseState) -> Pause {
    let root = cluster.nodes[0].chain.verifier().pause_signing_root(Epoch(0), &state);
    let mut bitfield = BitVector::new();
    signers.iter().for_each(|signer| bitfield.set(*signer, true).unwrap());
    let signatures: Vec<_> = signers.iter().map(|signer| cluster.fixture.sign_as(*signer, root)).collect();
    let PauseState { sequence, pegin_paused, pegout_paused } = state;
    Pause {
        genesis_root: cluster.fixture.spec.genesis_root(),
        epoch: Epoch(0),
        sequence,
        pegin_paused,
        pegout_paused,
        bitfield,
        aggregate_signature: cluster.fixture.sum(&signatures).unwrap(),
    }
}

fn decision(world: &World, sequence: u64, pegin_paused: bool, pegout_paused: bool) -> Pause {
    signed(&world.cluster, &[0], PauseState { sequence, pegin_paused, pegout_paused })
}

fn decide(world: &mut World, sequence: u64, pegin_paused: bool, pegout_paused: bool) {
    let pause = decision(world, sequence, pegin_paused, pegout_paused);
    let now = world.cluster.now;
    assert!(world.cluster.nodes[0].receive(now, Message::Pause(pause)));
    world.slots(1);
    assert_eq!(*world.ledger().pause(), PauseState { sequence, pegin_paused, pegout_paused });
}

/// Four members with a peg, a few blocks on.
fn four() -> Cluster {
    let mut fixture = Fixture::new(4);
    fixture.spec.peg = VariableList::new(vec![spec(&custody_keys(4), 2)]).unwrap();
    let mut cluster = Cluster::new(fixture);
    cluster.run_slots(3);
    cluster
}

fn held(sequence: u64, pegin_paused: bool) -> PauseState {
    PauseState { sequence, pegin_paused, pegout_paused: false }
}

fn state(cluster: &Cluster, node: usize) -> PauseState {
    *cluster.nodes[node].chain.view().peg.ledger().pause()
}

#[test]
fn a_decision_told_to_one_member_reaches_the_others_though_that_one_goes_away() {
    let mut cluster = four();
    let pause = signed(&cluster, &[0, 1, 2], held(1, true));
    let now = cluster.now;
    cluster.nodes[3].receive(now, Message::Pause(pause.clone()));
    assert_eq!(cluster.nodes[3].log.pauses, [(pause_root(&pause), Ok(()))], "acknowledged");
    cluster.deliver();
    cluster.absent.push(3);
    for node in 0..3 {
        assert_eq!(cluster.nodes[node].chain.waiting_pause(), Some(&pause), "node {node}");
    }
    cluster.run_slots(4);
    for node in 0..3 {
        assert_eq!(state(&cluster, node), held(1, true), "node {node}");
    }
    // It is kept until it is final, and then forgotten.
    assert_eq!(cluster.nodes[0].chain.waiting_pause(), Some(&pause));
    for _ in 0..6 {
        cluster.mine(0);
        cluster.run_slots(4);
    }
    for node in 0..3 {
        assert_eq!(cluster.nodes[node].chain.waiting_pause(), None, "node {node}");
        assert_eq!(cluster.nodes[node].store.restored().pause, None, "node {node}");
    }
}

#[test]
fn a_waiting_decision_is_answered_for_what_it_is() {
    let mut cluster = four();
    let now = cluster.now;
    let node = |cluster: &mut Cluster, pause: &Pause| {
        cluster.nodes[0].receive(now, Message::Pause(pause.clone()));
        cluster.nodes[0].log.pauses.last().unwrap().1.clone()
    };
    let first = signed(&cluster, &[0, 1, 2], held(1, true));
    let skipped = signed(&cluster, &[0, 1, 2], held(2, true));
    assert_eq!(node(&mut cluster, &skipped), Err(PauseError::Sequence { found: 2, expected: 1 }));
    assert_eq!(node(&mut cluster, &first), Ok(()));
    // The same decision, signed by others, is no second one; another one with its number is.
    let told = cluster.nodes[0].outgoing.len();
    let others = signed(&cluster, &[1, 2, 3], held(1, true));
    assert_eq!(node(&mut cluster, &others), Ok(()));
    assert_eq!(cluster.nodes[0].outgoing.len(), told, "it is told once");
    assert_eq!(cluster.nodes[0].chain.waiting_pause(), Some(&first));
    let contrary = signed(&cluster, &[0, 1, 2], held(1, false));
    assert_eq!(node(&mut cluster, &contrary), Err(PauseError::Waiting { sequence: 1 }));
    // Too few, or none of this chain: nobody takes it from them.
    for wrong in [
        signed(&cluster, &[0, 1], held(1, true)),
        Pause { genesis_root: B256::repeat_byte(1), ..first.clone() },
        Pause { epoch: Epoch(1), ..first },
    ] {
        assert!(!cluster.nodes[0].receive(now, Message::Pause(wrong)));
    }
    let mut plain = Cluster::new(Fixture::new(1));
    let pause = signed(&plain, &[0], held(1, true));
    plain.nodes[0].receive(now, Message::Pause(pause));
    assert_eq!(plain.nodes[0].log.pauses.last().unwrap().1, Err(PauseError::NoPeg));
}

#[test]
fn a_waiting_decision_survives_a_power_cut_and_is_told_again() {
    let mut cluster = four();
    let (fixture, now) = (cluster.fixture.clone(), cluster.now);
    let pause = signed(&cluster, &[0, 1, 2], held(1, true));
    let node = &mut cluster.nodes[0];
    node.receive(now, Message::Pause(pause.clone()));
    let before = node.chain.state_root();
    node.outgoing.clear();
    node.store.crash(0);
    node.restart(&fixture, fixture.config(Some(0))).unwrap();
    assert_eq!((node.chain.waiting_pause(), node.chain.state_root()), (Some(&pause), before));
    node.pump(now);
    assert!(node.outgoing.contains(&Message::Pause(pause)));
    // The state root covers it.
    let mut kept = node.store.restored();
    kept.pause = None;
    let refused = fixture.restore(fixture.config(Some(0)), kept);
    assert!(matches!(refused, Err(RestoreError::StateRoot { .. })));
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
