//! A [`Regtest`] behind the port: one task owns it, a bounded inbox is the way in.

use std::future::Future;
use std::num::NonZeroUsize;

use bitcoin::{Amount, Block, BlockHash, OutPoint, ScriptBuf, Transaction, Txid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;

use crate::block_log::{BlockLog, LogError};
use crate::port::{
    BestBlock, BitcoinPort, BlockPlace, FoundTransaction, Invalid, MAX_HEADERS, MAX_LOCATOR, PlacedHeader, PortError,
    Unavailable,
};
use crate::regtest::{Coin, GenerateError, Regtest, Submitted};
use crate::template::BlockTemplate;

/// The most blocks that one call of [`RegtestHandle::generate_to`] makes.
pub const MAX_GENERATED: u32 = 1_000;
/// The most coins that one call of [`RegtestHandle::coins_paying`] gives.
pub const MAX_COINS: usize = 1_000;

/// Why the task of an embedded chain ended early. What it had acknowledged is in the log.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A block could not be made durable.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The thread that wrote to the log did not come back: the runtime is going down, or it panicked.
    #[error("the write to the block log was abandoned")]
    WriteAbandoned,
}

type Answer<T> = oneshot::Sender<Result<T, PortError>>;

enum Request {
    Best(Answer<BestBlock>),
    HeaderAt(u32, Answer<Option<PlacedHeader>>),
    HeadersAfter(Vec<BlockHash>, usize, Answer<Vec<PlacedHeader>>),
    Block(BlockHash, Answer<Option<Block>>),
    Broadcast(Transaction, Answer<Txid>),
    Find(Txid, Answer<Option<FoundTransaction>>),
    Template(Answer<BlockTemplate>),
    Submit(Block, Answer<BlockPlace>),
    Generate(ScriptBuf, u32, Answer<Vec<BlockHash>>),
    CoinsPaying(ScriptBuf, usize, Answer<Vec<(OutPoint, Coin)>>),
    Coin(OutPoint, Answer<Option<Coin>>),
    CoinTotals(Answer<(usize, Amount)>),
    Waiting(Txid, Answer<Option<Transaction>>),
}

/// The way to an embedded chain. Clones lead to the same one; when all are dropped, its task ends.
#[derive(Debug, Clone)]
pub struct RegtestHandle {
    requests: mpsc::Sender<Request>,
    best: watch::Receiver<BestBlock>,
}

/// Puts a chain behind the port. The caller runs the future given back, as a task that it supervises: it owns the chain
/// and ends when all handles are gone, or with an error when a block could not be made durable.
///
/// Every accepted block goes to `log`, if there is one, before it is acknowledged or shown; the write runs on tokio's
/// threads for blocking work. `clock` tells the time in Unix seconds, for block times and against blocks from the future.
/// When the inbox is full, callers wait.
pub fn embedded(
    regtest: Regtest,
    log: Option<BlockLog>,
    inbox: NonZeroUsize,
    clock: impl Fn() -> u32 + Send + 'static,
) -> (RegtestHandle, impl Future<Output = Result<(), EmbeddedError>> + Send + 'static) {
    let (requests, inbox) = mpsc::channel(inbox.get());
    let (publish, best) = watch::channel(regtest.best());
    let owner = Owner { regtest, log, clock, publish };
    (RegtestHandle { requests, best }, owner.run(inbox))
}

impl RegtestHandle {
    /// Follows the tip: the receiver sees each new one, or the newest of several. Its sender is gone once the task ends.
    pub fn subscribe(&self) -> watch::Receiver<BestBlock> {
        self.best.clone()
    }

    /// Makes up to [`MAX_GENERATED`] blocks that pay to a script, with what waits in the pool.
    ///
    /// # Errors
    /// [`Invalid`] when too many are asked for or a rule or limit refuses one; the blocks before it stay.
    pub async fn generate_to(&self, payout: ScriptBuf, count: u32) -> Result<Vec<BlockHash>, PortError> {
        let (what, requested, limit) = ("blocks", to_usize(count), to_usize(MAX_GENERATED));
        if count > MAX_GENERATED {
            return Err(Invalid::TooMany { what, requested, limit }.into());
        }
        self.ask(|answer| Request::Generate(payout, count, answer)).await
    }

