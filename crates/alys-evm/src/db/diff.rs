//! What one block changed in the state tables.

use super::{DbError, Table, keys::MAX_KEY};
use std::collections::BTreeMap;

/// One key's value before and after a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The value in the parent's state.
    pub(crate) old: Option<Vec<u8>>,
    /// The value in the block's own state.
    pub(crate) new: Option<Vec<u8>>,
}

/// All keys that a block changed, in order. Unchanged values are never in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateDiff {
    changes: BTreeMap<(Table, Vec<u8>), Change>,
}

impl StateDiff {
    /// Records a change; equal values are left out.
    pub(crate) fn record(&mut self, table: Table, key: Vec<u8>, old: Option<Vec<u8>>, new: Option<Vec<u8>>) {
        if old != new {
            self.changes.insert((table, key), Change { old, new });
        }
    }

    /// The changes in the order of tables and keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &[u8], &Change)> {
        self.changes.iter().map(|((table, key), change)| (*table, key.as_slice(), change))
    }

    /// A private encoding: a table byte, the key, both values, each with its length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.changes.len().saturating_mul(160));
        for ((table, key), change) in &self.changes {
            out.push(table.tag());
            put_bytes(&mut out, Some(key));
            put_bytes(&mut out, change.old.as_deref());
            put_bytes(&mut out, change.new.as_deref());
        }
        out
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DbError::Corrupt`] if the bytes are anything else.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, DbError> {
        let corrupt = || DbError::Corrupt { what: "state diff" };
        let mut diff = Self::default();
        while let Some((tag, rest)) = bytes.split_first() {
            bytes = rest;
            let table = Table::from_tag(*tag).ok_or_else(corrupt)?;
            let key = take_bytes(&mut bytes).ok_or_else(corrupt)?.ok_or_else(corrupt)?;
            let old = take_bytes(&mut bytes).ok_or_else(corrupt)?;
            let new = take_bytes(&mut bytes).ok_or_else(corrupt)?;
            if key.len() > MAX_KEY {
                return Err(corrupt());
            }
            diff.changes.insert((table, key), Change { old, new });
        }
        Ok(diff)
    }
}

/// Length plus one (0 for none), then the bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&0_u32.to_le_bytes()),
        Some(bytes) => {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(1);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// `None` if the bytes end too early.
fn take_bytes(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let Some(length) = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_sub(1) else {
        *bytes = rest;
        return Some(None);
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diffs_survive_their_encoding() {
        let mut diff = StateDiff::default();
        diff.record(Table::Accounts, vec![1; 20], None, Some(vec![2; 70]));
        diff.record(Table::Storage, vec![3; 52], Some(vec![]), None);
        diff.record(Table::StorageTrie, vec![], Some(vec![1]), Some(vec![2]));
        diff.record(Table::AccountTrie, vec![9], Some(vec![1]), Some(vec![1]));
        assert_eq!(diff.iter().count(), 3, "an unchanged value is no change");
        assert_eq!(StateDiff::decode(&diff.encode()).ok(), Some(diff));
    }

    #[test]
    fn damaged_diffs_are_refused() {
        let mut diff = StateDiff::default();
        diff.record(Table::Accounts, vec![1; 20], None, Some(vec![2; 70]));
        let bytes = diff.encode();
        for cut in 1..bytes.len() {
            assert!(StateDiff::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut wrong_table = bytes;
        wrong_table[0] = 4;
        assert!(StateDiff::decode(&wrong_table).is_err());
    }
}
