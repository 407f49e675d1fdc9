//! The rules of single transactions: `CheckTransaction`, `CheckTxInputs`, absolute and relative locks of Bitcoin Core.

use std::collections::BTreeSet;

use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Weight};

use super::coins::CoinSource;
use crate::script::tapscript::{SEQUENCE_DISABLE, SEQUENCE_TIME, SEQUENCE_VALUE, relative_locks_apply};
use crate::script::{SpendError, Verifier};

/// Lock times from here on are seconds, those below heights.
const LOCKTIME_THRESHOLD: u32 = 500_000_000;
/// The shift of relative locks that count seconds: units of 512 (BIP-68).
const SEQUENCE_GRANULARITY: u32 = 9;

/// Why a transaction is not valid at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// It has no inputs.
    #[error("no inputs")]
    NoInputs,
    /// It has no outputs.
    #[error("no outputs")]
    NoOutputs,
    /// It is heavier than a block may be.
    #[error("without witnesses it weighs {weight}, more than a block may")]
    TooHeavy {
        /// Four times its size without witnesses.
        weight: Weight,
    },
    /// An output, or all together, exceed 21 million coins.
    #[error("outputs exceed the greatest amount there may be")]
    OutputRange,
    /// Two inputs spend the same output.
    #[error("{0} is spent twice")]
    DuplicateInput(OutPoint),
    /// An input spends nothing, as only a coinbase may.
    #[error("an input spends nothing")]
    NullInput,
    /// A coinbase's scriptSig has not 2 to 100 bytes.
    #[error("the coinbase's scriptSig has {0} bytes")]
    CoinbaseScript(usize),
    /// Its lock time is not reached.
    #[error("lock time {0} is not reached")]
    NotFinal(u32),
    /// The coin does not exist, or is spent.
    #[error("coin {0} does not exist or is spent")]
    MissingCoin(OutPoint),
    /// A coinbase's coin is spent before 100 blocks are on it.
    #[error("coin {coin} of the coinbase at height {height} can't be spent at {at}")]
    Immature {
        /// The coin.
        coin: OutPoint,
        /// Height of the coinbase.
        height: u32,
        /// Height of the spend.
        at: u32,
    },
    /// An input's relative lock is not reached (BIP-68).
    #[error("the relative lock of the input that spends {0} is not reached")]
    RelativeLock(OutPoint),
    /// It pays more than it spends.
    #[error("spends {inputs}, pays {outputs}")]
    Overspends {
        /// Sum of the coins.
        inputs: Amount,
        /// Sum of the outputs.
        outputs: Amount,
    },
    /// A spend is not authorised, or not of a kind that can be verified.
    #[error(transparent)]
    Spend(#[from] SpendError),
}

/// Where a transaction stands or would stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Height of the block.
    pub(crate) height: u32,
    /// Median time of the block before it (BIP-113).
    pub(crate) median_before: u32,
}

/// What looking at its coins told about a transaction.
#[derive(Debug)]
pub(crate) struct Spending {
    pub(crate) fee: Amount,
    /// The outputs spent, in order of the inputs.
    pub(crate) spent: Vec<TxOut>,
}

/// What can be said of a transaction alone; gives the sum of its outputs.
pub(crate) fn check_alone(transaction: &Transaction) -> Result<Amount, TransactionError> {
    if transaction.input.is_empty() {
        return Err(TransactionError::NoInputs);
    }
    if transaction.output.is_empty() {
        return Err(TransactionError::NoOutputs);
    }
    let weight = Weight::from_non_witness_data_size(u64::try_from(transaction.base_size()).unwrap_or(u64::MAX / 4));
    if weight > Weight::MAX_BLOCK {
        return Err(TransactionError::TooHeavy { weight });
    }
    let mut sum = Amount::ZERO;
    for output in &transaction.output {
        let next = sum.checked_add(output.value).filter(|next| *next <= Amount::MAX_MONEY);
        sum = next.ok_or(TransactionError::OutputRange)?;
    }
    let mut seen = BTreeSet::new();
    for input in &transaction.input {
        if !seen.insert(input.previous_output) {
            return Err(TransactionError::DuplicateInput(input.previous_output));
        }
    }
    if transaction.is_coinbase() {
        let length = transaction.input.first().map_or(0, |input| input.script_sig.len());
        if !(2..=100).contains(&length) {
            return Err(TransactionError::CoinbaseScript(length));
        }
    } else if seen.iter().any(OutPoint::is_null) {
        return Err(TransactionError::NullInput);
    }
    Ok(sum)
}

/// Whether the absolute lock lets the transaction into a block (`IsFinalTx`).
pub(crate) fn check_final(transaction: &Transaction, place: Place) -> Result<(), TransactionError> {
    let lock = transaction.lock_time.to_consensus_u32();
    let now = if lock < LOCKTIME_THRESHOLD { place.height } else { place.median_before };
    if lock == 0 || lock < now || transaction.input.iter().all(|input| input.sequence.is_final()) {
        return Ok(());
    }
    Err(TransactionError::NotFinal(lock))
}

/// Looks the coins up and holds amounts, maturity and relative locks against them; signatures are not looked at.
pub(crate) fn check_coins(
    transaction: &Transaction,
    outputs: Amount,
    place: Place,
    coins: &impl CoinSource,
) -> Result<Spending, TransactionError> {
    let locks = relative_locks_apply(transaction.version);
    let mut spent = Vec::with_capacity(transaction.input.len());
    let mut inputs = Amount::ZERO;
    for input in &transaction.input {
        let point = input.previous_output;
        let coin = coins.coin(&point).ok_or(TransactionError::MissingCoin(point))?;
        if coin.coinbase && place.height < coin.height.saturating_add(COINBASE_MATURITY) {
            return Err(TransactionError::Immature { coin: point, height: coin.height, at: place.height });
        }
        let sequence = input.sequence.to_consensus_u32();
        if locks && sequence & SEQUENCE_DISABLE == 0 {
            let value = sequence & SEQUENCE_VALUE;
            let reached = if sequence & SEQUENCE_TIME != 0 {
                coin.median_before.saturating_add(value << SEQUENCE_GRANULARITY) <= place.median_before
            } else {
                coin.height.saturating_add(value) <= place.height
            };
            if !reached {
                return Err(TransactionError::RelativeLock(point));
            }
        }
        let next = inputs.checked_add(coin.output.value).filter(|next| *next <= Amount::MAX_MONEY);
        inputs = next.ok_or(TransactionError::OutputRange)?;
        spent.push(coin.output.clone());
    }
    let fee = inputs.checked_sub(outputs).ok_or(TransactionError::Overspends { inputs, outputs })?;
    Ok(Spending { fee, spent })
}

/// All rules for a transaction that is no coinbase.
pub(crate) fn check(
    transaction: &Transaction,
    place: Place,
    coins: &impl CoinSource,
    verifier: &Verifier,
) -> Result<Spending, TransactionError> {
    let outputs = check_alone(transaction)?;
    check_final(transaction, place)?;
    let spending = check_coins(transaction, outputs, place, coins)?;
    verifier.verify(transaction, &spending.spent)?;
    Ok(spending)
}