    /// Up to `limit` (at most [`MAX_COINS`]) unspent outputs of the best chain that pay to a script.
    ///
    /// # Errors
    /// [`PortError`] when more are asked for, or the task has ended.
    pub async fn coins_paying(&self, script: ScriptBuf, limit: usize) -> Result<Vec<(OutPoint, Coin)>, PortError> {
        check_count("coins", limit, MAX_COINS)?;
        self.ask(|answer| Request::CoinsPaying(script, limit, answer)).await
    }

    /// An unspent output of the best chain.
    ///
    /// # Errors
    /// [`PortError`] when the task has ended.
    pub async fn coin(&self, point: OutPoint) -> Result<Option<Coin>, PortError> {
        self.ask(|answer| Request::Coin(point, answer)).await
    }

    /// How many unspent outputs there are, and what they are worth together.
    ///
    /// # Errors
    /// [`PortError`] when the task has ended.
    pub async fn coin_totals(&self) -> Result<(usize, Amount), PortError> {
        self.ask(Request::CoinTotals).await
    }

    /// A transaction that waits for a block.
    ///
    /// # Errors
    /// [`PortError`] when the task has ended.
    pub async fn waiting(&self, txid: Txid) -> Result<Option<Transaction>, PortError> {
        self.ask(|answer| Request::Waiting(txid, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, PortError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| Unavailable::Stopped)?;
        answered.await.map_err(|_| Unavailable::Stopped)?
    }
}

impl BitcoinPort for RegtestHandle {
    async fn best_block(&self) -> Result<BestBlock, PortError> {
        self.ask(Request::Best).await
    }

    async fn header_at(&self, height: u32) -> Result<Option<PlacedHeader>, PortError> {
        self.ask(|answer| Request::HeaderAt(height, answer)).await
    }

    async fn headers_after(&self, locator: Vec<BlockHash>, limit: usize) -> Result<Vec<PlacedHeader>, PortError> {
        check_count("headers", limit, MAX_HEADERS)?;
        check_count("locator hashes", locator.len(), MAX_LOCATOR)?;
        self.ask(|answer| Request::HeadersAfter(locator, limit, answer)).await
    }

    async fn block(&self, hash: BlockHash) -> Result<Option<Block>, PortError> {
        self.ask(|answer| Request::Block(hash, answer)).await
    }

    async fn broadcast(&self, transaction: Transaction) -> Result<Txid, PortError> {
        self.ask(|answer| Request::Broadcast(transaction, answer)).await
    }

    async fn find_transaction(&self, txid: Txid) -> Result<Option<FoundTransaction>, PortError> {
        self.ask(|answer| Request::Find(txid, answer)).await
    }

    /// Nobody bids for room in these blocks.
    async fn estimate_fee_rate(&self, _: u16) -> Result<Option<u64>, PortError> {
        Ok(None)
    }

    async fn block_template(&self) -> Result<BlockTemplate, PortError> {
        self.ask(Request::Template).await
    }

