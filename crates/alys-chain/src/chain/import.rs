//! A block's way into the tree: waiting, checks, execution, children.

use super::Chain;
use crate::{
    ChainEvent, ChainWrite, Effect, ExecutionId, ExecutionOutcome, ImportOutcome, InputError, Message, PeerTag,
    PendingReason,
    error::BlockError,
    pending::{Origin, Waiting},
    queue::Queued,
    transition,
    verify::{Basis, Verified},
};
use alys_primitives::{Burns, Notarization, Root, SignedBlock, TreeHash as _, UnixMillis, Wei};
use std::sync::Arc;

/// Retries wait at most this many times the configured pause.
const MAX_RETRY_DOUBLINGS: u32 = 5;

impl Chain {
    pub(super) fn import(&mut self, block: Verified<SignedBlock>, peer: Option<PeerTag>) -> Result<(), InputError> {
        self.check_basis(&block.basis)?;
        let (block, basis) = block.into_parts();
        let root = block.root();
        self.witness_proposal(&block);
        self.take_in(root, Arc::new(block), basis, Origin::Outside(peer));
        if let Some(pending) = self.pending.get(&root) {
            let reason = pending.reason();
            match reason {
                PendingReason::Parent(_) | PendingReason::Slot(_) => {
                    self.journal.now(Effect::Imported { root, outcome: ImportOutcome::Pending(reason) });
                }
                // Answered when the engine has answered.
                PendingReason::Execution => {}
            }
        }
        Ok(())
    }

    /// Takes in a block from outside or our own.
    pub(super) fn take_in(&mut self, root: Root, block: Arc<SignedBlock>, basis: Basis, origin: Origin) {
        let trunk = self.tree.trunk().iter().any(|trunk| trunk.root == root);
        if self.tree.get(&root).is_some() || trunk {
            self.journal.later(Effect::Imported { root, outcome: ImportOutcome::AlreadyKnown });
            return;
        }
        if self.pending.get(&root).is_some() {
            return;
        }
        if let Some(error) = self.rejected.errors.get(&root) {
            let outcome = ImportOutcome::Rejected(error.clone());
            self.journal.now(Effect::Imported { root, outcome });
            return;
        }
        if block.header.height <= self.tree.finalized().height() {
            // Not remembered: it may be an old block of our own chain.
            let outcome = ImportOutcome::Rejected(BlockError::NotOnFinalized);
            self.journal.now(Effect::Imported { root, outcome });
            return;
        }
        match self.pending.insert(root, block, basis, origin, self.limits()) {
            Some(evicted) => {
                let count = u64::try_from(evicted.len()).unwrap_or(u64::MAX);
                self.counters.evicted = self.counters.evicted.saturating_add(count);
                self.consider(root);
            }
            None => {
                let outcome = ImportOutcome::Rejected(BlockError::PendingFull);
                self.journal.now(Effect::Imported { root, outcome });
            }
        }
    }

    /// Looks at blocks whose parent came, whose slot began or whose next attempt is due.
    pub(super) fn look_again(&mut self) {
        while let Some(root) = self.pending.due(self.now) {
            let expired = self.pending.get(&root).is_some_and(|pending| matches!(pending.waiting, Waiting::Parent));
            if expired {
                self.pending.remove(&root);
                self.counters.evicted = self.counters.evicted.saturating_add(1);
            } else {
                self.ready.push_back(root);
            }
        }
        while let Some(root) = self.ready.pop_front() {
            self.consider(root);
        }
    }

    /// Decides what a waiting block waits for, and goes on with it if that is nothing.
    fn consider(&mut self, root: Root) {
        let Some(pending) = self.pending.get(&root) else { return };
        let (block, basis) = (Arc::clone(&pending.block), pending.basis.clone());
        let attempts = match &pending.waiting {
            Waiting::Execution { id: Some(_), .. } => return,
            Waiting::Execution { id: None, attempts, .. } => *attempts,
            Waiting::Parent | Waiting::Slot(_) => 0,
        };
        let header = &block.header;
        // Held, not rejected (section 2).
        let start = self.constants.spec.slot_start_millis(header.slot);
        let from = start.saturating_sub(self.constants.spec.max_clock_drift);
        if self.now < from {
            self.pending.wait(&root, Waiting::Slot(from), Some(from));
            return;
        }
        let parent_root = header.parent_root;
        if self.rejected.errors.get(&parent_root).is_some_and(BlockError::is_invalid) {
            self.reject(root, BlockError::Parent { parent: parent_root });
            return;
        }
        if self.tree.get(&parent_root).is_none() {
            if header.height <= self.tree.finalized().height().next() {
                self.reject(root, BlockError::NotOnFinalized);
                return;
            }
            let expiry = self.now.saturating_add(self.config.pending_expiry);
            self.pending.wait(&root, Waiting::Parent, Some(expiry));
            return;
        }
        if let Some(certificate) = block.parent_notarization.first()
            && let Err(error) = self.parent_certificate(&block, certificate)
        {
            self.reject(root, error);
            return;
        }
        // The certificate may have moved the finalized block.
        let Some(parent) = self.tree.get(&parent_root) else {
            self.reject(root, BlockError::NotOnFinalized);
            return;
        };
        let uncommitted = || self.tree.uncommitted(parent);
        match transition::check(
            &self.constants,
            uncommitted,
            parent,
            &block,
            basis.parent_header,
            basis.next_federation,
        ) {
            Ok(checked) => {
                let id = self.fresh_execution();
                let waiting = Waiting::Execution { id: Some(id), checked: Box::new(checked), attempts };
                self.pending.wait(&root, waiting, None);
                self.journal.now(Effect::Execute { id, block });
            }
            Err(error) => self.reject(root, error),
        }
    }

