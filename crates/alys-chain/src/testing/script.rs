//! Scripts: bytes that choose what happens to a core and to the [`Model`] beside it. After every step both have the same
//! head, safe and finalized block, whatever the bytes are.

use super::{Maker, Model, Node, model::MODEL_QUORUM};
use crate::Message;
use alys_primitives::{Notarization, Root};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// The most steps that a script is followed for: the model's time grows with the cube of its blocks.
const MAX_STEPS: usize = 160;

/// The most blocks of one script.
const MAX_BLOCKS: usize = 28;

/// What a script did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptOutcome {
    /// Facts that the late node heard.
    pub facts: usize,
    /// Height of its finalized block.
    pub finalized: u64,
}

/// A script on its way: everything is made in order, and heard by a second node when the script says so.
struct Stage {
    maker: Maker,
    slot: u64,
    certificates: BTreeMap<Root, Notarization>,
    late: Node,
    late_model: Model,
    /// What the late node has not heard, and what it has.
    waiting: Vec<Message>,
    heard: Vec<Message>,
    outcome: ScriptOutcome,
}

/// Follows a script: two bytes a step, the first says what, the second which.
///
/// # Panics
/// If core and model differ, which is a finding.
pub fn run_script(bytes: &[u8]) -> ScriptOutcome {
    let maker = Maker::new();
    let mut stage = Stage {
        slot: 0,
        certificates: BTreeMap::new(),
        late: Node::new(&maker.fixture, None),
        late_model: Model::new(&maker.fixture),
        waiting: Vec::new(),
        heard: Vec::new(),
        outcome: ScriptOutcome::default(),
        maker,
    };
    for (step, pair) in bytes.chunks_exact(2).take(MAX_STEPS).enumerate() {
        let (what, which) = (pair[0], usize::from(pair[1]));
        match what % 8 {
            0 => stage.slot += u64::from(pair[1] % 4),
            1 | 2 => stage.propose(which, false),
            3 => stage.propose(which, true),
            4 => stage.certify(which),
            5 | 6 => stage.hear(which),
            _ => stage.again(which),
        }
        compare(&stage.late, &stage.late_model, &format!("step {step}"));
    }
    // In the end everything arrives.
    while !stage.waiting.is_empty() {
        stage.hear(0);
    }
    compare(&stage.late, &stage.late_model, "at the end");
    compare(&stage.maker.node, &stage.maker.model, "in order");
    stage.outcome.finalized = stage.late.chain.view().finalized.height.0;
    stage.outcome
}

fn compare(node: &Node, model: &Model, what: &str) {
    let view = node.chain.view();
    let found = [view.head.root, view.safe.root, view.finalized.root];
    assert_eq!(found, [model.head(), model.safe(), model.finalized()], "head, safe, finalized: {what}");
}

impl Stage {
    /// Notarized blocks, the longest chains first.
    fn tips(&self) -> Vec<Root> {
        let mut tips: Vec<Root> = self.certificates.keys().copied().chain([self.maker.model.genesis()]).collect();
        tips.sort_by_key(|root| (Reverse(self.maker.model.height(*root)), *root));
        tips
    }

    fn propose(&mut self, which: usize, with_work: bool) {
        if self.maker.model.arrived().len() >= MAX_BLOCKS {
            return;
        }
        let tips = self.tips();
        // Mostly on the longest.
        let parent = if which >= 64 { tips[0] } else { tips[which % tips.len()] };
        self.slot += 1;
        let certificate = self.certificates.get(&parent).cloned();
        let Some(block) = self.maker.block(parent, self.slot, with_work, certificate) else { return };
        let block = Arc::new(block);
        let message = Message::Block(Arc::clone(&block));
        self.maker.tell(vec![message.clone()]);
        if self.maker.node.chain.state(&block.root()).is_none() {
            // Refused by a rule that the model does not know (a stall, an empty bundle): nobody hears of it.
            self.maker.facts.pop();
            self.maker.model.forget(&block.root());
            return;
        }
        self.waiting.push(message);
    }

    /// A quorum approves a block as the voting rules allow it: one block of a slot, on one of the longest chains.
    fn certify(&mut self, which: usize) {
        let model = &self.maker.model;
        let longest = self.tips().first().map_or(0, |tip| model.height(*tip));
        let open: Vec<_> = model
            .arrived()
            .values()
            .filter(|block| {
                let parent = block.header.parent_root;
                let on_tip = parent == model.genesis() || self.certificates.contains_key(&parent);
                let of_slot =
                    |root: &Root| model.arrived().get(root).is_some_and(|it| it.header.slot == block.header.slot);
                let newest = self.certificates.keys().filter_map(|root| model.arrived().get(root));
                let newest = newest.map(|it| it.header.slot).max();
                on_tip
                    && model.height(parent) == longest
                    && !self.certificates.keys().any(of_slot)
                    && newest.is_none_or(|newest| block.header.slot > newest)
            })
            .map(Arc::clone)
            .collect();
        let Some(block) = open.get(which % open.len().max(1)) else { return };
        let fixture = &self.maker.fixture;
        let signers: Vec<usize> = (0..4).filter(|member| which / 8 % 5 != *member).collect();
        let certificate = fixture.certify(&block.header, &signers);
        let facts: Vec<Message> = if which.is_multiple_of(2) {
            vec![Message::Notarization(certificate.clone())]
        } else {
            let signers = signers.iter().take(MODEL_QUORUM.max(signers.len()));
            signers.map(|member| Message::Approval(fixture.approve(&block.header, *member))).collect()
        };
        self.certificates.insert(block.root(), certificate);
        self.maker.tell(facts.clone());
        self.waiting.extend(facts);
    }

    fn hear(&mut self, which: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let fact = self.waiting.remove(which % self.waiting.len());
        self.late.receive(self.maker.now, fact.clone());
        self.late_model.hear(&fact);
        self.heard.push(fact);
        self.outcome.facts += 1;
    }

    /// Something is heard again, or the late node starts again from its disk. What waits for an ancestor is not on it:
    /// peers tell it again.
    fn again(&mut self, which: usize) {
        if !which.is_multiple_of(4) {
            if let Some(fact) = self.heard.get(which % self.heard.len().max(1)).cloned() {
                self.late.receive(self.maker.now, fact);
            }
            return;
        }
        let config = self.maker.fixture.config(None);
        let before = self.late.chain.state_root();
        self.late.restart(&self.maker.fixture, config).expect("what was stored is a chain");
        assert_eq!(self.late.chain.state_root(), before, "a restart changes nothing");
        for fact in self.heard.clone() {
            self.late.receive(self.maker.now, fact);
        }
    }
}
