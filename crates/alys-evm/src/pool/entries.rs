//! A list that grows at its end and is shared with snapshots: a copy costs little, whatever its length.

use super::Entry;
use std::sync::Arc;

/// Entries of one chunk.
const CHUNK: usize = 64;

/// A sender's transactions by nonce.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// All but the last one are full.
    chunks: Vec<Arc<Vec<Entry>>>,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, |chunk| chunk.len());
        self.chunks.len().saturating_sub(1).saturating_mul(CHUNK).saturating_add(last)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The entry at an index.
    pub fn get(&self, index: usize) -> Option<&Entry> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Adds one behind the others. What a snapshot shares is copied first, at most one chunk.
    pub(super) fn push(&mut self, entry: Entry) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(entry),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(Arc::new(chunk));
            }
        }
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut list = Self::default();
        entries.into_iter().for_each(|entry| list.push(entry));
        list
    }
}
