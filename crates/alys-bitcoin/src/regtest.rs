//! An embedded regtest chain as a plain value.
//!
//! Blocks carry real work (regtest's easy target) and obey the rules of Bitcoin Core's regtest; spends are verified by
//! [`crate::script`]. The best chain is the one with most work; when another overtakes it, coins, pool and index move
//! together or, if one of its blocks is invalid, not at all. Times are arguments: the same calls give the same state.
//!
//! Everything is bounded by [`Limits`]. Blocks that fall off the kept run take their undo data and index entries along,
//! so that a branch that leaves below it can't be followed and its transactions are no longer found.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::block::Version;
use bitcoin::constants::genesis_block;
use bitcoin::{Amount, Block, BlockHash, Network, OutPoint, Script, Transaction, Txid, Weight};

pub use block_rules::{BlockError, HALVING_INTERVAL, subsidy};
pub use coins::Coin;
pub use generate::GenerateError;
pub use pool::PoolError;
pub use rules::TransactionError;

use crate::header_chain::{Checkpoint, HeaderChain, Inserted, Limits as HeaderLimits, TipChange};
use crate::port::{BestBlock, FoundTransaction, PlacedHeader};
use crate::script::Verifier;
use crate::template::{BlockTemplate, RESERVED_WEIGHT};
use block_rules::Undo;
use coins::CoinView;
use pool::{Pool, PoolCoins};
use rules::Place;

mod block_rules;
mod coins;
mod generate;
pub mod pool;
mod rules;

/// What a regtest chain keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Headers, and with them blocks, on the best chain and beside it.
    pub headers: HeaderLimits,
    /// Serialized bytes of all kept blocks together. The oldest go first, but never the tip.
    pub block_bytes: usize,
    /// Unspent outputs.
    pub coins: usize,
    /// Transactions in the pool.
    pub pool_transactions: usize,
    /// Their weight together.
    pub pool_weight: Weight,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: HeaderLimits::default(),
            block_bytes: 64 << 20,
            coins: 1_000_000,
            pool_transactions: 5_000,
            pool_weight: Weight::from_wu(40_000_000),
        }
    }
}

/// What offering a block did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It was there before.
    Known,
    /// It was kept beside the best chain; its spends are not looked at yet.
    Side,
    /// It is the new tip.
    Best(TipChange),
}

#[derive(Debug, Clone)]
struct Kept {
    block: Block,
    bytes: usize,
    /// Present while the block is connected.
    undo: Option<Undo>,
}

/// A regtest chain: headers, blocks, coins and a pool.
#[derive(Debug, Clone)]
pub struct Regtest {
    limits: Limits,
    verifier: Verifier,
    chain: HeaderChain,
    blocks: BTreeMap<BlockHash, Kept>,
    kept_bytes: usize,
    /// The block whose state the coins are: the chain's tip between calls.
    connected: BlockHash,
    coins: BTreeMap<OutPoint, Coin>,
    /// Where the transactions of the kept best chain are.
    index: BTreeMap<Txid, BlockHash>,
    pool: Pool,
}

impl Regtest {
    /// A chain that holds only regtest's genesis block, whose coinbase can't be spent.
    pub fn new(limits: Limits) -> Self {
        let genesis = genesis_block(Network::Regtest);
        let hash = genesis.block_hash();
        let bytes = genesis.total_size();
        Self {
            limits,
            verifier: Verifier::default(),
            chain: HeaderChain::new(Network::Regtest, Checkpoint::genesis(Network::Regtest), limits.headers),
            blocks: BTreeMap::from([(hash, Kept { block: genesis, bytes, undo: Some(Undo::new()) })]),
            kept_bytes: bytes,
            connected: hash,
            coins: BTreeMap::new(),
            index: BTreeMap::new(),
            pool: Pool::default(),
        }
    }

