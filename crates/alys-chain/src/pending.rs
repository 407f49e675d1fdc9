//! Blocks that can't be imported yet: they wait for a parent, for their slot, or for the execution engine.
//!
//! Every block here was signed by a member for its slot, so only members can fill this place; each author has an equal
//! share of it, so that one of them can't take it from the others.

use crate::{ExecutionId, PeerTag, PendingReason, transition::Checked, verify::Basis};
use alys_primitives::{Epoch, Height, Root, SignedBlock, Slot, UnixMillis};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a block waits for.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Parent,
    Slot(UnixMillis),
    /// `id` is the question that is open; none while the next attempt waits.
    Execution {
        id: Option<ExecutionId>,
        checked: Box<Checked>,
        attempts: u32,
    },
}

/// Where a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// We proposed it.
    Own,
    /// From a peer, or from an operator.
    Outside(Option<PeerTag>),
}

/// What a waiting block is and waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingStatus {
    /// The block.
    pub root: Root,
    /// Its slot.
    pub slot: Slot,
    /// Its height.
    pub height: Height,
    /// Its author's index.
    pub author_index: u64,
    /// What it waits for.
    pub reason: PendingReason,
    /// How often its execution gave no answer.
    pub attempts: u32,
    /// Its size as it travels.
    pub bytes: usize,
    /// Who brought it.
    pub peer: Option<PeerTag>,
    /// When it is looked at again or given up.
    pub timer: Option<UnixMillis>,
}

#[derive(Clone, Debug)]
pub(crate) struct PendingBlock {
    pub(crate) block: Arc<SignedBlock>,
    pub(crate) basis: Basis,
    pub(crate) waiting: Waiting,
    pub(crate) origin: Origin,
    bytes: usize,
    timer: Option<UnixMillis>,
}

impl PendingBlock {
    pub(crate) fn reason(&self) -> PendingReason {
        match &self.waiting {
            Waiting::Parent => PendingReason::Parent(self.block.header.parent_root),
            Waiting::Slot(at) => PendingReason::Slot(*at),
            Waiting::Execution { .. } => PendingReason::Execution,
        }
    }

    fn peer(&self) -> Option<PeerTag> {
        match self.origin {
            Origin::Own => None,
            Origin::Outside(peer) => peer,
        }
    }

    fn status(&self, root: Root) -> PendingStatus {
        let header = &self.block.header;
        PendingStatus {
            root,
            slot: header.slot,
            height: header.height,
            author_index: header.author_index,
            reason: self.reason(),
            attempts: match &self.waiting {
                Waiting::Execution { attempts, .. } => *attempts,
                Waiting::Parent | Waiting::Slot(_) => 0,
            },
            bytes: self.bytes,
            peer: self.peer(),
            timer: self.timer,
        }
    }

    fn author(&self) -> (Epoch, u64) {
        (self.block.header.epoch, self.block.header.author_index)
    }
}

/// The limits of [`PendingBlocks`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingLimits {
    pub(crate) blocks: usize,
    pub(crate) bytes: usize,
    /// Blocks of one author.
    pub(crate) share: usize,
    /// Blocks that one peer brought.
    pub(crate) per_peer: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PendingBlocks {
    blocks: BTreeMap<Root, PendingBlock>,
    by_parent: BTreeMap<Root, BTreeSet<Root>>,
    by_author: BTreeMap<(Epoch, u64), usize>,
    by_peer: BTreeMap<PeerTag, usize>,
    executions: BTreeMap<ExecutionId, Root>,
    timers: BTreeSet<(UnixMillis, Root)>,
    bytes: usize,
}

impl PendingBlocks {
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn get(&self, root: &Root) -> Option<&PendingBlock> {
        self.blocks.get(root)
    }

