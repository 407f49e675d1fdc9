//! Who signs payments for this member.

use crate::clock::wall_now;
use alys_bitcoin::signer::{OwnSigner, Policy, SignedPayments, SocketSigner};
use alys_bitcoin::{CustodyKey, PaymentJob, Signer, SignerError};
use alys_chain::peg::PegRules;
use bitcoin::psbt::Psbt;

/// Where the member's custody key is.
#[derive(Clone, Debug, Default)]
pub enum CustodyChoice {
    /// Nowhere: the node is no member, or leaves payments to the others.
    #[default]
    Absent,
    /// In this process.
    Here(CustodyKey),
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
            CustodyChoice::Here(key) => {
                let policy = Policy::new(rules.spec(), rules.custody().clone(), None);
                let clock: fn() -> u64 = seconds;
                Self::Here(Box::new(OwnSigner::new(key.clone(), policy, SignedPayments::in_memory(), clock)))
            }
            CustodyChoice::Elsewhere(socket) => Self::Elsewhere(socket.clone()),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The payment with this member's signatures; none if nobody signs here.
    pub(super) async fn sign(&mut self, job: &PaymentJob) -> Result<Option<Psbt>, SignerError> {
        match self {
            Self::Absent => Ok(None),
            Self::Here(signer) => signer.sign(job).await.map(Some),
            Self::Elsewhere(signer) => signer.sign(job).await.map(Some),
        }
    }
}

fn seconds() -> u64 {
    wall_now().0 / 1000
}
