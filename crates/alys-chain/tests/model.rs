//! The core beside a model that is slow and obviously right: random block trees whose certificates the voting rules allow,
//! told to both in random orders. After every fact both have the same head, safe and finalized block.
//!
//! The model keeps blocks and certificates in plain maps and computes everything from scratch, straight from the
//! protocol's sentences (sections 2, 4, 5 and 6).

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_auxpow::Asert;
use alys_chain::{
    AuxPowEssence, Message,
    testing::{Fixture, Node, mine},
};
use alys_primitives::{
    Address, Approval, AuxBundle, AuxPowRecord, BlockBody, BlockHeader, ExecutionPayload, Height, Notarization, Root,
    SignatureBytes, SignedBlock, Slot, TreeHash as _, U256, UnixMillis, VariableList, blocks_root,
};
use sha2::{Digest as _, Sha256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const MEMBERS: u64 = 4;
const QUORUM: usize = 3;

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

/// The author of a slot: members in the order of a hash of chain, epoch, round and index (section 2, ADR 0004).
fn author(genesis_root: Root, slot: u64) -> u64 {
    let mut order: Vec<([u8; 32], u64)> = (0..MEMBERS)
        .map(|index| {
            let mut hash = Sha256::new_with_prefix(genesis_root);
            for number in [0, slot / MEMBERS, index] {
                hash.update(number.to_le_bytes());
            }
            (hash.finalize().into(), index)
        })
        .collect();
    order.sort_unstable();
    order[usize::try_from(slot % MEMBERS).unwrap()].1
}

/// The model.
#[derive(Clone)]
struct Model {
    genesis: Root,
    depth: u64,
    /// Blocks that have arrived.
    arrived: BTreeMap<Root, Arc<SignedBlock>>,
    approvals: BTreeMap<Root, BTreeSet<u64>>,
    certificates: BTreeSet<Root>,
    finalized: Root,
}

impl Model {
    fn new(fixture: &Fixture) -> Self {
        let genesis = fixture.spec.genesis_header().root();
        Self {
            genesis,
            depth: fixture.spec.min_finalization_depth,
            arrived: BTreeMap::new(),
            approvals: BTreeMap::new(),
            certificates: BTreeSet::new(),
            finalized: genesis,
        }
    }

    fn hear(&mut self, fact: &Message) {
        match fact {
            Message::Block(block) => {
                self.arrived.insert(block.root(), Arc::clone(block));
            }
            Message::Approval(approval) => {
                self.approvals.entry(approval.data.block_root).or_default().insert(approval.member_index);
            }
            Message::Notarization(certificate) => {
                self.certificates.insert(certificate.block_root);
            }
            Message::AuxPow(_) | Message::Evidence(_) | Message::FederationChange(_) => {}
        }
        let newest =
            self.notarized().into_iter().map(|root| self.finalized_by(root)).max_by_key(|root| self.height(*root));
        if let Some(newest) = newest.filter(|newest| self.height(*newest) > self.height(self.finalized)) {
            self.finalized = newest;
        }
    }

    fn height(&self, root: Root) -> u64 {
        self.arrived.get(&root).map_or(0, |block| block.header.height.0)
    }

    fn slot(&self, root: Root) -> u64 {
        self.arrived.get(&root).map_or(0, |block| block.header.slot.0)
    }

    fn parent(&self, root: Root) -> Option<Root> {
        self.arrived.get(&root).map(|block| block.header.parent_root)
    }

    /// From genesis up to a block; `None` if an ancestor has not arrived.
    fn chain(&self, tip: Root) -> Option<Vec<Root>> {
        let mut chain = vec![tip];
        let mut at = tip;
        while at != self.genesis {
            at = self.parent(at)?;
            chain.push(at);
        }
        chain.reverse();
        Some(chain)
    }

    /// Blocks with all their ancestors and a quorum: by a certificate, by approvals, or inside a child.
    fn notarized(&self) -> BTreeSet<Root> {
        let known = |root: &Root| self.chain(*root).is_some();
        let inside = self.arrived.values().map(|child| child.header.parent_root);
        let counted = self.approvals.iter().filter(|(_, members)| members.len() >= QUORUM).map(|(root, _)| *root);
        let mut all: BTreeSet<Root> =
            self.certificates.iter().copied().chain(counted).chain(inside).filter(known).collect();
        all.insert(self.genesis);
        all
    }

    /// The newest block that is safe if `tip` is notarized: the second of three in consecutive slots.
    fn safe_by(&self, tip: Root) -> Root {
        let chain = self.chain(tip).unwrap();
        let runs = chain
            .windows(3)
            .filter(|run| self.slot(run[1]) == self.slot(run[0]) + 1 && self.slot(run[2]) == self.slot(run[1]) + 1);
        runs.map(|run| run[1]).next_back().unwrap_or(self.genesis)
    }

    /// The end of the newest bundle that is final if `tip` is notarized: its carrier is safe and deep enough.
    fn finalized_by(&self, tip: Root) -> Root {
        let chain = self.chain(tip).unwrap();
        let mut newest = self.genesis;
        for at in &chain {
            let (safe, height) = (self.height(self.safe_by(*at)), self.height(*at));
            for carrier in &chain {
                let Some(block) = self.arrived.get(carrier) else { continue };
                let Some(record) = block.body.auxpow.first() else { continue };
                let deep = self.height(*carrier) + self.depth <= height;
                if deep && self.height(*carrier) <= safe && self.height(record.bundle.end_root) > self.height(newest) {
                    newest = record.bundle.end_root;
                }
            }
        }
        newest
    }

    fn work(&self, tip: Root) -> usize {
        let carries = |root: &&Root| self.arrived.get(*root).is_some_and(|block| !block.body.auxpow.is_empty());
        self.chain(tip).unwrap().iter().filter(carries).count()
    }

    /// Tip of the longest notarized chain that contains the finalized block; ties: more work, then the lower root.
    fn head(&self) -> Root {
        let candidates =
            self.notarized().into_iter().filter(|root| self.chain(*root).unwrap().contains(&self.finalized));
        candidates.max_by_key(|root| (self.height(*root), self.work(*root), Reverse(*root))).unwrap()
    }

    /// The newest block of the head's chain that any notarized block makes safe, never below the finalized one.
    fn safe(&self) -> Root {
        let chain = self.chain(self.head()).unwrap();
        let safe = self.notarized().into_iter().map(|root| self.safe_by(root)).filter(|root| chain.contains(root));
        safe.chain([self.finalized]).max_by_key(|root| self.height(*root)).unwrap()
    }
}

/// Makes blocks that are valid on any notarized block that it still knows.
struct Maker {
    fixture: Fixture,
    genesis_root: Root,
    node: Node,
    model: Model,
    now: UnixMillis,
    facts: Vec<Vec<Message>>,
    salt: u32,
}

impl Maker {
    fn new() -> Self {
        let fixture = Fixture::new(usize::try_from(MEMBERS).unwrap());
        Self {
            genesis_root: fixture.spec.genesis_root(),
            node: Node::new(&fixture, None),
            model: Model::new(&fixture),
            now: fixture.slot_start(1_000),
            facts: Vec::new(),
            salt: 0,
            fixture,
        }
    }

    fn tell(&mut self, facts: Vec<Message>) {
        for fact in &facts {
            self.node.receive(self.now, fact.clone());
            self.model.hear(fact);
        }
        self.facts.push(facts);
    }

    /// A record over all uncommitted blocks of a chain, for a child in `slot`.
    fn record(&mut self, parent: Root, slot: u64) -> Option<AuxPowRecord> {
        let state = self.node.chain.state(&parent)?.clone();
        let chain = self.model.chain(parent)?;
        let roots: Vec<Root> =
            chain.into_iter().filter(|root| self.model.height(*root) > state.committed.end.height.0).collect();
        let spec = &self.fixture.spec;
        let asert = Asert::of_spec(&spec.auxpow).unwrap();
        let bundle = AuxBundle {
            genesis_root: self.genesis_root,
            auxpow_chain_id: spec.auxpow.chain_id,
            bits: asert.bits(slot * spec.slot_duration, state.committed.records),
            miner_address: Address::repeat_byte(0xaa),
            template_slot: Slot(slot),
            previous_auxpow_root: state.committed.auxpow_root,
            start_root: *roots.first()?,
            end_root: *roots.last()?,
            count: u64::try_from(roots.len()).unwrap(),
            blocks_root: blocks_root(&roots)?,
        };
        self.salt += 1;
        Some(mine(bundle, self.salt))
    }

    fn block(
        &mut self,
        parent: Root,
        slot: u64,
        with_work: bool,
        certificate: Option<Notarization>,
    ) -> Option<SignedBlock> {
        let auxpow = if with_work { self.record(parent, slot) } else { None };
        let state = self.node.chain.state(&parent)?;
        let spec = &self.fixture.spec;
        let before = self.model.arrived.get(&parent);
        let payload = ExecutionPayload {
            parent_hash: before.map_or(spec.evm.genesis_hash, |block| block.header.execution_block_hash),
            fee_recipient: spec.evm.fee_recipient,
            prev_randao: state.next_randao,
            block_number: self.model.height(parent) + 1,
            gas_limit: 30_000_000,
            timestamp: spec.slot_start(Slot(slot)),
            base_fee_per_gas: U256::from(7),
            ..ExecutionPayload::default()
        };
        let header = BlockHeader {
            slot: Slot(slot),
            height: Height(self.model.height(parent) + 1),
            parent_root: parent,
            author_index: author(self.genesis_root, slot),
            state_root: state.root(),
            ..BlockHeader::default()
        };
        let optional = |record: Option<AuxPowRecord>| VariableList::new(record.into_iter().collect()).unwrap();
        let body = BlockBody { auxpow: optional(auxpow), ..BlockBody::default() };
        let parent_notarization = VariableList::new(certificate.into_iter().collect()).unwrap();
        let mut block =
            SignedBlock { header, body, payload, author_signature: SignatureBytes::ZERO, parent_notarization };
        self.fixture.reseal(&mut block);
        Some(block)
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
        let mut notarized: Vec<Root> = certificates.keys().copied().chain([maker.model.genesis]).collect();
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
            maker.model.arrived.remove(&block.root());
            continue;
        }
        if tips.contains(&parent) && dice.percent(75) {
            let signers: Vec<usize> = (0..4).filter(|_| dice.percent(90)).collect();
            if signers.len() < QUORUM {
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
    let expected = [model.head(), model.safe(), model.finalized].map(|root| (model.height(root), root));
    assert_eq!(found, expected, "head, safe, finalized: {what}");
}

#[test]
fn the_core_agrees_with_the_model_whatever_order_facts_come_in() {
    let (mut finals, mut forks, mut steps) = (0u64, 0usize, 0u64);
    for seed in 1..=25 {
        let mut dice = Dice::new(seed);
        let maker = tree(&mut dice, 26);
        compare(&maker.node, &maker.model, &format!("seed {seed}, in order"));
        finals += maker.model.height(maker.model.finalized);
        let parents: BTreeSet<Root> = maker.model.arrived.values().map(|block| block.header.parent_root).collect();
        forks += maker.model.arrived.len() - parents.len();
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
    let genesis = maker.model.genesis;
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
