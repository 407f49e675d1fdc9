//! That a transaction is part of a Bitcoin block, recomputed (protocol section 7).

use alys_primitives::{B256, PegInRecord};
use bitcoin::{
    Transaction,
    consensus::{deserialize, serialize},
    hashes::{Hash as _, HashEngine as _, sha256d},
};

/// A transaction of this length can be taken for an inner node of the Merkle tree.
const NODE_BYTES: usize = 64;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The bytes are no transaction, or have a witness, or something behind them.
    #[error("{which}: no transaction without witness")]
    Transaction {
        /// `transaction` or `coinbase`.
        which: &'static str,
    },
    /// The transaction is as long as an inner node of the tree.
    #[error("{which}: 64 bytes can be an inner node")]
    NodeSized {
        /// `transaction` or `coinbase`.
        which: &'static str,
    },
    /// The two branches differ in length, so one of them is no leaf's.
    #[error("branches of {branch} and {coinbase} hashes")]
    Depth {
        /// Of the transaction.
        branch: usize,
        /// Of the coinbase.
        coinbase: usize,
    },
    /// The index lies outside of a tree of that depth.
    #[error("index {index} in a tree of depth {depth}")]
    Index {
        /// The index.
        index: u64,
        /// The depth.
        depth: usize,
    },
    /// The coinbase is none.
    #[error("the coinbase is no coinbase")]
    NoCoinbase,
    /// A branch does not lead to the block's Merkle root.
    #[error("{which}: the branch does not lead to the block's root")]
    Root {
        /// `transaction` or `coinbase`.
        which: &'static str,
    },
}

/// A transaction that is part of the block it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) transaction: Transaction,
    /// Internal byte order.
    pub(crate) txid: B256,
    pub(crate) is_coinbase: bool,
}

/// Checks a record against its block's Merkle root (internal byte order).
///
/// The coinbase's branch shows the depth of the tree, whose leaf the transaction then is: without it an inner node could
/// pass for a transaction. Its index is 0, so that nothing else can pass for a coinbase.
pub(crate) fn verify(record: &PegInRecord, merkle_root: B256) -> Result<Proven, ProofError> {
    let (branch, coinbase) = (record.branch.len(), record.coinbase_branch.len());
    if branch != coinbase {
        return Err(ProofError::Depth { branch, coinbase });
    }
    let fits = u32::try_from(branch).ok().and_then(|depth| record.index.checked_shr(depth)).unwrap_or(0) == 0;
    if !fits {
        return Err(ProofError::Index { index: record.index, depth: branch });
    }
    let transaction = decode(&record.transaction, "transaction")?;
    let coinbase = decode(&record.coinbase, "coinbase")?;
    if !coinbase.is_coinbase() {
        return Err(ProofError::NoCoinbase);
    }
    let leads = |leaf: &Transaction, index: u64, branch: &[B256]| {
        root(B256::from(leaf.compute_txid().to_byte_array()), index, branch) == Some(merkle_root)
    };
    if !leads(&coinbase, 0, &record.coinbase_branch) {
        return Err(ProofError::Root { which: "coinbase" });
    }
    if !leads(&transaction, record.index, &record.branch) {
        return Err(ProofError::Root { which: "transaction" });
    }
    let txid = B256::from(transaction.compute_txid().to_byte_array());
    Ok(Proven { txid, is_coinbase: record.index == 0, transaction })
}

fn decode(bytes: &[u8], which: &'static str) -> Result<Transaction, ProofError> {
    if bytes.len() == NODE_BYTES {
        return Err(ProofError::NodeSized { which });
    }
    let transaction: Transaction = deserialize(bytes).map_err(|_| ProofError::Transaction { which })?;
    // What the txid covers, byte for byte.
    if serialize(&transaction) != bytes || transaction.input.iter().any(|input| !input.witness.is_empty()) {
        return Err(ProofError::Transaction { which });
    }
    Ok(transaction)
}

/// The root that a branch gives; `None` for a leaf behind the end, whose left neighbour was hashed with itself.
fn root(leaf: B256, index: u64, branch: &[B256]) -> Option<B256> {
    let mut at = leaf;
    let mut index = index;
    for sibling in branch {
        let is_right = index & 1 == 1;
        if is_right && *sibling == at {
            return None;
        }
        let (left, right) = if is_right { (*sibling, at) } else { (at, *sibling) };
        let mut engine = sha256d::Hash::engine();
        engine.input(left.as_slice());
        engine.input(right.as_slice());
        at = B256::from(sha256d::Hash::from_engine(engine).to_byte_array());
        index >>= 1;
    }
    Some(at)
}
