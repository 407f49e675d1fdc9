//! Fetches the blocks from before a node's snapshot, when the node is level with its peers (ADR 0019).
//!
//! Downwards from the oldest block that is here: each block is bound by the hash that the one above it names. What no hash
//! covers, the signatures, is checked with the federations of their epochs, which the chain of bundles gives: it is followed
//! from genesis first, and must lead to this node's own blocks. Receipts are bound by their root. So whoever gave them, older
//! blocks are as good as if this node had executed them; only their states are not here.

use crate::actors::service::ServiceEnd;
use crate::actors::storage::StorageMessage;
use crate::clock::wall_now;
use crate::light::{Ask as _, Spool, SpoolError, follow, unnoted};
use crate::network::NetworkMessage;
use crate::sync::{SyncState, SyncView};
use alys_actor::{Addr, AskError, CancellationToken};
use alys_chain::{GenesisError, LightChain, LightError, OlderError, RestoredBlock, Verifier};
use alys_engine::NewPayload;
use alys_evm::EvmReader;
use alys_evm::snapshot::RestoreError;
use alys_p2p::{BlockRange, NetworkView, Offence, OlderBlock, PeerId, Refusal, Request, RequestError, Response};
use alys_primitives::{ChainSpec, Height, LightRecord, Root, Slot};
use alys_store::{Reader, StoreError};
use rand::TryRngCore as _;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Blocks of one question.
const RUN: u64 = 64;

/// How long nothing is tried after something failed.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a peer without a useful answer is left alone.
const SHUNNED: Duration = Duration::from_secs(60);

/// How often progress is logged.
const TOLD: Duration = Duration::from_secs(10);

/// The records while they are fetched.
const RECORDS: &str = "backfill.part";
const OTHER_RECORDS: &str = "backfill-other.part";

/// What the task needs from the rest of the node.
pub struct BackfillPorts {
    /// The chain's constants.
    pub spec: Arc<ChainSpec>,
    /// The node's data folder.
    pub data: PathBuf,
    /// Which blocks are here.
    pub store: Reader,
    /// Writes them.
    pub storage: Addr<StorageMessage>,
    /// Takes payloads and receipts.
    pub evm: EvmReader,
    /// Asks peers.
    pub network: Addr<NetworkMessage>,
    /// The peers.
    pub peers: watch::Receiver<NetworkView>,
    /// Whether there is something more urgent.
    pub sync: watch::Receiver<SyncView>,
    /// How large the file of other peers' records may become, in bytes.
    pub max_records_bytes: u64,
    /// Where readers find the oldest block that is here.
    pub oldest: Arc<watch::Sender<Option<Height>>>,
}

