//! Merkle proofs (EIP-1186).

use super::update::TrieError;
use crate::db::{StateRead, Table, account_trie_key, storage_trie_key};
use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::Nibbles;
use alloy_trie::nodes::TrieNode;

/// The nodes from the root to `address`, and for each slot those of the account's storage trie, in the order of
/// EIP-1186: root first, embedded nodes within their parents.
///
/// # Errors
/// [`TrieError`] if nodes are missing or damaged.
pub(crate) fn prove<S: StateRead>(
    state: &S,
    address: &Address,
    slots: &[U256],
) -> Result<(Vec<Bytes>, Vec<Vec<Bytes>>), TrieError> {
    let account = walk(Nibbles::unpack(keccak256(address)), |path| {
        state.get(Table::AccountTrie, &account_trie_key(path)).map_err(TrieError::from)
    })?;
    let mut storage = Vec::with_capacity(slots.len());
    for slot in slots {
        storage.push(walk(Nibbles::unpack(keccak256(slot.to_be_bytes::<32>())), |path| {
            state.get(Table::StorageTrie, &storage_trie_key(address, path)).map_err(TrieError::from)
        })?);
    }
    Ok((account, storage))
}

fn walk(key: Nibbles, node: impl Fn(&Nibbles) -> Result<Option<Vec<u8>>, TrieError>) -> Result<Vec<Bytes>, TrieError> {
    let mut proof = Vec::new();
    let mut path = Nibbles::new();
    loop {
        let Some(bytes) = node(&path)? else {
            return if path.is_empty() { Ok(proof) } else { Err(TrieError::Missing { path }) };
        };
        let decoded = TrieNode::decode(&mut bytes.as_slice()).map_err(|_| TrieError::Damaged { path })?;
        if path.is_empty() || bytes.len() >= 32 {
            proof.push(Bytes::from(bytes));
        }
        match decoded {
            TrieNode::EmptyRoot | TrieNode::Leaf(_) => return Ok(proof),
            TrieNode::Extension(extension) => {
                if !key.slice(path.len()..).starts_with(&extension.key) {
                    return Ok(proof);
                }
                path = path.join(&extension.key);
            }
            TrieNode::Branch(branch) => {
                let Some(nibble) = key.get(path.len()) else { return Err(TrieError::Damaged { path }) };
                if !branch.state_mask.is_bit_set(nibble) {
                    return Ok(proof);
                }
                path.push(nibble);
            }
        }
    }
}