    /// Takes the parent's certificate from a child.
    fn parent_certificate(&mut self, block: &SignedBlock, certificate: &Notarization) -> Result<(), BlockError> {
        let parent = self.tree.get(&block.header.parent_root).ok_or(BlockError::NotOnFinalized)?;
        // The verifier took the version from the child's height less one, which `transition::check` holds to the
        // parent's height.
        let matches = certificate.slot == parent.header.slot
            && certificate.epoch == parent.header.epoch
            && block.header.height == parent.height().next();
        if !matches {
            return Err(BlockError::ParentCertificate);
        }
        self.certify(certificate.clone());
        Ok(())
    }

    pub(super) fn executed(&mut self, id: ExecutionId, outcome: ExecutionOutcome) -> Result<(), InputError> {
        let root = self.pending.executing(id).ok_or(InputError::UnknownId { id: id.0 })?;
        match outcome {
            ExecutionOutcome::Valid { fees, burns } => self.valid(root, fees, burns),
            ExecutionOutcome::Invalid { reason } => self.reject(root, BlockError::Execution { reason }),
            ExecutionOutcome::Syncing | ExecutionOutcome::Unavailable { .. } => self.retry(root),
        }
        Ok(())
    }

    /// The engine gave no answer, which says nothing about the block.
    fn retry(&mut self, root: Root) {
        let Some(pending) = self.pending.get(&root) else { return };
        let Waiting::Execution { checked, attempts, .. } = &pending.waiting else { return };
        let doublings = (*attempts).min(MAX_RETRY_DOUBLINGS);
        let pause = self.config.execution_retry.saturating_mul(2u64.saturating_pow(doublings)).max(1);
        let waiting = Waiting::Execution { id: None, checked: checked.clone(), attempts: attempts.saturating_add(1) };
        let first = *attempts == 0;
        let at: UnixMillis = self.now.saturating_add(pause);
        self.pending.wait(&root, waiting, Some(at));
        if first {
            let outcome = ImportOutcome::Pending(PendingReason::Execution);
            self.journal.now(Effect::Imported { root, outcome });
        }
    }

    /// A block was executed and is valid.
    fn valid(&mut self, root: Root, fees: Wei, burns: Burns) {
        let Some(pending) = self.pending.remove(&root) else { return };
        let block = pending.block;
        let Waiting::Execution { checked, .. } = pending.waiting else { return };
        let Some(parent) = self.tree.get(&block.header.parent_root) else {
            self.refuse(root, BlockError::NotOnFinalized);
            return;
        };
        let entry = match transition::apply(&self.constants, parent, &block, *checked, fees, &burns) {
            Ok(entry) => entry,
            Err(error) => {
                self.refuse(root, error);
                return;
            }
        };
        let reference = entry.reference();
        let epoch = entry.state.epoch;
        self.begun = self.begun.max(epoch);
        self.sums.add_block(&entry);
        self.tree.insert(entry);
        self.learn_federation(&root);
        self.counters.imported = self.counters.imported.saturating_add(1);
        self.journal.write(ChainWrite::Block { root, block: Arc::clone(&block), fees, burns });
        // A record that came inside a block is kept too, so that a reorganisation does not lose the work.
        if let Some((record, parent_header)) = block.body.auxpow.first().zip(pending.basis.parent_header) {
            self.enqueue(record.bundle.tree_hash_root(), Queued { record: record.clone(), parent_header });
        }
        if pending.origin == Origin::Own {
            self.journal.later(Effect::Broadcast(Message::Block(Arc::clone(&block))));
        }
        self.journal.later(Effect::Event(ChainEvent::NewBlock(reference)));

        for approval in self.early.take_approvals(&root, epoch, reference.slot) {
            // It was verified against this epoch's federation; a mismatch means it is about another block.
            let _ = self.count_approval(&root, approval);
        }
        if let Some(certificate) = self.early.take_certificate(&root, reference.slot) {
            let _ = self.accept_certificate(certificate);
        }
        let notarized = self.tree.get(&root).is_none_or(|entry| entry.certificate.is_some());
        let outcome = ImportOutcome::Imported { height: reference.height, notarized };
        self.journal.later(Effect::Imported { root, outcome });
        if !notarized {
            self.journal.vote_later(root);
        }
        self.ready.extend(self.pending.children(&root));
        self.look_again();
    }

    /// Rejects a waiting block and everything that waits for it.
    pub(super) fn reject(&mut self, root: Root, error: BlockError) {
        if self.pending.remove(&root).is_some() {
            self.refuse(root, error);
        }
    }

    fn refuse(&mut self, root: Root, error: BlockError) {
        let mut open = vec![(root, error)];
        while let Some((root, error)) = open.pop() {
            self.counters.rejected = self.counters.rejected.saturating_add(1);
            if error.is_invalid() {
                for child in self.pending.children(&root) {
                    if self.pending.remove(&child).is_some() {
                        open.push((child, BlockError::Parent { parent: root }));
                    }
                }
                self.rejected.insert(root, error.clone(), self.config.max_rejected_blocks);
            }
            self.journal.now(Effect::Imported { root, outcome: ImportOutcome::Rejected(error) });
        }
    }
}