/// Why a step did not succeed; it is tried again.
#[derive(Debug, thiserror::Error)]
enum BackfillError {
    #[error("the database")]
    Store(#[from] StoreError),
    #[error("the records of bundles")]
    Spool(#[from] SpoolError),
    #[error("the chain spec")]
    Genesis(#[from] GenesisError),
    #[error("the record of a bundle that is here does not hold")]
    Record(#[from] LightError),
    #[error("the database's writer did not answer")]
    Writer(#[from] AskError),
    #[error("the EVM's database")]
    Evm(#[source] RestoreError),
    #[error("a task ended by itself")]
    Task(#[from] tokio::task::JoinError),
    #[error("the system gives no randomness")]
    Entropy(#[from] rand::rand_core::OsError),
    #[error("the chain with the most work does not lead to this node's blocks")]
    OtherChain,
}

/// Runs until `stop`; without older blocks to fetch it only waits.
pub async fn backfill(ports: BackfillPorts, stop: CancellationToken) -> ServiceEnd {
    let mut backfill = Backfill { ports, resting: BTreeMap::new(), verifier: None, done: 0, since: Instant::now() };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = backfill.run() => stop.cancelled().await,
    }
    Ok(())
}

struct Backfill {
    ports: BackfillPorts,
    /// Until when peers are not asked.
    resting: BTreeMap<PeerId, Instant>,
    /// Knows the federations of all epochs up to the oldest block's.
    verifier: Option<Verifier>,
    /// Blocks since the last line in the log.
    done: u64,
    since: Instant,
}

impl Backfill {
    /// Returns when every block since genesis is here.
    async fn run(&mut self) {
        loop {
            self.wait_until_level().await;
            match self.step().await {
                Ok(Step::Complete) => return,
                Ok(Step::Went) => {}
                Ok(Step::NoPeer) => sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "older blocks are not fetched for now");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn wait_until_level(&mut self) {
        let level = |view: &SyncView| matches!(view.state, SyncState::Synced | SyncState::Listening);
        if self.ports.sync.wait_for(level).await.is_err() {
            // The node is ending.
            std::future::pending::<()>().await;
        }
    }

    async fn step(&mut self) -> Result<Step, BackfillError> {
        let oldest = self.ports.store.canonical_roots(Height(1), 1)?.first().copied();
        let height = oldest.map(|(height, _)| height);
        self.ports.oldest.send_if_modified(|current| std::mem::replace(current, height) != height);
        let Some((height, root)) = oldest.filter(|(height, _)| *height > Height(1)) else {
            if self.verifier.is_some() {
                tracing::info!("every block since genesis is here");
            }
            return Ok(Step::Complete);
        };
        let Some(block) = self.ports.store.block(root)? else { return Ok(Step::NoPeer) };
        let Some(verifier) = self.verifier.clone() else { return self.learn(height).await };
        self.fetch(verifier, height.saturating_sub(1), block.block.header.parent_root).await
    }

    /// Follows the bundles to this node's blocks: from its own records, or those of peers.
    async fn learn(&mut self, oldest: Height) -> Result<Step, BackfillError> {
        let (store, spec) = (self.ports.store.clone(), self.ports.spec.clone());
        let now = spec.slot_at(wall_now()).next();
        let known = tokio::task::spawn_blocking(move || follow_own(&store, &spec, oldest, now)).await??;
        if let Some(chain) = known {
            tracing::info!(height = oldest.0, "fetching the blocks before this node's oldest");
            self.verifier = Some(chain.verifier());
            self.since = Instant::now();
            self.note(oldest, Height(u64::MAX)).await?;
            return Ok(Step::Went);
        }
        let peers = self.peers(Height(1));
        if peers.is_empty() {
            return Ok(Step::NoPeer);
        }
        let (path, spec) = (self.ports.data.join(RECORDS), self.ports.spec.clone());
        let limit = self.ports.max_records_bytes;
        let spool = tokio::task::spawn_blocking(move || Spool::open(&path, &spec, now, limit)).await??;
        let scratch = self.ports.data.join(OTHER_RECORDS);
        let followed = follow(&self.ports.network, peers, spool, &scratch, &self.ports.spec, now).await?;
        for (peer, reason) in followed.liars {
            self.hold_against(peer, &reason);
        }
        let mut spool = followed.spool;
        let end = spool.chain().end();
        if end.height < oldest {
            return Ok(Step::NoPeer);
        }
        let ours = |record: &LightRecord| is_ours(&self.ports.store, oldest, record).unwrap_or(false);
        if !spool.groups()?.any(|records| records.iter().any(ours)) {
            spool.remove()?;
            return Err(BackfillError::OtherChain);
        }
        for records in spool.groups()? {
            self.ports.storage.ask(|reply| StorageMessage::KeepLightRecords { records, reply }).await??;
        }
        spool.remove()?;
        Ok(Step::Went)
    }

    /// Fetches the blocks up to `top`, whose root is `below`.
    async fn fetch(&mut self, verifier: Verifier, top: Height, below: Root) -> Result<Step, BackfillError> {
        let start = Height(top.0.saturating_sub(RUN - 1).max(1));
        let Some(peer) = self.peers(start).first().copied() else { return Ok(Step::NoPeer) };
        let count = top.since(start).saturating_add(1);
        let asked = self.ports.network.ask_peer(peer, Request::OlderBlocks(BlockRange { start, count })).await;
        let blocks = match asked {
            Ok(Response::OlderBlocks(blocks)) => Vec::from(blocks.blocks),
            Ok(_) => {
                self.hold_against(peer, "another answer than blocks");
                return Ok(Step::Went);
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "no older blocks");
                let momentary = matches!(
                    error,
                    RequestError::Refused(Refusal::Busy | Refusal::TooMany) | RequestError::Unavailable
                );
                self.rest(peer, if momentary { PAUSE / 10 } else { SHUNNED });
                return Ok(Step::Went);
            }
        };
        let mut entropy = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut entropy)?;
        let evm = self.ports.evm.clone();
        let checked =
            tokio::task::spawn_blocking(move || check(&verifier, &evm, blocks, (below, top), &entropy)).await?;
        let blocks = match checked {
            Ok(blocks) => blocks,
            Err(Wrong::Peer(reason)) => {
                self.hold_against(peer, &reason);
                return Ok(Step::Went);
            }
            Err(Wrong::Here(error)) => return Err(BackfillError::Evm(error)),
        };
        let Some(reached) = blocks.first().map(|first| first.block.header.height) else {
            self.hold_against(peer, "no blocks");
            return Ok(Step::Went);
        };
        let count = u64::try_from(blocks.len()).unwrap_or(0);
        self.ports.storage.ask(|reply| StorageMessage::KeepOlder { blocks, reply }).await??;
        metrics::counter!("alys_backfill_blocks_total").increment(count);
        self.note(reached, top.next()).await?;
        self.done = self.done.saturating_add(count);
        if self.since.elapsed() >= TOLD {
            let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = self.done.saturating_mul(1000) / millis;
            let seconds_left = reached.0.checked_div(rate);
            tracing::info!(oldest = reached.0, blocks_per_second = rate, seconds_left, "fetching older blocks");
            (self.done, self.since) = (0, Instant::now());
        }
        Ok(Step::Went)
    }

    /// Notes the bundles whose blocks are all here now, from a height on below another.
    async fn note(&self, from: Height, below: Height) -> Result<(), BackfillError> {
        let store = self.ports.store.clone();
        let bundles = tokio::task::spawn_blocking(move || unnoted(&store, from, below)).await??;
        if !bundles.is_empty() {
            self.ports.storage.ask(|reply| StorageMessage::KeepBundles { bundles, reply }).await??;
        }
        Ok(())
    }

    /// Peers that claim to have the blocks from a height on and are not resting, those first that were not asked for longest.
    fn peers(&mut self, from: Height) -> Vec<PeerId> {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let view = self.ports.peers.borrow();
        let mut peers: Vec<PeerId> = view
            .ready()
            .filter(|(_, status)| status.earliest_height <= from)
            .map(|(peer, _)| peer.peer)
            .filter(|peer| !self.resting.contains_key(peer))
            .collect();
        let turn = usize::try_from(self.done).unwrap_or(0).checked_rem(peers.len()).unwrap_or(0);
        peers.rotate_left(turn);
        peers
    }

    fn hold_against(&mut self, peer: PeerId, reason: &str) {
        tracing::warn!(%peer, reason, "a peer's older blocks are of no use; others are asked");
        // Dropped if the network has too much to do; the peer is left out here all the same.
        drop(self.ports.network.try_tell(NetworkMessage::Blame { peer, offence: Offence::Invalid }));
        self.rest(peer, SHUNNED);
    }

    fn rest(&mut self, peer: PeerId, time: Duration) {
        self.resting.insert(peer, Instant::now() + time);
    }
}

/// What a step came to.
enum Step {
    Complete,
    Went,
    NoPeer,
}

/// Who is to blame for blocks that are not kept.
enum Wrong {
    Peer(String),
    Here(RestoreError),
}

impl From<OlderError> for Wrong {
    fn from(error: OlderError) -> Self {
        Self::Peer(error.to_string())
    }
}

/// Checks blocks that end right below the one that names `below`, and gives them to the EVM.
fn check(
    verifier: &Verifier,
    evm: &EvmReader,
    older: Vec<OlderBlock>,
    (below, top): (Root, Height),
    entropy: &[u8; 32],
) -> Result<Vec<RestoredBlock>, Wrong> {
    let (blocks, receipts): (Vec<_>, Vec<_>) = older.into_iter().map(|older| (older.block, older.receipts)).unzip();
    verifier.older(&blocks, below, top, entropy)?;
    let payloads: Vec<(NewPayload, &[u8])> = blocks
        .iter()
        .zip(&receipts)
        .map(|(block, receipts)| {
            let payload = NewPayload {
                payload: block.payload.clone(),
                parent_beacon_block_root: block.header.parent_root,
                execution_requests: block.body.execution_requests.clone(),
            };
            (payload, receipts.as_ref())
        })
        .collect();
    let kept = evm.keep_older(&payloads).map_err(|error| {
        let of_peer = matches!(error, RestoreError::Block { .. });
        if of_peer { Wrong::Peer(error.to_string()) } else { Wrong::Here(error) }
    })?;
    let blocks = blocks.into_iter().zip(kept);
    Ok(blocks.map(|(block, kept)| RestoredBlock { block, fees: kept.fees, burns: kept.burns }).collect())
}

/// Whether a record ends with a final block of this node's that is not below its oldest.
fn is_ours(store: &Reader, oldest: Height, record: &LightRecord) -> Result<bool, StoreError> {
    let end = record.end.height;
    Ok(end >= oldest && store.canonical_root(end)? == Some(record.record.bundle.end_root))
}

/// The chain of this node's own records up to its oldest block, if they reach so far and lead to its blocks.
fn follow_own(
    store: &Reader,
    spec: &ChainSpec,
    oldest: Height,
    now: Slot,
) -> Result<Option<LightChain>, BackfillError> {
    let mut chain = LightChain::genesis(spec.clone())?;
    let mut meets = false;
    let broken = store.light_records(Height(1), |record| {
        if let Err(error) = chain.follow(&record, now) {
            return ControlFlow::Break(BackfillError::from(error));
        }
        match is_ours(store, oldest, &record) {
            Ok(ours) => meets |= ours,
            Err(error) => return ControlFlow::Break(error.into()),
        }
        ControlFlow::Continue(())
    })?;
    match broken {
        Some(error) => Err(error),
        None => Ok(meets.then_some(chain)),
    }
}
