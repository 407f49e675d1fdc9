//! What a signer signs.

use std::collections::BTreeSet;

use alys_chain::peg::{Custody, MAX_INPUTS, Payment, PaymentError, derive_payment, derive_sweep};
use alys_primitives::{B256, PegSpec, Sats};
use bitcoin::ScriptBuf;

use super::PaymentJob;
use super::journal::SignedPayments;

/// The most requests of one payment.
const MAX_REQUESTS: usize = 1_024;

/// Over how long (seconds) the operator's limit counts.
pub(super) const LIMIT_PERIOD: u64 = 24 * 60 * 60;

/// Why a payment is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// Too many coins or requests, or one of them twice.
    #[error("the job names {what} that no payment of this chain has")]
    Malformed {
        /// Of what.
        what: &'static str,
    },
    /// The payment can't be derived.
    #[error("the payment can't be derived: {0}")]
    Derive(#[from] PaymentError),
    /// It is not the one that the job names.
    #[error("derived transaction {derived}, the job names {named}")]
    Differs {
        /// Derived here.
        derived: B256,
        /// In the job.
        named: B256,
    },
    /// A fee rate beyond the chain's bounds.
    #[error("fee rate {found}, the chain allows {min} to {max}")]
    FeeRate {
        /// Found.
        found: u64,
        /// Least.
        min: u64,
        /// Greatest.
        max: u64,
    },
    /// Coins of a custody that this signer does not know.
    #[error("the signer knows no custody {script}; give it the change of the federation that made it")]
    UnknownCustody {
        /// Its output script.
        script: ScriptBuf,
    },
    /// A sweep to a federation that is no later one.
    #[error("a sweep from {from} to {to}, which is no later federation's")]
    Backwards {
        /// Whose coins.
        from: ScriptBuf,
        /// Where to.
        to: ScriptBuf,
    },
    /// A request that would pay the federation itself.
    #[error("request {position} pays the federation")]
    PaysFederation {
        /// Position in the batch.
        position: usize,
    },
    /// A request was signed for before, from other coins: both payments could confirm.
    #[error("request {block_root} {log_index} was signed for before, from other coins")]
    OtherCoins {
        /// Block of the burn.
        block_root: B256,
        /// Its log.
        log_index: u64,
    },
    /// A coin was signed away before, for other requests.
    #[error("coin {txid} {vout} was signed away before, for other requests")]
    OtherRequests {
        /// The coin's transaction, internal byte order.
        txid: B256,
        /// The coin's output.
        vout: u32,
    },
    /// More than the operator lets go in a day.
    #[error("{asked} satoshis on top of {signed} of the last day exceed the limit of {limit}")]
    Limit {
        /// Asked for now.
        asked: u64,
        /// Signed for in the last day.
        signed: u64,
        /// The limit.
        limit: u64,
    },
}

/// The rules of one member's signer.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Oldest first.
    custodies: Vec<Custody>,
    fee_rates: (u64, u64),
    daily_limit: Option<Sats>,
}

impl Policy {
    /// The chain's rules, the custodies that coins may belong to (oldest first, the present one last), and the operator's
    /// limit of what may leave in a day.
    pub fn new(spec: &PegSpec, custodies: Vec<Custody>, daily_limit: Option<Sats>) -> Self {
        Self { custodies, fee_rates: (spec.min_fee_rate, spec.max_fee_rate), daily_limit }
    }

    /// The custody that a job's coins belong to.
    ///
    /// # Errors
    /// [`PolicyRefusal::UnknownCustody`].
    pub fn custody(&self, job: &PaymentJob) -> Result<&Custody, PolicyRefusal> {
        let found = self.custodies.iter().find(|custody| *custody.script_pubkey() == job.from);
        found.ok_or_else(|| PolicyRefusal::UnknownCustody { script: job.from.clone() })
    }

    /// The custody that a sweep brings its coins to: one that came after theirs, so that a node which lies can't have coins
    /// brought back to those who held them before.
    fn destination(&self, job: &PaymentJob) -> Result<&Custody, PolicyRefusal> {
        let is = |script: &ScriptBuf, custody: &Custody| custody.script_pubkey() == script;
        let from = self.custodies.iter().position(|custody| is(&job.from, custody));
        let to = self.custodies.iter().rposition(|custody| is(&job.to, custody));
        let to = to.ok_or_else(|| PolicyRefusal::UnknownCustody { script: job.to.clone() })?;
        let later = self.custodies.get(to).filter(|_| from.is_some_and(|from| from < to) && job.from != job.to);
        later.ok_or_else(|| PolicyRefusal::Backwards { from: job.from.clone(), to: job.to.clone() })
    }

    /// Derives a job's payment and judges it against what was signed before. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn judge(&self, job: &PaymentJob, signed: &SignedPayments, now: u64) -> Result<Payment, PolicyRefusal> {
        if job.coins.len() > MAX_INPUTS || !are_distinct(job.coins.iter().map(|coin| (coin.txid, coin.vout))) {
            return Err(PolicyRefusal::Malformed { what: "coins" });
        }
        if job.requests.len() > MAX_REQUESTS || !are_distinct(job.requests.iter().map(|request| request.id())) {
            return Err(PolicyRefusal::Malformed { what: "requests" });
        }
        let (min, max) = self.fee_rates;
        if !(min..=max).contains(&job.fee_rate) {
            return Err(PolicyRefusal::FeeRate { found: job.fee_rate, min, max });
        }
        let custody = self.custody(job)?;
        if let Some(position) = job.requests.iter().position(|request| request.script == job.from) {
            return Err(PolicyRefusal::PaysFederation { position });
        }
        let payment = if job.requests.is_empty() {
            derive_sweep(custody, self.destination(job)?, &job.coins(), job.fee_rate)?
        } else {
            derive_payment(custody, &job.coins(), &job.payees(), job.fee_rate)?
        };
        if payment.txid() != job.txid {
            return Err(PolicyRefusal::Differs { derived: payment.txid(), named: job.txid });
        }
        let asked = self.check_history(job, signed)?;
        if let Some(limit) = self.daily_limit {
            let before = signed.since(now.saturating_sub(LIMIT_PERIOD));
            if asked.saturating_add(before) > limit.0 {
                return Err(PolicyRefusal::Limit { asked, signed: before, limit: limit.0 });
            }
        }
        Ok(payment)
    }

    /// Every attempt at a batch spends the same coins, so that no two of them can confirm. Gives what is asked for anew.
    fn check_history(&self, job: &PaymentJob, signed: &SignedPayments) -> Result<u64, PolicyRefusal> {
        let coins = signed.keys_of(&job.coins);
        let mut asked = 0u64;
        let mut is_new = false;
        for (block_root, log_index, amount) in signed.remembered(job) {
            match signed.coins_of(&(block_root, log_index)) {
                Some(before) if *before == coins => {}
                Some(_) => return Err(PolicyRefusal::OtherCoins { block_root, log_index }),
                None => {
                    is_new = true;
                    asked = asked.saturating_add(amount);
                }
            }
        }
        // A coin that was signed away with all of these requests was signed away for this batch.
        if is_new && let Some(coin) = job.coins.iter().find(|coin| signed.has_spent(coin)) {
            return Err(PolicyRefusal::OtherRequests { txid: coin.txid, vout: coin.vout });
        }
        Ok(asked)
    }
}

fn are_distinct<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    let mut items = items;
    items.all(|item| seen.insert(item))
}
