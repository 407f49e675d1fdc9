//! Random traffic against a naive model that only adds and subtracts.

#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

use crate::harness::{World, custody_keys, op_return, payee, text};
use crate::rotation::{address, hand_over, sign};
use alys_bitcoin::CustodyKey;
use alys_chain::Message;
use alys_chain::testing::Node;
use alys_primitives::{Address, Height, Sats};
use bitcoin::{ScriptBuf, Txid};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most changes of custody in a run.
const MAX_CHANGES: usize = 3;

/// A small generator, so that a seed names a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Those who hold coins.
struct Holders {
    keys: Vec<CustodyKey>,
    script: ScriptBuf,
    /// The last Bitcoin block in which a deposit to them counts; none while they are the present ones.
    until: Option<u32>,
}

struct Model {
    minted: BTreeMap<Address, u64>,
    unclaimed: u64,
    payable: u64,
    unpayable: u64,
    /// Oldest first.
    holders: Vec<Holders>,
    /// Deposits that came too late for an old address, and count for nothing.
    late: BTreeSet<Txid>,
}

impl Model {
    fn new(world: &World) -> Self {
        let first = Holders { keys: custody_keys(3), script: world.federation(), until: None };
        Self {
            minted: BTreeMap::new(),
            unclaimed: 0,
            payable: 0,
            unpayable: 0,
            holders: vec![first],
            late: BTreeSet::new(),
        }
    }

    /// Somebody else holds the coins from now on.
    fn change_holders(&mut self, world: &mut World) {
        let number = u8::try_from(self.holders.len()).unwrap();
        let keys: Vec<CustodyKey> =
            (0..5).map(|index| CustodyKey::from_bytes(&[100 + 8 * number + index; 32]).unwrap()).collect();
        hand_over(world, &keys, 3);
        let grace = u32::try_from(world.rules.spec().old_address_grace).unwrap();
        self.holders.last_mut().unwrap().until = Some(world.regtest.best().height + grace);
        let script = address(&keys, 3);
        self.holders.push(Holders { keys, script, until: None });
    }
}

fn act(world: &mut World, model: &mut Model, dice: &mut Dice) {
    match dice.roll(9) {
        0..=2 => {
            let sats = 5_000 + dice.roll(2_000_000);
            let recipient = Address::repeat_byte(u8::try_from(dice.roll(4)).unwrap() + 1);
            let named = dice.roll(4) > 0;
            let last = model.holders.len() - 1;
            // Now and then to an old address.
            let to = if dice.roll(3) == 0 { usize::try_from(dice.roll(8)).unwrap() % (last + 1) } else { last };
            let mut outputs = vec![(sats, model.holders[to].script.clone())];
            if named {
                outputs.push((0, op_return(recipient.as_slice())));
            }
            let txid = world.send(&outputs).compute_txid();
            world.pegins.push(txid);
            // The next Bitcoin block takes it.
            if model.holders[to].until.is_some_and(|until| world.regtest.best().height >= until) {
                model.late.insert(txid);
            } else if named && sats >= 10_000 {
                *model.minted.entry(recipient).or_default() += sats * 10;
            } else {
                model.unclaimed += sats;
            }
        }
        3 => world.bitcoin(u32::try_from(1 + dice.roll(4)).unwrap()),
        4 => {
            let sats = 20_000 + dice.roll(100_000);
            if dice.roll(3) == 0 {
                world.burn(&[(sats, "no address at all")]);
                model.unpayable += sats;
            } else {
                world.burn(&[(sats, &text(&payee(70)))]);
                model.payable += sats;
            }
        }
        5 => pay(world, model),
        6 if model.holders.len() <= MAX_CHANGES => model.change_holders(world),
        _ => world.slots(1 + dice.roll(3)),
    }
}

/// The holders of the coins sign and send what is final; Bitcoin may or may not confirm it soon.
fn pay(world: &mut World, model: &Model) {
    world.finalize();
    let finalized = world.cluster.nodes[0].chain.view().finalized.height;
    for batch in world.ledger().batches() {
        if batch.attempts.last().unwrap().height <= finalized {
            let holders = &model.holders[usize::try_from(batch.custody).unwrap()];
            let transaction = sign(world, batch, &holders.keys);
            let _ = world.regtest.broadcast(transaction);
        }
    }
}

