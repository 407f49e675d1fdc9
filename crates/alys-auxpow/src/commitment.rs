//! What a miner writes into the parent's coinbase.

use crate::hash::display_order;
use alloy_primitives::B256;

/// The bytes that announce a commitment.
pub const MAGIC: [u8; 4] = [0xfa, 0xbe, 0x6d, 0x6d];

/// Length of a commitment: magic, root, size, nonce.
pub const COMMITMENT_BYTES: usize = 44;

/// The longest chain branch; a tree has at most 2^30 places.
pub const MAX_CHAIN_BRANCH: usize = 30;

/// The root of a tree of merged-mined hashes, with the tree's size and the nonce that spreads the chains over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Commitment {
    /// Root of the tree, internal byte order.
    pub root: B256,
    /// Number of places in the tree, a power of two.
    pub size: u32,
    /// The nonce of [`expected_index`].
    pub nonce: u32,
}

impl Commitment {
    /// The commitment to one chain alone: the tree is its leaf.
    pub const fn alone(hash: B256) -> Self {
        Self { root: hash, size: 1, nonce: 0 }
    }

    /// The bytes to put into the coinbase: magic, root in display order, size, nonce.
    pub fn to_bytes(&self) -> [u8; COMMITMENT_BYTES] {
        let mut bytes = [0; COMMITMENT_BYTES];
        let source = MAGIC
            .into_iter()
            .chain(display_order(self.root))
            .chain(self.size.to_le_bytes())
            .chain(self.nonce.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = from;
        }
        bytes
    }

    /// The commitment as the script of an output that can't be spent: `OP_RETURN` and one push.
    pub fn to_output_script(&self) -> Vec<u8> {
        // 0x2c pushes 44 bytes.
        [0x6a, 0x2c].into_iter().chain(self.to_bytes()).collect()
    }
}

/// Where a chain's hash has to stand in a tree of 2^`height` places, so that no chain is committed to twice.
///
/// A linear congruential step, the chain's id, another step, modulo the size (Namecoin's `getExpectedIndex`). Taking the
/// modulus once at the end gives the same as at each step, since it is a power of two. Heights above 30 count as 30.
pub fn expected_index(nonce: u32, chain_id: u64, height: usize) -> u32 {
    let step = |value: u64| value.wrapping_mul(1_103_515_245).wrapping_add(12_345);
    let value = step(step(u64::from(nonce)).wrapping_add(chain_id));
    let mask = (0..height.min(MAX_CHAIN_BRANCH)).fold(0u64, |mask, _| (mask << 1) | 1);
    // The mask has at most 30 bits.
    u32::try_from(value & mask).unwrap_or(u32::MAX)
}
