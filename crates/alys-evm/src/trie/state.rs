//! From what a block did to accounts to what it changes in the tables, and the new state root.

use super::update::{NodeSource, TrieError, update_trie};
use crate::db::{DbError, StateDiff, StateRead, StateScan, Table, account_trie_key, storage_key, storage_trie_key};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};
use std::collections::BTreeMap;

/// What a block did to one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountUpdate {
    /// Nonce, balance and code hash after the block; `None` if the account is gone.
    pub(crate) info: Option<(u64, U256, B256)>,
    /// Whether all storage that the parent's state had is gone.
    pub(crate) wiped: bool,
    /// Slots that were written, with their values after the block.
    pub(crate) storage: BTreeMap<U256, U256>,
}

/// What a block did to the state.
pub(crate) type StateUpdate = BTreeMap<Address, AccountUpdate>;

struct AccountTrie<'a, S>(&'a S);

impl<S: StateRead> NodeSource for AccountTrie<'_, S> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, DbError> {
        self.0.get(Table::AccountTrie, &account_trie_key(path))
    }
}

struct StorageTrie<'a, S> {
    state: &'a S,
    address: Address,
}

impl<S: StateRead> NodeSource for StorageTrie<'_, S> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, DbError> {
        self.state.get(Table::StorageTrie, &storage_trie_key(&self.address, path))
    }
}

struct EmptyTrie;

impl NodeSource for EmptyTrie {
    fn node(&self, _path: &Nibbles) -> Result<Option<Vec<u8>>, DbError> {
        Ok(None)
    }
}

/// Reads an account from its table.
pub(crate) fn read_account<S: StateRead>(state: &S, address: &Address) -> Result<Option<TrieAccount>, DbError> {
    let Some(bytes) = state.get(Table::Accounts, address.as_slice())? else { return Ok(None) };
    TrieAccount::decode(&mut bytes.as_slice()).map(Some).map_err(|_| DbError::Corrupt { what: "an account" })
}

/// Computes the new state root and everything that changes.
///
/// # Errors
/// [`TrieError`] if the tables are damaged.
pub(crate) fn state_diff<S: StateScan>(state: &S, update: &StateUpdate) -> Result<(B256, StateDiff), TrieError> {
    let mut diff = StateDiff::default();
    let mut leaves = BTreeMap::new();
    for (address, account) in update {
        let old = read_account(state, address)?;
        let old_storage_root = old.as_ref().map_or(EMPTY_ROOT_HASH, |old| old.storage_root);
        let wiped = (account.wiped || account.info.is_none()) && old_storage_root != EMPTY_ROOT_HASH;
        let storage_root = if wiped {
            wipe_storage(state, *address, &account.storage, &mut diff)?
        } else if account.info.is_some() && !account.storage.is_empty() {
            update_storage(state, *address, &account.storage, &mut diff)?
        } else {
            old_storage_root
        };
        let new = account.info.map(|(nonce, balance, code_hash)| {
            alloy_rlp::encode(TrieAccount { nonce, balance, storage_root, code_hash })
        });
        let old = old.map(alloy_rlp::encode);
        if old != new {
            leaves.insert(Nibbles::unpack(keccak256(address)), new.clone());
            diff.record(Table::Accounts, address.to_vec(), old, new);
        }
    }
    let update = update_trie(&AccountTrie(state), leaves.into_iter().collect())?;
    for (path, (old, new)) in update.nodes {
        diff.record(Table::AccountTrie, account_trie_key(&path), old, new);
    }
    Ok((update.root, diff))
}

/// A value as its table holds it; zero is no value.
fn stored_value(value: U256) -> Option<Vec<u8>> {
    (!value.is_zero()).then(|| value.to_be_bytes_trimmed_vec())
}

fn leaf(slot: U256, value: U256) -> (Nibbles, Option<Vec<u8>>) {
    let key = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
    (key, (!value.is_zero()).then(|| alloy_rlp::encode(value)))
}

fn update_storage<S: StateRead>(
    state: &S,
    address: Address,
    slots: &BTreeMap<U256, U256>,
    diff: &mut StateDiff,
) -> Result<B256, TrieError> {
    let mut leaves = BTreeMap::new();
    for (slot, value) in slots {
        let key = storage_key(&address, *slot);
        let old = state.get(Table::Storage, &key)?;
        let new = stored_value(*value);
        if old != new {
            let (path, leaf) = leaf(*slot, *value);
            leaves.insert(path, leaf);
            diff.record(Table::Storage, key.to_vec(), old, new);
        }
    }
    let update = update_trie(&StorageTrie { state, address }, leaves.into_iter().collect())?;
    for (path, (old, new)) in update.nodes {
        diff.record(Table::StorageTrie, storage_trie_key(&address, &path), old, new);
    }
    Ok(update.root)
}

/// Removes all storage that was there and builds the trie of what was written since.
fn wipe_storage<S: StateScan>(
    state: &S,
    address: Address,
    slots: &BTreeMap<U256, U256>,
    diff: &mut StateDiff,
) -> Result<B256, TrieError> {
    let mut values: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for key in state.keys(Table::Storage, address.as_slice())? {
        values.insert(key, None);
    }
    for (slot, value) in slots {
        values.insert(storage_key(&address, *slot).to_vec(), stored_value(*value));
    }
    let mut nodes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for key in state.keys(Table::StorageTrie, address.as_slice())? {
        nodes.insert(key, None);
    }
    let leaves: BTreeMap<_, _> = slots.iter().map(|(slot, value)| leaf(*slot, *value)).collect();
    let update = update_trie(&EmptyTrie, leaves.into_iter().collect())?;
    for (path, (_, new)) in update.nodes {
        nodes.insert(storage_trie_key(&address, &path), new);
    }
    for (table, changes) in [(Table::Storage, values), (Table::StorageTrie, nodes)] {
        for (key, new) in changes {
            let old = state.get(table, &key)?;
            diff.record(table, key, old, new);
        }
    }
    Ok(update.root)
}
