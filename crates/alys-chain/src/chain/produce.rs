//! Proposals: when we are the author of a slot (protocol sections 2 and 4).
//!
//! A payload is asked for shortly before the slot, on the head; if the head moves meanwhile, another one is asked for.
//! The proposal is signed when the slot has begun and not later than the operator's deadline.

use super::{Chain, Signing};
use crate::{
    BuildId, Built, Effect, InputError, PayloadAttributes, SignId, SignRefusal, SignRequest, Unavailable, peg,
    pending::Origin,
    transition::{self, ChildRules},
    verify::Basis,
};
use alys_primitives::{
    AuxPowRecord, B256, BlockBody, BlockHeader, Epoch, Optional, Root, SignatureBytes, SignedBlock, Slot,
    TreeHash as _, UnixMillis, VariableList,
};
use std::sync::Arc;

/// Pause before a payload is asked for again, in milliseconds.
const BUILD_RETRY: u64 = 50;

/// Slots ahead in which our next one is looked for: two rounds of the largest federation.
const LOOK_AHEAD: u64 = 256;

/// How far the proposal for a slot has come.
#[derive(Clone, Debug)]
enum Stage {
    /// A payload was asked for.
    Building(BuildId),
    /// There was none; ask again at this time.
    Retry(UnixMillis),
    /// The payload is there, the slot has not begun.
    Ready(Box<Built>),
    /// The signature was asked for.
    Signing { id: SignId, block: Box<SignedBlock>, basis: Box<Basis> },
    /// Nothing more to do for this slot.
    Done,
}

/// The proposal for one slot.
#[derive(Clone, Debug)]
struct Attempt {
    slot: Slot,
    parent: Root,
    author_index: u64,
    auxpow: Option<(AuxPowRecord, B256)>,
    /// The body with the peg's records and nothing else.
    records: Box<BlockBody>,
    stage: Stage,
}

/// A slot of ours to come.
#[derive(Clone, Copy, Debug)]
struct Next {
    slot: Slot,
    /// The slot after which it is the first of ours.
    after: Slot,
    epoch: Epoch,
    begin: UnixMillis,
}

/// What the author's part remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Production {
    attempt: Option<Attempt>,
    /// The next slot of ours, and when to begin with it.
    next: Option<Next>,
    /// Start of the attempt's slot, for a payload that waits for it.
    wake: Option<UnixMillis>,
}

impl Production {
    pub(super) fn timeout(&self) -> Option<UnixMillis> {
        self.wake.into_iter().chain(self.next.map(|next| next.begin)).min()
    }
}

impl Chain {
    /// Goes on with the proposal of the current slot, if it is ours.
    pub(super) fn produce(&mut self) {
        let Some(key) = self.config.member_key else { return };
        let lead = self.lead();
        let slot = self.constants.spec.slot_at(self.now.saturating_add(lead));
        let (parent, rules) = {
            let head = self.tree.head();
            (head.root, transition::child_rules(&self.constants, head))
        };
        let index = rules.federation.index_of(&key);
        self.production.wake = None;
        if let Some(index) = index {
            self.produce_in(slot, parent, &rules, index);
        }
        self.schedule(slot, &rules, index);
    }

    fn produce_in(&mut self, slot: Slot, parent: Root, rules: &ChildRules, index: u64) {
        let start = self.constants.spec.slot_start_millis(slot);
        let too_late = self.now > start.saturating_add(self.config.production_deadline);
        let (fresh, stale) = match &self.production.attempt {
            None => (true, false),
            // A later one is of before the clock was set back. If that slot was signed for, the signer refuses this one.
            Some(attempt) if attempt.slot != slot => (true, false),
            Some(attempt) => match &attempt.stage {
                Stage::Building(_) | Stage::Ready(_) => (false, attempt.parent != parent),
                Stage::Retry(at) => (false, attempt.parent != parent || *at <= self.now),
                Stage::Signing { .. } | Stage::Done => (false, false),
            },
        };
        if fresh || stale {
            let ours = slot > self.tree.head().header.slot
                && rules.federation.author(self.constants.genesis_root, rules.epoch, slot) == index
                && !too_late;
            if fresh {
                self.leave_attempt(slot);
            }
            if ours {
                self.begin_attempt(slot, parent, rules, index);
            } else if stale {
                self.finish_attempt();
            }
        }
        self.propose_if_ready(start, too_late);
        self.production.wake = match self.production.attempt.as_ref().map(|attempt| &attempt.stage) {
            Some(Stage::Ready(_)) => Some(start),
            Some(Stage::Retry(at)) => Some(*at),
            Some(Stage::Building(_) | Stage::Signing { .. } | Stage::Done) | None => None,
        };
    }

