//! The rules of blocks beyond their headers: `CheckBlock`, `ContextualCheckBlock`, `ConnectBlock` of Bitcoin Core, with
//! all soft forks up to taproot active from the first block on.

use bitcoin::constants::MAX_BLOCK_SIGOPS_COST;
use bitcoin::script::Builder;
use bitcoin::{Amount, Block, BlockHash, OutPoint, Weight};

use super::coins::{Coin, CoinSource, CoinView, spendable};
use super::rules::{self, Place, TransactionError};
use crate::header_chain::HeaderError;
use crate::merkle::{self, CommitmentError};
use crate::script::Verifier;

/// Blocks between two halvings of the subsidy on regtest.
pub const HALVING_INTERVAL: u32 = 150;
/// The first subsidy.
const FIRST_SUBSIDY: Amount = Amount::from_sat(50 * 100_000_000);

/// Why a block is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The header breaks a rule, or can't be judged yet.
    #[error("header: {0}")]
    Header(#[from] HeaderError),
    /// It is heavier than 4,000,000.
    #[error("weight {weight} exceeds the limit")]
    TooHeavy {
        /// Its weight.
        weight: Weight,
    },
    /// The Merkle root does not match the transactions.
    #[error("the Merkle root does not match the transactions")]
    MerkleRoot,
    /// Transactions are repeated so that the Merkle root stays the same (CVE-2012-2459).
    #[error("the list of transactions repeats its tail")]
    Mutated,
    /// The first transaction is no coinbase.
    #[error("the first transaction is no coinbase")]
    NoCoinbase,
    /// A later transaction is a coinbase.
    #[error("transaction {position} is a second coinbase")]
    SecondCoinbase {
        /// Its position.
        position: usize,
    },
    /// The coinbase does not begin with the height (BIP-34).
    #[error("the coinbase does not begin with height {height}")]
    CoinbaseHeight {
        /// The height.
        height: u32,
    },
    /// Witnesses are not committed to (BIP-141).
    #[error(transparent)]
    Commitment(#[from] CommitmentError),
    /// A transaction breaks a rule.
    #[error("transaction {position}: {source}")]
    Transaction {
        /// Its position.
        position: usize,
        /// The rule.
        source: TransactionError,
    },
    /// A transaction would overwrite coins of an equal one (BIP-30).
    #[error("transaction {position} repeats one with unspent outputs")]
    RepeatedTransaction {
        /// Its position.
        position: usize,
    },
    /// Too many signature operations.
    #[error("signature operations cost {cost}, more than {limit}")]
    SignatureOperations {
        /// Their cost.
        cost: usize,
        /// The limit.
        limit: usize,
    },
    /// The coinbase pays more than subsidy and fees.
    #[error("the coinbase pays {paid}, at most {allowed} is allowed")]
    Reward {
        /// What it pays.
        paid: Amount,
        /// Subsidy and fees.
        allowed: Amount,
    },
    /// An ancestor that had not been connected before is invalid.
    #[error("its ancestor {ancestor} is invalid: {source}")]
    Ancestor {
        /// The ancestor.
        ancestor: BlockHash,
        /// What is wrong with it.
        #[source]
        source: Box<BlockError>,
    },
    /// More coins than are kept; not a rule of Bitcoin but a limit of this chain.
    #[error("more than {limit} coins would have to be kept")]
    CoinsFull {
        /// The limit.
        limit: usize,
    },
    /// More bytes than are kept, for a block that is not on the best chain; it may be offered again later.
    #[error("blocks of {limit} bytes are kept already")]
    BlocksFull {
        /// The limit.
        limit: usize,
    },
    /// A header is kept without its block: a fault of this program.
    #[error("block {hash} is missing though its header is kept")]
    Inconsistent {
        /// The block.
        hash: BlockHash,
    },
}

impl BlockError {
    /// Whether the same block may be taken later: its sender need not be at fault.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Header(error) => error.is_temporary(),
            Self::CoinsFull { .. } | Self::BlocksFull { .. } => true,
            Self::Ancestor { source, .. } => source.is_temporary(),
            Self::TooHeavy { .. }
            | Self::MerkleRoot
            | Self::Mutated
            | Self::NoCoinbase
            | Self::SecondCoinbase { .. }
            | Self::CoinbaseHeight { .. }
            | Self::Commitment(_)
            | Self::Transaction { .. }
            | Self::RepeatedTransaction { .. }
            | Self::SignatureOperations { .. }
            | Self::Reward { .. }
            | Self::Inconsistent { .. } => false,
        }
    }
}

