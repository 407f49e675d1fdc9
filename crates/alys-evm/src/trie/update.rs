//! Changing many keys of one trie at once.
//!
//! The nodes on the ways to the changed keys are loaded, changed in memory, and encoded once. A node that leaves its
//! path (because a branch collapsed or a new one grew) is deleted there and written where it went.
//!
//! Where many keys change, the subtries below the root are read by several threads and encoded by several threads: they
//! share nothing but the root.

use crate::db::DbError;
use crate::threads::on_threads;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::nodes::{BranchNode, ExtensionNode, LeafNode, RlpNode, TrieNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieMask};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// Fewer changed keys than this for each thread are not worth starting it.
const LEAST_PER_THREAD: usize = 64;

/// More threads than this gain nothing for a block.
const MAX_THREADS: usize = 8;

/// Where a trie's nodes are read from.
pub(crate) trait NodeSource: Sync {
    /// The RLP of the node at a path, if there is one.
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, DbError>;
}

/// Why a trie can't be read. All of these mean that the database is damaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrieError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A node that another one refers to is missing.
    #[error("the trie has no node at {path:?}")]
    Missing {
        /// Where it should be.
        path: Nibbles,
    },
    /// A node is not what belongs there.
    #[error("the trie's node at {path:?} is damaged")]
    Damaged {
        /// Where it is.
        path: Nibbles,
    },
}

/// Nodes by path, as they were and as they become.
type NodeChanges = BTreeMap<Nibbles, (Option<Vec<u8>>, Option<Vec<u8>>)>;

/// What an update yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrieUpdate {
    /// The new root hash.
    pub(crate) root: B256,
    /// Every path whose node was read or written: the node before and after.
    pub(crate) nodes: NodeChanges,
}

/// One key's new value; `None` deletes.
pub(crate) type Entry = (Nibbles, Option<Vec<u8>>);

/// Sets and deletes keys. `entries` must be sorted by key and free of duplicates; keys are 64 nibbles.
///
/// # Errors
/// [`TrieError`] if nodes are missing or damaged.
pub(crate) fn update_trie<S: NodeSource>(source: &S, entries: Vec<Entry>) -> Result<TrieUpdate, TrieError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
    let threads = threads.min(entries.len() / LEAST_PER_THREAD).max(1);
    update_with(source, entries, threads)
}

fn update_with<S: NodeSource>(source: &S, entries: Vec<Entry>, threads: usize) -> Result<TrieUpdate, TrieError> {
    let mut updater = Updater { source, nodes: BTreeMap::new(), buffer: Vec::new(), threads };
    let root = Nibbles::new();
    let link = match updater.source.node(&root)? {
        None => Link::Empty,
        // The root is always looked at, so its reference is never needed: any placeholder stands for "as stored".
        Some(_) => Link::Stored(RlpNode::default()),
    };
    if entries.is_empty() {
        let stored = updater.source.node(&root)?;
        let root = stored.map_or(EMPTY_ROOT_HASH, keccak256);
        return Ok(TrieUpdate { root, nodes: updater.nodes });
    }
    let link = updater.update(root, link, entries)?;
    updater.threads = threads;
    let root = updater.finish(link)?;
    Ok(TrieUpdate { root, nodes: updater.nodes })
}

/// A reference to a node from its parent.
enum Link {
    Empty,
    /// As stored at its path, unread.
    Stored(RlpNode),
    /// Read or made by this update.
    Loaded(Box<Node>),
}

#[expect(clippy::large_enum_variant, reason = "branches are the usual case")]
enum Node {
    Leaf { suffix: Nibbles, value: Vec<u8> },
    Extension { suffix: Nibbles, child: Link },
    Branch { children: [Link; 16] },
}

const fn empty_children() -> [Link; 16] {
    [const { Link::Empty }; 16]
}

struct Updater<'a, S> {
    source: &'a S,
    nodes: NodeChanges,
    buffer: Vec<u8>,
    /// How many threads work on the children of the next branch.
    threads: usize,
}

/// A nibble, the link that stands there, and what becomes of the keys below it.
type Share = (u8, Link, Vec<Entry>);

