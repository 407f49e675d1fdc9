//! Getting a snapshot from peers, before the node's databases exist.
//!
//! Peers say which snapshots they have. Of those with the trusted anchor the one that most peers have is fetched, its parts
//! from all of them at once. A part that is not what the manifest names is thrown away, and its giver is not asked again; a
//! peer that is slow or silent delays the part in its hands by one deadline. Only the state root tells whether a manifest was
//! right: if it was not, that snapshot is never tried again, and those who offered it are not asked again.

use super::by_work::Trusted;
use super::folder::{Folder, FolderError, SettleError};
use super::format::{FormatError, MAX_PARTS, Manifest, Part};
use super::restore::{RestoreError, Restored, Trust, restore_with};
use crate::chain_files::ChainFiles;
use crate::clock::wall_now;
use crate::light::SpoolError;
use alloy_primitives::keccak256;
use alys_p2p::{
    Event, NetworkConfig, NetworkEvents, NetworkHandle, NetworkTask, Offence, PeerId, Refusal, Request, RequestError,
    Response, SnapshotOffer, SnapshotPart, StartError, Status, Verdict,
};
use alys_primitives::{FixedBytes, Height, Root};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Where parts are kept until they are all there.
const PARTS: &str = "snapshot.part";

/// Questions to one peer at once.
const PER_PEER: usize = 2;

/// How long until peers without an offer are asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How often it is told that there is nothing to fetch, and how far the fetching is.
const TOLD: Duration = Duration::from_secs(5);

/// How long a peer is not asked after it refused, was silent, or lied.
const REFUSED: Duration = Duration::from_secs(1);
const SILENT: Duration = Duration::from_secs(20);
const LIED: Duration = Duration::from_secs(600);

/// The most different snapshots that are remembered as wrong.
const MAX_WRONG: usize = 64;