    /// The tip of the best chain.
    pub fn best(&self) -> BestBlock {
        BestBlock { hash: self.chain.tip_hash(), height: self.chain.height() }
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderChain {
        &self.chain
    }

    /// The header of the best chain at a height, if it is kept.
    pub fn header_at(&self, height: u32) -> Option<PlacedHeader> {
        let hash = self.chain.hash_at(height)?;
        self.chain.get(&hash).map(|(header, height)| PlacedHeader { header: *header, hash, height })
    }

    /// Headers of the best chain behind the first hash of `locator` that is on it; `None` when none is.
    pub fn headers_after(&self, locator: &[BlockHash], limit: usize) -> Option<Vec<PlacedHeader>> {
        let known = locator.iter().find(|hash| self.chain.is_best(hash))?;
        let (_, height) = self.chain.get(known)?;
        let heights = (height.saturating_add(1)..=self.chain.height()).take(limit);
        Some(heights.filter_map(|height| self.header_at(height)).collect())
    }

    /// A kept block, on any branch.
    pub fn block(&self, hash: &BlockHash) -> Option<&Block> {
        self.blocks.get(hash).map(|kept| &kept.block)
    }

    /// An unspent output of the best chain.
    pub fn coin(&self, point: &OutPoint) -> Option<&Coin> {
        self.coins.get(point)
    }

    /// The unspent outputs that pay to a script, in order of their outpoints. Looks at every coin.
    pub fn coins_paying<'a>(&'a self, script: &'a Script) -> impl Iterator<Item = (OutPoint, &'a Coin)> + 'a {
        let coins = self.coins.iter().filter(move |(_, coin)| *coin.output.script_pubkey == *script);
        coins.map(|(point, coin)| (*point, coin))
    }

    /// How many coins there are, and what they are worth together.
    pub fn coin_totals(&self) -> (usize, Amount) {
        let worth = self.coins.values().map(|coin| coin.output.value);
        let sum = worth.fold(Amount::ZERO, |sum, value| sum.checked_add(value).unwrap_or(Amount::MAX));
        (self.coins.len(), sum)
    }

    /// A transaction that waits in the pool.
    pub fn waiting(&self, txid: &Txid) -> Option<&Transaction> {
        self.pool.get(txid)
    }

    /// How many transactions wait in the pool.
    pub fn waiting_count(&self) -> usize {
        self.pool.len()
    }

    /// The waiting transaction that spends an output.
    pub fn spender(&self, point: &OutPoint) -> Option<Txid> {
        self.pool.spender(point)
    }

    /// A transaction of the kept best chain with its proofs.
    pub fn find_transaction(&self, txid: &Txid) -> Option<FoundTransaction> {
        let hash = self.index.get(txid)?;
        let (_, height) = self.chain.get(hash)?;
        let block = self.block(hash)?;
        let position = block.txdata.iter().position(|transaction| transaction.compute_txid() == *txid)?;
        FoundTransaction::in_block(block, height, position)
    }

    /// Puts a transaction into the pool; one that waits, or is confirmed, already changes nothing.
    ///
    /// # Errors
    /// [`PoolError`] names the broken rule; the pool is unchanged then.
    pub fn broadcast(&mut self, transaction: Transaction) -> Result<Txid, PoolError> {
        let txid = transaction.compute_txid();
        if self.pool.contains(&txid) || self.index.contains_key(&txid) {
            return Ok(txid);
        }
        Pool::check_form(&transaction)?;
        let place = self.next_place();
        let coins = PoolCoins { confirmed: &self.coins, pool: &self.pool };
        let spending = rules::check(&transaction, place, &coins, &self.verifier)?;
        self.pool.insert(transaction, spending.fee, place, &self.limits)?;
        Ok(txid)
    }

    /// What a block on the tip may hold. Its time is `now`, or the earliest that the tip allows.
    pub fn template(&self, now: u32) -> BlockTemplate {
        let mut template = self.frame(self.best(), self.chain.tip_median_time(), now);
        let room = Weight::MAX_BLOCK.checked_sub(RESERVED_WEIGHT).unwrap_or(Weight::ZERO);
        let mut cost = generate::SignatureOperations::default();
        template.transactions = self.pool.select(room, |transaction| {
            let coins = PoolCoins { confirmed: &self.coins, pool: &self.pool };
            cost.admits(transaction, &coins)
        });
        let fees = template.transactions.iter().map(|transaction| transaction.fee);
        let value = fees.fold(template.coinbase_value, |sum, fee| sum.checked_add(fee).unwrap_or(sum));
        template.coinbase_value = value;
        template
    }

    /// A template without transactions on any kept block: how a fork begins. `None` when the block is not kept.
    pub fn template_on(&self, parent: &BlockHash, now: u32) -> Option<BlockTemplate> {
        let (_, height) = self.chain.get(parent)?;
        let median = self.chain.median_time(parent)?;
        Some(self.frame(BestBlock { hash: *parent, height }, median, now))
    }

    /// Offers a block. `now` is the time that its header is held against.
    ///
    /// # Errors
    /// [`BlockError`] names the broken rule; nothing has changed then.
    pub fn submit(&mut self, block: Block, now: u32) -> Result<Submitted, BlockError> {
        let hash = block.block_hash();
        if self.chain.get(&hash).is_some() {
            return Ok(Submitted::Known);
        }
        // Work first: what follows costs more than the hash that a sender must have found.
        let height = self.chain.check(&block.header, now)?;
        let median_before = self.chain.median_time(&block.header.prev_blockhash).unwrap_or_default();
        block_rules::check_block(&block, Place { height, median_before })?;
        let bytes = block.total_size();
        if height <= self.chain.height() && self.kept_bytes.saturating_add(bytes) > self.limits.block_bytes {
            return Err(BlockError::BlocksFull { limit: self.limits.block_bytes });
        }
        match self.chain.insert_unpruned(&block.header, now)? {
            Inserted::Known => Ok(Submitted::Known),
            Inserted::Side => {
                self.keep(hash, block, bytes);
                self.drop_orphaned_blocks();
                Ok(Submitted::Side)
            }
            Inserted::Best(_) => {
                self.keep(hash, block, bytes);
                let change = self.follow_chain(hash)?;
                self.prune();
                Ok(Submitted::Best(change))
            }
        }
    }

    fn next_place(&self) -> Place {
        Place { height: self.chain.height().saturating_add(1), median_before: self.chain.tip_median_time() }
    }

    fn frame(&self, parent: BestBlock, median: u32, now: u32) -> BlockTemplate {
        let height = parent.height.saturating_add(1);
        let min_time = median.saturating_add(1);
        let time = now.max(min_time);
        BlockTemplate {
            version: Version::from_consensus(0x2000_0000),
            previous: parent.hash,
            height,
            bits: self.chain.next_bits(time),
            min_time,
            time,
            coinbase_value: subsidy(height),
            transactions: Vec::new(),
        }
    }

    fn keep(&mut self, hash: BlockHash, block: Block, bytes: usize) {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        self.blocks.insert(hash, Kept { block, bytes, undo: None });
    }

    fn forget(&mut self, hash: &BlockHash) {
        let Some(kept) = self.blocks.remove(hash) else { return };
        self.kept_bytes = self.kept_bytes.saturating_sub(kept.bytes);
        for transaction in &kept.block.txdata {
            let txid = transaction.compute_txid();
            if self.index.get(&txid) == Some(hash) {
                self.index.remove(&txid);
            }
        }
    }

    /// Forgets blocks whose headers made room for others.
    fn drop_orphaned_blocks(&mut self) {
        let orphaned: Vec<BlockHash> =
            self.blocks.keys().filter(|hash| self.chain.get(hash).is_none()).copied().collect();
        for hash in orphaned {
            self.forget(&hash);
        }
    }

    fn prune(&mut self) {
        let mut forgotten = self.chain.prune(self.limits.headers.best);
        loop {
            for hash in std::mem::take(&mut forgotten) {
                self.forget(&hash);
            }
            let (best, _) = self.chain.counts();
            if self.kept_bytes <= self.limits.block_bytes || best <= 1 {
                break;
            }
            forgotten = self.chain.prune(best.saturating_sub(1));
        }
    }

    /// Moves the coins to the tip of the header chain. Invalid blocks on the way are forgotten with all that follow
    /// them, and the best of the remaining chains is followed instead.
    fn follow_chain(&mut self, offered: BlockHash) -> Result<TipChange, BlockError> {
        let mut failure = None;
        loop {
            let tip = self.chain.tip_hash();
            let path = self.chain.path_to_tip(&self.connected).ok_or(BlockError::Inconsistent { hash: tip })?;
            match self.try_path(&path) {
                Ok(()) => return failure.map_or(Ok(path), Err),
                Err((hash, source)) => {
                    let forgotten = self.chain.invalidate(&hash);
                    if forgotten.is_empty() {
                        return Err(source);
                    }
                    for hash in forgotten {
                        self.forget(&hash);
                    }
                    failure.get_or_insert(if hash == offered {
                        source
                    } else {
                        BlockError::Ancestor { ancestor: hash, source: Box::new(source) }
                    });
                }
            }
        }
    }

    /// Walks the coins along a path, or leaves everything as it is and names the faulty block.
    fn try_path(&mut self, path: &TipChange) -> Result<(), (BlockHash, BlockError)> {
        let mut view = CoinView::new(&self.coins);
        for hash in &path.disconnected {
            let kept = self.blocks.get(hash);
            let (block, undo) = kept
                .and_then(|kept| Some((&kept.block, kept.undo.as_ref()?)))
                .ok_or((*hash, BlockError::Inconsistent { hash: *hash }))?;
            block_rules::disconnect(block, undo, &mut view);
        }
        let mut undos = Vec::with_capacity(path.connected.len());
        for hash in &path.connected {
            let kept = self.blocks.get(hash).zip(self.chain.get(hash));
            let (kept, (header, height)) = kept.ok_or((*hash, BlockError::Inconsistent { hash: *hash }))?;
            let median_before = self.chain.median_time(&header.prev_blockhash).unwrap_or_default();
            let place = Place { height, median_before };
            let undo = block_rules::connect(&kept.block, place, &mut view, &self.verifier);
            undos.push((*hash, undo.map_err(|error| (*hash, error))?));
            if self.coins.len().saturating_add(view.growth()) > self.limits.coins {
                return Err((*hash, BlockError::CoinsFull { limit: self.limits.coins }));
            }
        }
        for (point, change) in view.into_changes() {
            match change {
                Some(coin) => self.coins.insert(point, coin),
                None => self.coins.remove(&point),
            };
        }
        self.commit_path(path, undos);
        Ok(())
    }

    /// The part of a walk that can't fail.
    fn commit_path(&mut self, path: &TipChange, undos: Vec<(BlockHash, Undo)>) {
        let mut returned: Vec<Transaction> = Vec::new();
        for hash in path.disconnected.iter().rev() {
            if let Some(kept) = self.blocks.get_mut(hash) {
                kept.undo = None;
                for transaction in &kept.block.txdata {
                    self.index.remove(&transaction.compute_txid());
                }
                returned.extend(kept.block.txdata.iter().skip(1).cloned());
            }
        }
        for (hash, undo) in undos {
            if let Some(kept) = self.blocks.get_mut(&hash) {
                kept.undo = Some(undo);
                self.index.extend(kept.block.txdata.iter().map(|transaction| (transaction.compute_txid(), hash)));
                self.pool.confirm(&kept.block.txdata);
            }
        }
        if let Some(tip) = path.connected.last() {
            self.connected = *tip;
        }
        if !path.disconnected.is_empty() {
            // What waits was checked against coins that may be gone: it is checked again, after what came back.
            returned.extend(self.pool.drain());
            let mut seen = BTreeSet::new();
            for transaction in returned {
                if seen.insert(transaction.compute_txid()) {
                    // One that no longer fits is dropped, as its sender would find it in any node.
                    let _dropped = self.broadcast(transaction);
                }
            }
        }
    }
}
