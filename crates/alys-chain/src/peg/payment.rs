//! The payment of a batch: derived from coins, requests and fee rate, by every node alike (protocol section 7).
//!
//! Requests are paid in their order, each less its share of the fee; what the coins hold beyond the requests comes back
//! to the federation as the last output. Inputs are ordered by outpoint. Nothing else enters: no clock, no randomness,
//! no view of the memory pool.

use super::{custody::Custody, ledger::Coin};
use alys_primitives::{B256, Sats};
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, absolute::LockTime, hashes::Hash as _,
    transaction::Version,
};

/// The most coins that one payment spends.
pub const MAX_INPUTS: usize = 64;

/// The heaviest transaction that Bitcoin nodes pass on, in weight units.
const MAX_WEIGHT: u64 = 400_000;

/// Why there is no payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The free coins, or as many of them as one payment may spend, hold less than the requests ask for.
    #[error("free coins hold {available} satoshis in one payment, {needed} are needed")]
    InsufficientCoins {
        /// What they hold.
        available: Sats,
        /// What is needed.
        needed: Sats,
    },
    /// A request would get less than Bitcoin nodes pass on, once its share of the fee is taken off.
    #[error("request {position} of {amount} can't bear {share} of the fee")]
    Dust {
        /// Position in the batch.
        position: usize,
        /// Amount of the request.
        amount: Sats,
        /// Its share of the fee.
        share: Sats,
    },
    /// Nobody to pay.
    #[error("no requests")]
    Empty,
    /// Heavier than Bitcoin nodes pass on.
    #[error("{weight} weight units are more than {MAX_WEIGHT}")]
    TooHeavy {
        /// The payment's weight.
        weight: u64,
    },
    /// A sweep whose fee would eat more than half of its coins, or leave less than Bitcoin nodes pass on.
    #[error("a fee of {fee} is too much for a sweep of {coins}")]
    SweepFee {
        /// The fee.
        fee: Sats,
        /// What the coins hold.
        coins: Sats,
    },
    /// The books know no such custody.
    #[error("no custody {number}")]
    UnknownCustody {
        /// Its number.
        number: u64,
    },
    /// A sum does not fit its type, which takes more bitcoin than exist.
    #[error("a sum overflows")]
    Overflow,
}

/// Somebody to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payee {
    /// Where to.
    pub script: ScriptBuf,
    /// What was burned; the fee comes out of it.
    pub amount: Sats,
}

/// A derived payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The transaction, without witnesses.
    pub transaction: Transaction,
    /// The outputs that its inputs spend, in order.
    pub spent: Vec<TxOut>,
    /// What miners get.
    pub fee: Sats,
    /// What comes back; zero if there is no change output.
    pub change: Sats,
    /// The part of the fee that no request bears: change too small to send.
    pub absorbed: Sats,
    /// Size in virtual bytes once it is signed.
    pub virtual_bytes: u64,
}

impl Payment {
    /// The transaction's id in internal byte order; signatures do not change it.
    pub fn txid(&self) -> B256 {
        B256::from(self.transaction.compute_txid().to_byte_array())
    }
}

/// Chooses coins that hold at least `needed`: the greatest first, among equals the lower outpoint. If what is over would
/// be too small to send back, one more coin is taken where there is one.
///
/// # Errors
/// [`PaymentError::InsufficientCoins`], [`PaymentError::Overflow`].
pub fn select_coins(free: &[Coin], needed: Sats, custody: &Custody) -> Result<Vec<Coin>, PaymentError> {
    let mut order: Vec<&Coin> = free.iter().collect();
    order.sort_unstable_by_key(|coin| (std::cmp::Reverse(coin.value), coin.txid, coin.vout));
    let dust = dust_limit(custody.script_pubkey());
    let mut chosen = Vec::new();
    let mut sum = Sats(0);
    for coin in order.into_iter().take(MAX_INPUTS) {
        let over = sum.0.checked_sub(needed.0);
        if over == Some(0) || over.is_some_and(|over| over >= dust.0) {
            break;
        }
        sum = sum.checked_add(coin.value.0).ok_or(PaymentError::Overflow)?;
        chosen.push(coin.clone());
    }
    if sum < needed {
        return Err(PaymentError::InsufficientCoins { available: sum, needed });
    }
    chosen.sort_unstable_by_key(|coin| (coin.txid, coin.vout));
    Ok(chosen)
}

