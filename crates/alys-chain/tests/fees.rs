//! Fees to the gwei: what a carrier mints for its bundle's blocks (protocol section 7).

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::explicit_counter_loop,
    reason = "tests may stop"
)]

use alys_chain::testing::{Cluster, Fixture};
use alys_primitives::{Address, Gwei, Height, SignedBlock, U256, Wei, Withdrawal};
use std::sync::Arc;

const GWEI: u64 = 1_000_000_000;

fn carriers(cluster: &Cluster) -> Vec<Arc<SignedBlock>> {
    let store = &cluster.nodes[0].store;
    (1..=store.top().0)
        .filter_map(|height| store.canonical(Height(height)))
        .filter_map(|root| store.block(&root))
        .map(|(block, _)| block)
        .filter(|block| !block.body.auxpow.is_empty())
        .collect()
}

fn set_fees(cluster: &mut Cluster, fees: Wei) {
    for node in &mut cluster.nodes {
        node.executor.next_fees = fees;
    }
}

fn wei(withdrawals: &[Withdrawal]) -> Wei {
    withdrawals.iter().map(|withdrawal| withdrawal.amount.to_wei()).fold(Wei::ZERO, |sum, amount| sum + amount)
}

#[test]
fn the_carrier_mints_the_fees_of_its_bundle_to_the_gwei_and_carries_the_rest() {
    let mut cluster = Cluster::new(Fixture::new(4));
    // 1000 gwei and 7 wei a block; the bundle of blocks 1 to 5 has 5000 gwei and 35 wei.
    set_fees(&mut cluster, U256::from(1_000 * GWEI + 7));
    cluster.run_slots(6);
    let template = cluster.nodes[0].chain.auxpow_template(Address::repeat_byte(0xaa), cluster.now).unwrap();
    assert_eq!(template.bundle.count, 5);
    assert_eq!(template.reward, Gwei(4_000));
    assert!(cluster.mine(0));
    cluster.run_slots(1);
    let carrier = &carriers(&cluster)[0];
    let paid: Vec<(u64, u64, Address, u64)> =
        carrier.payload.withdrawals.iter().map(|w| (w.index, w.validator_index, w.address, w.amount.0)).collect();
    // 80% to the miner; the rest of 1000 gwei and 35 wei to four members, 250 gwei each; 35 wei stay.
    let member = |index: u8| Address::repeat_byte(index + 1);
    assert_eq!(
        paid,
        vec![
            (0, 0, Address::repeat_byte(0xaa), 4_000),
            (1, 1, member(0), 250),
            (2, 1, member(1), 250),
            (3, 1, member(2), 250),
            (4, 1, member(3), 250),
        ]
    );
    let state = cluster.nodes[0].chain.checkpoint().state;
    assert_eq!(state.fee_carry, Wei::ZERO, "the finalized block is genesis still");
    cluster.run_slots(1);
    assert_eq!(cluster.nodes[0].chain.view().ledger.fees_reminted, U256::from(5_000 * GWEI));
}

#[test]
fn nothing_is_minted_twice_or_lost_over_many_bundles() {
    let mut cluster = Cluster::new(Fixture::new(3));
    for round in 0..15u64 {
        // Awkward amounts, some below a gwei.
        set_fees(&mut cluster, U256::from(round * 333_333_333_333u64 + 1));
        cluster.run_slots(3);
        assert!(cluster.mine(0));
    }
    set_fees(&mut cluster, Wei::ZERO);
    cluster.run_slots(6);
    let mined = carriers(&cluster);
    assert!(mined.len() >= 14);
    let mut index = 0;
    for withdrawal in mined.iter().flat_map(|block| block.payload.withdrawals.iter()) {
        assert_eq!(withdrawal.index, index, "indices rise by one over the whole chain");
        assert!(withdrawal.amount.0 > 0, "nobody gets a withdrawal of nothing");
        index += 1;
    }
    let minted = mined.iter().fold(Wei::ZERO, |sum, block| sum + wei(&block.payload.withdrawals));
    let view = cluster.nodes[0].chain.view();
    assert_eq!(view.ledger.fees_reminted, minted);
    let committed = view.committed.fees;
    let carry = committed - minted;
    assert!(carry < U256::from(4 * GWEI), "only what rounding leaves is carried over: {carry}");
    assert_eq!(view.ledger.minted, cluster.fixture.spec.evm.genesis_allocation);
    assert_eq!(view.ledger.minted, view.ledger.deposited);
}

#[test]
fn a_bundle_without_fees_mints_nothing() {
    let mut cluster = Cluster::new(Fixture::new(2));
    cluster.run_slots(4);
    assert!(cluster.mine(0));
    cluster.run_slots(2);
    let mined = carriers(&cluster);
    assert_eq!(mined.len(), 1);
    assert!(mined[0].payload.withdrawals.is_empty());
}

#[test]
fn what_is_below_a_gwei_is_carried_until_it_is_one() {
    let mut cluster = Cluster::new(Fixture::new(1));
    set_fees(&mut cluster, U256::from(GWEI / 4));
    let mut last = Wei::ZERO;
    for _ in 0..10 {
        cluster.run_slots(2);
        cluster.mine(0);
        let view = cluster.nodes[0].chain.view();
        let minted = view.ledger.fees_reminted;
        assert!(minted >= last && minted <= view.committed.fees);
        last = minted;
    }
    assert!(last > Wei::ZERO);
}
