//! The core beside a model that is slow and obviously right: random block trees whose certificates the voting rules allow,
//! told to both in random orders. After every fact both have the same head, safe and finalized block.
//!
//! The model (`alys_chain::testing::Model`) keeps blocks and certificates in plain maps and computes everything from
//! scratch, straight from the protocol's sentences (sections 2, 4, 5 and 6).

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::{
    AuxPowEssence, Message,
    testing::{MODEL_QUORUM, Maker, Model, Node, run_script},
};
use alys_primitives::{Approval, Notarization, Root, TreeHash as _};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// A random tree: at most one block of a slot gets a certificate, and only on one of the longest notarized chains.
fn tree(dice: &mut Dice, slots: u64) -> Maker {
    let mut maker = Maker::new();
    let mut certificates: BTreeMap<Root, Notarization> = BTreeMap::new();
    for slot in 1..=slots {
        if dice.percent(15) {
            continue;
        }
        let mut notarized: Vec<Root> = certificates.keys().copied().chain([maker.model.genesis()]).collect();
        notarized.sort_by_key(|root| (Reverse(maker.model.height(*root)), *root));
        let longest = maker.model.height(notarized[0]);
        let tips: Vec<Root> = notarized.iter().copied().filter(|root| maker.model.height(*root) == longest).collect();
        let from = if dice.percent(80) { &tips } else { &notarized };
        let parent = from[dice.index(from.len())];
        let with_work = dice.percent(30);
        let Some(block) = maker.block(parent, slot, with_work, certificates.get(&parent).cloned()) else { continue };
        let block = Arc::new(block);
        maker.tell(vec![Message::Block(Arc::clone(&block))]);
        if maker.node.chain.state(&block.root()).is_none() {
            // Refused by a rule that the model does not know (a stall, an empty bundle): nobody hears of it.
            maker.facts.pop();
            maker.model.forget(&block.root());
            continue;
        }
        if tips.contains(&parent) && dice.percent(75) {
            let signers: Vec<usize> = (0..4).filter(|_| dice.percent(90)).collect();
            if signers.len() < MODEL_QUORUM {
                continue;
            }
            let certificate = maker.fixture.certify(&block.header, &signers);
            certificates.insert(block.root(), certificate.clone());
            let facts = if dice.percent(50) {
                vec![Message::Notarization(certificate)]
            } else {
                let approve = |member: &usize| -> Approval { maker.fixture.approve(&block.header, *member) };
                signers.iter().map(approve).map(Message::Approval).collect()
            };
            maker.tell(facts);
        }
    }
    maker
}

fn compare(node: &Node, model: &Model, what: &str) {
    let view = node.chain.view();
    let found = [view.head.root, view.safe.root, view.finalized.root].map(|root| (model.height(root), root));
    let expected = [model.head(), model.safe(), model.finalized()].map(|root| (model.height(root), root));
    assert_eq!(found, expected, "head, safe, finalized: {what}");
}

#[test]
fn the_core_agrees_with_the_model_whatever_order_facts_come_in() {
    let (mut finals, mut forks, mut steps) = (0u64, 0usize, 0u64);
    for seed in 1..=25 {
        let mut dice = Dice::new(seed);
        let maker = tree(&mut dice, 26);
        compare(&maker.node, &maker.model, &format!("seed {seed}, in order"));
        finals += maker.model.height(maker.model.finalized());
        let parents: BTreeSet<Root> = maker.model.arrived().values().map(|block| block.header.parent_root).collect();
        forks += maker.model.arrived().len() - parents.len();
        for order in 0..2 {
            let mut facts: Vec<Message> = maker.facts.iter().flatten().cloned().collect();
            let doubled = facts[dice.index(facts.len())].clone();
            facts.push(doubled);
            // Each fact is moved by up to a dozen places, or anywhere.
            for at in 0..facts.len() {
                let reach = if order == 0 { 12.min(facts.len() - at) } else { facts.len() - at };
                let other = at + dice.index(reach);
                facts.swap(at, other);
            }
            let mut node = Node::new(&maker.fixture, None);
            let mut model = Model::new(&maker.fixture);
            for (step, fact) in facts.into_iter().enumerate() {
                node.receive(maker.now, fact.clone());
                model.hear(&fact);
                compare(&node, &model, &format!("seed {seed}, order {order}, fact {step}"));
                steps += 1;
            }
            compare(&node, &maker.model, &format!("seed {seed}, order {order}, at the end"));
            assert_eq!(node.chain.state_root(), {
                let mut again = node.clone();
                again.restart(&maker.fixture, maker.fixture.config(None)).unwrap();
                again.chain.state_root()
            });
        }
    }
    assert!(finals > 50 && forks > 50 && steps > 1_000, "vacuous: {finals} final, {forks} forks, {steps} steps");
}

#[test]
fn the_root_of_a_record_is_what_the_next_bundle_names() {
    let mut maker = Maker::new();
    let genesis = maker.model.genesis();
    let first = maker.block(genesis, 1, false, None).unwrap();
    maker.tell(vec![Message::Block(Arc::new(first.clone()))]);
    let certificate = maker.fixture.certify(&first.header, &[0, 1, 2]);
    maker.tell(vec![Message::Notarization(certificate.clone())]);
    let carrier = maker.block(first.root(), 2, true, Some(certificate)).unwrap();
    maker.tell(vec![Message::Block(Arc::new(carrier.clone()))]);
    let state = maker.node.chain.state(&carrier.root()).unwrap();
    let bundle = carrier.body.auxpow[0].bundle.tree_hash_root();
    let essence = AuxPowEssence { bundle, parent_header: state.committed.parent_header };
    assert_eq!(state.committed.auxpow_root, essence.root());
    assert_eq!(state.committed.end.root, first.root());
}

#[test]
fn random_scripts_lead_core_and_model_to_the_same_place() {
    let (mut facts, mut finals) = (0, 0);
    for seed in 1..=40 {
        let mut dice = Dice::new(seed);
        let script: Vec<u8> = (0..240).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        let told = run_script(&script);
        facts += told.facts;
        finals += told.finalized;
    }
    assert!(facts > 500 && finals > 20, "vacuous: {facts} facts, {finals} final");
}
