//! Answers to peers' questions, from the database.

use super::NetworkPorts;
use crate::execution::Evm;
use crate::light::{answer_light_records, answer_proof};
use crate::snapshot::{Folder, folder};
use alys_p2p::{
    BlockRange, BlockRoots, Blocks, Certificates, MAX_RANGE_BLOCKS, MAX_RANGE_BYTES, OlderBlock, OlderBlocks, Refusal,
    Request, Response, SnapshotOffers, SnapshotPart,
};
use alys_primitives::ssz::Encode as _;
use alys_primitives::{Root, SignedBlock, VariableList};
use alys_store::{Reader, StoreError};
use std::path::Path;

/// Snapshots that are offered at once.
const MAX_OFFERS: usize = 8;

/// Answers one question. Takes as long as reading what it asks for takes.
pub(super) fn answer(ports: &NetworkPorts, request: &Request) -> Response {
    let (store, snapshots) = (&ports.store, ports.snapshots.as_path());
    let answered = match request {
        Request::BlocksByRange(range) => by_range(store, range),
        Request::BlocksByRoot(roots) => by_root(store, roots),
        Request::CertificatesByRoot(roots) => certificates(store, roots),
        Request::Snapshots => return Response::Snapshots(offers(snapshots)),
        Request::SnapshotPart(part) => return snapshot_part(snapshots, part),
        Request::LightRecords(range) => answer_light_records(store, &ports.spec, range),
        Request::BundleProof(height) => answer_proof(store, *height),
        Request::OlderBlocks(range) => older(store, &ports.evm, range),
        // Answered by the network's own task.
        Request::Status(_) => return Response::Refused(Refusal::OutOfBounds),
    };
    answered.unwrap_or_else(|error| {
        tracing::warn!(%error, "a peer's question can't be answered");
        Response::Refused(Refusal::Failed)
    })
}

/// The newest snapshots.
fn offers(snapshots: &Path) -> SnapshotOffers {
    let offers = folder::list(snapshots).into_iter().take(MAX_OFFERS).filter_map(|(height, id, path)| {
        let folder = Folder::open(&path).ok().filter(|folder| folder.id() == id)?;
        Some(folder.offer()).filter(|offer| offer.height == height)
    });
    SnapshotOffers { offers: VariableList::new(offers.collect()).unwrap_or_default() }
}

/// The manifest or a part, compared with its hash: a damaged file is not given away.
fn snapshot_part(snapshots: &Path, asked: &SnapshotPart) -> Response {
    let Some((_, id, path)) = folder::list(snapshots).into_iter().find(|(_, id, _)| *id == asked.snapshot) else {
        return Response::Refused(Refusal::NotHere);
    };
    let read = Folder::open(&path).and_then(|folder| match asked.index.checked_sub(1) {
        None => Ok(folder.manifest_bytes()),
        Some(index) => folder.part(usize::try_from(index).unwrap_or(usize::MAX)),
    });
    match read {
        Ok(bytes) => Response::SnapshotPart(bytes),
        Err(error) => {
            tracing::warn!(snapshot = %id, part = asked.index, %error, "a part of a snapshot can't be given");
            Response::Refused(Refusal::Failed)
        }
    }
}

/// The notarized chain from a height on, within the budget, with the certificate of the last block.
fn by_range(store: &Reader, range: &BlockRange) -> Result<Response, StoreError> {
    let count = usize::try_from(range.count.min(MAX_RANGE_BLOCKS)).unwrap_or(0);
    let mut blocks = Budgeted::default();
    let mut last = None;
    for (offset, (height, root)) in (0u64..).zip(store.canonical_roots(range.start, count)?) {
        // A reorganisation under way can leave a gap; what comes before it is still a chain.
        if height != range.start.saturating_add(offset) {
            break;
        }
        let Some(found) = store.block(root)? else { break };
        if !blocks.take(found.block) {
            break;
        }
        last = Some(root);
    }
    respond(store, blocks, last)
}

/// The newest blocks of a range, within the budget, with their receipts. Only the embedded EVM has those.
fn older(store: &Reader, evm: &Evm, range: &BlockRange) -> Result<Response, StoreError> {
    let Evm::Embedded { reader, .. } = evm else { return Ok(Response::Refused(Refusal::NotHere)) };
    let count = range.count.min(MAX_RANGE_BLOCKS);
    let (mut blocks, mut bytes) = (Vec::new(), 0_usize);
    for height in (0..count).rev().map(|offset| range.start.saturating_add(offset)) {
        let Some(found) = store.block_at(height)? else { break };
        let receipts = match reader.receipts_rlp(found.block.payload.block_hash) {
            Ok(Some(receipts)) => receipts,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(height = height.0, %error, "receipts for a peer can't be read");
                return Ok(Response::Refused(Refusal::Failed));
            }
        };
        let Ok(receipts) = VariableList::new(receipts) else { break };
        let block = OlderBlock { block: found.block, receipts };
        bytes = bytes.saturating_add(block.ssz_bytes_len());
        if !blocks.is_empty() && bytes > MAX_RANGE_BYTES {
            break;
        }
        blocks.push(block);
    }
    blocks.reverse();
    if blocks.is_empty() {
        return Ok(Response::Refused(Refusal::NotHere));
    }
    Ok(Response::OlderBlocks(Box::new(OlderBlocks { blocks: VariableList::new(blocks).unwrap_or_default() })))
}

fn by_root(store: &Reader, roots: &BlockRoots) -> Result<Response, StoreError> {
    let mut blocks = Budgeted::default();
    let mut last = None;
    for root in &roots.roots {
        if let Some(found) = store.block(*root)? {
            if !blocks.take(found.block) {
                break;
            }
            last = Some(*root);
        }
    }
    respond(store, blocks, last)
}

fn respond(store: &Reader, blocks: Budgeted, last: Option<Root>) -> Result<Response, StoreError> {
    let certificate = last.map(|root| store.certificate(root)).transpose()?.flatten();
    Ok(Response::Blocks(Box::new(Blocks {
        blocks: VariableList::new(blocks.blocks).unwrap_or_default(),
        certificate: VariableList::new(certificate.into_iter().collect()).unwrap_or_default(),
    })))
}

fn certificates(store: &Reader, roots: &BlockRoots) -> Result<Response, StoreError> {
    let mut found = Vec::new();
    for root in &roots.roots {
        found.extend(store.certificate(*root)?);
    }
    Ok(Response::Certificates(Certificates { certificates: VariableList::new(found).unwrap_or_default() }))
}

/// Blocks up to the byte budget; the first is always taken.
#[derive(Default)]
struct Budgeted {
    blocks: Vec<SignedBlock>,
    bytes: usize,
}

impl Budgeted {
    /// Whether the block was taken.
    fn take(&mut self, block: SignedBlock) -> bool {
        let bytes = self.bytes.saturating_add(block.ssz_bytes_len());
        if !self.blocks.is_empty() && bytes > MAX_RANGE_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.blocks.push(block);
        true
    }
}
