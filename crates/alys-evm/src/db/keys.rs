//! Keys of the state tables and of their history.

use alloy_primitives::{Address, U256};
use alloy_trie::Nibbles;

/// A table of the canonical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// Address (20 bytes) → RLP of nonce, balance, storage root and code hash.
    Accounts,
    /// Address and slot (52 bytes) → value, big-endian without leading zeros.
    Storage,
    /// Path (one nibble a byte) → RLP of the account trie's node.
    AccountTrie,
    /// Address and path → RLP of the node of that account's storage trie.
    StorageTrie,
}

impl Table {
    /// All tables, in the order of their tags.
    pub(crate) const ALL: [Self; 4] = [Self::Accounts, Self::Storage, Self::AccountTrie, Self::StorageTrie];

    /// The byte that stands for the table in diffs and in the history.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Accounts => 0,
            Self::Storage => 1,
            Self::AccountTrie => 2,
            Self::StorageTrie => 3,
        }
    }

    /// The table of a tag.
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }
}

/// The longest key of any table: an address and a path of 64 nibbles.
pub(crate) const MAX_KEY: usize = 20 + 64;

/// Key of a storage slot.
pub(crate) fn storage_key(address: &Address, slot: U256) -> [u8; 52] {
    let mut key = [0; 52];
    let (left, right) = key.split_at_mut(20);
    left.copy_from_slice(address.as_slice());
    right.copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

/// Key of a node of the account trie.
pub(crate) fn account_trie_key(path: &Nibbles) -> Vec<u8> {
    path.to_vec()
}

/// Key of a node of an account's storage trie.
pub(crate) fn storage_trie_key(address: &Address, path: &Nibbles) -> Vec<u8> {
    let mut key = Vec::with_capacity(MAX_KEY);
    key.extend_from_slice(address.as_slice());
    key.extend_from_slice(&path.to_vec());
    key
}

/// What all history entries of a key begin with. The length makes prefixes unambiguous.
pub(crate) fn history_prefix(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_KEY + 10);
    out.push(table.tag());
    // Keys are at most MAX_KEY bytes long; a longer one could only come from a damaged diff and is kept apart.
    out.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(key);
    out
}

/// Where the value that `key` had before block `number` is found.
pub(crate) fn history_key(table: Table, key: &[u8], number: u64) -> Vec<u8> {
    let mut out = history_prefix(table, key);
    out.extend_from_slice(&number.to_be_bytes());
    out
}
