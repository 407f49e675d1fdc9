//! Valid blocks from the finalized one up, with the state after each.

use crate::{
    BlockRef,
    checkpoint::TrunkBlock,
    federation::Federation,
    state::{Carrier, ChainState},
};
use alys_primitives::{BlockHeader, Height, Notarization, Root, SignatureBytes, U256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A valid block.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) root: Root,
    pub(crate) header: BlockHeader,
    /// The state after it.
    pub(crate) state: Arc<ChainState>,
    /// Root of that state.
    pub(crate) state_root: Root,
    /// The epoch's federation.
    pub(crate) federation: Arc<Federation>,
    /// What a change in flight brings.
    pub(crate) next_federation: Option<Arc<Federation>>,
    /// Its bundle, if it carries an AuxPoW.
    pub(crate) carries: Option<Box<Carrier>>,
    pub(crate) certificate: Option<Notarization>,
    /// Approvals by member; empty once there is a certificate.
    pub(crate) votes: BTreeMap<u64, SignatureBytes>,
    /// In the order in which they came.
    pub(crate) children: Vec<Root>,
}

impl Entry {
    pub(crate) fn height(&self) -> Height {
        self.header.height
    }

    pub(crate) fn reference(&self) -> BlockRef {
        BlockRef {
            root: self.root,
            height: self.header.height,
            slot: self.header.slot,
            execution_hash: self.header.execution_block_hash,
        }
    }

    fn trunk_block(&self) -> TrunkBlock {
        TrunkBlock {
            root: self.root,
            height: self.header.height,
            slot: self.header.slot,
            fees_total: self.state.fees_total,
        }
    }

    /// The order of heads (protocol section 4): longer, then more work, then the lower root.
    fn rank(&self) -> (Height, U256, Reverse<Root>) {
        (self.header.height, self.state.committed.work, Reverse(self.root))
    }
}

/// How the head moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadChange {
    pub(crate) common_ancestor: BlockRef,
    /// Newest first.
    pub(crate) dropped: Vec<(Height, Root)>,
    /// Oldest first.
    pub(crate) added: Vec<(Height, Root)>,
}

/// What became of the blocks when the finalized one moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pruned {
    /// Finalized blocks, the old finalized one first, the new one not among them.
    pub(crate) trunk: Vec<Entry>,
    /// Blocks on abandoned branches.
    pub(crate) abandoned: Vec<Entry>,
}

/// The block tree. There is always a finalized entry, of which all others descend, and a head, which is notarized.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// Boxed: a map keeps room for eleven values where it has six, and entries are large.
    entries: BTreeMap<Root, Box<Entry>>,
    /// The head's chain from the finalized block up.
    canonical: BTreeMap<Height, Root>,
    finalized: Root,
    head: Root,
    safe: Root,
    /// Blocks up to the finalized one that bundles may still begin among.
    trunk: Vec<TrunkBlock>,
}

impl Tree {
    /// A tree of one finalized block. `trunk` ends with it or is empty.
    pub(crate) fn new(entry: Entry, trunk: Vec<TrunkBlock>) -> Self {
        let root = entry.root;
        Self {
            canonical: BTreeMap::from([(entry.height(), root)]),
            entries: BTreeMap::from([(root, Box::new(entry))]),
            finalized: root,
            head: root,
            safe: root,
            trunk,
        }
    }

    pub(crate) fn get(&self, root: &Root) -> Option<&Entry> {
        self.entries.get(root).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, root: &Root) -> Option<&mut Entry> {
        self.entries.get_mut(root).map(Box::as_mut)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(Box::as_ref)
    }

    pub(crate) fn trunk(&self) -> &[TrunkBlock] {
        &self.trunk
    }

    pub(crate) fn head(&self) -> &Entry {
        self.pointer(self.head)
    }

    pub(crate) fn safe(&self) -> &Entry {
        self.pointer(self.safe)
    }

    pub(crate) fn finalized(&self) -> &Entry {
        self.pointer(self.finalized)
    }

    #[allow(clippy::indexing_slicing, reason = "a pointer to no entry is a bug, and going on would be worse")]
    fn pointer(&self, root: Root) -> &Entry {
        &self.entries[&root]
    }

    /// Adds a block whose parent is in the tree.
    pub(crate) fn insert(&mut self, entry: Entry) {
        if let Some(parent) = self.entries.get_mut(&entry.header.parent_root) {
            if !parent.children.contains(&entry.root) {
                // Nearly all blocks have one child.
                parent.children.reserve_exact(1);
                parent.children.push(entry.root);
            }
            self.entries.insert(entry.root, Box::new(entry));
        }
    }

    /// Whether the block lies on the head's chain, from the finalized block up.
    pub(crate) fn is_canonical(&self, root: &Root) -> bool {
        self.entries.get(root).is_some_and(|entry| self.canonical.get(&entry.height()) == Some(root))
    }

    /// Gives a block its certificate. Nothing happens if it has one.
    pub(crate) fn certify(&mut self, certificate: Notarization) -> bool {
        match self.entries.get_mut(&certificate.block_root) {
            Some(entry) if entry.certificate.is_none() && entry.root != self.finalized => {
                entry.certificate = Some(certificate);
                entry.votes.clear();
                true
            }
            Some(_) | None => false,
        }
    }

    /// Moves the head to a block that was just notarized if it outranks the head.
    pub(crate) fn consider_head(&mut self, root: &Root) -> Option<HeadChange> {
        let better = self.entries.get(root).is_some_and(|entry| entry.rank() > self.head().rank());
        better.then(|| self.move_head(*root))
    }

