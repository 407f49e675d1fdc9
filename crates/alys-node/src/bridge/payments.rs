//! Signing and sending the chain's payments.

use alys_bitcoin::signing::decode_psbt;
use alys_bitcoin::{SignerError, SigningError, SigningSession};
use alys_chain::peg::{Attempt, Batch, PaymentError, PegLedger, PegRules};
use alys_primitives::{B256, Height};
use bitcoin::Transaction;
use bitcoin::hashes::Hash as _;
use std::collections::BTreeMap;

/// How far a payment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The block that carries it is not final: nobody signs yet.
    AwaitsFinality,
    /// The federation holds payments: nobody signs, and nothing is sent.
    Held,
    /// Signatures are missing.
    Signing,
    /// Enough members have signed; it was not sent from here yet.
    Complete,
    /// It was sent and is not in a block.
    Broadcast,
    /// It is in a Bitcoin block.
    Confirmed {
        /// Height of that block.
        height: u32,
    },
}

/// The newest payment of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentStatus {
    /// The transaction, internal byte order.
    pub txid: B256,
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// How far it has come.
    pub state: PaymentState,
    /// Members whose signatures are known here.
    pub signers: usize,
    /// Members that must sign.
    pub threshold: usize,
}

/// Why a payment is not signed. Each of these is a bug or a wrong key, and an operator must know.
#[derive(Debug, thiserror::Error)]
pub(super) enum PaymentFailure {
    /// It can't be derived.
    #[error("the payment can't be derived")]
    Derive(#[from] PaymentError),
    /// It is not the one that the chain recorded.
    #[error("derived transaction {derived}, the chain recorded {recorded}")]
    Differs {
        /// Derived here.
        derived: B256,
        /// Recorded by the chain.
        recorded: B256,
    },
    /// It can't be put together.
    #[error("the payment can't be put together")]
    Session(#[from] SigningError),
    /// The member's signer did not sign it.
    #[error("not signed here")]
    Signer(#[from] SignerError),
}

/// One payment's signatures.
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) session: SigningSession,
    /// Whether our own signature is among them.
    pub(super) is_signed_here: bool,
    /// The round from which on our signer is asked, again if it did not answer.
    pub(super) ask_from: u64,
}

/// The payments that this node is signing, by batch and attempt.
#[derive(Debug, Default)]
pub(super) struct Payments {
    sessions: BTreeMap<(u64, usize), Signing>,
}

/// The newest attempt at a batch whose block is final, with its number.
pub(super) fn newest_final(batch: &Batch, finalized: Height) -> Option<(usize, &Attempt)> {
    batch.attempts.iter().enumerate().rfind(|(_, attempt)| attempt.height <= finalized)
}

impl Payments {
    /// Forgets sessions of batches that have settled or were reorganised away.
    pub(super) fn keep(&mut self, ledger: &PegLedger) {
        self.sessions.retain(|(number, attempt), signing| {
            let batch = ledger.batches().iter().find(|batch| batch.number == *number);
            let attempt = batch.and_then(|batch| batch.attempts.get(*attempt));
            attempt.is_some_and(|attempt| attempt.txid == signing.session.payment().txid())
        });
    }

    /// Whether a payment is being signed here.
    pub(super) fn knows(&self, txid: &B256) -> bool {
        self.sessions.values().any(|signing| signing.session.payment().txid() == *txid)
    }

    /// Takes a PSBT from outside into the session about its transaction; gives how many members signed in it that had not
    /// before. A payment that we have not derived ourselves is none of ours, yet: its signers send again.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, SigningError> {
        let psbt = decode_psbt(bytes)?;
        let txid = B256::from(psbt.unsigned_tx.compute_txid().to_byte_array());
        let signing = self.sessions.values_mut().find(|signing| signing.session.payment().txid() == txid);
        signing.map_or(Ok(0), |signing| signing.session.add(&psbt))
    }

    /// The signatures of an attempt. The caller has seen that the block which carries the attempt is final.
    pub(super) fn signing(
        &mut self,
        rules: &PegRules,
        ledger: &PegLedger,
        batch: &Batch,
        attempt: (usize, &Attempt),
    ) -> Result<&mut Signing, PaymentFailure> {
        use std::collections::btree_map::Entry;
        match self.sessions.entry((batch.number, attempt.0)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let payment = ledger.payment(rules, batch, attempt.1)?;
                if payment.txid() != attempt.1.txid {
                    let (derived, recorded) = (payment.txid(), attempt.1.txid);
                    return Err(PaymentFailure::Differs { derived, recorded });
                }
                let number = batch.custody;
                let custody = rules.custody_of(ledger, number).ok_or(PaymentError::UnknownCustody { number })?;
                let session = SigningSession::new(custody, payment)?;
                Ok(entry.insert(Signing { session, is_signed_here: false, ask_from: 0 }))
            }
        }
    }
}

/// The signed transaction, if enough members have signed.
pub(super) fn signed(session: &SigningSession) -> Result<Option<Transaction>, PaymentFailure> {
    if !session.is_complete() {
        return Ok(None);
    }
    Ok(Some(session.assemble()?))
}
