//! A Bitcoin of the simulator's own: blocks with real (easy) work, transactions whose scripts nobody runs, a pool, and
//! branches that replace others. It is the truth that nodes look at late and differently.

use crate::dice::Dice;
use alys_primitives::{B256, BitcoinHeaderBytes, PegInRecord, VariableList};
use bitcoin::{
    Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute::LockTime,
    block::{Header, Version},
    consensus::serialize,
    hashes::{Hash as _, sha256d},
    transaction,
};
use std::collections::{BTreeMap, BTreeSet};

/// The chain with most work, and what waits for it.
#[derive(Debug)]
pub(crate) struct Bitcoin {
    /// The best branch, by height.
    best: Vec<Block>,
    /// Where the transactions of the best branch stand: height and position.
    places: BTreeMap<Txid, (usize, usize)>,
    /// What they spend.
    spent: BTreeSet<OutPoint>,
    /// Every transaction that was ever submitted; inputs of others come from nowhere.
    made: BTreeSet<Txid>,
    pool: Vec<Transaction>,
    salt: u64,
}

impl Bitcoin {
    /// Nothing but regtest's genesis block.
    pub(crate) fn new() -> Self {
        Self {
            best: vec![bitcoin::constants::genesis_block(Network::Regtest)],
            places: BTreeMap::new(),
            spent: BTreeSet::new(),
            made: BTreeSet::new(),
            pool: Vec::new(),
            salt: 0,
        }
    }

    pub(crate) fn height(&self) -> usize {
        self.best.len() - 1
    }

    /// Hash at a height of the best branch, internal byte order.
    pub(crate) fn hash_at(&self, height: usize) -> Option<B256> {
        self.best.get(height).map(|block| bytes(block.block_hash()))
    }

    /// Whether a block is on the best branch.
    pub(crate) fn has(&self, hash: &B256) -> bool {
        (0..=self.height()).rev().any(|height| self.hash_at(height) == Some(*hash))
    }

    /// Headers of the best branch from a height on.
    pub(crate) fn headers_from(&self, height: usize, most: usize) -> Vec<BitcoinHeaderBytes> {
        let headers = self.best.iter().skip(height).take(most);
        headers.filter_map(|block| BitcoinHeaderBytes::try_from(serialize(&block.header).as_slice()).ok()).collect()
    }

    /// Transactions of the best branch with their heights.
    pub(crate) fn confirmed(&self) -> impl Iterator<Item = (usize, &Transaction)> {
        self.best.iter().enumerate().flat_map(|(height, block)| block.txdata.iter().skip(1).map(move |tx| (height, tx)))
    }

    /// Height of a transaction of the best branch.
    pub(crate) fn height_of(&self, txid: &Txid) -> Option<usize> {
        self.places.get(txid).map(|(height, _)| *height)
    }

    /// Takes a transaction into the pool in place of those that spend the same; `false` if it is known, or spends what
    /// the best branch has spent.
    pub(crate) fn submit(&mut self, transaction: Transaction) -> bool {
        let txid = transaction.compute_txid();
        let spends: BTreeSet<OutPoint> = transaction.input.iter().map(|input| input.previous_output).collect();
        let known = self.places.contains_key(&txid) || self.pool.iter().any(|other| other.compute_txid() == txid);
        if known || spends.iter().any(|coin| self.spent.contains(coin)) {
            return false;
        }
        self.pool.retain(|other| !other.input.iter().any(|input| spends.contains(&input.previous_output)));
        self.made.insert(txid);
        self.pool.push(transaction);
        true
    }

    /// One more block, with those transactions of the pool that the dice pick.
    pub(crate) fn mine(&mut self, time: u64, dice: &mut Dice) {
        let mut taken = Vec::new();
        let mut left = Vec::new();
        let mut fresh = BTreeSet::new();
        for transaction in std::mem::take(&mut self.pool) {
            let exists = |coin: &OutPoint| {
                !self.made.contains(&coin.txid) || self.places.contains_key(&coin.txid) || fresh.contains(&coin.txid)
            };
            let ready = transaction.input.iter().all(|input| exists(&input.previous_output));
            if ready && !dice.once_in(3) {
                fresh.insert(transaction.compute_txid());
                taken.push(transaction);
            } else {
                left.push(transaction);
            }
        }
        self.pool = left;
        self.salt += 1;
        let block = self.solve(taken, time);
        self.connect(block);
    }

