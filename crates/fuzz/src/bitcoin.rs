//! What a Bitcoin node or a miner sends.

use ::bitcoin::consensus::{deserialize, serialize};
use ::bitcoin::hashes::Hash as _;
use ::bitcoin::{Block, CompactTarget};
use alys_auxpow::Target;
use alys_bitcoin::compact::target_from_compact;
use alys_primitives::MAX_AUXPOW_BYTES;

/// Compact bits: the two readings of them in this workspace agree, and rounding happens once.
///
/// # Panics
/// On a finding.
pub fn compact_bits(bytes: &[u8]) {
    let Some(bits) = bytes.first_chunk::<4>().map(|bits| u32::from_le_bytes(*bits)) else { return };
    let ours = Target::from_compact(bits);
    let theirs = target_from_compact(CompactTarget::from_consensus(bits));
    assert_eq!(ours.ok().map(Target::to_be_bytes), theirs.ok().map(|target| target.to_be_bytes()));
    let Ok(target) = ours else { return };
    let rounded = target.to_compact();
    assert_eq!(Target::from_compact(rounded), Ok(target), "a form with three bytes loses nothing");
    assert_eq!(Target::of_work(target.work()).max(target), Target::of_work(target.work()));
}

/// A Bitcoin block: its coinbase means the same to the merged-mining code as to the Bitcoin library.
///
/// # Panics
/// On a finding.
pub fn bitcoin_block(bytes: &[u8]) {
    let Ok(block) = deserialize::<Block>(bytes) else { return };
    assert_eq!(serialize(&block), bytes);
    let Some(coinbase) = block.txdata.first() else { return };
    // An output-only transaction has two encodings, of which Bitcoin Core refuses both.
    if coinbase.input.is_empty() {
        return;
    }
    let encoded = serialize(coinbase);
    match alys_auxpow::Transaction::decode(&encoded) {
        Ok(ours) => {
            assert_eq!(ours.txid().0, coinbase.compute_txid().to_byte_array());
            assert_eq!(ours.is_coinbase(), coinbase.is_coinbase());
        }
        Err(error) => assert!(encoded.len() > MAX_AUXPOW_BYTES, "{error}"),
    }
    let header = alys_auxpow::ParentHeader(<[u8; 80]>::try_from(serialize(&block.header)).unwrap_or([0; 80]));
    assert_eq!(header.hash().0, block.block_hash().to_byte_array());
}
