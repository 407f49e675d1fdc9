//! Seeded runs over four real cores: messages are delayed, reordered, doubled and lost, members crash and lose what they
//! had not synced. No two safe or finalized blocks contradict each other (S1), nothing is signed twice (S2), what was
//! acknowledged survives (S6), a restart equals the chain that ran (S7), and once the faults stop, finality goes on.

#![allow(clippy::unwrap_used, clippy::needless_range_loop, reason = "tests may stop")]

use alys_chain::{
    Input, Message, SignRequest,
    testing::{Cluster, Fixture, Node},
};
use alys_primitives::{Height, Root, Slot, UnixMillis};
use std::collections::BTreeMap;

const MEMBERS: usize = 4;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// What must hold over the whole run.
#[derive(Default)]
struct Ledger {
    finalized: BTreeMap<Height, Root>,
    safe: BTreeMap<Height, Root>,
    crashes: u64,
    lost: u64,
}

impl Ledger {
    fn check(&mut self, node: &Node) {
        let view = node.chain.view();
        let finalized = self.finalized.entry(view.finalized.height).or_insert(view.finalized.root);
        assert_eq!(*finalized, view.finalized.root, "S1: two finalized blocks at one height");
        let safe = self.safe.entry(view.safe.height).or_insert(view.safe.root);
        assert_eq!(*safe, view.safe.root, "S1: two safe blocks at one height");
    }
}

/// A mistake made on purpose, which the run must find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plant {
    Nothing,
    /// Batches are called durable and were never synced.
    SkippedSync,
}

fn run(seed: u64, plant: Plant) -> (Vec<Root>, Ledger) {
    let fixture = Fixture::new(MEMBERS);
    let mut cluster = Cluster::new(fixture.clone());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut ledger = Ledger::default();
    let mut stale: Vec<_> = cluster.nodes.iter().map(|node| node.store.clone()).collect();
    let mut wire: Vec<(UnixMillis, usize, Message)> = Vec::new();
    let end = fixture.slot_start(60);
    let mut now = fixture.slot_start(0);
    while now < end {
        now = now.saturating_add(100);
        for index in 0..MEMBERS {
            if dice.roll(400) == 0 {
                let acknowledged = cluster.nodes[index].chain.view();
                // A write is in hand when the power fails.
                cluster.nodes[index].auto_sync = false;
                let _ = cluster.nodes[index].handle(now, Input::Tick);
                let kept = usize::try_from(dice.roll(2)).unwrap();
                cluster.nodes[index].store.crash(kept);
                if plant == Plant::SkippedSync {
                    cluster.nodes[index].store = stale[index].clone();
                }
                let config = fixture.config(Some(index));
                cluster.nodes[index].restart(&fixture, config).expect("S7: restores what it wrote");
                cluster.nodes[index].auto_sync = true;
                let restored = cluster.nodes[index].chain.view();
                assert!(restored.head.height >= acknowledged.head.height, "S6: an acknowledged head is lost");
                assert!(restored.finalized.height >= acknowledged.finalized.height, "S6");
                ledger.crashes += 1;
            }
            let _ = cluster.nodes[index].handle(now, Input::Tick);
            ledger.check(&cluster.nodes[index]);
        }
        if dice.roll(50) == 0 {
            stale = cluster.nodes.iter().map(|node| node.store.clone()).collect();
        }
        if dice.roll(40) == 0 {
            let miner = usize::try_from(dice.roll(4)).unwrap();
            let payout = Default::default();
            if let Ok(template) = cluster.nodes[miner].chain.auxpow_template(payout, now) {
                let record = alys_chain::testing::mine(template.bundle, u32::try_from(dice.roll(1 << 30)).unwrap());
                cluster.nodes[miner].receive(now, Message::AuxPow(record));
            }
        }
        for from in 0..MEMBERS {
            let out: Vec<Message> = cluster.nodes[from].outgoing.drain(..).collect();
            for message in out {
                for to in (0..MEMBERS).filter(|to| *to != from) {
                    if dice.roll(20) == 0 {
                        ledger.lost += 1;
                        continue;
                    }
                    for _ in 0..1 + u64::from(dice.roll(10) == 0) {
                        wire.push((now.saturating_add(dice.roll(700)), to, message.clone()));
                    }
                }
            }
        }
        // Due messages in an order of the dice's.
        let (mut due, later): (Vec<_>, Vec<_>) = wire.into_iter().partition(|(at, _, _)| *at <= now);
        wire = later;
        while !due.is_empty() {
            let pick = usize::try_from(dice.roll(u64::try_from(due.len()).unwrap())).unwrap();
            let (_, to, message) = due.swap_remove(pick);
            cluster.nodes[to].receive(now, message);
            ledger.check(&cluster.nodes[to]);
        }
    }
    heal(&mut cluster, now);
    for node in &cluster.nodes {
        ledger.check(node);
        audit(node);
        let mut again = node.clone();
        again.restart(&fixture, fixture.config(None)).unwrap();
        assert_eq!(again.chain.state_root(), node.chain.state_root(), "S7");
    }
    let head = cluster.nodes[0].chain.view().head;
    assert!(cluster.nodes.iter().all(|node| node.chain.view().head == head), "all converge");
    assert!(cluster.nodes[0].chain.view().finalized.height > Height(0), "finality goes on, seed {seed}");
    (cluster.nodes.iter().map(|node| node.chain.state_root()).collect(), ledger)
}