    fn solve(&self, transactions: Vec<Transaction>, time: u64) -> Block {
        let tip = self.best.last().map(|block| block.header);
        let earliest = tip.map_or(0, |header| u64::from(header.time) + 1);
        let mut tag = self.salt.to_le_bytes().to_vec();
        tag.extend_from_slice(&self.best.len().to_le_bytes());
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input(OutPoint::null(), ScriptBuf::from_bytes(tag))],
            output: vec![TxOut { value: Amount::from_sat(5_000_000_000), script_pubkey: ScriptBuf::new() }],
        };
        let header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: tip.map_or_else(BlockHash::all_zeros, |header| header.block_hash()),
            merkle_root: bitcoin::TxMerkleNode::all_zeros(),
            time: u32::try_from(time.max(earliest)).unwrap_or(u32::MAX),
            bits: bitcoin::CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata: std::iter::once(coinbase).chain(transactions).collect() };
        if let Some(root) = block.compute_merkle_root() {
            block.header.merkle_root = root;
        }
        while !block.header.target().is_met_by(block.header.block_hash()) {
            block.header.nonce = block.header.nonce.wrapping_add(1);
        }
        block
    }

    fn connect(&mut self, block: Block) {
        let height = self.best.len();
        for (position, transaction) in block.txdata.iter().enumerate().skip(1) {
            self.places.insert(transaction.compute_txid(), (height, position));
            self.spent.extend(transaction.input.iter().map(|input| input.previous_output));
        }
        self.best.push(block);
    }

    /// A branch that is one block longer replaces the newest `depth` blocks. Of each of their transactions that waits which
    /// `again` says: itself, another one that spends the same, or none because somebody has spent that otherwise. `false` if
    /// the chain is too short.
    pub(crate) fn reorganise(
        &mut self,
        depth: usize,
        time: u64,
        dice: &mut Dice,
        mut again: impl FnMut(Transaction, &mut Dice) -> Option<Transaction>,
    ) -> bool {
        if depth == 0 || depth > self.height() {
            return false;
        }
        let old = self.best.split_off(self.best.len() - depth);
        let mut back = Vec::new();
        for block in old {
            for transaction in block.txdata.into_iter().skip(1) {
                self.places.remove(&transaction.compute_txid());
                for input in &transaction.input {
                    self.spent.remove(&input.previous_output);
                }
                if let Some(transaction) = again(transaction, dice) {
                    self.made.insert(transaction.compute_txid());
                    back.push(transaction);
                }
            }
        }
        // What was confirmed is known longer than what waits: it stays, and what contradicts it goes.
        let spends: BTreeSet<OutPoint> =
            back.iter().flat_map(|transaction| &transaction.input).map(|input| input.previous_output).collect();
        self.pool.retain(|other| !other.input.iter().any(|input| spends.contains(&input.previous_output)));
        back.append(&mut self.pool);
        self.pool = back;
        for _ in 0..=depth {
            self.mine(time, dice);
        }
        true
    }

    /// The proof that a transaction is part of its block.
    pub(crate) fn record(&self, txid: &Txid) -> Option<PegInRecord> {
        let (height, position) = *self.places.get(txid)?;
        let block = self.best.get(height)?;
        let leaves: Vec<sha256d::Hash> = block.txdata.iter().map(|tx| tx.compute_txid().to_raw_hash()).collect();
        let list = |index| VariableList::new(branch(&leaves, index)).ok();
        let encoded = |index: usize| VariableList::new(serialize(block.txdata.get(index)?)).ok();
        Some(PegInRecord {
            bitcoin_block: bytes(block.block_hash()),
            transaction: encoded(position)?,
            index: u64::try_from(position).ok()?,
            branch: list(position)?,
            coinbase: encoded(0)?,
            coinbase_branch: list(0)?,
        })
    }
}

/// An input.
pub(crate) fn input(previous_output: OutPoint, script_sig: ScriptBuf) -> TxIn {
    TxIn { previous_output, script_sig, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, witness: Witness::new() }
}

fn bytes(hash: BlockHash) -> B256 {
    B256::from(hash.to_byte_array())
}

/// The hashes from a leaf to the root.
fn branch(leaves: &[sha256d::Hash], mut index: usize) -> Vec<B256> {
    let mut level = leaves.to_vec();
    let mut hashes = Vec::new();
    while level.len() > 1 {
        let last = level.len() - 1;
        hashes.push(B256::from(level[(index ^ 1).min(last)].to_byte_array()));
        level = level
            .chunks(2)
            .map(|pair| {
                let both = [pair[0].to_byte_array(), pair[pair.len() - 1].to_byte_array()].concat();
                sha256d::Hash::hash(&both)
            })
            .collect();
        index /= 2;
    }
    hashes
}