/// Deals things out to so many threads and gathers what they make of them, the first error first.
fn deal_out<T: Send, R: Send>(
    threads: usize,
    things: Vec<T>,
    work: impl Fn(Vec<T>) -> Result<R, TrieError> + Sync,
) -> Result<Vec<R>, TrieError> {
    let mut shares: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, thing) in things.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(index % threads.max(1)) {
            share.push(thing);
        }
    }
    on_threads(shares, work).into_iter().collect()
}

impl<S: NodeSource> Updater<'_, S> {
    /// Reads the node at `path` and counts it as leaving there until it is written again.
    fn load(&mut self, path: Nibbles) -> Result<Node, TrieError> {
        let bytes = self.source.node(&path)?.ok_or(TrieError::Missing { path })?;
        let node = decode_node(path, &bytes)?;
        self.nodes.insert(path, (Some(bytes), None));
        Ok(node)
    }

    fn update(&mut self, path: Nibbles, link: Link, entries: Vec<Entry>) -> Result<Link, TrieError> {
        if entries.is_empty() {
            return Ok(link);
        }
        let node = match link {
            Link::Empty => return Ok(build(path.len(), entries)),
            Link::Stored(_) => self.load(path)?,
            Link::Loaded(node) => *node,
        };
        match node {
            Node::Leaf { suffix, value } => {
                let key = path.join(&suffix);
                let mut entries = entries;
                if let Err(at) = entries.binary_search_by(|(other, _)| other.cmp(&key)) {
                    entries.insert(at, (key, Some(value)));
                }
                Ok(build(path.len(), entries))
            }
            Node::Extension { suffix, child } => self.update_extension(path, suffix, child, entries),
            Node::Branch { children } => self.update_branch(path, children, entries),
        }
    }

    fn update_extension(
        &mut self,
        path: Nibbles,
        suffix: Nibbles,
        child: Link,
        entries: Vec<Entry>,
    ) -> Result<Link, TrieError> {
        let common =
            entries.iter().map(|(key, _)| key.slice(path.len()..).common_prefix_length(&suffix)).min().unwrap_or(0);
        if common == suffix.len() {
            let child = self.update(path.join(&suffix), child, entries)?;
            return self.extend(path, suffix, child);
        }
        // Some entry leaves the extension after `common` nibbles: a branch stands there.
        let branch_path = path.join(&suffix.slice(..common));
        let index = usize::from(suffix.get(common).unwrap_or_default());
        let rest = suffix.slice(common.saturating_add(1)..);
        let mut children = empty_children();
        if let Some(slot) = children.get_mut(index) {
            *slot =
                if rest.is_empty() { child } else { Link::Loaded(Box::new(Node::Extension { suffix: rest, child })) };
        }
        let branch = self.update_branch(branch_path, children, entries)?;
        self.extend(path, suffix.slice(..common), branch)
    }

    fn update_branch(
        &mut self,
        path: Nibbles,
        mut children: [Link; 16],
        entries: Vec<Entry>,
    ) -> Result<Link, TrieError> {
        let mut groups: [Vec<Entry>; 16] = Default::default();
        for (key, value) in entries {
            let nibble = usize::from(key.get(path.len()).unwrap_or_default());
            if let Some(group) = groups.get_mut(nibble) {
                group.push((key, value));
            }
        }
        let mut shares: Vec<Share> = Vec::with_capacity(16);
        for (nibble, (slot, group)) in (0_u8..).zip(children.iter_mut().zip(groups)) {
            if !group.is_empty() {
                shares.push((nibble, std::mem::replace(slot, Link::Empty), group));
            }
        }
        for (nibble, link) in self.update_shares(path, shares)? {
            if let Some(slot) = children.get_mut(usize::from(nibble)) {
                *slot = link;
            }
        }
        self.collapse(path, children)
    }

    /// Updates children of the branch at `path`, on threads if there is more than one.
    fn update_shares(&mut self, path: Nibbles, shares: Vec<Share>) -> Result<Vec<(u8, Link)>, TrieError> {
        let threads = std::mem::replace(&mut self.threads, 1).min(shares.len());
        if threads <= 1 {
            let one = |(nibble, link, group)| Ok((nibble, self.update(with_nibble(path, nibble), link, group)?));
            return shares.into_iter().map(one).collect();
        }
        let source = self.source;
        let parts = deal_out(threads, shares, |shares| {
            let mut part = Updater { source, nodes: BTreeMap::new(), buffer: Vec::new(), threads: 1 };
            let links = part.update_shares(path, shares)?;
            Ok((links, part.nodes))
        })?;
        let mut links = Vec::with_capacity(16);
        for (part, nodes) in parts {
            links.extend(part);
            self.nodes.extend(nodes);
        }
        Ok(links)
    }

    /// Encodes the children of a branch, on threads if there is more than one.
    fn encode_children(&mut self, path: Nibbles, children: [Link; 16]) -> Result<[Option<RlpNode>; 16], TrieError> {
        let threads = std::mem::replace(&mut self.threads, 1);
        let mut references: [Option<RlpNode>; 16] = Default::default();
        let children = (0_u8..).zip(children);
        if threads <= 1 {
            for ((nibble, child), slot) in children.zip(references.iter_mut()) {
                *slot = self.encode(with_nibble(path, nibble), child)?;
            }
            return Ok(references);
        }
        let source = self.source;
        let parts = deal_out(threads, children.collect(), |children| {
            let mut part = Updater { source, nodes: BTreeMap::new(), buffer: Vec::new(), threads: 1 };
            let mut found = Vec::with_capacity(children.len());
            for (nibble, child) in children {
                found.push((nibble, part.encode(with_nibble(path, nibble), child)?));
            }
            Ok((found, part.nodes))
        })?;
        for (found, nodes) in parts {
            for (nibble, reference) in found {
                if let Some(slot) = references.get_mut(usize::from(nibble)) {
                    *slot = reference;
                }
            }
            for (path, (_, new)) in nodes {
                self.nodes.entry(path).or_default().1 = new;
            }
        }
        Ok(references)
    }

    /// A branch as few nodes as possible: nothing, a leaf or extension, or the branch itself.
    fn collapse(&mut self, path: Nibbles, mut children: [Link; 16]) -> Result<Link, TrieError> {
        let mut present = (0_u8..).zip(children.iter_mut()).filter(|(_, child)| !matches!(child, Link::Empty));
        let Some((nibble, only)) = present.next() else { return Ok(Link::Empty) };
        if present.next().is_some() {
            return Ok(Link::Loaded(Box::new(Node::Branch { children })));
        }
        let child = std::mem::replace(only, Link::Empty);
        self.extend(path, Nibbles::from_nibbles([nibble]), child)
    }

    /// A node at `path` that leads to `child` by `suffix`, merged with the child where the trie's rules demand it.
    fn extend(&mut self, path: Nibbles, suffix: Nibbles, child: Link) -> Result<Link, TrieError> {
        if suffix.is_empty() {
            return Ok(child);
        }
        let node = match child {
            Link::Empty => return Ok(Link::Empty),
            Link::Loaded(node) => *node,
            Link::Stored(reference) => {
                let child_path = path.join(&suffix);
                let bytes = self.source.node(&child_path)?.ok_or(TrieError::Missing { path: child_path })?;
                let node = decode_node(child_path, &bytes)?;
                if matches!(node, Node::Branch { .. }) {
                    // It stays where it is and need not be written.
                    let child = Link::Stored(reference);
                    return Ok(Link::Loaded(Box::new(Node::Extension { suffix, child })));
                }
                self.nodes.insert(child_path, (Some(bytes), None));
                node
            }
        };
        Ok(Link::Loaded(Box::new(match node {
            Node::Leaf { suffix: rest, value } => Node::Leaf { suffix: suffix.join(&rest), value },
            Node::Extension { suffix: rest, child } => Node::Extension { suffix: suffix.join(&rest), child },
            Node::Branch { children } => {
                Node::Extension { suffix, child: Link::Loaded(Box::new(Node::Branch { children })) }
            }
        })))
    }

    /// Encodes what was loaded or made, and yields the root hash.
    fn finish(&mut self, link: Link) -> Result<B256, TrieError> {
        let root = Nibbles::new();
        self.encode(root, link)?;
        match self.nodes.get(&root) {
            Some((_, Some(bytes))) => Ok(keccak256(bytes)),
            _ => Ok(EMPTY_ROOT_HASH),
        }
    }

    fn encode(&mut self, path: Nibbles, link: Link) -> Result<Option<RlpNode>, TrieError> {
        let node = match link {
            Link::Empty => return Ok(None),
            Link::Stored(reference) => return Ok(Some(reference)),
            Link::Loaded(node) => *node,
        };
        let node = match node {
            Node::Leaf { suffix, value } => TrieNode::Leaf(LeafNode::new(suffix, value)),
            Node::Extension { suffix, child } => {
                let child_path = path.join(&suffix);
                let child = self.encode(child_path, child)?.ok_or(TrieError::Missing { path: child_path })?;
                TrieNode::Extension(ExtensionNode::new(suffix, child))
            }
            Node::Branch { children } => {
                let mut stack = Vec::with_capacity(16);
                let mut mask = TrieMask::default();
                for (nibble, reference) in (0_u8..).zip(self.encode_children(path, children)?) {
                    if let Some(reference) = reference {
                        stack.push(reference);
                        mask.set_bit(nibble);
                    }
                }
                TrieNode::Branch(BranchNode::new(stack, mask))
            }
        };
        self.buffer.clear();
        node.encode(&mut self.buffer);
        let reference = RlpNode::from_rlp(&self.buffer);
        self.nodes.entry(path).or_default().1 = Some(self.buffer.clone());
        Ok(Some(reference))
    }
}

