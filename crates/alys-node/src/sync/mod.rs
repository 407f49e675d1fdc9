//! The sync actor: brings a node that is behind up to its peers.
//!
//! Runs of blocks are asked of one peer after the other; while one run is imported, the next is fetched. Nothing that a
//! peer says is believed: a run must link to this node's chain, its signatures and certificates are checked, and its blocks
//! are executed. A peer whose answer is late, empty or wrong is left out for a while, and its claims with it, so that a
//! liar costs time and nothing else. The node signs nothing before it has caught up, and nothing before it has listened for a
//! while whether somebody else signs with its key.

mod backfill;
mod batch;
mod clocks;
mod listen;
mod message;
mod plan;
mod view;

pub use backfill::{BackfillPorts, backfill};
pub use batch::BatchError;
pub use message::{Fetched, SyncMessage};
pub use view::{SyncState, SyncView};

use crate::actors::chain::ChainMessage;
use crate::clock::wall_now;
use crate::network::NetworkMessage;
use alys_actor::{Actor, Addr, AskError, Context};
use alys_chain::{BlockError, ChainView, ImportOutcome, VerifyError};
use alys_p2p::{Blocks, NetworkView, Offence, PeerId, Request, RequestError, Response};
use alys_primitives::{Height, Notarization, Root, SignedBlock};
use alys_store::Reader;
use clocks::Clocks;
use listen::Listening;
use plan::{Claim, Plan, Position};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use view::Progress;

/// How often the actor looks around.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a run may take from its verification to its last block.
const IMPORT_DEADLINE: Duration = Duration::from_secs(60);

/// How long a peer may take for a run; the network's own deadline is shorter.
const FETCH_DEADLINE: Duration = Duration::from_secs(15);

/// What the actor needs from the rest of the node.
#[derive(Clone)]
pub struct SyncPorts {
    /// How far this node's clock and its peers' may be apart, in milliseconds.
    pub max_clock_drift: u64,
    /// How long a member listens for its own key before it signs; zero for an observer.
    pub listen: Duration,
    /// Takes blocks.
    pub chain: Addr<ChainMessage>,
    /// Asks peers.
    pub network: Addr<NetworkMessage>,
    /// Knows which blocks are here.
    pub store: Reader,
    /// The published view.
    pub view: watch::Receiver<ChainView>,
    /// The peers.
    pub peers: watch::Receiver<NetworkView>,
    /// Where readers find how far it is.
    pub progress: Arc<watch::Sender<SyncView>>,
    /// Whether the node may sign.
    pub may_sign: Arc<watch::Sender<bool>>,
}

/// A run that waits for its import.
struct Run {
    peer: PeerId,
    blocks: Vec<SignedBlock>,
    certificate: Option<Notarization>,
    last: (Height, Root),
}

/// The actor.
pub struct SyncActor {
    ports: SyncPorts,
    plan: Plan,
    /// A question is open.
    fetching: bool,
    ready: Option<Run>,
    /// Who gave the run in hand.
    importing: Option<PeerId>,
    /// The last block of the newest run in hand.
    reached: Option<(Height, Root)>,
    /// Counts the runs that were given up: answers to earlier questions are dropped.
    attempt: u64,
    progress: Progress,
    clocks: Clocks,
    listening: Listening,
    /// As last told in the log.
    clocks_agree: bool,
}

impl SyncActor {
    /// An actor that has not heard of anybody yet.
    pub fn new(ports: SyncPorts) -> Self {
        let listening = Listening::new(ports.listen);
        Self {
            ports,
            plan: Plan::default(),
            fetching: false,
            ready: None,
            importing: None,
            reached: None,
            attempt: 0,
            progress: Progress::new(Instant::now()),
            clocks: Clocks::default(),
            listening,
            clocks_agree: true,
        }
    }