/// Gives how often the coins changed hands, and how many deposits came too late for that.
fn run(seed: u64) -> (usize, usize) {
    // A grace period that a run outlives.
    let mut world = World::with(custody_keys(3), 2, |spec| spec.old_address_grace = 3);
    let mut model = Model::new(&world);
    let mut dice = Dice(seed);
    // Enough to pay every burn of the run with.
    world.deposit(40_000_000, Address::repeat_byte(9));
    model.minted.insert(Address::repeat_byte(9), 400_000_000);
    for _ in 0..20 {
        act(&mut world, &mut model, &mut dice);
    }
    world.bitcoin(6);
    world.slots(6);
    for _ in 0..16 {
        pay(&mut world, &model);
        world.bitcoin(6);
        world.slots(2);
    }
    let ledger = world.ledger();
    assert!(ledger.requests().is_empty() && ledger.batches().is_empty(), "seed {seed}: all is settled");
    let mut minted: BTreeMap<Address, u64> = BTreeMap::new();
    for (address, gwei) in world.mints(3) {
        *minted.entry(address).or_default() += gwei;
    }
    assert_eq!(minted, model.minted, "seed {seed}");
    assert_eq!(ledger.unclaimed(), Sats(model.unclaimed), "seed {seed}");
    assert_eq!(ledger.totals().paid, Sats(model.payable), "seed {seed}");
    assert_eq!(ledger.totals().refunded, Sats(model.unpayable), "seed {seed}");
    let deposited: u64 = model.minted.values().sum::<u64>() / 10 + model.unclaimed;
    assert_eq!(ledger.locked().0 + ledger.totals().absorbed.0, deposited - model.payable, "seed {seed}");
    // What Bitcoin itself holds for the federation is what the books say, coin by coin.
    let coins = model.holders.iter().flat_map(|holders| world.regtest.coins_paying(&holders.script));
    let mut held: Vec<u64> = coins
        .filter(|(point, _)| !model.late.contains(&point.txid))
        .map(|(_, coin)| coin.output.value.to_sat())
        .collect();
    let mut booked: Vec<u64> = ledger.coins().iter().map(|coin| coin.value.0).collect();
    held.sort_unstable();
    booked.sort_unstable();
    assert_eq!(held, booked, "seed {seed}");
    // All but dust has come to the present holders.
    let present = ledger.held_by(ledger.current_custody());
    assert!(ledger.locked().0 - present.0 < 1_000_000, "seed {seed}: {present} of {}", ledger.locked());
    assert_eq!(ledger.current_custody(), u64::try_from(model.holders.len() - 1).unwrap(), "seed {seed}");
    replay(&world);
    (model.holders.len() - 1, model.late.len())
}

/// A node that sees only the blocks comes to the same state.
pub fn replay(world: &World) {
    let source = &world.cluster.nodes[0];
    let mut node = Node::new(&world.cluster.fixture, None);
    node.executor.burns.clone_from(&source.executor.burns);
    for height in 1..=world.head().0 {
        let (block, _) = source.store.block(&source.store.canonical(Height(height)).unwrap()).unwrap();
        assert!(node.receive(world.now(), Message::Block(Arc::clone(&block))), "block {height}");
    }
    // The newest block's certificate travels in its child, which there is none of.
    let head = source.store.canonical(world.head()).unwrap();
    let (_, certificate) = source.store.block(&head).unwrap();
    assert!(node.receive(world.now(), Message::Notarization(certificate.unwrap())));
    assert_eq!(node.chain.view().peg, source.chain.view().peg);
    assert_eq!(node.chain.view().head, source.chain.view().head);
    // And so does one that starts again from what was stored.
    let mut again = source.clone();
    again.restart(&world.cluster.fixture, world.cluster.fixture.config(Some(0))).unwrap();
    assert_eq!(again.chain.view().peg, source.chain.view().peg);
    assert_eq!(again.chain.state_root(), source.chain.state_root());
}

#[test]
fn random_traffic_comes_out_as_the_naive_model_says() {
    let (mut changes, mut late) = (0, 0);
    for seed in 1..=8 {
        let (changed, came_late) = run(seed);
        changes += changed;
        late += came_late;
    }
    assert!(changes >= 8 && late >= 1, "{changes} changes of custody, {late} late deposits");
}