fn with_nibble(mut path: Nibbles, nibble: u8) -> Nibbles {
    path.push(nibble);
    path
}

fn decode_node(path: Nibbles, mut bytes: &[u8]) -> Result<Node, TrieError> {
    let damaged = || TrieError::Damaged { path };
    let node = TrieNode::decode(&mut bytes).map_err(|_| damaged())?;
    match node {
        TrieNode::EmptyRoot => Err(damaged()),
        TrieNode::Leaf(leaf) => Ok(Node::Leaf { suffix: leaf.key, value: leaf.value }),
        TrieNode::Extension(extension) => {
            Ok(Node::Extension { suffix: extension.key, child: Link::Stored(extension.child) })
        }
        TrieNode::Branch(branch) => {
            let mut children = empty_children();
            let mut stack = branch.stack.into_iter();
            for (nibble, slot) in (0_u8..).zip(children.iter_mut()) {
                if branch.state_mask.is_bit_set(nibble) {
                    *slot = Link::Stored(stack.next().ok_or_else(damaged)?);
                }
            }
            Ok(Node::Branch { children })
        }
    }
}

/// A subtrie at `depth` of the entries that are not deletions.
fn build(depth: usize, entries: Vec<Entry>) -> Link {
    let present: Vec<(Nibbles, Vec<u8>)> =
        entries.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
    build_present(depth, present)
}

