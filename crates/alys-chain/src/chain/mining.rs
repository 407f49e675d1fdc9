//! Work: templates for miners, the queue of records, the choice of one for a proposal (protocol section 5).

use super::Chain;
use crate::{
    AuxPowError, ChainEvent, ChainWrite, Effect, InputError, Message, TemplateError, Verified, bundle,
    checkpoint::TrunkBlock,
    fees,
    queue::Queued,
    transition::{self, ChildRules},
    tree::Entry,
};
use alys_primitives::{
    Address, AuxBundle, AuxPowRecord, B256, Gwei, Height, Root, Slot, TreeHash as _, UnixMillis, Withdrawal,
};
use std::{cmp::Reverse, collections::BTreeSet};

/// What a miner is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuxTemplate {
    /// Its hash-tree-root is what is mined on.
    pub bundle: AuxBundle,
    /// Height of the next block.
    pub height: Height,
    /// The miner's share of the bundle's fees.
    pub reward: Gwei,
}

impl Chain {
    /// What there is to mine on for a payout address: the blocks after the last committed one, up to the newest safe
    /// block (up to the head if nothing newer is safe), at most `max_bundle_blocks`.
    ///
    /// The same chain, address and slot give the same template. Earlier templates stay good until a record is committed:
    /// their target is that of their own slot.
    ///
    /// # Errors
    /// [`TemplateError::NothingToCommit`] if every block is committed.
    pub fn auxpow_template(&self, payout: Address, now: UnixMillis) -> Result<AuxTemplate, TemplateError> {
        let head = self.tree.head();
        let range = self.template_range();
        let slot = self.constants.spec.slot_at(now);
        let bundle = bundle::make(&self.constants, &head.state, &range, range.len(), payout, slot)
            .ok_or(TemplateError::NothingToCommit)?;
        let total = range.last().map(|block| block.fees_total);
        let fees = total.and_then(|total| total.checked_sub(head.state.committed.fees)).unwrap_or_default();
        let reward = fees::miner_reward(fees, self.constants.spec.miner_share).unwrap_or_default();
        Ok(AuxTemplate { bundle, height: head.height().next(), reward })
    }

    /// The blocks that a template made now commits to.
    pub(super) fn template_range(&self) -> Vec<TrunkBlock> {
        let mut uncommitted = self.tree.uncommitted(self.tree.head());
        let safe = self.tree.safe().height();
        let to_safe = uncommitted.iter().take_while(|block| block.height <= safe).count();
        let wanted = if to_safe == 0 { uncommitted.len() } else { to_safe };
        let max = usize::try_from(self.constants.spec.max_bundle_blocks).unwrap_or(usize::MAX);
        uncommitted.truncate(wanted.min(max));
        uncommitted
    }

    /// Whether a record could be committed by the next block, as far as is known now.
    ///
    /// # Errors
    /// [`AuxPowError`] with the first rule that is broken.
    pub fn check_auxpow(&self, record: &Verified<AuxPowRecord>, now: UnixMillis) -> Result<(), AuxPowError> {
        let parent_header = record.basis.parent_header.unwrap_or_default();
        if record.basis.genesis_root != self.constants.genesis_root {
            return Err(AuxPowError::OtherChain);
        }
        let head = self.tree.head();
        let newest = self.constants.spec.slot_at(now.saturating_add(self.constants.spec.max_clock_drift));
        let uncommitted = self.tree.uncommitted(head);
        bundle::check(&self.constants, &head.state, &uncommitted, &record.bundle, parent_header, newest).map(|_| ())
    }

    pub(super) fn auxpow(&mut self, record: Verified<AuxPowRecord>) -> Result<(), InputError> {
        self.check_basis(&record.basis)?;
        let hash = record.bundle.tree_hash_root();
        if self.queue.contains(&hash) {
            self.journal.later(Effect::AuxPowProcessed { hash, outcome: Ok(()) });
            return Ok(());
        }
        let outcome = match self.check_auxpow(&record, self.now) {
            Ok(()) => {
                let (record, basis) = record.into_parts();
                let parent_header = basis.parent_header.unwrap_or_default();
                if self.enqueue(hash, Queued { record: record.clone(), parent_header }) {
                    self.journal.later(Effect::AuxPowProcessed { hash, outcome: Ok(()) });
                    self.journal.later(Effect::Event(ChainEvent::AuxPowQueued { hash }));
                    self.journal.later(Effect::Broadcast(Message::AuxPow(record)));
                    return Ok(());
                }
                AuxPowError::QueueFull
            }
            Err(error) => error,
        };
        self.counters.auxpow_refused = self.counters.auxpow_refused.saturating_add(1);
        self.journal.now(Effect::AuxPowProcessed { hash, outcome: Err(outcome) });
        Ok(())
    }

    /// Puts a record into the queue. When that is full, one that does not follow the head's newest record makes room.
    pub(super) fn enqueue(&mut self, hash: Root, queued: Queued) -> bool {
        if self.queue.contains(&hash) {
            return true;
        }
        if self.queue.len() >= self.config.max_queued_auxpow {
            let live = BTreeSet::from([self.tree.head().state.committed.auxpow_root]);
            match self.queue.not_following(&live).first() {
                Some(superseded) => self.dequeue(superseded),
                None => return false,
            }
        }
        #[cfg(feature = "testing")]
        if self.constants.scheme.planted(crate::testing::Plant::WorkNotKept) {
            self.queue.insert(hash, queued);
            return true;
        }
        self.journal.write(ChainWrite::QueueAuxPow { hash, record: queued.record.clone() });
        self.sums.add_auxpow(&hash);
        self.queue.insert(hash, queued);
        true
    }

    pub(super) fn dequeue(&mut self, hash: &Root) {
        if self.queue.remove(hash).is_some() {
            self.sums.remove_auxpow(hash);
            self.journal.write(ChainWrite::DropAuxPow { hash: *hash });
        }
    }

    /// The queued record that commits most blocks when a child of `parent` in `slot` carries it, with its parent
    /// header's hash and what it mints.
    pub(super) fn best_auxpow(
        &self,
        parent: &Entry,
        rules: &ChildRules,
        slot: Slot,
    ) -> Option<(AuxPowRecord, B256, Vec<Withdrawal>)> {
        let uncommitted = self.tree.uncommitted(parent);
        self.queue
            .iter()
            .filter(|(_, queued)| queued.record.bundle.previous_auxpow_root == parent.state.committed.auxpow_root)
            .filter_map(|(hash, queued)| {
                let Queued { record, parent_header } = queued;
                let commitment =
                    transition::commit(&self.constants, &uncommitted, parent, rules, record, *parent_header, slot)
                        .ok()?;
                Some((record.bundle.count, Reverse(*hash), commitment.withdrawals().to_vec()))
            })
            .max_by_key(|(count, hash, _)| (*count, *hash))
            .and_then(|(_, Reverse(hash), withdrawals)| {
                let queued = self.queue.get(&hash)?;
                Some((queued.record.clone(), queued.parent_header, withdrawals))
            })
    }

    /// The records that wait for an author, by the hash of their bundle.
    pub fn queued_auxpow(&self) -> impl Iterator<Item = (&Root, &AuxPowRecord)> {
        self.queue.iter().map(|(hash, queued)| (hash, &queued.record))
    }
}
