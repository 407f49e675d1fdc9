//! Fetching records from peers, and choosing among their chains by work.

use super::spool::{Spool, SpoolError};
use crate::network::NetworkMessage;
use alys_actor::{Addr, AskError};
use alys_chain::{AuxPowError, LightError};
use alys_p2p::{
    BlockRange, LightRecords, MAX_LIGHT_RECORDS, NetworkHandle, PeerId, Refusal, Request, RequestError, Response,
};
use alys_primitives::{ChainSpec, Height, Slot};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a peer that says that it has too much to do is left alone.
const BUSY: Duration = Duration::from_millis(300);

/// How often it may say so in a row.
const MAX_BUSY: u32 = 20;

/// How long an answer may take; the network's own deadline is shorter.
const ANSWER: Duration = Duration::from_secs(15);

/// How often it is told how far the following is.
const TOLD: Duration = Duration::from_secs(5);

/// Asks peers, on whatever way there is.
pub(crate) trait Ask {
    /// One peer's answer to one question.
    fn ask_peer(&self, peer: PeerId, request: Request) -> impl Future<Output = Result<Response, RequestError>> + Send;
}

impl Ask for NetworkHandle {
    fn ask_peer(&self, peer: PeerId, request: Request) -> impl Future<Output = Result<Response, RequestError>> + Send {
        self.ask(peer, request)
    }
}

/// Through the network actor of a running node.
impl Ask for Addr<NetworkMessage> {
    async fn ask_peer(&self, peer: PeerId, request: Request) -> Result<Response, RequestError> {
        let asked = self.ask_within(ANSWER, |reply| NetworkMessage::Ask { peer, request, reply });
        asked.await.unwrap_or_else(|error: AskError| {
            tracing::debug!(%peer, %error, "the network did not ask");
            Err(RequestError::Unavailable)
        })
    }
}

/// What became of following peers.
pub(crate) struct Followed {
    /// The chain with the most work that a peer could show.
    pub(crate) spool: Spool,
    /// How many peers said anything.
    pub(crate) answers: usize,
    /// Peers whose records are wrong or less than they claimed, with the reason.
    pub(crate) liars: Vec<(PeerId, String)>,
}

/// Follows what `peers` have, beginning with those that claim the most work. A peer whose chain is another one than that of
/// `spool` is followed from genesis, in the file `scratch`, if it claims more work than there is; what a peer claims and does
/// not show counts for nothing. Neither file grows past the limit of `spool` by more than one answer, however cheap a target
/// somebody makes bundles for.
///
/// # Errors
/// [`SpoolError`]; never because of a peer.
///
/// # Cancel safety
/// Dropped, it leaves files that are opened again.
pub(crate) async fn follow(
    asker: &impl Ask,
    peers: Vec<PeerId>,
    mut spool: Spool,
    scratch: &Path,
    spec: &ChainSpec,
    now: Slot,
) -> Result<Followed, SpoolError> {
    let start = spool.next();
    let path = spool.path().to_owned();
    let mut asked: FuturesUnordered<_> =
        peers.into_iter().map(|peer| async move { (peer, records(asker, peer, start, 1).await) }).collect();
    let mut claims = Vec::new();
    while let Some((peer, answer)) = asked.next().await {
        if let Some(records) = answer {
            claims.push((peer, records.work, records.records.is_empty()));
        }
    }
    drop(asked);
    let answers = claims.len();
    claims.sort_by_key(|(_, work, _)| std::cmp::Reverse(*work));
    let mut liars = Vec::new();
    for (peer, claimed, at_end) in claims {
        if !at_end {
            match extend(asker, peer, &mut spool, now).await? {
                Extent::Wrong(error) if !is_another_chain(&error) => {
                    liars.push((peer, format!("its record: {error}")));
                    continue;
                }
                Extent::Full => {
                    warn_full(peer, &spool);
                    continue;
                }
                Extent::Wrong(_) | Extent::Whole | Extent::Broken => {}
            }
        }
        if claimed <= spool.work() {
            continue;
        }
        tracing::info!(%peer, %claimed, here = %spool.work(), "a peer claims another chain with more work");
        let mut other = Spool::create(scratch, spec, spool.limit())?;
        match extend(asker, peer, &mut other, now).await? {
            Extent::Wrong(error) => liars.push((peer, format!("its record: {error}"))),
            Extent::Whole if other.work() < claimed => {
                liars.push((peer, format!("{} hashes where it claims {claimed}", other.work())));
            }
            Extent::Full => warn_full(peer, &other),
            Extent::Whole | Extent::Broken => {}
        }
        if other.work() > spool.work() {
            tracing::info!(%peer, work = %other.work(), "its chain has more work and is followed");
            spool = other.move_to(&path)?;
        } else {
            other.remove()?;
        }
    }
    spool.flush()?;
    Ok(Followed { spool, answers, liars })
}

/// How far a peer's records reach.
enum Extent {
    /// All that it has.
    Whole,
    /// It stopped answering.
    Broken,
    /// There is no room for more.
    Full,
    /// One of them is wrong here.
    Wrong(LightError),
}

/// Whether a record that does not fit may be right on another chain.
fn is_another_chain(error: &LightError) -> bool {
    matches!(error, LightError::Gap { .. } | LightError::Bundle(AuxPowError::Previous { .. }))
}

/// Says that a chain is followed no further, and what the operator can do if it is the right one.
fn warn_full(peer: PeerId, spool: &Spool) {
    let (records, height) = (spool.chain().records(), spool.chain().end().height.0);
    tracing::warn!(
        %peer, records, height, bytes = spool.limit(),
        "the records of merged mining are larger than sync.max_records_bytes and followed no further"
    );
}

/// Takes all that a peer has beyond `spool`.
async fn extend(asker: &impl Ask, peer: PeerId, spool: &mut Spool, now: Slot) -> Result<Extent, SpoolError> {
    let mut told = Instant::now();
    loop {
        if spool.is_full() {
            return Ok(Extent::Full);
        }
        let Some(answer) = records(asker, peer, spool.next(), MAX_LIGHT_RECORDS).await else {
            return Ok(Extent::Broken);
        };
        if answer.records.is_empty() {
            return Ok(Extent::Whole);
        }
        for record in &answer.records {
            if let Err(error) = spool.push(record, now)? {
                return Ok(Extent::Wrong(error));
            }
        }
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let chain = spool.chain();
            tracing::info!(%peer, records = chain.records(), height = chain.end().height.0, "following the work");
        }
    }
}

/// Records of one peer, which may have too much to do for a while; none if it has no answer.
async fn records(asker: &impl Ask, peer: PeerId, start: Height, count: u64) -> Option<LightRecords> {
    for _ in 0..MAX_BUSY {
        match asker.ask_peer(peer, Request::LightRecords(BlockRange { start, count })).await {
            Ok(Response::LightRecords(records)) => return Some(*records),
            Err(RequestError::Refused(Refusal::Busy | Refusal::TooMany)) => sleep(BUSY).await,
            Ok(_) | Err(_) => {
                tracing::debug!(%peer, "no records of bundles");
                return None;
            }
        }
    }
    None
}
