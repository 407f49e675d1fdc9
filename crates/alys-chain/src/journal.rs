//! Durable before visible: effects that tell of a change wait until the batch that holds it is synced.

use crate::{BatchId, ChainBatch, ChainView, ChainWrite, Effect};
use alys_primitives::Root;
use std::collections::{BTreeMap, VecDeque};

/// What may happen once everything before it is durable.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "few are held, and not for long")]
pub(crate) enum Visible {
    /// Hand this out.
    Effect(Effect),
    /// Decide whether to approve this block. Decided only then, so that a vote takes everything seen until then into
    /// account.
    Vote(Root),
}

/// A batch that is not synced yet, with what waits for it.
#[derive(Clone, Debug)]
struct Unsynced {
    visible: Vec<Visible>,
    view: ChainView,
}

/// Effects on their way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    outbox: VecDeque<Effect>,
    writes: Vec<ChainWrite>,
    visible: Vec<Visible>,
    unsynced: BTreeMap<BatchId, Unsynced>,
    next_batch: u64,
}

impl Journal {
    /// Hands an effect out at once.
    pub(crate) fn now(&mut self, effect: Effect) {
        self.outbox.push_back(effect);
    }

    /// Adds a write to the batch of the input in hand.
    pub(crate) fn write(&mut self, write: ChainWrite) {
        self.writes.push(write);
    }

    /// Hands an effect out when everything written so far is durable.
    pub(crate) fn later(&mut self, effect: Effect) {
        self.visible.push(Visible::Effect(effect));
    }

    /// Decides about a vote when everything written so far is durable.
    pub(crate) fn vote_later(&mut self, root: Root) {
        self.visible.push(Visible::Vote(root));
    }

    pub(crate) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.outbox.pop_front()
    }

    /// Closes the batch of the input in hand.
    pub(crate) fn seal(&mut self, state_root: Root, view: ChainView) {
        let id = BatchId(self.next_batch);
        self.next_batch = self.next_batch.saturating_add(1);
        let batch = ChainBatch { writes: std::mem::take(&mut self.writes), state_root };
        self.outbox.push_back(Effect::Persist { id, batch });
        self.unsynced.insert(id, Unsynced { visible: std::mem::take(&mut self.visible), view });
    }

    /// Gives what may become visible now, if no batch is open; else it waits for the newest one.
    pub(crate) fn settle(&mut self) -> Vec<Visible> {
        match self.unsynced.last_entry() {
            Some(mut newest) => {
                newest.get_mut().visible.append(&mut self.visible);
                Vec::new()
            }
            None => std::mem::take(&mut self.visible),
        }
    }

    /// Gives everything that waits, whether it is durable or not: a planted mistake.
    #[cfg(feature = "testing")]
    pub(crate) fn release(&mut self) -> Vec<Visible> {
        let mut visible: Vec<Visible> =
            self.unsynced.values_mut().flat_map(|batch| std::mem::take(&mut batch.visible)).collect();
        visible.append(&mut self.visible);
        visible
    }

    /// This batch and all before it are synced: gives what waited for them and the newest view. `None` if none of them
    /// was open.
    pub(crate) fn durable(&mut self, id: BatchId) -> Option<(Vec<Visible>, ChainView)> {
        let later = id.0.checked_add(1).map(|next| self.unsynced.split_off(&BatchId(next))).unwrap_or_default();
        let synced = std::mem::replace(&mut self.unsynced, later);
        let mut visible = Vec::new();
        let mut view = None;
        for (_, mut batch) in synced {
            visible.append(&mut batch.visible);
            view = Some(batch.view);
        }
        view.map(|view| (visible, view))
    }
}
