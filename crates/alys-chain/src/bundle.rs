//! Bundles: what an AuxPoW may commit to (protocol sections 5 and 6).

use crate::{checkpoint::TrunkBlock, constants::Constants, error::AuxPowError, state::ChainState, state::Committed};
use alys_primitives::{Address, AuxBundle, B256, Root, Slot, blocks_root};

/// Checks that a bundle fits a chain: it follows the last committed record, begins right after the last committed block
/// and ends with a block of the chain, counts and names all blocks between, and has the difficulty of its template's
/// slot. Gives the bundle's last block.
///
/// `state` and `uncommitted` are those of the chain's tip; `carrier_slot` is the slot of the block that carries the
/// record, or the newest slot that one could have now.
pub(crate) fn check(
    constants: &Constants,
    state: &ChainState,
    uncommitted: &[TrunkBlock],
    bundle: &AuxBundle,
    parent_header: B256,
    carrier_slot: Slot,
) -> Result<TrunkBlock, AuxPowError> {
    let committed = &state.committed;
    check_follows(constants, committed, bundle, parent_header)?;
    #[cfg(feature = "testing")]
    if constants.scheme.planted(crate::testing::Plant::BundleUnchecked)
        && let Some(end) = uncommitted.iter().find(|block| block.root == bundle.end_root)
    {
        return Ok(*end);
    }
    let first = uncommitted.first().ok_or(AuxPowError::End { found: bundle.end_root })?;
    if bundle.start_root != first.root {
        return Err(AuxPowError::Start { found: bundle.start_root, expected: first.root });
    }
    let (position, end) = uncommitted
        .iter()
        .enumerate()
        .find(|(_, block)| block.root == bundle.end_root)
        .ok_or(AuxPowError::End { found: bundle.end_root })?;
    let range = uncommitted.get(..=position).unwrap_or_default();
    let count = u64::try_from(range.len()).unwrap_or(u64::MAX);
    if bundle.count != count {
        return Err(AuxPowError::Count { found: bundle.count, expected: count });
    }
    let max = constants.spec.max_bundle_blocks;
    if count > max {
        return Err(AuxPowError::TooLong { found: count, max });
    }
    let root = root_of(range).ok_or(AuxPowError::TooLong { found: count, max })?;
    if bundle.blocks_root != root {
        return Err(AuxPowError::BlocksRoot { found: bundle.blocks_root, expected: root });
    }
    if bundle.template_slot < end.slot || bundle.template_slot > carrier_slot {
        return Err(AuxPowError::TemplateSlot { found: bundle.template_slot, from: end.slot, to: carrier_slot });
    }
    let bits = constants.bits(bundle.template_slot, committed.records);
    if bundle.bits != bits {
        return Err(AuxPowError::Bits { found: bundle.bits, expected: bits });
    }
    Ok(*end)
}

/// Checks that a bundle is of this chain and was mined after the newest committed record.
pub(crate) fn check_follows(
    constants: &Constants,
    committed: &Committed,
    bundle: &AuxBundle,
    parent_header: B256,
) -> Result<(), AuxPowError> {
    if bundle.genesis_root != constants.genesis_root {
        return Err(AuxPowError::OtherChain);
    }
    let chain_id = constants.spec.auxpow.chain_id;
    if bundle.auxpow_chain_id != chain_id {
        return Err(AuxPowError::ChainId { found: bundle.auxpow_chain_id, expected: chain_id });
    }
    if bundle.previous_auxpow_root != committed.auxpow_root {
        return Err(AuxPowError::Previous { found: bundle.previous_auxpow_root, expected: committed.auxpow_root });
    }
    // Earlier headers can't come back: each record's hash covers the one before it, so a header that commits to this
    // bundle was mined after the previous record was known.
    if committed.records > 0 && parent_header == committed.parent_header {
        return Err(AuxPowError::HeaderReused);
    }
    Ok(())
}

/// The bundle of the first `count` uncommitted blocks, for a template made in `slot`.
pub(crate) fn make(
    constants: &Constants,
    state: &ChainState,
    uncommitted: &[TrunkBlock],
    count: usize,
    miner_address: Address,
    slot: Slot,
) -> Option<AuxBundle> {
    let range = uncommitted.get(..count)?;
    let (first, last) = (range.first()?, range.last()?);
    let template_slot = slot.max(last.slot);
    Some(AuxBundle {
        genesis_root: constants.genesis_root,
        auxpow_chain_id: constants.spec.auxpow.chain_id,
        bits: constants.bits(template_slot, state.committed.records),
        miner_address,
        template_slot,
        previous_auxpow_root: state.committed.auxpow_root,
        start_root: first.root,
        end_root: last.root,
        count: u64::try_from(count).ok()?,
        blocks_root: root_of(range)?,
    })
}

fn root_of(range: &[TrunkBlock]) -> Option<Root> {
    let roots: Vec<Root> = range.iter().map(|block| block.root).collect();
    blocks_root(&roots)
}
