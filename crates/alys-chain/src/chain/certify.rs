//! What follows from a certificate: head, safe, finalized (protocol sections 4 and 6).

use super::Chain;
use crate::{
    ChainEvent, ChainWrite, Checkpoint, Effect, ForkchoiceUpdate, InputError, Verified, error::BlockError, transition,
    tree::HeadChange,
};
use alys_primitives::{Notarization, Root};
use std::collections::BTreeSet;

impl Chain {
    pub(super) fn notarization(&mut self, certificate: Verified<Notarization>) -> Result<(), InputError> {
        self.check_basis(&certificate.basis)?;
        if self.tree.get(&certificate.block_root).is_none() {
            if certificate.slot <= self.tree.finalized().header.slot {
                return Err(InputError::UnknownBlock);
            }
            self.early.keep_certificate(certificate);
            return Ok(());
        }
        self.accept_certificate(certificate)
    }

    /// Takes a certificate of a block in the tree.
    pub(super) fn accept_certificate(&mut self, certificate: Verified<Notarization>) -> Result<(), InputError> {
        let (certificate, basis) = certificate.into_parts();
        let entry = self.tree.get(&certificate.block_root).ok_or(InputError::UnknownBlock)?;
        let version = self.constants.spec.fork_version(entry.height());
        let matches = certificate.slot == entry.header.slot
            && certificate.epoch == entry.header.epoch
            && basis.version == version;
        if !matches {
            return Err(InputError::BlockMismatch);
        }
        self.certify(certificate);
        Ok(())
    }

    /// Gives a block in the tree its certificate, which was checked, and moves the pointers.
    pub(super) fn certify(&mut self, certificate: Notarization) {
        let root = certificate.block_root;
        if !self.tree.certify(certificate.clone()) {
            return;
        }
        self.sums.add_certificate(&certificate);
        self.counters.notarized = self.counters.notarized.saturating_add(1);
        self.journal.write(ChainWrite::Certificate(certificate));
        let Some(entry) = self.tree.get(&root) else { return };
        let reference = entry.reference();
        let (safe, finalized) = (entry.state.safe.root, entry.state.finalized);
        self.journal.later(Effect::Event(ChainEvent::Notarized(reference)));

        let before = self.pointers();
        let epoch = transition::child_rules(&self.constants, self.tree.head()).epoch;
        #[cfg(feature = "testing")]
        if self.constants.scheme.planted(crate::testing::Plant::NewestHeadWins)
            && self.tree.get(&root).is_some_and(|entry| entry.height() >= self.tree.head().height())
            && let Some(change) = self.tree.force_head(&root)
        {
            self.head_moved(change);
        }
        if let Some(change) = self.tree.consider_head(&root) {
            self.head_moved(change);
        }
        self.safe_moved(&safe);
        if finalized.height > self.tree.finalized().height() {
            self.finalize(root, finalized.root);
        }
        self.epoch_moved(epoch);
        self.forget_old_pause();
        self.pointers_moved(before);
    }

    fn head_moved(&mut self, change: HeadChange) {
        let added_to = change.added.last().map(|(height, _)| *height);
        for (height, _) in &change.dropped {
            if added_to.is_none_or(|top| *height > top) {
                self.journal.write(ChainWrite::Decanonical { height: *height });
            }
        }
        for (height, root) in &change.added {
            #[cfg(feature = "testing")]
            if added_to.is_some_and(|top| *height < top)
                && self.constants.scheme.planted(crate::testing::Plant::StaleHeights)
            {
                continue;
            }
            self.journal.write(ChainWrite::Canonical { height: *height, root: *root });
        }
        if !change.dropped.is_empty() {
            self.counters.reorgs = self.counters.reorgs.saturating_add(1);
            let depth = u64::try_from(change.dropped.len()).unwrap_or(u64::MAX);
            self.journal.later(Effect::Event(ChainEvent::Reorg {
                common_ancestor: change.common_ancestor,
                dropped: change.dropped.iter().map(|(_, root)| *root).collect(),
                added: change.added.iter().map(|(_, root)| *root).collect(),
                alert: self.config.max_reorg_depth.is_some_and(|max| depth > max),
            }));
            let (kept, conflicting) = (self.tree.safe().reference(), self.tree.head().reference());
            if !self.tree.is_canonical(&kept.root) {
                self.journal.later(Effect::Event(ChainEvent::SafetyViolation { kept, conflicting }));
            }
            self.tree.rescan_safe();
        }
    }

