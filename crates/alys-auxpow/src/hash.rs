//! Bitcoin's hash and its Merkle branches.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// SHA-256 of SHA-256.
pub fn sha256d(bytes: &[u8]) -> B256 {
    let digest: [u8; 32] = Sha256::digest(Sha256::digest(bytes)).into();
    B256::from(digest)
}

/// The root that `branch` leads to from `leaf`, which stands at `index`: bit i says whether item i is to the left.
pub fn merkle_fold(leaf: B256, branch: &[B256], index: u32) -> B256 {
    let mut place = index;
    let mut node = leaf;
    for item in branch {
        let (left, right) = if place & 1 == 0 { (&node, item) } else { (item, &node) };
        let inner = Sha256::new_with_prefix(left).chain_update(right).finalize();
        let digest: [u8; 32] = Sha256::digest(inner).into();
        node = B256::from(digest);
        place >>= 1;
    }
    node
}

/// The bytes reversed: from internal to display order, or back.
pub fn display_order(hash: B256) -> B256 {
    let mut bytes = hash.0;
    bytes.reverse();
    B256::from(bytes)
}
