//! Reading the state tables: at the head, at an older block, and at a block that is not canonical.

use super::{Cf, Db, DbError, MAX_KEY, StateDiff, Table, history_key, history_prefix};
use rocksdb::{Direction, IteratorMode, ReadOptions, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// The state tables as of one block.
pub(crate) trait StateRead: Sync {
    /// One value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError>;
}

/// A state whose keys can also be listed.
pub(crate) trait StateScan: StateRead {
    /// All keys that begin with `prefix`, in order.
    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, DbError>;
}

/// The state of the canonical head, as the database holds it now. Only the writer reads this way: nobody else writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadState<'a>(pub(crate) &'a Db);

impl StateRead for HeadState<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        self.0.get(Cf::State(table), key)
    }
}

impl StateScan for HeadState<'_> {
    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, DbError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut keys = Vec::new();
        let cf = self.0.cf(Cf::State(table))?;
        let mode = IteratorMode::From(prefix, Direction::Forward);
        for entry in self.0.rocks().iterator_cf_opt(cf, options, mode) {
            let (key, _) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            keys.push(key.into_vec());
        }
        Ok(keys)
    }
}

/// The head's state with other values for some keys: the state of a block on another branch, or ahead of the head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    values: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl Layer {
    /// Takes a block's changes back.
    pub(crate) fn unwind(&mut self, diff: &StateDiff) {
        for (table, key, change) in diff.iter() {
            self.values.insert((table, key.to_vec()), change.old.clone());
        }
    }

    /// Makes a block's changes.
    pub(crate) fn apply(&mut self, diff: &StateDiff) {
        for (table, key, change) in diff.iter() {
            self.values.insert((table, key.to_vec()), change.new.clone());
        }
    }
}

/// A [`Layer`] over the head's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlay<'a> {
    /// What lies below.
    pub(crate) head: HeadState<'a>,
    /// What differs.
    pub(crate) layer: &'a Layer,
}

impl StateRead for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        if self.layer.values.is_empty() {
            return self.head.get(table, key);
        }
        match self.layer.values.get(&(table, key.to_vec())) {
            Some(value) => Ok(value.clone()),
            None => self.head.get(table, key),
        }
    }
}

impl StateScan for Overlay<'_> {
    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, DbError> {
        let mut keys: BTreeSet<Vec<u8>> = self.head.keys(table, prefix)?.into_iter().collect();
        for ((of, key), value) in self.layer.values.range((table, prefix.to_vec())..) {
            if *of != table || !key.starts_with(prefix) {
                break;
            }
            if value.is_some() {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        Ok(keys.into_iter().collect())
    }
}

/// The state after a canonical block, seen through a snapshot: later writes do not disturb it.
pub(crate) struct HistoricalState<'a> {
    db: &'a Db,
    snapshot: Snapshot<'a>,
    number: u64,
    at_head: bool,
}

impl<'a> HistoricalState<'a> {
    /// The state after block `number`, which the caller has checked to be canonical in `snapshot` and not pruned.
    pub(crate) const fn new(db: &'a Db, snapshot: Snapshot<'a>, number: u64, at_head: bool) -> Self {
        Self { db, snapshot, number, at_head }
    }

    /// The snapshot.
    pub(crate) const fn snapshot(&self) -> &Snapshot<'a> {
        &self.snapshot
    }

    /// The database.
    pub(crate) const fn db(&self) -> &'a Db {
        self.db
    }

    /// The block's number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The value before the first later block that changed the key; `None` if no later block did.
    fn before_next_change(&self, table: Table, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, DbError> {
        let Some(next) = self.number.checked_add(1) else { return Ok(None) };
        let prefix = history_prefix(table, key);
        let from = history_key(table, key, next);
        let cf = self.db.cf(Cf::History)?;
        let mut entries = self.snapshot.iterator_cf(cf, IteratorMode::From(&from, Direction::Forward));
        let Some(entry) = entries.next() else { return Ok(None) };
        let (found, value) = entry?;
        if found.len() != from.len() || !found.starts_with(&prefix) {
            return Ok(None);
        }
        match value.split_first() {
            Some((0, [])) => Ok(Some(None)),
            Some((1, value)) => Ok(Some(Some(value.to_vec()))),
            _ => Err(DbError::Corrupt { what: "a history entry" }),
        }
    }
}

impl std::fmt::Debug for HistoricalState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoricalState").field("number", &self.number).finish_non_exhaustive()
    }
}

impl StateRead for HistoricalState<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        if !self.at_head
            && let Some(value) = self.before_next_change(table, key)?
        {
            return Ok(value);
        }
        Ok(self.snapshot.get_cf(self.db.cf(Cf::State(table))?, key)?)
    }
}

impl StateScan for HistoricalState<'_> {
    /// The keys of the head and those that the history remembers, as far as they had a value then.
    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, DbError> {
        let mut found = BTreeSet::new();
        let from = IteratorMode::From(prefix, Direction::Forward);
        for entry in self.snapshot.iterator_cf(self.db.cf(Cf::State(table))?, from) {
            let (key, _) = entry?;
            if !key.starts_with(prefix) {
                break;
            }
            found.insert(key.into_vec());
        }
        if self.at_head {
            return Ok(found.into_iter().collect());
        }
        // History keys begin with the length of the key, so that each length is a range of its own.
        for length in prefix.len()..=MAX_KEY {
            let mut start = history_prefix(table, prefix);
            if let (Some(at), Ok(length)) = (start.get_mut(1), u8::try_from(length)) {
                *at = length;
            }
            let from = IteratorMode::From(&start, Direction::Forward);
            for entry in self.snapshot.iterator_cf(self.db.cf(Cf::History)?, from) {
                let (entry, _) = entry?;
                if !entry.starts_with(&start) {
                    break;
                }
                let key = entry.get(2..length.saturating_add(2));
                found.extend(key.map(<[u8]>::to_vec));
            }
        }
        let mut keys = Vec::with_capacity(found.len());
        for key in found {
            if self.get(table, &key)?.is_some() {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

/// How a value stands in the history: a byte that says whether there was one, then the value.
pub(crate) fn history_value(old: Option<&[u8]>) -> Vec<u8> {
    match old {
        None => vec![0],
        Some(value) => {
            let mut out = Vec::with_capacity(value.len().saturating_add(1));
            out.push(1);
            out.extend_from_slice(value);
            out
        }
    }
}
