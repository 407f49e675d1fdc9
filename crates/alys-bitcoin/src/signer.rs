//! A member's custody key and who may make it sign: in this process, or in one of its own behind a Unix socket.
//!
//! A signer is asked with a [`PaymentJob`], never with a hash: it derives the payment anew from coins, requests and fee
//! rate, and its [`Policy`] looks at what it derived. What it has signed it remembers: no request is ever paid from other
//! coins than the first time, so that nothing which happens to the node can make it pay twice.

use std::future::Future;

use alys_chain::peg::{Attempt, Batch, Coin, Payee, PegLedger};
use alys_primitives::{B256, PegOutId, Sats};
use bitcoin::ScriptBuf;
use bitcoin::psbt::Psbt;
use serde::{Deserialize, Serialize};

pub use journal::{JournalError, SignedPayments};
pub use policy::{Policy, PolicyRefusal};
pub use process::{OwnSigner, SignerServer};
pub use socket::SocketSigner;

use crate::signing::SigningError;

mod journal;
mod policy;
mod process;
mod socket;

/// A coin to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobCoin {
    /// The transaction that made it, internal byte order.
    pub txid: B256,
    /// Its output.
    pub vout: u32,
    /// Its worth in satoshis.
    pub value: u64,
}

/// Somebody to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The block that holds the burn.
    pub block_root: B256,
    /// The burn's log there.
    pub log_index: u64,
    /// Where to.
    pub script: ScriptBuf,
    /// What was burned, in satoshis; the fee comes out of it.
    pub amount: u64,
}

impl JobRequest {
    fn id(&self) -> (B256, u64) {
        (self.block_root, self.log_index)
    }
}

/// All that a payment follows from, in the order in which the chain has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentJob {
    /// The batch.
    pub batch: u64,
    /// Number of the attempt, from 0.
    pub attempt: u64,
    /// Satoshis per 1000 virtual bytes.
    pub fee_rate: u64,
    /// Script of the custody that the coins belong to.
    pub from: ScriptBuf,
    /// Script of the custody that a sweep brings them to; for a payment the same as `from`.
    pub to: ScriptBuf,
    /// The coins that the payment spends.
    pub coins: Vec<JobCoin>,
    /// Whom it pays; nobody for a sweep.
    pub requests: Vec<JobRequest>,
    /// The transaction that the chain recorded, internal byte order.
    pub txid: B256,
}

impl PaymentJob {
    /// The job of an attempt at a batch of this ledger; `None` for a batch of another one.
    pub fn of(ledger: &PegLedger, batch: &Batch, number: usize, attempt: &Attempt) -> Option<Self> {
        let request = |id: &PegOutId| {
            let payee = ledger.find_request(id)?.payee();
            let (block_root, log_index) = (id.block_root, id.log_index);
            Some(JobRequest { block_root, log_index, script: payee.script, amount: payee.amount.0 })
        };
        let script = |number| Some(ScriptBuf::from_bytes(ledger.custody(number)?.script.clone()));
        let coin = |coin: &Coin| JobCoin { txid: coin.txid, vout: coin.vout, value: coin.value.0 };
        Some(Self {
            batch: batch.number,
            attempt: u64::try_from(number).ok()?,
            fee_rate: attempt.fee_rate,
            from: script(batch.custody)?,
            to: script(batch.sweeps_to)?,
            coins: batch.coins.iter().map(coin).collect(),
            requests: batch.requests.iter().map(request).collect::<Option<_>>()?,
            txid: attempt.txid,
        })
    }

    fn coins(&self) -> Vec<Coin> {
        let coin = |coin: &JobCoin| Coin {
            txid: coin.txid,
            vout: coin.vout,
            value: Sats(coin.value),
            batch: self.batch,
            custody: 0,
        };
        self.coins.iter().map(coin).collect()
    }

    fn payees(&self) -> Vec<Payee> {
        let payee = |request: &JobRequest| Payee { script: request.script.clone(), amount: Sats(request.amount) };
        self.requests.iter().map(payee).collect()
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signer does not want to.
    #[error("the signer refuses: {0}")]
    Refused(#[from] PolicyRefusal),
    /// The signer, in its own process, does not want to.
    #[error("the signer refuses: {reason}")]
    RefusedThere {
        /// Its words, cut short.
        reason: String,
    },
    /// The signer has no key of the custody that the coins belong to: others sign.
    #[error("no key of this custody is here")]
    NoKey,
    /// The key can't sign this.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// What was signed can't be remembered, so nothing is.
    #[error("the record of signed payments")]
    Journal(#[from] JournalError),
    /// Nobody answers.
    #[error("the signer at {path} does not answer: {reason}")]
    Unavailable {
        /// The socket.
        path: String,
        /// What happened.
        reason: String,
    },
}

/// Signs payments with one member's key.
pub trait Signer: Send + 'static {
    /// The payment with this member's signatures.
    fn sign(&mut self, job: &PaymentJob) -> impl Future<Output = Result<Psbt, SignerError>> + Send;
}
