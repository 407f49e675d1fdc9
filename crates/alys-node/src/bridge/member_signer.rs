//! Who signs payments for this member.

use crate::clock::wall_now;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments, SocketSigner};
use alys_bitcoin::{CustodyKey, PaymentJob, Signer, SignerError};
use alys_chain::peg::{PegLedger, PegRules};
use bitcoin::psbt::Psbt;

/// Where the member's custody key is.
#[derive(Clone, Debug, Default)]
pub enum CustodyChoice {
    /// Nowhere: the node is no member, or leaves payments to the others.
    #[default]
    Absent,
    /// In this process: the keys of all epochs that the member has been part of.
    Here(Vec<CustodyKey>),
    /// In a process of its own.
    Elsewhere(SocketSigner),
}

/// The signer of one incarnation of the bridge.
pub(super) enum MemberSigner {
    Absent,
    Here(Box<OwnSigner<fn() -> u64>>),
    Elsewhere(SocketSigner),
}

impl MemberSigner {
    pub(super) fn new(choice: &CustodyChoice, rules: &PegRules) -> Self {
        match choice {
            CustodyChoice::Absent => Self::Absent,
            CustodyChoice::Here(keys) => {
                let policy = Policy::new(rules.spec(), vec![rules.custody().clone()], None);
                let clock: fn() -> u64 = seconds;
                Self::Here(Box::new(OwnSigner::new(keys.clone(), policy, SignedPayments::in_memory(), clock)))
            }
            CustodyChoice::Elsewhere(socket) => Self::Elsewhere(socket.clone()),
        }
    }

    /// The federation has changed: the signer in this process knows the custodies as the chain does. One in a process of its
    /// own is told by its operator, and takes nobody's word.
    pub(super) fn follow(&mut self, rules: &PegRules, ledger: &PegLedger) {
        if let Self::Here(signer) = self {
            let mut entries: Vec<_> = ledger.custodies().iter().collect();
            entries.sort_by_key(|entry| (entry.is_current, entry.retired_at, entry.number));
            let custodies = entries.into_iter().filter_map(|entry| rules.custody_by(&entry.custodians).ok()).collect();
            signer.set_policy(Policy::new(rules.spec(), custodies, None));
        }
    }

    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The payment with this member's signatures; none if nobody signs here.
    pub(super) async fn sign(&mut self, job: &PaymentJob) -> Result<Option<Psbt>, SignerError> {
        match self {
            Self::Absent => Ok(None),
            Self::Here(signer) => own(signer.sign(job).await),
            Self::Elsewhere(signer) => own(signer.sign(job).await),
        }
    }
}

/// Who has no key of a custody leaves its payments to the others.
fn own(signed: Result<Psbt, SignerError>) -> Result<Option<Psbt>, SignerError> {
    match signed {
        Err(SignerError::NoKey) => Ok(None),
        other => other.map(Some),
    }
}

fn seconds() -> u64 {
    wall_now().0 / 1000
}