    /// Begins whatever can begin, and publishes where the node is.
    fn advance(&mut self, ctx: &mut Context<SyncMessage>) {
        let now = Instant::now();
        let claims: Vec<Claim> = self.ports.peers.borrow().ready().map(|(peer, status)| (peer.peer, *status)).collect();
        let believed = self.plan.believed(claims, now);
        let position = {
            let view = self.ports.view.borrow();
            let members = u64::try_from(view.members.len()).unwrap_or(u64::MAX);
            Position { head: view.head.height, safe: view.safe.height, quorum: view.quorum, members }
        };
        if self.importing.is_none()
            && let Some(run) = self.ready.take()
        {
            self.import(run, ctx);
        }
        if !self.fetching && self.ready.is_none() {
            if self.importing.is_none() {
                self.reached = None;
            }
            let next = self.reached.map(|(height, _)| height.next());
            if let Some((peer, range)) = self.plan.question(&believed, position, next, now) {
                self.fetching = true;
                let asked = self.ports.network.ask_within(FETCH_DEADLINE, |reply| NetworkMessage::Ask {
                    peer,
                    request: Request::BlocksByRange(range),
                    reply,
                });
                let attempt = self.attempt;
                ctx.spawn("fetch", async move {
                    SyncMessage::Fetched(Fetched { attempt, peer, range, result: asked.await })
                });
            }
        }
        let caught_up = self.plan.caught_up(&believed, position);
        let listen_left = self.listening.left(position.hears(believed.len()), now);
        let may_sign = caught_up && listen_left.is_none() && self.clocks_agree(now);
        let changed = self.ports.may_sign.send_if_modified(|current| std::mem::replace(current, may_sign) != may_sign);
        if changed {
            metrics::gauge!("alys_sync_may_sign").set(if may_sign { 1.0 } else { 0.0 });
            tracing::info!(may_sign, "whether this node may sign");
        }
        let mut view = self.progress.view(caught_up, position.head, Plan::target(&believed), believed.len(), now);
        if view.state == SyncState::Synced && listen_left.is_some() {
            view.state = SyncState::Listening;
        }
        self.ports.progress.send_if_modified(|current| {
            let changed = *current != view;
            *current = view;
            changed
        });
    }

    /// Whether this node's clock is its peers' (protocol section 2).
    fn clocks_agree(&mut self, now: Instant) -> bool {
        self.clocks.observe(self.ports.peers.borrow().ready(), wall_now(), now);
        let skew = self.clocks.median();
        let agree = skew.unsigned_abs() <= self.ports.max_clock_drift;
        if agree != self.clocks_agree {
            tracing::warn!(skew_millis = skew, agree, "this node's clock beside its peers'");
            self.clocks_agree = agree;
        }
        agree
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { attempt, peer, range, result } = fetched;
        if attempt != self.attempt {
            return;
        }
        self.fetching = false;
        let blocks = match result {
            Ok(Ok(Response::Blocks(blocks))) => *blocks,
            Ok(Ok(
                Response::Status(_)
                | Response::Certificates(_)
                | Response::Snapshots(_)
                | Response::SnapshotPart(_)
                | Response::LightRecords(_)
                | Response::BundleProof(_)
                | Response::OlderBlocks(_)
                | Response::Refused(_),
            )) => {
                return self.hold_against(peer, Offence::Malformed, "another answer than blocks");
            }
            // The network has counted what deserves it.
            Ok(Err(error)) => return self.leave_out(peer, &error),
            Err(error @ (AskError::TimedOut | AskError::Full)) => {
                tracing::debug!(%peer, %error, "no answer");
                return self.plan.shun(peer, Instant::now());
            }
            Err(AskError::Stopped | AskError::Restarting | AskError::Failed(_) | AskError::Cycle(_)) => return,
        };
        let Blocks { blocks, certificate } = blocks;
        let (blocks, certificate) = (Vec::from(blocks), certificate.first().cloned());
        if let Err(error) = batch::check(&range, &blocks) {
            return self.hold_against(peer, Offence::Useless, &error.to_string());
        }
        let Some(last) = blocks.last().map(|block| (block.header.height, block.root())) else { return };
        if !self.is_connected(&blocks) {
            tracing::debug!(%peer, start = range.start.0, "a run on an unknown parent");
            self.give_up();
            if !self.plan.go_deep() {
                // Not even on this node's safe block: another branch, or a node that knows no better yet.
                self.plan.shun(peer, Instant::now());
            }
            return;
        }
        let certificate = certificate.filter(|certificate| certificate.block_root == last.1);
        self.reached = Some(last);
        self.ready = Some(Run { peer, blocks: self.without_known(blocks), certificate, last });
    }

    /// Whether a run's first block is on a block that is here or about to be.
    fn is_connected(&self, blocks: &[SignedBlock]) -> bool {
        let Some(first) = blocks.first() else { return false };
        let parent = first.header.parent_root;
        first.header.height == Height(1)
            || self.reached.is_some_and(|(_, root)| root == parent)
            || self.ports.view.borrow().finalized.root == parent
            || self.ports.store.has_block(parent).unwrap_or(false)
    }

