//! Records of final bundles, from the database.

use alys_chain::proof::bundle_branch;
use alys_p2p::{BlockRange, BundleProof, LightRecords, MAX_LIGHT_BYTES, MAX_LIGHT_RECORDS, Refusal, Response};
use alys_primitives::ssz::Encode as _;
use alys_primitives::{BlockHeader, ChainSpec, Epoch, FederationChange, Height, LightRecord, Root, VariableList, Wei};
use alys_store::{Reader, StoreError};
use std::ops::ControlFlow;

/// Records from a height on, within the budget. Refused by a node that does not know the beginning.
pub(crate) fn answer_light_records(
    store: &Reader,
    spec: &ChainSpec,
    range: &BlockRange,
) -> Result<Response, StoreError> {
    let first = Height(1);
    let knows_all = store.canonical_root(first)?.is_some() || store.light_record(first)?.is_some();
    if !knows_all {
        return Ok(Response::Refused(Refusal::NotHere));
    }
    let count = usize::try_from(range.count.min(MAX_LIGHT_RECORDS)).unwrap_or(0);
    let (mut records, mut bytes, mut from) = (Vec::new(), 0_usize, range.start);
    while records.len() < count
        && bytes < MAX_LIGHT_BYTES
        && let Some(record) = record_from(store, spec, from)?
    {
        bytes = bytes.saturating_add(record.ssz_bytes_len());
        from = record.end.height.next();
        records.push(record);
    }
    let work = store.checkpoint()?.map_or(Wei::ZERO, |checkpoint| checkpoint.state.committed.work);
    let records = VariableList::new(records).unwrap_or_else(|_| VariableList::empty());
    Ok(Response::LightRecords(Box::new(LightRecords { work, records })))
}

/// The way from a block to its bundle, for a bundle whose blocks are all here.
pub(crate) fn answer_proof(store: &Reader, height: Height) -> Result<Response, StoreError> {
    let missing = Ok(Response::Refused(Refusal::NotHere));
    let Some((from, to)) = bundle_of(store, height)? else { return missing };
    let count = usize::try_from(to.since(from)).unwrap_or(usize::MAX).saturating_add(1);
    let roots: Vec<Root> = store.canonical_roots(from, count)?.into_iter().map(|(_, root)| root).collect();
    let at = usize::try_from(height.since(from)).unwrap_or(usize::MAX);
    let whole = roots.len() == count;
    match (roots.get(at), bundle_branch(&roots, at)) {
        (Some(root), Some(branch)) if whole => Ok(Response::BundleProof(BundleProof { root: *root, branch })),
        (Some(_) | None, _) => missing,
    }
}

/// First and last height of the final bundle that holds a height.
fn bundle_of(store: &Reader, height: Height) -> Result<Option<(Height, Height)>, StoreError> {
    Ok(store.bundle_at(height)?.map(|bundle| (bundle.from, bundle.to)))
}

/// The record of the final bundle that begins at a height, as it was learned or from the blocks that are here.
fn record_from(store: &Reader, spec: &ChainSpec, from: Height) -> Result<Option<LightRecord>, StoreError> {
    if let Some(record) = store.light_record(from)? {
        return Ok(Some(record));
    }
    let Some(bundle) = store.bundle_from(from)? else { return Ok(None) };
    let header = |height| Ok::<_, StoreError>(store.block_at(height)?.map(|found| found.block.header));
    let before = match from {
        Height(1) => Some(Epoch(0)),
        above => header(above.saturating_sub(1))?.map(|header| header.epoch),
    };
    let record = store.block(bundle.carrier)?.and_then(|carrier| carrier.block.body.auxpow.first().cloned());
    let (Some(record), Some(start), Some(end), Some(before)) = (record, header(from)?, header(bundle.to)?, before)
    else {
        return Ok(None);
    };
    let Some(changes) = changes(store, spec, before, (from, &end))? else { return Ok(None) };
    Ok(Some(LightRecord { record, start, end, changes }))
}

/// The changes by which the epochs after `before` began, up to that of `end`, in a run that begins at `from`.
fn changes(
    store: &Reader,
    spec: &ChainSpec,
    before: Epoch,
    (from, end): (Height, &BlockHeader),
) -> Result<Option<VariableList<FederationChange, alys_primitives::MaxLightChanges>>, StoreError> {
    let mut found = Vec::new();
    for epoch in before.0..end.epoch.0 {
        // The first height of a later epoch: `end` is of one.
        let (mut low, mut high) = (from.0, end.height.0);
        while low < high {
            let middle = low.midpoint(high);
            let Some(block) = store.block_at(Height(middle))? else { return Ok(None) };
            if block.block.header.epoch.0 > epoch { high = middle } else { low = middle.saturating_add(1) }
        }
        // A change takes effect that many blocks after the one that carries it.
        let Some(carrier) = store.block_at(Height(high.saturating_sub(spec.epoch_delay)))? else { return Ok(None) };
        let change = carrier.block.body.federation_change.first().filter(|change| change.epoch == Epoch(epoch));
        let Some(change) = change else { return Ok(None) };
        found.push(change.clone());
    }
    Ok(VariableList::new(found).ok())
}

/// Bundles whose blocks are all here and whose records were learned before, but which are not noted yet, from a height on
/// below another, each with its carrier.
pub(crate) fn unnoted(
    store: &Reader,
    from: Height,
    below: Height,
) -> Result<Vec<alys_store::FinalizedBundle>, StoreError> {
    let mut known = Vec::new();
    store.light_records(from, |record| {
        if record.start.height >= below {
            return ControlFlow::Break(());
        }
        let bundle = alys_primitives::TreeHash::tree_hash_root(&record.record.bundle);
        known.push((bundle, record.start.height, record.end.height));
        ControlFlow::Continue(())
    })?;
    let mut found = Vec::new();
    for (bundle, from, to) in known {
        if store.bundle_from(from)?.is_some() {
            continue;
        }
        let mut height = to.next();
        let carrier = loop {
            let Some(block) = store.block_at(height)? else { break None };
            let carried = block.block.body.auxpow.first();
            if carried.is_some_and(|record| alys_primitives::TreeHash::tree_hash_root(&record.bundle) == bundle) {
                break Some(block.block.root());
            }
            height = height.next();
        };
        found.extend(carrier.map(|carrier| alys_store::FinalizedBundle { bundle, carrier, from, to }));
    }
    Ok(found)
}
