//! Building the tries of a whole state from its flat tables, in bounded memory.

use crate::db::{Cf, Db, DbError, HeadState, MAX_KEY, StateRead as _, Table, account_trie_key, storage_trie_key};
use crate::trie::{NodeSource, TrieError, update_trie};
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};
use rocksdb::{Direction, IteratorMode, ReadOptions, WriteBatch};

/// Leaves that are sorted at once, by the first bits of their keys' hashes.
const LEAVES_PER_PASS: u64 = 1 << 20;

/// Leaves that enter the trie at once. They are neighbours, so that few nodes are read and written twice.
const LEAVES_PER_UPDATE: usize = 1 << 15;

/// A leaf: hash of its key, value.
type Leaf = (B256, Vec<u8>);

/// Where a trie's nodes go: the account trie, or the storage trie of an account.
struct Trie<'a> {
    db: &'a Db,
    of: Option<Address>,
}

impl Trie<'_> {
    fn table_and_key(&self, path: &Nibbles) -> (Table, Vec<u8>) {
        match &self.of {
            None => (Table::AccountTrie, account_trie_key(path)),
            Some(address) => (Table::StorageTrie, storage_trie_key(address, path)),
        }
    }

    /// Adds leaves, sorted by hash; gives the root.
    fn add(&self, leaves: Vec<Leaf>) -> Result<B256, TrieError> {
        let entries = leaves.into_iter().map(|(hash, value)| (Nibbles::unpack(hash), Some(value))).collect();
        let update = update_trie(self, entries)?;
        let mut batch = WriteBatch::default();
        for (path, (_, node)) in update.nodes {
            let (table, key) = self.table_and_key(&path);
            let cf = self.db.cf(Cf::State(table))?;
            match node {
                Some(node) => batch.put_cf(cf, key, node),
                None => batch.delete_cf(cf, key),
            }
        }
        self.db.write_unsynced(batch)?;
        Ok(update.root)
    }

    /// Adds `total` leaves that `scan` gives in any order, as often as it is asked to.
    fn build(
        &self,
        total: u64,
        mut scan: impl FnMut(&mut dyn FnMut(B256, &[u8])) -> Result<(), TrieError>,
    ) -> Result<B256, TrieError> {
        let passes = (total / LEAVES_PER_PASS).saturating_add(1).next_power_of_two();
        let mut root = EMPTY_ROOT_HASH;
        for pass in 0..passes {
            let mut leaves = Vec::new();
            scan(&mut |hash, value| {
                if group(&hash, passes) == pass {
                    leaves.push((hash, value.to_vec()));
                }
            })?;
            leaves.sort_unstable();
            while !leaves.is_empty() {
                let rest = leaves.split_off(leaves.len().min(LEAVES_PER_UPDATE));
                root = self.add(std::mem::replace(&mut leaves, rest))?;
            }
        }
        Ok(root)
    }
}

/// Which pass a hash belongs to: its first bits.
fn group(hash: &B256, passes: u64) -> u64 {
    let first = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let bits = passes.trailing_zeros();
    if bits == 0 { 0 } else { first >> (64 - bits) }
}

impl NodeSource for Trie<'_> {
    fn node(&self, path: &Nibbles) -> Result<Option<Vec<u8>>, DbError> {
        let (table, key) = self.table_and_key(path);
        HeadState(self.db).get(table, &key)
    }
}

/// What a scan of the accounts found.
pub(super) struct Accounts {
    pub(super) count: u64,
    /// Those that name a storage root.
    pub(super) with_storage: u64,
}

/// Reads a table from `from` on until `see` says that it has seen enough.
fn scan(
    db: &Db,
    table: Table,
    from: &[u8],
    mut see: impl FnMut(&[u8], &[u8]) -> Result<bool, TrieError>,
) -> Result<(), TrieError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(2 << 20);
    let cf = db.cf(Cf::State(table))?;
    for entry in db.rocks().iterator_cf_opt(cf, options, IteratorMode::From(from, Direction::Forward)) {
        let (key, value) = entry.map_err(DbError::from)?;
        if !see(&key, &value)? {
            break;
        }
    }
    Ok(())
}

/// Counts the accounts, and gives each to `see`.
pub(super) fn accounts(
    db: &Db,
    mut see: impl FnMut(&Address, &TrieAccount) -> Result<(), TrieError>,
) -> Result<Accounts, TrieError> {
    let mut found = Accounts { count: 0, with_storage: 0 };
    scan(db, Table::Accounts, &[], |key, value| {
        let corrupt = DbError::Corrupt { what: "an account" };
        let (Ok(address), Ok(account)) = (Address::try_from(key), TrieAccount::decode(&mut &*value)) else {
            return Err(corrupt.into());
        };
        found.count = found.count.saturating_add(1);
        if account.storage_root != EMPTY_ROOT_HASH {
            found.with_storage = found.with_storage.saturating_add(1);
        }
        see(&address, &account)?;
        Ok(true)
    })?;
    Ok(found)
}

/// Builds the account trie and gives the state root.
pub(super) fn account_trie(db: &Db, count: u64) -> Result<B256, TrieError> {
    Trie { db, of: None }.build(count, |give| {
        scan(db, Table::Accounts, &[], |address, account| {
            give(keccak256(address), account);
            Ok(true)
        })
    })
}

/// Builds every account's storage trie; `see` is given each root and how many slots it stands for.
pub(super) fn storage_tries(
    db: &Db,
    mut see: impl FnMut(&Address, B256, u64) -> Result<(), TrieError>,
) -> Result<(), TrieError> {
    let mut from = Vec::with_capacity(MAX_KEY);
    while let Some((address, slots)) = next_account(db, &from)? {
        let root = Trie { db, of: Some(address) }.build(slots, |give| {
            scan(db, Table::Storage, address.as_slice(), |key, value| {
                let Some(slot) = key.strip_prefix(address.as_slice()) else { return Ok(false) };
                give(keccak256(slot), &alloy_rlp::encode(value));
                Ok(true)
            })
        })?;
        see(&address, root, slots)?;
        from = address.to_vec();
        // No slot of this address is greater.
        from.extend_from_slice(&[0xff; 33]);
    }
    Ok(())
}

/// The first account from a key on that has storage, and how many slots.
fn next_account(db: &Db, from: &[u8]) -> Result<Option<(Address, u64)>, TrieError> {
    let mut found: Option<(Address, u64)> = None;
    scan(db, Table::Storage, from, |key, _| {
        let address = key.first_chunk::<20>().filter(|_| key.len() == 52).map(Address::from);
        let address = address.ok_or(DbError::Corrupt { what: "a storage key" })?;
        match &mut found {
            None => found = Some((address, 1)),
            Some((of, slots)) if *of == address => *slots = slots.saturating_add(1),
            Some(_) => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(found)
}
