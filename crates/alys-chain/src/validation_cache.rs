//! Outcomes of validations, so that what arrives again is not checked again: bounded in number and in age.

use crate::validation::{Validated, ValidationError, ValidationLevel};
use alys_primitives::{B256, UnixMillis};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Names a message: a hash over **all** its bytes. A block's root is not enough, because body, payload, signature and
/// the parent's certificate can be changed without changing the root.
pub type MessageId = B256;

/// What was found out.
pub type Outcome = Result<Arc<Validated>, Arc<ValidationError>>;

#[derive(Clone, Debug)]
struct Cached {
    outcome: Outcome,
    until: UnixMillis,
    number: u64,
}

/// Which federation outcomes rest on: rises when that changes. An outcome that another thread works on is kept only if
/// its generation is still the one that it was asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(u64);

/// The cache of one owner; there are no locks, because nothing is shared.
#[derive(Clone, Debug)]
pub struct ValidationCache {
    outcomes: BTreeMap<(MessageId, ValidationLevel), Cached>,
    /// Oldest first; a number that is not the entry's is of one that was replaced.
    order: VecDeque<(u64, (MessageId, ValidationLevel))>,
    capacity: usize,
    /// How long an outcome is good, in milliseconds.
    lifetime: u64,
    generation: Generation,
    next: u64,
    hits: u64,
    misses: u64,
}

impl ValidationCache {
    /// A cache of at most `capacity` outcomes, each for `lifetime` milliseconds.
    pub fn new(capacity: usize, lifetime: u64) -> Self {
        Self {
            outcomes: BTreeMap::new(),
            order: VecDeque::new(),
            capacity,
            lifetime,
            generation: Generation::default(),
            next: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// What was found out about a message, if that is known and not too old. What a higher level has proven holds for
    /// the lower ones, but only [`ValidationLevel::Full`] is above others.
    pub fn get(&mut self, id: &MessageId, level: ValidationLevel, now: UnixMillis) -> Option<Outcome> {
        let of = |level| self.outcomes.get(&(*id, level)).filter(|cached| cached.until > now);
        let proven = |cached: &&Cached| cached.outcome.is_ok();
        let found = of(level).or_else(|| of(ValidationLevel::Full).filter(proven));
        let found = found.map(|cached| cached.outcome.clone());
        let count = if found.is_some() { &mut self.hits } else { &mut self.misses };
        *count = count.saturating_add(1);
        found
    }

    /// The generation that a question asked now belongs to.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Keeps an outcome of a question that was asked in `asked`. One that says nothing about the message itself (an
    /// ancestor or epoch is missing), or that rests on an earlier federation, is not kept.
    pub fn insert(
        &mut self,
        id: MessageId,
        level: ValidationLevel,
        outcome: Outcome,
        asked: Generation,
        now: UnixMillis,
    ) {
        let passing =
            outcome.as_ref().is_err_and(|error| error.category() == crate::validation::ErrorCategory::Unavailable);
        if passing || asked != self.generation || self.capacity == 0 {
            return;
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let key = (id, level);
        let until = now.saturating_add(self.lifetime);
        self.outcomes.insert(key, Cached { outcome, until, number });
        self.order.push_back((number, key));
        // Entries leave in the order in which they came, which is the order in which they expire.
        while let Some((number, key)) = self.order.front().copied() {
            let live = self.outcomes.get(&key).filter(|cached| cached.number == number);
            let leaves = match live {
                None => true,
                Some(cached) => cached.until <= now || self.outcomes.len() > self.capacity,
            };
            if !leaves {
                break;
            }
            if live.is_some() {
                self.outcomes.remove(&key);
            }
            self.order.pop_front();
        }
    }

    /// Forgets everything, and what is being found out; to be called when the federation changes, on which every outcome
    /// rests.
    pub fn clear(&mut self) {
        self.generation = Generation(self.generation.0.wrapping_add(1));
        self.outcomes.clear();
        self.order.clear();
    }

    /// How many outcomes it holds.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Questions that it could answer, and those that it could not.
    pub fn counts(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }
}