    /// Moves the head to a block that does not lie on the head's chain, whatever its rank.
    pub(crate) fn force_head(&mut self, root: &Root) -> Option<HeadChange> {
        let beside = self.entries.contains_key(root) && !self.is_canonical(root);
        beside.then(|| self.move_head(*root))
    }

    fn move_head(&mut self, root: Root) -> HeadChange {
        let mut added = Vec::new();
        let mut at = root;
        while let Some(entry) = self.entries.get(&at) {
            if self.canonical.get(&entry.height()) == Some(&at) {
                break;
            }
            added.push((entry.height(), at));
            at = entry.header.parent_root;
        }
        added.reverse();
        let ancestor = self.get(&at).map_or_else(|| self.finalized().reference(), Entry::reference);
        let dropped: Vec<_> = self.canonical.split_off(&ancestor.height.next()).into_iter().rev().collect();
        self.canonical.extend(added.iter().copied());
        self.head = root;
        HeadChange { common_ancestor: ancestor, dropped, added }
    }

    /// Recomputes the head among all notarized blocks.
    pub(crate) fn rescan_head(&mut self) -> Option<HeadChange> {
        let best = self
            .entries
            .values()
            .filter(|entry| entry.certificate.is_some() || entry.root == self.finalized)
            .max_by_key(|entry| entry.rank())
            .map(|entry| entry.root)?;
        (best != self.head).then(|| self.move_head(best))
    }

    /// Moves the safe pointer up to `candidate` if that lies on the head's chain.
    pub(crate) fn consider_safe(&mut self, candidate: &Root) {
        let newer = self.entries.get(candidate).is_some_and(|entry| entry.height() > self.safe().height());
        if newer && self.is_canonical(candidate) {
            self.safe = *candidate;
        }
    }

    /// Recomputes the safe pointer: the newest block of the head's chain that any notarized block makes safe.
    pub(crate) fn rescan_safe(&mut self) {
        let best = self
            .entries
            .values()
            .filter(|entry| entry.certificate.is_some())
            .map(|entry| entry.state.safe)
            .filter(|point| self.canonical.get(&point.height) == Some(&point.root))
            .max_by_key(|point| point.height)
            .map_or(self.finalized, |point| point.root);
        self.safe = best;
    }

    /// Blocks after the last committed one of the chain that ends with `tip`, oldest first, `tip` the last.
    pub(crate) fn uncommitted(&self, tip: &Entry) -> Vec<TrunkBlock> {
        let committed = tip.state.committed.end.height;
        let mut blocks = Vec::new();
        let mut at = Some(tip);
        while let Some(entry) = at {
            if entry.height() <= committed {
                break;
            }
            // The trunk's last block is the finalized entry.
            if entry.root == self.finalized {
                blocks.extend(self.trunk.iter().rev().filter(|block| block.height > committed));
                break;
            }
            blocks.push(entry.trunk_block());
            at = self.get(&entry.header.parent_root);
        }
        blocks.reverse();
        blocks
    }

    /// The blocks of the chain that ends with `tip` whose bundles end above the finalized block, up to the one whose
    /// bundle ends with `end`; oldest first.
    pub(crate) fn carriers(&self, tip: &Root, end: &Root) -> Vec<Carrier> {
        let floor = self.finalized().height();
        let mut found = Vec::new();
        let mut at = self.get(tip);
        while let Some(entry) = at {
            if let Some(carrier) = entry.carries.as_deref().copied().filter(|carrier| carrier.end.height > floor) {
                if carrier.end.root == *end {
                    found.clear();
                }
                found.push(carrier);
            }
            if entry.root == self.finalized {
                break;
            }
            at = self.get(&entry.header.parent_root);
        }
        found.reverse();
        found
    }

    /// Makes a block the finalized one and forgets everything that does not descend from it.
    pub(crate) fn finalize(&mut self, root: Root) -> Pruned {
        let Some(target) = self.entries.get(&root) else { return Pruned::default() };
        let height = target.height();
        let mut path = Vec::new();
        let mut at = Some(target.as_ref());
        while let Some(entry) = at {
            if entry.root == self.finalized {
                break;
            }
            path.push(entry.trunk_block());
            at = self.get(&entry.header.parent_root);
        }
        self.trunk.extend(path.iter().rev());
        let committed = target.state.committed.end.height;
        self.trunk.retain(|block| block.height > committed);

        let mut keep = BTreeSet::new();
        let mut open = vec![root];
        while let Some(next) = open.pop() {
            keep.insert(next);
            if let Some(entry) = self.entries.get(&next) {
                open.extend(entry.children.iter().copied());
            }
        }
        let on_trunk: BTreeSet<Root> =
            path.iter().map(|block| block.root).chain(std::iter::once(self.finalized)).collect();
        let gone: Vec<Root> = self.entries.keys().filter(|root| !keep.contains(*root)).copied().collect();
        let gone = gone.into_iter().filter_map(|root| self.entries.remove(&root)).map(|entry| *entry);
        let (mut trunk, abandoned): (Vec<_>, Vec<_>) = gone.partition(|entry| on_trunk.contains(&entry.root));
        trunk.sort_unstable_by_key(Entry::height);

        self.finalized = root;
        let head_survives = keep.contains(&self.head);
        if head_survives {
            self.canonical = self.canonical.split_off(&height);
        } else {
            self.head = root;
            self.canonical = BTreeMap::from([(height, root)]);
        }
        if !keep.contains(&self.safe) {
            self.safe = root;
        }
        Pruned { trunk, abandoned }
    }
}
