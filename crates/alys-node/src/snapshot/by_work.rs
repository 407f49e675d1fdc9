//! Whom a joining node trusts: the operator's root, or the most work (ADR 0019).

use super::join::{JoinError, Joiner, join_as};
use super::restore::Restored;
use crate::chain_files::ChainFiles;
use crate::clock::wall_now;
use crate::light::{Spool, follow};
use alys_p2p::{NetworkConfig, PeerId, Request, Response, SnapshotOffer};
use alys_primitives::{Height, Root};
use std::collections::BTreeMap;
use std::path::Path;

/// The records of the chain with the most work, and those of one that claims more.
const RECORDS: &str = "light.part";
const OTHER_RECORDS: &str = "light-other.part";

/// How often peers are asked for snapshots before a young chain is synced from genesis.
const MAX_LOOKS_WITHOUT: u32 = 5;

/// Blocks of a chain that is synced from genesis in about the time that it takes to wait for a snapshot.
const YOUNG: Height = Height(50_000);

/// As [`join`](super::join()) without a trusted root: follows the chain of bundles with the most work among those that the peers can show
/// (ADR 0019), and takes the newest snapshot whose anchor it commits to. None if that chain has no snapshot yet, because it
/// is young: the node may as well begin with genesis. Of one chain's records no more than about `max_records_bytes` are kept on
/// disk, of two at a time.
///
/// # Errors
/// [`JoinError`]; never because of a peer.
///
/// # Cancel safety
/// Dropped, it leaves parts and no databases.
pub async fn join_by_work(
    network: NetworkConfig,
    files: &ChainFiles,
    data: &Path,
    max_records_bytes: u64,
) -> Result<Option<Restored>, JoinError> {
    tracing::info!("joining by the most work: looking for peers");
    join_as(network, files, Trusted::Work(Box::new(ByWork::new(max_records_bytes))), data).await
}

/// On whose word a snapshot is taken.
pub(super) enum Trusted {
    /// The operator's.
    Root(Root),
    /// That of the most work.
    Work(Box<ByWork>),
}

/// What is known of the chain with the most work.
pub(super) struct ByWork {
    /// Its records; none before the first look.
    pub(super) spool: Option<Spool>,
    /// Roots of blocks in its bundles that somebody offers a snapshot below, by height.
    pub(super) anchors: BTreeMap<Root, Height>,
    /// How often in a row there was work and no snapshot that it commits to.
    looks_without: u32,
    /// How large the records' file may become, in bytes.
    max_records_bytes: u64,
}

impl ByWork {
    /// Nothing is known yet.
    pub(super) fn new(max_records_bytes: u64) -> Self {
        Self { spool: None, anchors: BTreeMap::new(), looks_without: 0, max_records_bytes }
    }
}

impl Joiner {
    /// Brings the chain of bundles to what peers can show now. Whether anybody showed anything.
    pub(super) async fn follow_work(&mut self, files: &ChainFiles, data: &Path) -> Result<bool, JoinError> {
        let peers = self.peers();
        let Trusted::Work(work) = &mut self.trusted else { return Ok(false) };
        let spec = &files.spec;
        let now = spec.slot_at(wall_now()).next();
        let spool = match work.spool.take() {
            Some(spool) => spool,
            None => {
                let (path, spec, limit) = (data.join(RECORDS), spec.clone(), work.max_records_bytes);
                // What an earlier try left is checked again, which can take a while.
                tokio::task::spawn_blocking(move || Spool::open(&path, &spec, now, limit)).await??
            }
        };
        let before = spool.chain().auxpow_root();
        let followed = follow(&self.handle, peers, spool, &data.join(OTHER_RECORDS), spec, now).await?;
        let chain = followed.spool.chain();
        if chain.auxpow_root() != before {
            let (records, height) = (chain.records(), chain.end().height.0);
            tracing::info!(records, height, work = %chain.work(), "the chain with the most work");
            // Another chain's blocks are none of this one's.
            work.anchors.clear();
        }
        work.spool = Some(followed.spool);
        for (peer, reason) in followed.liars {
            self.hold_against(peer, &reason);
        }
        Ok(followed.answers > 0)
    }

    /// Whether the chain with the most work is young, and none of the offers is of it, as often as it takes to believe it.
    pub(super) fn is_too_young(&mut self, offers: &[(PeerId, SnapshotOffer)]) -> bool {
        let trusted = offers.iter().any(|(_, offer)| self.trusts(offer));
        let Trusted::Work(work) = &mut self.trusted else { return false };
        work.looks_without = if trusted { 0 } else { work.looks_without.saturating_add(1) };
        let young = work.spool.as_ref().is_some_and(|spool| spool.chain().end().height <= YOUNG);
        young && work.looks_without >= MAX_LOOKS_WITHOUT
    }

    /// Asks those who offer snapshots to show that the chain with the most work commits to the anchors.
    pub(super) async fn prove(&mut self, offers: &[(PeerId, SnapshotOffer)]) {
        for (peer, offer) in offers {
            let anchor_height = offer.height.next();
            let Trusted::Work(work) = &self.trusted else { return };
            let reached = work.spool.as_ref().map_or(Height(0), |spool| spool.chain().end().height);
            if anchor_height > reached || work.anchors.contains_key(&offer.anchor) || self.is_resting(peer) {
                continue;
            }
            let asked = self.handle.ask(*peer, Request::BundleProof(anchor_height)).await;
            let Trusted::Work(work) = &mut self.trusted else { return };
            let Some(spool) = &work.spool else { return };
            match asked {
                Ok(Response::BundleProof(proof))
                    if proof.root == offer.anchor && spool.holds(proof.root, anchor_height, &proof.branch) =>
                {
                    work.anchors.insert(offer.anchor, anchor_height);
                }
                // It may be right on another chain.
                Ok(_) => tracing::debug!(%peer, anchor = %offer.anchor, "the work does not commit to its snapshot"),
                Err(error) => self.rest_after(*peer, &error),
            }
        }
    }

    /// Whether the anchor of an offer is trusted.
    pub(super) fn trusts(&self, offer: &SnapshotOffer) -> bool {
        match &self.trusted {
            Trusted::Root(root) => offer.anchor == *root,
            Trusted::Work(work) => work.anchors.get(&offer.anchor) == Some(&offer.height.next()),
        }
    }
}