    fn safe_moved(&mut self, candidate: &Root) {
        let kept = self.tree.safe().reference();
        let known = self.tree.get(candidate).map(crate::tree::Entry::reference);
        self.tree.consider_safe(candidate);
        if let Some(conflicting) = known {
            // A newer safe block beside the head's chain, or an older one that is not below the safe block.
            if !self.tree.is_canonical(candidate) {
                self.journal.later(Effect::Event(ChainEvent::SafetyViolation { kept, conflicting }));
            }
        }
    }

    /// Makes a bundle's last block, which the chain of `tip` shows to be final, the finalized block.
    fn finalize(&mut self, tip: Root, target: Root) {
        // Only after a safety violation: the head's chain does not hold what is final.
        if let Some(change) = self.tree.force_head(&target) {
            self.head_moved(change);
        }
        let bundles = self.tree.carriers(&tip, &target);
        let pruned = self.tree.finalize(target);
        for entry in pruned.trunk.iter().chain(&pruned.abandoned) {
            self.sums.remove_block(entry);
        }
        for entry in &pruned.abandoned {
            self.journal.write(ChainWrite::DropBlock { root: entry.root });
        }
        for carrier in bundles {
            self.counters.bundles = self.counters.bundles.saturating_add(1);
            let to = carrier.end;
            self.journal.write(ChainWrite::Finalized {
                bundle: carrier.bundle,
                carrier: carrier.root,
                from: carrier.start,
                to: to.height,
            });
            let reference = self
                .tree
                .get(&to.root)
                .or_else(|| pruned.trunk.iter().find(|entry| entry.root == to.root))
                .map(crate::tree::Entry::reference)
                .unwrap_or_default();
            self.journal.later(Effect::Event(ChainEvent::Finalized {
                from: carrier.start,
                to: reference,
                bundle: carrier.bundle,
                carrier: carrier.root,
            }));
        }
        self.journal.write(ChainWrite::Checkpoint(Box::new(self.checkpoint())));
        if let Some(change) = self.tree.rescan_head() {
            self.head_moved(change);
        }
        self.forget_below_finalized();
    }

    /// Drops what can't matter any more once a block is final.
    fn forget_below_finalized(&mut self) {
        let finalized = self.tree.finalized();
        let (height, slot) = (finalized.height(), finalized.header.slot);
        let stale: Vec<Root> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.block.header.height <= height)
            .map(|(root, _)| *root)
            .collect();
        for root in stale {
            self.reject(root, BlockError::NotOnFinalized);
        }
        self.early.prune(slot);
        self.witness.prune(slot);
        self.forget_epochs();
        let live: BTreeSet<Root> = self.tree.entries().map(|entry| entry.state.committed.auxpow_root).collect();
        for hash in self.queue.not_following(&live) {
            self.dequeue(&hash);
        }
    }

    fn pointers_moved(&mut self, before: crate::Pointers) {
        let after = self.pointers();
        if after == before {
            return;
        }
        self.journal.write(ChainWrite::Pointers(after));
        if after.safe != before.safe {
            self.journal.later(Effect::Event(ChainEvent::Safe(self.tree.safe().reference())));
        }
        self.journal.later(Effect::Forkchoice(self.forkchoice()));
        let stalled = self.needs_auxpow();
        if stalled != self.stalled {
            self.stalled = stalled;
            let height = self.tree.head().height();
            let event = if stalled { ChainEvent::Stalled { height } } else { ChainEvent::Resumed { height } };
            self.journal.later(Effect::Event(event));
        }
    }

    /// Where the execution engine's pointers belong now.
    pub fn forkchoice(&self) -> ForkchoiceUpdate {
        ForkchoiceUpdate {
            head: self.tree.head().header.execution_block_hash,
            safe: self.tree.safe().header.execution_block_hash,
            finalized: self.tree.finalized().header.execution_block_hash,
        }
    }

    /// The newest finalized block with its state.
    pub fn checkpoint(&self) -> Checkpoint {
        let entry = self.tree.finalized();
        Checkpoint {
            header: entry.header.clone(),
            certificate: entry.certificate.clone(),
            state: entry.state.as_ref().clone(),
            members: entry.federation.members().as_ref().clone(),
            next_members: entry.next_federation.as_ref().map(|next| next.members().as_ref().clone()),
            trunk: self.tree.trunk().to_vec(),
        }
    }
}