fn build_present(depth: usize, mut entries: Vec<(Nibbles, Vec<u8>)>) -> Link {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Link::Empty };
    if entries.len() == 1 {
        return match entries.pop() {
            Some((key, value)) => Link::Loaded(Box::new(Node::Leaf { suffix: key.slice(depth..), value })),
            None => Link::Empty,
        };
    }
    // The entries are sorted, so what first and last share is shared by all.
    let shared = first.common_prefix_length(last).max(depth);
    let suffix = first.slice(depth..shared);
    let mut groups: [Vec<(Nibbles, Vec<u8>)>; 16] = Default::default();
    for (key, value) in entries {
        let nibble = usize::from(key.get(shared).unwrap_or_default());
        if let Some(group) = groups.get_mut(nibble) {
            group.push((key, value));
        }
    }
    let children = groups.map(|group| build_present(shared.saturating_add(1), group));
    let branch = Link::Loaded(Box::new(Node::Branch { children }));
    if suffix.is_empty() { branch } else { Link::Loaded(Box::new(Node::Extension { suffix, child: branch })) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;
    use alloy_trie::HashBuilder;

    #[derive(Default)]
    struct Memory(BTreeMap<Nibbles, Vec<u8>>);

    impl NodeSource for Memory {
        fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, DbError> {
            Ok(self.0.get(path).cloned())
        }
    }

    impl Memory {
        fn apply(&mut self, update: &TrieUpdate) {
            for (path, (old, new)) in &update.nodes {
                assert_eq!(self.0.get(path), old.as_ref(), "the old node at {path:?} is the stored one");
                match new {
                    Some(bytes) => self.0.insert(*path, bytes.clone()),
                    None => self.0.remove(path),
                };
            }
        }
    }

    fn reference_root(values: &BTreeMap<Nibbles, Vec<u8>>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in values {
            builder.add_leaf(*key, value);
        }
        builder.root()
    }

    /// Keys that share long prefixes, so that extensions split, branches collapse and small nodes are inlined.
    fn key(seed: u64) -> Nibbles {
        let mut bytes = [0_u8; 32];
        bytes[0] = u8::try_from(seed % 3).unwrap();
        bytes[15] = u8::try_from(seed / 3 % 5).unwrap() << 4;
        bytes[31] = u8::try_from(seed / 15 % 17).unwrap();
        Nibbles::unpack(bytes)
    }

    #[test]
    fn roots_equal_those_of_a_trie_built_from_scratch() {
        let mut state = 7_u64;
        let mut random = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut stored = Memory::default();
        let mut values: BTreeMap<Nibbles, Vec<u8>> = BTreeMap::new();
        for round in 0..400 {
            let mut entries: BTreeMap<Nibbles, Option<Vec<u8>>> = BTreeMap::new();
            for _ in 0..=random(6) {
                let key =
                    if random(4) == 0 { Nibbles::unpack(keccak256([random(40) as u8])) } else { key(random(255)) };
                let value =
                    (random(5) < 2).then(|| alloy_rlp::encode(U256::from(random(1 << 30)))).filter(|_| round < 390);
                entries.insert(key, value);
            }
            if round == 399 {
                entries = values.keys().map(|key| (*key, None)).collect();
            }
            for (key, value) in &entries {
                match value {
                    Some(value) => values.insert(*key, value.clone()),
                    None => values.remove(key),
                };
            }
            let entries: Vec<Entry> = entries.into_iter().collect();
            let update = update_trie(&stored, entries.clone()).unwrap();
            for threads in [2, 3, 16] {
                assert_eq!(update_with(&stored, entries.clone(), threads).unwrap(), update, "{threads} threads");
            }
            stored.apply(&update);
            assert_eq!(update.root, reference_root(&values), "round {round}");
        }
        assert!(values.is_empty());
        assert!(stored.0.is_empty(), "nodes left behind: {:?}", stored.0.keys());
    }

    #[test]
    fn large_updates_are_split_and_equal_those_of_one_thread() {
        let hashed = |range: std::ops::Range<u16>, value: Option<u8>| -> Vec<Entry> {
            let keys = range.map(|number| Nibbles::unpack(keccak256(number.to_be_bytes())));
            keys.map(|key| (key, value.map(|byte| vec![byte; 40]))).collect::<BTreeMap<_, _>>().into_iter().collect()
        };
        let mut stored = Memory::default();
        let mut values = BTreeMap::new();
        for (range, value) in [(0..1500, Some(1)), (700..2500, Some(2)), (0..2499, None), (0..2500, None)] {
            let entries = hashed(range, value);
            for (key, value) in entries.clone() {
                match value {
                    Some(value) => values.insert(key, value),
                    None => values.remove(&key),
                };
            }
            let update = update_with(&stored, entries.clone(), 1).unwrap();
            for threads in [2, 7] {
                assert_eq!(update_with(&stored, entries.clone(), threads).unwrap(), update, "{threads} threads");
            }
            stored.apply(&update);
            assert_eq!(update.root, reference_root(&values));
        }
        assert!(stored.0.is_empty());
    }

    #[test]
    fn missing_and_damaged_nodes_are_errors() {
        let mut stored = Memory::default();
        let entries: Vec<Entry> =
            (0..60).map(key).map(|key| (key, Some(vec![1]))).collect::<BTreeMap<_, _>>().into_iter().collect();
        let update = update_trie(&stored, entries).unwrap();
        stored.apply(&update);
        let one = vec![(key(3), Some(vec![2]))];
        assert!(update_trie(&stored, one.clone()).is_ok());
        let child = *stored.0.keys().find(|path| !path.is_empty() && key(3).starts_with(path)).unwrap();
        let bytes = stored.0.insert(child, vec![0xc1]).unwrap();
        assert!(matches!(update_trie(&stored, one.clone()), Err(TrieError::Damaged { path }) if path == child));
        stored.0.remove(&child);
        assert!(matches!(update_trie(&stored, one), Err(TrieError::Missing { path }) if path == child));
        assert!(!bytes.is_empty());
    }
}