    /// Asks for a payload, unless the chain is stalled and there is no work that ends the stall.
    fn begin_attempt(&mut self, slot: Slot, parent: Root, rules: &ChildRules, author_index: u64) {
        let Some(head) = self.tree.get(&parent) else { return };
        let best = self.best_auxpow(head, rules, slot);
        if best.is_none() && rules.needs_auxpow {
            // The attempt stays open: work may arrive while the slot lasts.
            self.production.attempt = None;
            return;
        }
        let (auxpow, withdrawals) = match best {
            Some((record, parent_header, withdrawals)) => (Some((record, parent_header)), withdrawals),
            None => (None, Vec::new()),
        };
        let (records, step) = match &self.constants.peg {
            Some(peg_rules) => {
                let place = transition::peg_place(&self.constants, head, rules, slot, withdrawals.len());
                let moved = transition::peg_before(peg_rules, head, rules);
                let before = moved.as_ref().unwrap_or(&head.state.peg);
                let (records, step) = peg::propose(peg_rules, before, &self.peg_offer, self.pause.as_ref(), place);
                (Box::new(records), Some(step))
            }
            None => (Box::default(), None),
        };
        let Ok(withdrawals) = transition::withdrawals(head, &withdrawals, step.as_ref()) else { return };
        let attributes = PayloadAttributes {
            timestamp: self.constants.spec.slot_start(slot),
            prev_randao: head.state.next_randao,
            fee_recipient: self.constants.spec.evm.fee_recipient,
            withdrawals,
            parent_beacon_block_root: parent,
        };
        let parent_execution_hash = head.header.execution_block_hash;
        let id = BuildId(self.fresh_id());
        self.production.attempt =
            Some(Attempt { slot, parent, author_index, auxpow, records, stage: Stage::Building(id) });
        self.journal.later(Effect::Build { id, slot, parent_execution_hash, attributes });
    }

    pub(super) fn built(&mut self, id: BuildId, result: Result<Built, Unavailable>) -> Result<(), InputError> {
        let retry = self.now.saturating_add(BUILD_RETRY);
        match &mut self.production.attempt {
            Some(attempt) if matches!(attempt.stage, Stage::Building(open) if open == id) => {
                attempt.stage = match result {
                    Ok(built) => Stage::Ready(Box::new(built)),
                    Err(_) => Stage::Retry(retry),
                };
                Ok(())
            }
            Some(_) | None => Err(InputError::UnknownId { id: id.0 }),
        }
    }

    fn propose_if_ready(&mut self, start: UnixMillis, too_late: bool) {
        let Some(attempt) = &self.production.attempt else { return };
        if !matches!(attempt.stage, Stage::Ready(_)) || self.now < start {
            return;
        }
        let attempt = attempt.clone();
        let Stage::Ready(built) = attempt.stage else { return };
        if too_late {
            self.close_attempt();
            return;
        }
        let Some(parent) = self.tree.get(&attempt.parent) else {
            self.finish_attempt();
            return;
        };
        let rules = transition::child_rules(&self.constants, parent);
        let auxpow = match &attempt.auxpow {
            Some((record, _)) => VariableList::new(vec![record.clone()]).unwrap_or_else(|_| Optional::empty()),
            None => Optional::empty(),
        };
        let change = self.change_for(&rules);
        let (record, next_federation) = change.unzip();
        let federation_change =
            record.and_then(|record| VariableList::new(vec![record]).ok()).unwrap_or_else(Optional::empty);
        let offences = if rules.epoch == parent.state.epoch {
            parent.state.offences.clone()
        } else {
            parent.state.offences.next_epoch()
        };
        let body = BlockBody {
            execution_requests: built.requests,
            auxpow,
            federation_change,
            evidence: self.found.unrecorded(rules.epoch, &offences),
            ..*attempt.records
        };
        let header = BlockHeader {
            slot: attempt.slot,
            height: rules.height,
            parent_root: attempt.parent,
            epoch: rules.epoch,
            author_index: attempt.author_index,
            execution_block_hash: built.payload.block_hash,
            state_root: parent.state_root,
            body_root: body.tree_hash_root(),
        };
        let parent_notarization = parent
            .certificate
            .clone()
            .and_then(|certificate| VariableList::new(vec![certificate]).ok())
            .unwrap_or_else(Optional::empty);
        let root = header.root();
        let basis = Basis {
            genesis_root: self.constants.genesis_root,
            federations: vec![(rules.epoch, rules.federation.root())],
            version: self.constants.spec.fork_version(header.height),
            parent_header: attempt.auxpow.as_ref().map(|(_, parent_header)| *parent_header),
            next_federation,
        };
        let signing_root = self.constants.proposal_root(header.height, root);
        let block = SignedBlock {
            header,
            body,
            payload: built.payload,
            author_signature: SignatureBytes::ZERO,
            parent_notarization,
        };
        let id = SignId(self.fresh_id());
        self.signing.insert(id, Signing::Proposal);
        let request = SignRequest::Proposal { slot: attempt.slot, root, signing_root };
        if let Some(open) = &mut self.production.attempt {
            open.stage = Stage::Signing { id, block: Box::new(block), basis: Box::new(basis) };
        }
        self.journal.later(Effect::Sign { id, request });
    }

