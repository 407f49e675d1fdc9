//! What a merged miner needs: a template, a coinbase with room for a commitment, and the search for a nonce.

use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash, HashEngine, sha256d};
use bitcoin::locktime::absolute::LockTime;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Script, ScriptBuf, Sequence, Target, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Weight, Witness, transaction,
};

use crate::compact::{self, CompactError};
use crate::merkle;

/// The longest scriptSig of a coinbase (Bitcoin Core, `CheckTransaction`).
pub const MAX_COINBASE_SCRIPT_BYTES: usize = 100;
/// Weight that a template leaves for header and coinbase.
pub const RESERVED_WEIGHT: Weight = Weight::from_wu(8_000);

/// A transaction of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateTransaction {
    /// The transaction.
    pub transaction: Transaction,
    /// Its id.
    pub txid: Txid,
    /// What it pays.
    pub fee: Amount,
}

/// What a block on the tip may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockTemplate {
    /// Version to put into the header.
    pub version: Version,
    /// The block to build on.
    pub previous: BlockHash,
    /// Height of the new block.
    pub height: u32,
    /// Difficulty of the new block.
    pub bits: CompactTarget,
    /// The smallest time that the header may carry.
    pub min_time: u32,
    /// The time to put into the header.
    pub time: u32,
    /// The most that the coinbase may pay: subsidy and fees.
    pub coinbase_value: Amount,
    /// The transactions after the coinbase, in order.
    pub transactions: Vec<TemplateTransaction>,
}

/// Why a template gives no coinbase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Height and extra bytes together exceed what a coinbase may carry.
    #[error("a scriptSig of {length} bytes is longer than {limit}")]
    ScriptTooLong {
        /// Bytes with the height.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

impl BlockTemplate {
    /// A coinbase that pays everything to `payout`, with `extra` behind the height in its scriptSig, as given.
    ///
    /// It carries the witness commitment (BIP-141) and the reserved value in its witness.
    ///
    /// # Errors
    /// [`TemplateError::ScriptTooLong`] when height and extra bytes don't fit.
    pub fn coinbase(&self, payout: &Script, extra: &[u8]) -> Result<Transaction, TemplateError> {
        let mut script = Builder::new().push_int(i64::from(self.height)).into_script().into_bytes();
        script.extend_from_slice(extra);
        if script.len() < 2 {
            // A coinbase needs two bytes; heights up to 16 take one.
            script.push(0);
        }
        if script.len() > MAX_COINBASE_SCRIPT_BYTES {
            return Err(TemplateError::ScriptTooLong { length: script.len(), limit: MAX_COINBASE_SCRIPT_BYTES });
        }
        let reward = TxOut { value: self.coinbase_value, script_pubkey: payout.to_owned() };
        let commitment = TxOut { value: Amount::ZERO, script_pubkey: self.commitment_script() };
        Ok(Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::from_bytes(script),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&[merkle::RESERVED_VALUE]),
            }],
            output: vec![reward, commitment],
        })
    }

    /// The hashes from the coinbase's txid up to the Merkle root, whatever the coinbase is.
    pub fn coinbase_branch(&self) -> Vec<sha256d::Hash> {
        let others = self.transactions.iter().map(|tx| tx.txid.to_raw_hash());
        let leaves: Vec<sha256d::Hash> = std::iter::once(sha256d::Hash::all_zeros()).chain(others).collect();
        merkle::merkle_branch(&leaves, 0).unwrap_or_default()
    }

    /// The header over a coinbase, its nonce 0.
    pub fn header(&self, coinbase: &Transaction) -> Header {
        let leaf = coinbase.compute_txid().to_raw_hash();
        let root = merkle::root_from_branch(leaf, &self.coinbase_branch(), 0).unwrap_or(leaf);
        Header {
            version: self.version,
            prev_blockhash: self.previous,
            merkle_root: TxMerkleNode::from_raw_hash(root),
            time: self.time,
            bits: self.bits,
            nonce: 0,
        }
    }

    /// The block of a header and its coinbase.
    pub fn block(&self, header: Header, coinbase: Transaction) -> Block {
        let others = self.transactions.iter().map(|tx| tx.transaction.clone());
        Block { header, txdata: std::iter::once(coinbase).chain(others).collect() }
    }

    fn commitment_script(&self) -> ScriptBuf {
        let others = self.transactions.iter().map(|tx| tx.transaction.compute_wtxid().to_raw_hash());
        let commitment = merkle::commitment_over(others, &merkle::RESERVED_VALUE);
        // The bytes behind OP_RETURN and the push opcode: the magic, then the commitment.
        let mut data = PushBytesBuf::from([0xaa, 0x21, 0xa9, 0xed]);
        // A push of 36 bytes is far below the limit of a push.
        let pushed = data.extend_from_slice(commitment.as_byte_array());
        debug_assert!(pushed.is_ok(), "36 bytes fit a push");
        ScriptBuf::new_op_return(data)
    }
}

/// Why no nonce was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrindError {
    /// The header's bits name no target.
    #[error(transparent)]
    Bits(#[from] CompactError),
    /// All nonces were tried; change the time or the coinbase.
    #[error("no nonce of this header meets the target")]
    Exhausted,
}

/// Searches on from the header's nonce until its hash meets the target of its bits; at most `attempts` nonces are tried.
///
/// `Some` is the hash found; the header then carries its nonce. With `None` the attempts are used up and the header
/// carries the next nonce to try: call again to go on, or don't to give up.
///
/// # Errors
/// [`GrindError`] when the bits are no target, or no nonce is left.
pub fn grind(header: &mut Header, attempts: u32) -> Result<Option<BlockHash>, GrindError> {
    let target = compact::target_from_compact(header.bits)?;
    grind_to(header, target, attempts)
}

/// As [`grind`], for any target: that of a merged-mined chain may be harder or easier than the header's own.
///
/// # Errors
/// [`GrindError::Exhausted`] when no nonce is left.
pub fn grind_to(header: &mut Header, target: Target, attempts: u32) -> Result<Option<BlockHash>, GrindError> {
    let bytes = encode::serialize(header);
    // The first 64 bytes are one block of the hash function: they are hashed once.
    let (fixed, moving) = bytes.split_at(64.min(bytes.len()));
    let tail = moving.get(..12).unwrap_or_default();
    let mut start = sha256d::Hash::engine();
    start.input(fixed);
    for _ in 0..attempts {
        let mut engine = start.clone();
        engine.input(tail);
        engine.input(&header.nonce.to_le_bytes());
        let hash = BlockHash::from_raw_hash(sha256d::Hash::from_engine(engine));
        if target.is_met_by(hash) {
            return Ok(Some(hash));
        }
        header.nonce = header.nonce.checked_add(1).ok_or(GrindError::Exhausted)?;
    }
    Ok(None)
}