    /// Keeps a block. What was evicted to make room is returned; `None` if there is no room for the block.
    pub(crate) fn insert(
        &mut self,
        root: Root,
        block: Arc<SignedBlock>,
        basis: Basis,
        origin: Origin,
        limits: PendingLimits,
    ) -> Option<Vec<Root>> {
        let bytes = ssz::Encode::ssz_bytes_len(block.as_ref());
        let pending = PendingBlock { block, basis, waiting: Waiting::Parent, origin, bytes, timer: None };
        let mut evicted = Vec::new();
        if origin != Origin::Own {
            let author = pending.author();
            if self.by_author.get(&author).is_some_and(|count| *count >= limits.share) {
                evicted.push(self.victim(pending.block.header.slot, |other| other.author() == author)?);
            }
            if let Some(peer) = pending.peer() {
                let gone =
                    evicted.iter().filter(|root| self.blocks.get(*root).is_some_and(|it| it.peer() == Some(peer)));
                let taken = self.by_peer.get(&peer).copied().unwrap_or_default().saturating_sub(gone.count());
                if taken >= limits.per_peer {
                    let victim = self.victim(pending.block.header.slot, |other| other.peer() == Some(peer))?;
                    evicted.push(victim);
                }
            }
            loop {
                let freed: usize =
                    evicted.iter().filter_map(|root| self.blocks.get(root)).map(|other| other.bytes).sum();
                let blocks = self.blocks.len().saturating_sub(evicted.len());
                let taken = self.bytes.saturating_sub(freed).saturating_add(bytes);
                if blocks < limits.blocks && taken <= limits.bytes {
                    break;
                }
                let victim = self.victim_except(pending.block.header.slot, &evicted)?;
                evicted.push(victim);
            }
        }
        for root in &evicted {
            self.remove(root);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let count = self.by_author.entry(pending.author()).or_default();
        *count = count.saturating_add(1);
        if let Some(peer) = pending.peer() {
            let count = self.by_peer.entry(peer).or_default();
            *count = count.saturating_add(1);
        }
        self.by_parent.entry(pending.block.header.parent_root).or_default().insert(root);
        self.blocks.insert(root, pending);
        Some(evicted)
    }

    /// The block that waits for a parent with the greatest slot, if that is after `slot`: the farthest from being useful.
    fn victim(&self, slot: Slot, matches: impl Fn(&PendingBlock) -> bool) -> Option<Root> {
        self.blocks
            .iter()
            .filter(|(_, other)| {
                matches!(other.waiting, Waiting::Parent | Waiting::Slot(_)) && other.origin != Origin::Own
            })
            .filter(|(_, other)| other.block.header.slot > slot && matches(other))
            .max_by_key(|(root, other)| (other.block.header.slot, **root))
            .map(|(root, _)| *root)
    }

    fn victim_except(&self, slot: Slot, evicted: &[Root]) -> Option<Root> {
        self.victim(slot, |other| !evicted.contains(&other.block.root()))
    }

    pub(crate) fn remove(&mut self, root: &Root) -> Option<PendingBlock> {
        let pending = self.blocks.remove(root)?;
        self.bytes = self.bytes.saturating_sub(pending.bytes);
        if let Some(count) = self.by_author.get_mut(&pending.author()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_author.remove(&pending.author());
            }
        }
        if let Some(peer) = pending.peer()
            && let Some(count) = self.by_peer.get_mut(&peer)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(&peer);
            }
        }
        let parent = pending.block.header.parent_root;
        if let Some(siblings) = self.by_parent.get_mut(&parent) {
            siblings.remove(root);
            if siblings.is_empty() {
                self.by_parent.remove(&parent);
            }
        }
        if let Some(at) = pending.timer {
            self.timers.remove(&(at, *root));
        }
        if let Waiting::Execution { id: Some(id), .. } = pending.waiting {
            self.executions.remove(&id);
        }
        Some(pending)
    }

    /// Says what a block waits for now, and when to look at it again.
    pub(crate) fn wait(&mut self, root: &Root, waiting: Waiting, timer: Option<UnixMillis>) {
        let Some(pending) = self.blocks.get_mut(root) else { return };
        if let Waiting::Execution { id: Some(id), .. } = &pending.waiting {
            self.executions.remove(id);
        }
        if let Waiting::Execution { id: Some(id), .. } = &waiting {
            self.executions.insert(*id, *root);
        }
        if let Some(at) = pending.timer {
            self.timers.remove(&(at, *root));
        }
        if let Some(at) = timer {
            self.timers.insert((at, *root));
        }
        pending.waiting = waiting;
        pending.timer = timer;
    }

    /// The block that an execution is about.
    pub(crate) fn executing(&self, id: ExecutionId) -> Option<Root> {
        self.executions.get(&id).copied()
    }

    /// Blocks that name this parent.
    pub(crate) fn children(&self, parent: &Root) -> Vec<Root> {
        self.by_parent.get(parent).map(|roots| roots.iter().copied().collect()).unwrap_or_default()
    }

    /// The earliest timer.
    pub(crate) fn next_timer(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a block whose timer is due.
    pub(crate) fn due(&mut self, now: UnixMillis) -> Option<Root> {
        let (at, root) = self.timers.first().copied()?;
        if at > now {
            return None;
        }
        self.timers.remove(&(at, root));
        if let Some(pending) = self.blocks.get_mut(&root) {
            pending.timer = None;
        }
        Some(root)
    }

    /// All blocks in order of priority: those that give way first are last.
    pub(crate) fn status(&self) -> Vec<PendingStatus> {
        let mut all: Vec<_> = self.blocks.iter().map(|(root, pending)| pending.status(*root)).collect();
        all.sort_unstable_by_key(|status| (status.slot, status.root));
        all
    }

    /// All blocks, for a sweep.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Root, &PendingBlock)> {
        self.blocks.iter()
    }
}
