//! Bitcoin changes its mind.

use crate::harness::{World, custody_keys, op_return};
use crate::rotation::{hand_over, sign};
use crate::support::{NOW, fork, p2wpkh};
use alys_chain::BlockError;
use alys_chain::peg::{HeaderError, PegError};
use alys_primitives::{Address, BitcoinHeaderBytes, Sats, VariableList};
use bitcoin::OutPoint;
use bitcoin::consensus::serialize;

const ALICE: Address = Address::repeat_byte(0xa1);

const PEG_IN: u64 = 3;

#[test]
fn the_view_follows_the_branch_with_most_work_from_one_to_twenty_blocks() {
    for depth in [1u32, 2, 6, 20] {
        let mut world = World::new();
        world.bitcoin(depth);
        world.slots(1);
        let tip = world.regtest.best();
        let view = world.cluster.nodes[0].chain.view();
        assert_eq!(view.peg.headers().tip_height(), u64::from(tip.height));
        let base = world.regtest.header_at(tip.height - depth).unwrap().hash;
        fork(&mut world.regtest, base, usize::try_from(depth).unwrap() + 1, 7);
        world.slots(1);
        let view = world.cluster.nodes[0].chain.view();
        assert_eq!(view.peg.headers().tip_height(), u64::from(tip.height) + 1, "depth {depth}");
    }
}

#[test]
fn a_deposit_that_a_reorganisation_moves_is_minted_once() {
    let mut world = World::new();
    let outputs = [(70_000, world.federation()), (0, op_return(ALICE.as_slice()))];
    let base = world.regtest.best().hash;
    let transaction = world.send(&outputs);
    world.pegins.push(transaction.compute_txid());
    world.bitcoin(7);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 700_000)]);
    // Eight empty blocks replace the seven: the deposit is in none of them.
    fork(&mut world.regtest, base, 8, 7);
    let offer = world.offer();
    let now = world.cluster.now;
    world.cluster.nodes[0].handle(now, alys_chain::Input::Peg(Box::new(offer))).unwrap();
    world.cluster.run_slots(1);
    let ledger = world.ledger();
    assert_eq!(ledger.locked(), Sats(0), "its coin does not count now");
    assert_eq!(ledger.imbalance(), -70_000, "which stops the peg, not the chain");
    let other = world.send(&[(50_000, world.federation()), (0, op_return(ALICE.as_slice()))]);
    world.pegins.push(other.compute_txid());
    let height = world.head();
    world.cluster.run_slots(3);
    assert!(world.head() > height);
    // It is mined again: its coin counts again, nothing is minted for it, and the peg goes on.
    let _ = world.regtest.broadcast(transaction);
    world.bitcoin(6);
    world.slots_unbalanced(3);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 700_000), (ALICE, 500_000)]);
    assert_eq!(world.ledger().imbalance(), 0);
    assert_eq!(world.ledger().locked(), Sats(120_000));
}

#[test]
fn a_deposit_that_leaves_bitcoin_before_it_is_deep_enough_waits_until_it_is_back() {
    let mut world = World::new();
    let outputs = [(70_000, world.federation()), (0, op_return(ALICE.as_slice()))];
    let base = world.regtest.best().hash;
    let transaction = world.send(&outputs);
    world.pegins.push(transaction.compute_txid());
    world.bitcoin(5);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), [], "five confirmations");
    // Seven blocks without it replace the five.
    fork(&mut world.regtest, base, 7, 7);
    world.slots(3);
    assert_eq!((world.mints(PEG_IN), world.ledger().locked()), (vec![], Sats(0)), "none at all");
    let _ = world.regtest.broadcast(transaction);
    world.bitcoin(5);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), [], "five again, in other blocks");
    world.bitcoin(1);
    world.slots(2);
    assert_eq!(world.mints(PEG_IN), [(ALICE, 700_000)]);
    assert_eq!(world.ledger().locked(), Sats(70_000));
}