/// Derives the payment of `payees` from `coins` at `fee_rate` satoshis per 1000 virtual bytes.
///
/// # Errors
/// [`PaymentError`].
pub fn derive_payment(
    custody: &Custody,
    coins: &[Coin],
    payees: &[Payee],
    fee_rate: u64,
) -> Result<Payment, PaymentError> {
    if payees.is_empty() {
        return Err(PaymentError::Empty);
    }
    let available = sum(coins.iter().map(|coin| coin.value))?;
    let needed = sum(payees.iter().map(|payee| payee.amount))?;
    let over = available
        .checked_sub(needed)
        .ok_or(PaymentError::InsufficientCoins { available: Sats(available), needed: Sats(needed) })?;
    let is_sent = over >= dust_limit(custody.script_pubkey()).0;
    let (change, absorbed) = if is_sent { (over, 0) } else { (0, over) };

    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(|coin| spending(custody, coin)).collect(),
        output: payees
            .iter()
            .map(|payee| TxOut { value: Amount::from_sat(payee.amount.0), script_pubkey: payee.script.clone() })
            .chain(is_sent.then(|| custody.output(Amount::from_sat(change))))
            .collect(),
    };
    let weight = transaction.weight().to_wu();
    if weight > MAX_WEIGHT {
        return Err(PaymentError::TooHeavy { weight });
    }
    let virtual_bytes = weight.div_ceil(4);
    let shared = virtual_bytes.checked_mul(fee_rate).ok_or(PaymentError::Overflow)?.div_ceil(1000);

    let count = u64::try_from(payees.len()).map_err(|_| PaymentError::Overflow)?;
    let each = shared.checked_div(count).ok_or(PaymentError::Empty)?;
    let rest = shared.checked_rem(count).ok_or(PaymentError::Empty)?;
    for (position, (output, payee)) in transaction.output.iter_mut().zip(payees).enumerate() {
        // The first ones bear one satoshi more, so that the shares add up.
        let extra = u64::from(u64::try_from(position).is_ok_and(|position| position < rest));
        let share = each.checked_add(extra).ok_or(PaymentError::Overflow)?;
        let value = payee.amount.0.checked_sub(share).filter(|value| *value >= dust_limit(&payee.script).0);
        let value = value.ok_or(PaymentError::Dust { position, amount: payee.amount, share: Sats(share) })?;
        output.value = Amount::from_sat(value);
    }
    for input in &mut transaction.input {
        input.witness.clear();
    }
    let spent = coins.iter().map(|coin| custody.output(Amount::from_sat(coin.value.0))).collect();
    let fee = Sats(shared.checked_add(absorbed).ok_or(PaymentError::Overflow)?);
    Ok(Payment { transaction, spent, fee, change: Sats(change), absorbed: Sats(absorbed), virtual_bytes })
}

/// The sweep of `coins` from one custody to another at `fee_rate` satoshis per 1000 virtual bytes: one output, which holds
/// everything less the fee. Nobody else bears the fee, so all of it counts as absorbed.
///
/// # Errors
/// [`PaymentError`]; [`PaymentError::SweepFee`] for coins that are not worth the fee.
pub fn derive_sweep(from: &Custody, to: &Custody, coins: &[Coin], fee_rate: u64) -> Result<Payment, PaymentError> {
    if coins.is_empty() {
        return Err(PaymentError::Empty);
    }
    let available = sum(coins.iter().map(|coin| coin.value))?;
    let mut transaction = sweep_shape(from, to, coins);
    let weight = transaction.weight().to_wu();
    if weight > MAX_WEIGHT {
        return Err(PaymentError::TooHeavy { weight });
    }
    let virtual_bytes = weight.div_ceil(4);
    let fee = virtual_bytes.checked_mul(fee_rate).ok_or(PaymentError::Overflow)?.div_ceil(1000);
    let kept = available.checked_sub(fee).filter(|kept| *kept >= fee && *kept >= dust_limit(to.script_pubkey()).0);
    let kept = kept.ok_or(PaymentError::SweepFee { fee: Sats(fee), coins: Sats(available) })?;
    for output in &mut transaction.output {
        output.value = Amount::from_sat(kept);
    }
    for input in &mut transaction.input {
        input.witness.clear();
    }
    let spent = coins.iter().map(|coin| from.output(Amount::from_sat(coin.value.0))).collect();
    Ok(Payment { transaction, spent, fee: Sats(fee), change: Sats(kept), absorbed: Sats(fee), virtual_bytes })
}

/// Chooses what one sweep takes: the greatest coins first, among equals the lower outpoint, none that costs more than it
/// brings, as many as one transaction may spend.
///
/// # Errors
/// [`PaymentError::Empty`] if no coin is worth it.
pub fn sweep_coins(free: &[Coin], from: &Custody, to: &Custody, fee_rate: u64) -> Result<Vec<Coin>, PaymentError> {
    let mut order: Vec<&Coin> = free.iter().collect();
    order.sort_unstable_by_key(|coin| (std::cmp::Reverse(coin.value), coin.txid, coin.vout));
    let Some(first) = order.first().map(|coin| (*coin).clone()) else { return Err(PaymentError::Empty) };
    let weight = |coins: &[Coin]| sweep_shape(from, to, coins).weight().to_wu();
    let one = weight(std::slice::from_ref(&first));
    let each = weight(&[first.clone(), first]).saturating_sub(one);
    let cost = each.div_ceil(4).checked_mul(fee_rate).ok_or(PaymentError::Overflow)?.div_ceil(1000);
    let room = MAX_WEIGHT.saturating_sub(one).checked_div(each.max(1)).unwrap_or(0).saturating_add(1);
    let most = usize::try_from(room).unwrap_or(MAX_INPUTS).min(MAX_INPUTS);
    let mut chosen: Vec<Coin> = order.into_iter().take(most).take_while(|coin| coin.value.0 > cost).cloned().collect();
    if chosen.is_empty() {
        return Err(PaymentError::Empty);
    }
    chosen.sort_unstable_by_key(|coin| (coin.txid, coin.vout));
    Ok(chosen)
}

/// A sweep with sample witnesses and without amounts.
fn sweep_shape(from: &Custody, to: &Custody, coins: &[Coin]) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(|coin| spending(from, coin)).collect(),
        output: vec![to.output(Amount::ZERO)],
    }
}

/// An input that spends a coin, with a witness of the size that it will have.
fn spending(custody: &Custody, coin: &Coin) -> TxIn {
    TxIn {
        previous_output: OutPoint::new(Txid::from_byte_array(coin.txid.0), coin.vout),
        script_sig: ScriptBuf::new(),
        // Says that it may be replaced (BIP-125).
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: custody.sample_witness(),
    }
}

fn sum(values: impl IntoIterator<Item = Sats>) -> Result<u64, PaymentError> {
    values.into_iter().try_fold(0u64, |sum, value| sum.checked_add(value.0)).ok_or(PaymentError::Overflow)
}

/// The least that Bitcoin nodes pass on to a script.
pub fn dust_limit(script: &ScriptBuf) -> Sats {
    Sats(script.minimal_non_dust().to_sat())
}