    async fn submit_block(&self, block: Block) -> Result<BlockPlace, PortError> {
        self.ask(|answer| Request::Submit(block, answer)).await
    }
}

struct Owner<C> {
    regtest: Regtest,
    log: Option<BlockLog>,
    clock: C,
    publish: watch::Sender<BestBlock>,
}

impl<C: Fn() -> u32 + Send> Owner<C> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<(), EmbeddedError> {
        while let Some(request) = inbox.recv().await {
            self.serve(request).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, request: Request) -> Result<(), EmbeddedError> {
        // An answer that nobody waits for any more is dropped.
        match request {
            Request::Best(answer) => drop(answer.send(Ok(self.regtest.best()))),
            Request::HeaderAt(height, answer) => drop(answer.send(Ok(self.regtest.header_at(height)))),
            Request::HeadersAfter(locator, limit, answer) => {
                let headers = self.regtest.headers_after(&locator, limit);
                let unknown = Invalid::UnknownHeaders { count: locator.len() };
                drop(answer.send(headers.ok_or(unknown.into())));
            }
            Request::Block(hash, answer) => drop(answer.send(Ok(self.regtest.block(&hash).cloned()))),
            Request::Broadcast(transaction, answer) => {
                drop(answer.send(self.regtest.broadcast(transaction).map_err(PortError::from)));
            }
            Request::Find(txid, answer) => drop(answer.send(Ok(self.regtest.find_transaction(&txid)))),
            Request::Template(answer) => drop(answer.send(Ok(self.regtest.template((self.clock)())))),
            Request::Submit(block, answer) => {
                let result = self.submit(block).await?;
                drop(answer.send(result));
            }
            Request::Generate(payout, count, answer) => {
                let result = self.generate(&payout, count).await?;
                drop(answer.send(result));
            }
            Request::CoinsPaying(script, limit, answer) => {
                let coins = self.regtest.coins_paying(&script).take(limit);
                drop(answer.send(Ok(coins.map(|(point, coin)| (point, coin.clone())).collect())));
            }
            Request::Coin(point, answer) => drop(answer.send(Ok(self.regtest.coin(&point).cloned()))),
            Request::Waiting(txid, answer) => drop(answer.send(Ok(self.regtest.waiting(&txid).cloned()))),
            Request::CoinTotals(answer) => drop(answer.send(Ok(self.regtest.coin_totals()))),
        }
        Ok(())
    }

    async fn submit(&mut self, block: Block) -> Result<Result<BlockPlace, PortError>, EmbeddedError> {
        let now = (self.clock)();
        let logged = self.log.is_some().then(|| block.clone());
        let place = match self.regtest.submit(block, now) {
            Ok(Submitted::Known) => return Ok(Ok(BlockPlace::Known)),
            Ok(Submitted::Side) => BlockPlace::Side,
            Ok(Submitted::Best(_)) => BlockPlace::Best,
            Err(error) => return Ok(Err(error.into())),
        };
        self.make_durable(logged.into_iter().collect(), now).await?;
        Ok(Ok(place))
    }

    async fn generate(
        &mut self,
        payout: &ScriptBuf,
        count: u32,
    ) -> Result<Result<Vec<BlockHash>, PortError>, EmbeddedError> {
        let now = (self.clock)();
        let (mut hashes, mut blocks, mut failure) = (Vec::new(), Vec::new(), None);
        for _ in 0..count {
            match self.regtest.generate(payout, now) {
                Ok(block) => {
                    hashes.push(block.block_hash());
                    blocks.push(block);
                }
                Err(GenerateError::Block(error)) => {
                    failure = Some(error.into());
                    break;
                }
                Err(GenerateError::Template(_) | GenerateError::Grind(_) | GenerateError::NoNonce) => {
                    failure = Some(PortError::Bug("no block could be made on the tip of a regtest chain"));
                    break;
                }
            }
        }
        self.make_durable(blocks, now).await?;
        Ok(failure.map_or(Ok(hashes), Err))
    }

    /// Syncs accepted blocks to the log, then shows the tip.
    async fn make_durable(&mut self, blocks: Vec<Block>, now: u32) -> Result<(), EmbeddedError> {
        if let Some(mut log) = self.log.take() {
            let write = move || {
                let written = log.append(blocks.iter().map(|block| (block, now)));
                (log, written)
            };
            let (log, written) = task::spawn_blocking(write).await.map_err(|_| EmbeddedError::WriteAbandoned)?;
            written?;
            self.log = Some(log);
        }
        let best = self.regtest.best();
        self.publish.send_if_modified(|shown| std::mem::replace(shown, best) != best);
        Ok(())
    }
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn check_count(what: &'static str, requested: usize, limit: usize) -> Result<(), PortError> {
    if requested > limit {
        return Err(Invalid::TooMany { what, requested, limit }.into());
    }
    Ok(())
}