/// Every node gets every block that any node has, as a sync would bring it; then the network is good and work comes.
fn heal(cluster: &mut Cluster, now: UnixMillis) {
    cluster.now = now;
    let stores: Vec<_> = cluster.nodes.iter().map(|node| node.store.clone()).collect();
    for store in &stores {
        for height in 1..=store.top().0 {
            let Some((block, Some(certificate))) = store.canonical(Height(height)).and_then(|root| store.block(&root))
            else {
                continue;
            };
            for node in &mut cluster.nodes {
                node.receive(now, Message::Block(block.clone()));
                node.receive(now, Message::Notarization(certificate.clone()));
            }
        }
    }
    for _ in 0..4 {
        cluster.run_slots(4);
        cluster.mine(0);
    }
    cluster.run_slots(8);
}

/// S2, from the signer's own list.
fn audit(node: &Node) {
    let mut proposals: BTreeMap<Slot, Root> = BTreeMap::new();
    let mut approvals: BTreeMap<Slot, Root> = BTreeMap::new();
    for request in &node.signer.as_ref().unwrap().signed {
        match request {
            SignRequest::Proposal { slot, root, .. } => {
                assert_eq!(*proposals.entry(*slot).or_insert(*root), *root, "S2: two proposals");
            }
            SignRequest::Approval { data, .. } => {
                assert_eq!(*approvals.entry(data.slot).or_insert(data.block_root), data.block_root, "S2: two votes");
            }
        }
    }
}

#[test]
fn invariants_hold_under_faults_and_every_seed_repeats_itself() {
    let (mut crashes, mut lost) = (0, 0);
    for seed in 1..=12 {
        let (first, ledger) = run(seed, Plant::Nothing);
        if seed <= 3 {
            assert_eq!(run(seed, Plant::Nothing).0, first, "seed {seed} does not repeat itself");
        }
        crashes += ledger.crashes;
        lost += ledger.lost;
    }
    assert!(crashes > 10 && lost > 100, "vacuous: {crashes} crashes, {lost} lost messages");
}

#[test]
fn a_skipped_sync_is_caught_within_a_few_seeds() {
    let caught = (1..=5).any(|seed| std::panic::catch_unwind(|| run(seed, Plant::SkippedSync)).is_err());
    assert!(caught, "batches were never synced and no run noticed");
}