/// What a block at this height may create.
pub fn subsidy(height: u32) -> Amount {
    let halvings = height / HALVING_INTERVAL;
    Amount::from_sat(FIRST_SUBSIDY.to_sat().checked_shr(halvings).unwrap_or(0))
}

/// What can be said of a block without its ancestors' coins.
pub(crate) fn check_block(block: &Block, place: Place) -> Result<(), BlockError> {
    let weight = block.weight();
    if weight > Weight::MAX_BLOCK {
        return Err(BlockError::TooHeavy { weight });
    }
    let txids = block.txdata.iter().map(|transaction| transaction.compute_txid().to_raw_hash());
    let merkle = merkle::merkle_root(txids).ok_or(BlockError::NoCoinbase)?;
    if merkle.root != block.header.merkle_root.to_raw_hash() {
        return Err(BlockError::MerkleRoot);
    }
    if merkle.mutated {
        return Err(BlockError::Mutated);
    }
    for (position, transaction) in block.txdata.iter().enumerate() {
        match (position, transaction.is_coinbase()) {
            (0, false) => return Err(BlockError::NoCoinbase),
            (0, true) | (_, false) => {}
            (_, true) => return Err(BlockError::SecondCoinbase { position }),
        }
        let faulty = |source| BlockError::Transaction { position, source };
        rules::check_alone(transaction).map_err(faulty)?;
        rules::check_final(transaction, place).map_err(faulty)?;
    }
    let script = block.coinbase().and_then(|coinbase| coinbase.input.first()).map(|input| input.script_sig.as_bytes());
    let height = Builder::new().push_int(i64::from(place.height)).into_script();
    if !script.is_some_and(|script| script.starts_with(height.as_bytes())) {
        return Err(BlockError::CoinbaseHeight { height: place.height });
    }
    merkle::check_witness_commitment(block)?;
    Ok(())
}

/// The coins that a block spent, to put them back.
pub(crate) type Undo = Vec<(OutPoint, Coin)>;

/// Applies a block that passed [`check_block`] to the coins; on an error the view is to be thrown away.
pub(crate) fn connect(
    block: &Block,
    place: Place,
    view: &mut CoinView<'_>,
    verifier: &Verifier,
) -> Result<Undo, BlockError> {
    let mut undo = Undo::new();
    let mut allowed = subsidy(place.height);
    let mut cost = 0usize;
    let limit = usize::try_from(MAX_BLOCK_SIGOPS_COST).unwrap_or(usize::MAX);
    for (position, transaction) in block.txdata.iter().enumerate() {
        cost = cost.saturating_add(
            transaction.total_sigop_cost(|point: &OutPoint| view.coin(point).map(|coin| coin.output.clone())),
        );
        if cost > limit {
            return Err(BlockError::SignatureOperations { cost, limit });
        }
        let coinbase = transaction.is_coinbase();
        if !coinbase {
            let spending = rules::check(transaction, place, view, verifier)
                .map_err(|source| BlockError::Transaction { position, source })?;
            allowed = allowed.checked_add(spending.fee).unwrap_or(Amount::MAX_MONEY);
            for input in &transaction.input {
                if let Some(coin) = view.coin(&input.previous_output).cloned() {
                    undo.push((input.previous_output, coin));
                }
                view.remove(&input.previous_output);
            }
        }
        for (point, output) in spendable(transaction) {
            if view.coin(&point).is_some() {
                return Err(BlockError::RepeatedTransaction { position });
            }
            let (height, median_before) = (place.height, place.median_before);
            view.put(point, Coin { output: output.clone(), height, coinbase, median_before });
        }
    }
    let outputs = block.coinbase().map_or(&[][..], |coinbase| coinbase.output.as_slice());
    let paid = outputs.iter().map(|output| output.value).sum();
    if paid > allowed {
        return Err(BlockError::Reward { paid, allowed });
    }
    Ok(undo)
}

/// Takes a connected block's changes back.
pub(crate) fn disconnect(block: &Block, undo: &Undo, view: &mut CoinView<'_>) {
    for (point, coin) in undo {
        view.put(*point, coin.clone());
    }
    // Last: coins made and spent within the block don't come back.
    for transaction in &block.txdata {
        for (point, _) in spendable(transaction) {
            view.remove(&point);
        }
    }
}