    /// Drops the blocks at the beginning that are here; the last one stays for its certificate.
    fn without_known(&self, mut blocks: Vec<SignedBlock>) -> Vec<SignedBlock> {
        let known = blocks
            .iter()
            .take(blocks.len().saturating_sub(1))
            .take_while(|block| self.ports.store.has_block(block.root()).unwrap_or(false))
            .count();
        blocks.drain(..known);
        blocks
    }

    fn import(&mut self, run: Run, ctx: &mut Context<SyncMessage>) {
        let Run { peer, blocks, certificate, last } = run;
        let count = u64::try_from(blocks.len()).unwrap_or(0);
        let certificate = certificate.map(Box::new);
        let asked = self.ports.chain.ask_within(IMPORT_DEADLINE, |reply| ChainMessage::ImportRange {
            blocks,
            peer: crate::network::tag(&peer),
            certificate,
            reply,
        });
        self.importing = Some(peer);
        let attempt = self.attempt;
        ctx.spawn(
            "import-run",
            async move { SyncMessage::Imported { attempt, peer, last, count, result: asked.await } },
        );
    }

    fn imported(
        &mut self,
        peer: PeerId,
        last: (Height, Root),
        count: u64,
        result: Result<Result<ImportOutcome, VerifyError>, AskError>,
    ) {
        match result {
            Ok(Ok(ImportOutcome::Imported { .. } | ImportOutcome::AlreadyKnown)) => {
                metrics::counter!("alys_sync_blocks_total").increment(count);
                self.plan.went_well();
                self.progress.add(count, Instant::now());
                self.importing = None;
            }
            Ok(Ok(ImportOutcome::Rejected(error @ (BlockError::NotOnFinalized | BlockError::PendingFull)))) => {
                tracing::debug!(%peer, %error, height = last.0.0, "run was not taken");
                self.give_up();
            }
            Ok(Ok(ImportOutcome::Rejected(error))) => {
                self.hold_against(peer, Offence::Invalid, &error.to_string());
            }
            Ok(Ok(ImportOutcome::Pending(_))) => self.give_up(),
            Ok(Err(VerifyError::UnknownEpoch { epoch })) => {
                tracing::debug!(%peer, epoch = epoch.0, "run of an epoch that is not known yet");
                self.give_up();
            }
            Ok(Err(error)) => self.hold_against(peer, Offence::Invalid, &error.to_string()),
            Err(error) => {
                tracing::debug!(%error, "the chain did not answer");
                self.give_up();
            }
        }
    }

    fn hold_against(&mut self, peer: PeerId, offence: Offence, reason: &str) {
        tracing::warn!(%peer, reason, "a peer's blocks are of no use; others are asked");
        // Dropped if the network has too much to do; the peer is left out here all the same.
        drop(self.ports.network.try_tell(NetworkMessage::Blame { peer, offence }));
        self.plan.shun(peer, Instant::now());
        self.give_up();
    }

    fn leave_out(&mut self, peer: PeerId, error: &RequestError) {
        tracing::debug!(%peer, %error, "no blocks");
        if !matches!(error, RequestError::Unavailable) {
            self.plan.shun(peer, Instant::now());
        }
    }

    /// Drops what is in hand; the next question begins at this node's chain.
    fn give_up(&mut self) {
        self.attempt = self.attempt.wrapping_add(1);
        self.fetching = false;
        self.ready = None;
        self.importing = None;
        self.reached = None;
    }
}

impl Actor for SyncActor {
    type Message = SyncMessage;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<SyncMessage>) -> Result<(), Infallible> {
        ctx.every(PERIOD, || SyncMessage::LookAround);
        Ok(())
    }

    async fn handle(&mut self, message: SyncMessage, ctx: &mut Context<SyncMessage>) -> Result<(), Infallible> {
        match message {
            SyncMessage::LookAround => {}
            SyncMessage::Fetched(fetched) => self.fetched(fetched),
            SyncMessage::Imported { attempt, peer, last, count, result } => {
                if attempt == self.attempt {
                    self.imported(peer, last, count, result);
                }
            }
        }
        self.advance(ctx);
        Ok(())
    }
}