#[test]
fn a_sweep_survives_reorganisations_of_one_to_ten_blocks_wherever_it_stands() {
    let mut rotated = World::new();
    let new: Vec<_> = (100..105).map(|seed| alys_bitcoin::CustodyKey::from_bytes(&[seed; 32]).unwrap()).collect();
    let outputs = [(3_000_000, rotated.federation()), (0, op_return(ALICE.as_slice()))];
    let deposit = rotated.send(&outputs);
    rotated.pegins.push(deposit.compute_txid());
    rotated.bitcoin(6);
    rotated.slots(2);
    hand_over(&mut rotated, &new, 3);
    rotated.finalize();
    let batch = rotated.ledger().batches()[0].clone();
    let (signed, fee) = (sign(&rotated, &batch, &custody_keys(3)), rotated.payment(&batch).fee);
    let txid = signed.compute_txid();
    // Whoever looks through the blocks finds it there; what the books know already is left out of the offer's block.
    rotated.pegins.push(txid);
    for depth in 1..=10u32 {
        for confirmations in 1..=8u32 {
            let what = format!("{confirmations} confirmations, {depth} blocks replaced");
            let mut world = rotated.clone();
            world.regtest.broadcast(signed.clone()).unwrap();
            world.bitcoin(confirmations);
            world.slots(2);
            assert_eq!(world.ledger().batches().is_empty(), confirmations >= 6, "{what}: settled");
            let base = world.regtest.header_at(world.regtest.best().height - depth).unwrap().hash;
            fork(&mut world.regtest, base, usize::try_from(depth).unwrap() + 1, 7);
            world.slots_unbalanced(2);
            let (is_gone, deposit_is_gone) = (depth >= confirmations, depth >= confirmations + 6);
            let ledger = world.ledger();
            let missing = match (confirmations >= 6, is_gone, deposit_is_gone) {
                (true, true, _) => 3_000_000 - fee.0,
                (false, _, true) => 3_000_000,
                _ => 0,
            };
            assert_eq!(ledger.imbalance(), -i128::from(missing), "{what}");
            // Both come back, the deposit first.
            for transaction in [&deposit, &signed] {
                let _ = world.regtest.broadcast(transaction.clone());
            }
            world.bitcoin(6);
            world.slots_unbalanced(3);
            world.slots(1);
            let ledger = world.ledger();
            assert_eq!((ledger.imbalance(), ledger.batches().len()), (0, 0), "{what}");
            assert_eq!((ledger.held_by(0), ledger.held_by(1)), (Sats(0), Sats(3_000_000 - fee.0)), "{what}");
            assert_eq!(ledger.totals().absorbed, fee, "{what}: once");
            assert_eq!(world.mints(PEG_IN), [(ALICE, 30_000_000)], "{what}: once");
            assert!(world.regtest.coin(&OutPoint { txid, vout: 0 }).is_some(), "{what}");
        }
    }
}

#[test]
fn headers_that_break_a_rule_make_the_block_invalid() {
    let mut world = World::new();
    world.slots(1);
    let tip = world.regtest.best();
    let below = world.regtest.header_at(tip.height - 3).unwrap().hash;
    // A branch of two that leaves three below the tip has less work.
    let mut other = world.regtest.clone();
    let (blocks, _) = fork(&mut other, below, 2, 9);
    let bytes = |block: &bitcoin::Block| BitcoinHeaderBytes::try_from(serialize(&block.header).as_slice()).unwrap();
    let weaker: Vec<BitcoinHeaderBytes> = blocks.iter().map(bytes).collect();
    let next = world.regtest.clone().generate(&p2wpkh(99), NOW).unwrap();
    let mut with = |headers: Vec<BitcoinHeaderBytes>| {
        world.judge(|block| block.body.bitcoin_headers = VariableList::new(headers).unwrap()).err()
    };
    let headers = |error| Some(BlockError::Peg(PegError::Headers(error)));
    assert_eq!(with(vec![bytes(&next)]), None, "the next one is fine");
    assert_eq!(with(weaker.clone()), headers(HeaderError::NoMoreWork { fork_height: u64::from(tip.height) - 3 }));
    assert!(matches!(
        with(vec![weaker[1]]),
        Some(BlockError::Peg(PegError::Headers(HeaderError::UnknownParent { .. })))
    ));
    assert_eq!(with(vec![bytes(&next), weaker[1]]), headers(HeaderError::Gap { position: 1 }));
    let known = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    assert!(matches!(
        with(vec![bytes(&known)]),
        Some(BlockError::Peg(PegError::Headers(HeaderError::UnknownParent { .. })))
    ));
    // Without its work, with other bits, too old, too new, an old version.
    let spoil = |change: &dyn Fn(&mut bitcoin::block::Header)| {
        let mut block = next.clone();
        change(&mut block.header);
        bytes(&block)
    };
    let solved = |change: &dyn Fn(&mut bitcoin::block::Header)| {
        let mut block = next.clone();
        change(&mut block.header);
        bytes(&crate::support::resolve(block))
    };
    let lazy = (0..64).map(|nonce| spoil(&|header| header.nonce = nonce)).find(|bytes| {
        let header: bitcoin::block::Header = bitcoin::consensus::deserialize(bytes.as_slice()).unwrap();
        header.validate_pow(header.target()).is_err()
    });
    assert!(matches!(with(vec![lazy.unwrap()]), Some(BlockError::Peg(PegError::Headers(HeaderError::Work { .. })))));
    let bits = spoil(&|header| header.bits = bitcoin::CompactTarget::from_consensus(0x1d00_ffff));
    assert!(matches!(with(vec![bits]), Some(BlockError::Peg(PegError::Headers(HeaderError::Bits { .. })))));
    let old = solved(&|header| header.time = NOW - 1_000);
    assert!(matches!(with(vec![old]), Some(BlockError::Peg(PegError::Headers(HeaderError::TooOld { .. })))));
    let new = solved(&|header| header.time = NOW + 8_000);
    assert!(matches!(with(vec![new]), Some(BlockError::Peg(PegError::Headers(HeaderError::TooNew { .. })))));
    let version = solved(&|header| header.version = bitcoin::block::Version::from_consensus(1));
    assert!(matches!(with(vec![version]), Some(BlockError::Peg(PegError::Headers(HeaderError::Version { .. })))));
}