    pub(super) fn proposal_signed(&mut self, id: SignId, result: Result<SignatureBytes, SignRefusal>) {
        let Some(attempt) = &mut self.production.attempt else { return };
        let stage = std::mem::replace(&mut attempt.stage, Stage::Done);
        match (stage, result) {
            (Stage::Signing { id: open, mut block, basis }, Ok(signature)) if open == id => {
                self.counters.proposed = self.counters.proposed.saturating_add(1);
                block.author_signature = signature;
                let root = block.root();
                self.witness_proposal(&block);
                self.take_in(root, Arc::new(*block), *basis, Origin::Own);
            }
            (Stage::Signing { id: open, .. }, Err(_)) if open == id => {
                self.counters.refused = self.counters.refused.saturating_add(1);
                self.counters.missed = self.counters.missed.saturating_add(1);
            }
            // An answer for an earlier slot, which came too late to be of use.
            (stage, _) => attempt.stage = stage,
        }
    }

    /// Goes on to a slot. What was begun for a later one, before the clock was set back, is begun again when that comes, unless it
    /// was signed for or is about to be.
    fn leave_attempt(&mut self, slot: Slot) {
        let later = self.production.attempt.as_ref().filter(|attempt| attempt.slot > slot);
        match later.map(|attempt| &attempt.stage) {
            Some(Stage::Building(_) | Stage::Retry(_) | Stage::Ready(_)) => self.production.attempt = None,
            Some(Stage::Signing { .. } | Stage::Done) => {}
            None => self.close_attempt(),
        }
    }

    /// Gives up the attempt at a slot that has passed.
    fn close_attempt(&mut self) {
        if let Some(attempt) = self.production.attempt.take() {
            if !matches!(attempt.stage, Stage::Done) {
                self.counters.missed = self.counters.missed.saturating_add(1);
            }
            self.production.attempt = Some(Attempt { stage: Stage::Done, ..attempt });
        }
    }

    fn finish_attempt(&mut self) {
        if let Some(attempt) = &mut self.production.attempt {
            attempt.stage = Stage::Done;
        }
    }

    fn lead(&self) -> u64 {
        let slot = self.constants.spec.slot_duration.saturating_mul(1000);
        self.config.production_lead.min(slot.saturating_sub(1))
    }

    /// Finds our next slot after this one.
    fn schedule(&mut self, slot: Slot, rules: &ChildRules, index: Option<u64>) {
        let Some(index) = index else {
            self.production.next = None;
            return;
        };
        let holds = |next: Next| next.after <= slot && slot < next.slot && next.epoch == rules.epoch;
        if self.production.next.is_some_and(holds) {
            return;
        }
        let members = u64::try_from(rules.federation.len()).unwrap_or(LOOK_AHEAD);
        let rounds = members.saturating_mul(2).min(LOOK_AHEAD);
        self.production.next = (1..=rounds)
            .map(|ahead| slot.saturating_add(ahead))
            .find(|next| rules.federation.author(self.constants.genesis_root, rules.epoch, *next) == index)
            .map(|next| Next {
                slot: next,
                after: slot,
                epoch: rules.epoch,
                begin: self.constants.spec.slot_start_millis(next).saturating_sub(self.lead()),
            });
    }
}