/// Why a node does not join from a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The network does not start.
    #[error("the network can't be started")]
    Start(#[from] StartError),
    /// The network has ended.
    #[error("the network has ended")]
    Ended,
    /// Parts can't be kept.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder of parts can't be cleared.
    #[error("{path} can't be cleared")]
    Clear {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The databases can't be made, for a reason that is not the snapshot's.
    #[error("the databases can't be made")]
    Restore(#[from] RestoreError),
    /// The restore panicked, which is a bug.
    #[error("the restore ended by itself")]
    Task(#[from] tokio::task::JoinError),
    /// An earlier restore can't be settled.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The records of bundles can't be kept.
    #[error("the records of bundles")]
    Spool(#[from] SpoolError),
}

/// Fetches the snapshot whose anchor has the root `trusted` from the peers of `network` and restores it into the empty data
/// folder `data`. Waits for as long as no peer has it. What was fetched when it is broken off is used by the next try.
///
/// # Errors
/// [`JoinError`]; never because of a peer.
///
/// # Cancel safety
/// Dropped, it leaves parts and no databases.
pub async fn join(
    network: NetworkConfig,
    files: &ChainFiles,
    trusted: Root,
    data: &Path,
) -> Result<Restored, JoinError> {
    tracing::info!(checkpoint = %trusted, "joining from a snapshot: looking for peers that have it");
    loop {
        if let Some(restored) = join_as(network.clone(), files, Trusted::Root(trusted), data).await? {
            return Ok(restored);
        }
    }
}

pub(super) async fn join_as(
    network: NetworkConfig,
    files: &ChainFiles,
    trusted: Trusted,
    data: &Path,
) -> Result<Option<Restored>, JoinError> {
    super::settle(data)?;
    let genesis_root = network.genesis_root;
    // Nobody can be served yet, so nobody needs to find this node.
    let (handle, events, task) = NetworkTask::open(NetworkConfig { listen: Vec::new(), ..network }, status(files))?;
    let joiner = Joiner {
        handle: handle.clone(),
        genesis_root,
        trusted,
        parts: data.join(PARTS),
        resting: BTreeMap::new(),
        wrong: BTreeSet::new(),
    };
    tokio::select! {
        biased;
        joined = joiner.join(files, data) => joined,
        () = task.run(std::future::pending()) => Err(JoinError::Ended),
        () = turn_away(handle, events) => Err(JoinError::Ended),
    }
}

/// This node knows nothing yet: what peers tell is not judged, what they ask is not answered.
async fn turn_away(handle: NetworkHandle, mut events: NetworkEvents) {
    while let Some(event) = events.next().await {
        let told = match event {
            Event::Gossip { id, .. } => handle.judge(id, Verdict::Ignore),
            Event::Request { id, .. } => handle.answer(id, Response::Refused(Refusal::Busy)),
        };
        if told.is_err() {
            tracing::debug!("the network is busy");
        }
    }
}

fn status(files: &ChainFiles) -> Status {
    let spec = &files.spec;
    Status::at_genesis(spec.genesis_root(), spec.fork_version(Height(0)), spec.genesis_header().root(), wall_now())
}

type Snapshot = FixedBytes<32>;

/// A snapshot to fetch, and from whom.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    id: Snapshot,
    anchor: Root,
    peers: Vec<PeerId>,
}

pub(super) struct Joiner {
    pub(super) handle: NetworkHandle,
    genesis_root: Root,
    pub(super) trusted: Trusted,
    parts: PathBuf,
    /// Until when peers are not asked.
    resting: BTreeMap<PeerId, Instant>,
    /// Snapshots that did not lead to the state root.
    wrong: BTreeSet<Snapshot>,
}

impl Joiner {
    async fn join(mut self, files: &ChainFiles, data: &Path) -> Result<Option<Restored>, JoinError> {
        let mut told: Option<Instant> = None;
        loop {
            let shown = self.follow_work(files, data).await?;
            let offers = self.look().await;
            self.prove(&offers).await;
            if shown && self.is_too_young(&offers) {
                tracing::info!("no peer has a snapshot of this young chain: beginning with genesis");
                return Ok(None);
            }
            let Some(Choice { id, anchor, peers }) = self.best(offers) else {
                if told.is_none_or(|told| told.elapsed() >= TOLD) {
                    told = Some(Instant::now());
                    let peers = self.handle.view().borrow().ready().count();
                    tracing::info!(peers, "no peer offers a snapshot that can be trusted");
                }
                sleep(LOOK_AGAIN).await;
                continue;
            };
            let Some(folder) = self.manifest(id, anchor, &peers).await? else {
                sleep(LOOK_AGAIN).await;
                continue;
            };
            if !self.fetch(&folder, &peers).await? {
                continue;
            }
            tracing::info!(height = folder.manifest().height().0, "every part is here: making the databases");
            match self.restore(&folder, anchor, files, data).await? {
                Ok(restored) => {
                    self.clear(&self.parts)?;
                    if let Trusted::Work(work) = self.trusted
                        && let Some(spool) = work.spool
                    {
                        spool.remove()?;
                    }
                    tracing::info!(height = restored.height.0, records = restored.records, "joined from a snapshot");
                    return Ok(Some(restored));
                }
                Err(error) if error.blames_snapshot() => {
                    tracing::warn!(snapshot = %id, error = &error as &dyn std::error::Error, "the snapshot is wrong");
                    self.clear(folder.path())?;
                    if self.wrong.len() >= MAX_WRONG {
                        self.wrong.pop_first();
                    }
                    self.wrong.insert(id);
                    for peer in peers {
                        self.hold_against(peer, "it offered a wrong snapshot");
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Peers that are not resting.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        let view = self.handle.view();
        let view = view.borrow();
        view.ready().map(|(peer, _)| peer.peer).filter(|peer| !self.is_resting(peer)).collect()
    }

    pub(super) fn is_resting(&self, peer: &PeerId) -> bool {
        self.resting.get(peer).is_some_and(|until| *until > Instant::now())
    }

    /// Asks every peer what it has.
    async fn look(&self) -> Vec<(PeerId, SnapshotOffer)> {
        let mut asked: FuturesUnordered<_> = self
            .peers()
            .into_iter()
            .map(|peer| async move { (peer, self.handle.ask(peer, Request::Snapshots).await) })
            .collect();
        let mut offers = Vec::new();
        while let Some((peer, answer)) = asked.next().await {
            match answer {
                Ok(Response::Snapshots(list)) => offers.extend(list.offers.iter().map(|offer| (peer, *offer))),
                Ok(
                    Response::Status(_)
                    | Response::Blocks(_)
                    | Response::Certificates(_)
                    | Response::SnapshotPart(_)
                    | Response::LightRecords(_)
                    | Response::BundleProof(_)
                    | Response::OlderBlocks(_)
                    | Response::Refused(_),
                )
                | Err(_) => tracing::debug!(%peer, "no answer about snapshots"),
            }
        }
        offers
    }

    /// The newest snapshot with a trusted anchor, and among those of one block the one that most peers offer.
    fn best(&self, offers: Vec<(PeerId, SnapshotOffer)>) -> Option<Choice> {
        let mut by_id: BTreeMap<(Height, Root, Snapshot), BTreeSet<PeerId>> = BTreeMap::new();
        for (peer, offer) in offers {
            if self.trusts(&offer) && !self.wrong.contains(&offer.id) {
                by_id.entry((offer.height, offer.anchor, offer.id)).or_default().insert(peer);
            }
        }
        let newest_of_most =
            |((height, ..), peers): &((Height, Root, Snapshot), BTreeSet<PeerId>)| (*height, peers.len());
        let ((_, anchor, id), peers) = by_id.into_iter().max_by_key(newest_of_most)?;
        Some(Choice { id, anchor, peers: peers.into_iter().collect() })
    }

    /// The snapshot's manifest, from an earlier try or from a peer.
    async fn manifest(&mut self, id: Snapshot, anchor: Root, peers: &[PeerId]) -> Result<Option<Folder>, JoinError> {
        let path = self.parts.join(hex::encode(id));
        if let Ok(folder) = Folder::open(&path)
            && folder.id() == id
        {
            return Ok(Some(folder));
        }
        for peer in peers {
            let request = Request::SnapshotPart(SnapshotPart { snapshot: id, index: 0 });
            let bytes = match self.handle.ask(*peer, request).await {
                Ok(Response::SnapshotPart(bytes)) if keccak256(&bytes) == id => bytes,
                Ok(_) => {
                    self.hold_against(*peer, "its manifest is another one");
                    continue;
                }
                Err(error) => {
                    self.rest_after(*peer, &error);
                    continue;
                }
            };
            match self.fits(&bytes, anchor) {
                Ok(true) => return Ok(Some(Folder::begin(&path, &bytes)?)),
                Ok(false) | Err(_) => {
                    // Its hash is right: everybody who offers it offers this.
                    self.wrong.insert(id);
                    self.hold_against(*peer, "its manifest does not fit its offer");
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn fits(&self, bytes: &[u8], anchor: Root) -> Result<bool, FormatError> {
        let manifest = Manifest::decode(bytes)?;
        let known = manifest.genesis_root == self.genesis_root && manifest.anchor.root() == anchor;
        Ok(known && (1..=MAX_PARTS).contains(&manifest.parts.len()))
    }

    /// Fetches what is missing. False if none of `peers` gives anything any more.
    async fn fetch(&mut self, folder: &Folder, peers: &[PeerId]) -> Result<bool, JoinError> {
        let mut missing: VecDeque<(usize, Part)> = folder.missing().into();
        let total = folder.manifest().parts.len();
        let id = folder.id();
        let mut told = Instant::now();
        let (began, first, mut bytes_here) = (Instant::now(), missing.len(), 0_u64);
        let handle = self.handle.clone();
        let mut asked = FuturesUnordered::new();
        let mut busy: BTreeMap<PeerId, usize> = BTreeMap::new();
        loop {
            let now = Instant::now();
            for peer in peers {
                let free = self.resting.get(peer).is_none_or(|until| *until <= now);
                let open = busy.entry(*peer).or_insert(0);
                while free
                    && *open < PER_PEER
                    && let Some((index, part)) = missing.pop_front()
                {
                    *open += 1;
                    let number = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
                    let request = Request::SnapshotPart(SnapshotPart { snapshot: id, index: number });
                    let handle = handle.clone();
                    asked.push(async move { (*peer, index, part, handle.ask(*peer, request).await) });
                }
            }
            if asked.is_empty() {
                if missing.is_empty() {
                    return Ok(true);
                }
                // All are resting: wait for the first, unless that takes too long to be worth it.
                let next = peers.iter().filter_map(|peer| self.resting.get(peer)).min().copied();
                match next.filter(|next| *next <= now + SILENT) {
                    Some(next) => sleep_until(next).await,
                    None => return Ok(false),
                }
                continue;
            }
            let Some((peer, index, part, answer)) = asked.next().await else { continue };
            if let Some(open) = busy.get_mut(&peer) {
                *open = open.saturating_sub(1);
            }
            match answer {
                Ok(Response::SnapshotPart(bytes)) if part.is(&bytes) => {
                    folder.keep(index, &bytes)?;
                    bytes_here = bytes_here.saturating_add(part.bytes.into());
                }
                Ok(_) => {
                    self.hold_against(peer, "its part is another one");
                    missing.push_back((index, part));
                }
                Err(error) => {
                    self.rest_after(peer, &error);
                    missing.push_back((index, part));
                }
            }
            if told.elapsed() >= TOLD {
                told = Instant::now();
                let left = missing.len().saturating_add(asked.len());
                tell_progress(total, left, first.saturating_sub(left), bytes_here, began.elapsed());
            }
        }
    }

    async fn restore(
        &mut self,
        folder: &Folder,
        anchor: Root,
        files: &ChainFiles,
        data: &Path,
    ) -> Result<Result<Restored, RestoreError>, JoinError> {
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stopped = stop.0.clone();
        let (folder, files, data) = (folder.clone(), files.clone(), data.to_owned());
        let mut spool = match &mut self.trusted {
            Trusted::Root(_) => None,
            Trusted::Work(work) => work.spool.take(),
        };
        let made = tokio::task::spawn_blocking(move || {
            let trust = Trust { anchor, light: spool.as_mut() };
            let made = restore_with(&folder, &files, trust, &data, &mut |what, done, total| {
                tracing::debug!(what, done, total, "restoring");
                !stopped.load(Ordering::Relaxed)
            });
            (made, spool)
        });
        let (made, spool) = made.await?;
        if let Trusted::Work(work) = &mut self.trusted {
            work.spool = spool;
        }
        Ok(made)
    }

    pub(super) fn hold_against(&mut self, peer: PeerId, reason: &str) {
        tracing::warn!(%peer, reason, "a peer's snapshot is of no use; others are asked");
        if self.handle.blame(peer, Offence::Invalid).is_err() {
            tracing::debug!("the network is busy");
        }
        self.resting.insert(peer, Instant::now() + LIED);
    }

    pub(super) fn rest_after(&mut self, peer: PeerId, error: &RequestError) {
        tracing::debug!(%peer, %error, "no part");
        let rest = match error {
            RequestError::Refused(Refusal::Busy | Refusal::TooMany) | RequestError::Unavailable => REFUSED,
            RequestError::Refused(Refusal::NotHere | Refusal::Failed | Refusal::OutOfBounds)
            | RequestError::NotConnected
            | RequestError::Timeout
            | RequestError::Unsupported => SILENT,
            RequestError::Malformed => LIED,
        };
        self.resting.insert(peer, Instant::now() + rest);
    }

    fn clear(&self, path: &Path) -> Result<(), JoinError> {
        match std::fs::remove_dir_all(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(JoinError::Clear { path: path.to_owned(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn tell_progress(total: usize, left: usize, done: usize, bytes: u64, took: Duration) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = bytes.saturating_mul(1000) / millis;
    let seconds_left = u64::try_from(left)
        .ok()
        .and_then(|left| left.saturating_mul(millis).checked_div(u64::try_from(done).ok()?))
        .map(|millis| millis / 1000);
    tracing::info!(parts = total, missing = left, bytes_per_second = per_second, seconds_left, "fetching a snapshot");
}

/// Tells a thread that nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_work::ByWork;
    use super::*;
    use alys_primitives::B256;

    fn offer(anchor: u8, id: u8) -> SnapshotOffer {
        SnapshotOffer {
            anchor: Root::repeat_byte(anchor),
            height: Height(9),
            id: B256::repeat_byte(id),
            parts: 1,
            bytes: 1,
        }
    }

    #[tokio::test]
    async fn the_snapshot_that_most_peers_have_is_taken_if_its_anchor_is_trusted() {
        let network = NetworkConfig {
            identity: alys_p2p::Identity::from_secret(&[1; 32]).unwrap(),
            listen: Vec::new(),
            peers: Vec::new(),
            genesis_root: Root::ZERO,
            agent: String::new(),
            limits: alys_p2p::NetworkLimits::default(),
            discovery: alys_p2p::Discovery::default(),
        };
        let key = alys_crypto::SecretKey::generate(&[7; 32]).unwrap();
        let member = crate::chain_files::member(&key, Default::default());
        let files = ChainFiles::dev(alys_primitives::Members::new(vec![member]).unwrap(), 0, 1).unwrap();
        let (handle, _events, _task) = NetworkTask::open(network, status(&files)).unwrap();
        let mut joiner = Joiner {
            handle,
            genesis_root: Root::ZERO,
            trusted: Trusted::Root(Root::repeat_byte(1)),
            parts: PathBuf::new(),
            resting: BTreeMap::new(),
            wrong: BTreeSet::new(),
        };
        let [one, two, three] = [PeerId::random(), PeerId::random(), PeerId::random()];
        let offers =
            vec![(one, offer(1, 5)), (two, offer(1, 4)), (three, offer(1, 5)), (one, offer(2, 6)), (two, offer(2, 6))];
        let Choice { id, anchor, peers } = joiner.best(offers.clone()).unwrap();
        assert_eq!((id, anchor, peers.len()), (B256::repeat_byte(5), Root::repeat_byte(1), 2));
        joiner.wrong.insert(id);
        let left = Choice { id: B256::repeat_byte(4), anchor, peers: vec![two] };
        assert_eq!(joiner.best(offers.clone()), Some(left));
        assert_eq!(joiner.best(vec![(one, offer(2, 6))]), None, "another anchor");
        let mut work = ByWork::new(u64::MAX);
        work.anchors.insert(Root::repeat_byte(2), Height(10));
        joiner.trusted = Trusted::Work(Box::new(work));
        assert_eq!(
            joiner.best(offers).map(|choice| choice.id),
            Some(B256::repeat_byte(6)),
            "the one that work commits to"
        );
        let elsewhere = SnapshotOffer { height: Height(8), ..offer(2, 7) };
        assert_eq!(joiner.best(vec![(one, elsewhere)]), None, "an anchor at another height");
    }
}
