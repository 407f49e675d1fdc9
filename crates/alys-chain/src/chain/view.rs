//! The snapshot for readers.

use super::Chain;
use crate::{
    BlockRef, ChainState, ChainView, Context, Counters, PendingStatus, QueuedAuxPow, constants::Constants, transition,
    tree::Tree,
};
use alys_primitives::Root;
use std::sync::Arc;

/// The view of a tree with nothing around it.
pub(super) fn empty(constants: &Constants, tree: &Tree) -> ChainView {
    let head = tree.head();
    let rules = transition::child_rules(constants, head);
    ChainView {
        genesis_root: constants.genesis_root,
        head: head.reference(),
        safe: tree.safe().reference(),
        finalized: tree.finalized().reference(),
        epoch: rules.epoch,
        members: Arc::clone(rules.federation.members()),
        quorum: u64::try_from(rules.federation.quorum()).unwrap_or(u64::MAX),
        member_index: None,
        committed: *head.state.committed,
        blocks_without_pow: head.height().since(head.state.committed.end.height),
        stalled: rules.needs_auxpow,
        pending_fees: head.state.fees_total.saturating_sub(head.state.committed.fees),
        carried_fees: head.state.fee_carry,
        ledger: head.state.ledger,
        change: head.state.change.first().copied(),
        offences: head.state.offences.clone(),
        peg: head.state.peg.clone(),
        queued_auxpow: Arc::new(Vec::new()),
        bundle_end: alys_primitives::Root::ZERO,
        pending_blocks: 0,
        unfinalized_blocks: tree.len().saturating_sub(1),
        state_root: alys_primitives::Root::ZERO,
        counters: Counters::default(),
    }
}

impl Chain {
    /// What readers may see: pointers and everything that follows from them as of the newest durable batch, counts as of
    /// now.
    pub fn view(&self) -> ChainView {
        ChainView { pending_blocks: self.pending.len(), counters: self.counters, ..self.view.clone() }
    }

    /// What the children of a block must be, for checking them on another thread; `None` if the block is unknown, or below
    /// the finalized one.
    pub fn context(&self, parent: &Root) -> Option<Context> {
        let parent = self.tree.get(parent)?;
        let uncommitted = Arc::new(self.tree.uncommitted(parent));
        Some(Context { constants: Arc::clone(&self.constants), parent: parent.clone(), uncommitted })
    }

    /// The consensus state after a block that was imported and is not below the finalized one.
    pub fn state(&self, root: &Root) -> Option<&ChainState> {
        self.tree.get(root).map(|entry| entry.state.as_ref())
    }

    /// The blocks that wait, in order of priority: the last ones give way first when there is no place left.
    pub fn pending_blocks(&self) -> Vec<PendingStatus> {
        self.pending.status()
    }

    /// A block above the finalized one or that block itself, and whether it lies on the head's chain.
    pub fn find(&self, root: &Root) -> Option<(BlockRef, bool)> {
        self.tree.get(root).map(|entry| (entry.reference(), self.tree.is_canonical(root)))
    }

    /// Whether a block of the tree needs no more approvals: it has its certificate, or is the finalized block.
    pub fn is_notarized(&self, root: &Root) -> bool {
        *root == self.tree.finalized().root || self.tree.get(root).is_some_and(|entry| entry.certificate.is_some())
    }

    /// The view as it is once everything written so far is durable.
    pub(super) fn current_view(&self) -> ChainView {
        let mut view = empty(&self.constants, &self.tree);
        let federation = transition::child_rules(&self.constants, self.tree.head()).federation;
        view.member_index = self.config.member_key.and_then(|key| federation.index_of(&key));
        let queued = self.queue.iter();
        let queued = queued.map(|(hash, queued)| QueuedAuxPow { hash: *hash, bundle: queued.record.bundle.clone() });
        view.queued_auxpow = Arc::new(queued.collect());
        view.bundle_end = self.template_range().last().map(|block| block.root).unwrap_or_default();
        view.pending_blocks = self.pending.len();
        view.state_root = self.state_root();
        view.counters = self.counters;
        view
    }
}
