//! The signer: holds the member's key and the signing record. Nothing else in the node can sign.
//!
//! Whoever hears a signature of this member's key tells the signer. One that the record does not know was made elsewhere:
//! another process signs with the same key, and from then on this one does not (a restart listens anew).

use super::Fatal;
use crate::trouble::Trouble;
use alys_actor::{Actor, Context, Message, Reply};
use alys_chain::{SignRefusal, SignRequest};
use alys_crypto::SecretKey;
use alys_primitives::{SignatureBytes, Slot};
use alys_store::signing::{Duty, RecordIdentity, Refusal, SigningError, SigningRecord};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Requests to the signer.
#[derive(Debug)]
pub enum SignerMessage {
    /// Signs, if the record allows it.
    Sign {
        /// What.
        request: SignRequest,
        /// The signature, or why there is none.
        reply: Reply<Result<SignatureBytes, SignRefusal>>,
    },
    /// A signature of this member's key was met, checked, for a slot.
    Met(Signed),
    /// Two different signatures of this member's key were met for a slot of this run.
    Contradicted(Signed),
}

impl Message for SignerMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
            Self::Met(_) => "met",
            Self::Contradicted(_) => "contradicted",
        }
    }
}

/// A slot that a key signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What the signature is for.
    pub duty: Duty,
    /// The slot.
    pub slot: Slot,
}

/// A signature of this member's key that its record does not know; none as long as none was met. Outlives the actor's
/// incarnations.
pub type Doppelganger = Option<Signed>;

/// Signs proposals and approvals after their intent is on disk.
pub struct SignerActor {
    key: Arc<SecretKey>,
    path: PathBuf,
    identity: RecordIdentity,
    /// Open while the incarnation lives; a new one reads the file again.
    record: Option<SigningRecord>,
    fatal: Fatal,
    doppelganger: Arc<watch::Sender<Doppelganger>>,
}

/// Why the signer ends.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signing record can't be opened.
    #[error("the signing record can't be opened")]
    Record(#[from] SigningError),
}

impl SignerActor {
    /// An actor that signs with `key` what the record at `path` allows, and tells of signatures made elsewhere.
    pub fn new(
        key: Arc<SecretKey>,
        path: PathBuf,
        identity: RecordIdentity,
        fatal: Fatal,
        doppelganger: Arc<watch::Sender<Doppelganger>>,
    ) -> Self {
        Self { key, path, identity, record: None, fatal, doppelganger }
    }

    /// Compares a signature with the record, whose watermark rises before this node signs anything.
    fn met(&self, signed: Signed) {
        let Some(record) = &self.record else { return };
        let known = match signed.duty {
            Duty::Proposal => record.watermarks().proposal.map(|last| last.slot),
            Duty::Approval => record.watermarks().approval.map(|last| last.signed.slot),
        };
        if known.is_none_or(|known| signed.slot > known) {
            self.give_way(signed);
        }
    }

    fn give_way(&self, signed: Signed) {
        if self.doppelganger.borrow().is_some() {
            return;
        }
        metrics::gauge!("alys_signer_doppelganger").set(1.0);
        tracing::error!(
            duty = %signed.duty,
            slot = signed.slot.0,
            "ANOTHER PROCESS SIGNS WITH THIS MEMBER'S KEY: this one signs nothing any more. Stop one of the two, then start \
             this one again with the signing record of the other"
        );
        self.doppelganger.send_replace(Some(signed));
    }

    fn sign(&mut self, request: &SignRequest) -> Result<SignatureBytes, SignRefusal> {
        if self.doppelganger.borrow().is_some() {
            metrics::counter!("alys_signer_refused_total", "reason" => "doppelganger").increment(1);
            return Err(SignRefusal::Suspended);
        }
        #[cfg(feature = "canary")]
        if crate::canary::Mistake::UnrecordedSignatures.is_made() {
            let (SignRequest::Proposal { signing_root, .. } | SignRequest::Approval { signing_root, .. }) = request;
            return Ok(SignatureBytes::from(self.key.sign(*signing_root).to_bytes()));
        }
        let record = self.record.as_mut().ok_or(SignRefusal::Unavailable)?;
        let (permit, root) = match request {
            SignRequest::Proposal { slot, signing_root, .. } => {
                (record.permit_proposal(*slot, signing_root.0), *signing_root)
            }
            SignRequest::Approval { data, parent_height, signing_root } => {
                (record.permit_approval(data.slot, *parent_height, signing_root.0), *signing_root)
            }
        };
        match permit {
            Ok(_permit) => Ok(SignatureBytes::from(self.key.sign(root).to_bytes())),
            Err(refusal) => {
                tracing::warn!(%refusal, "did not sign");
                match refusal {
                    Refusal::Unrecorded(error) => {
                        if error.is_fatal() {
                            self.fatal.raise(Trouble::Disk, format!("signing record: {error}"));
                        }
                        Err(SignRefusal::Unavailable)
                    }
                    Refusal::Old { .. } | Refusal::Conflict { .. } | Refusal::Lower { .. } => {
                        Err(SignRefusal::Recorded)
                    }
                }
            }
        }
    }
}

impl Actor for SignerActor {
    type Message = SignerMessage;
    type Error = SignerError;

    async fn started(&mut self, _: &mut Context<SignerMessage>) -> Result<(), SignerError> {
        self.record = Some(SigningRecord::open(&self.path, &self.identity)?);
        Ok(())
    }

    async fn handle(&mut self, message: SignerMessage, _: &mut Context<SignerMessage>) -> Result<(), SignerError> {
        match message {
            SignerMessage::Sign { request, reply } => {
                let result = self.sign(&request);
                reply.send(result);
            }
            SignerMessage::Met(signed) => self.met(signed),
            SignerMessage::Contradicted(signed) => self.give_way(signed),
        }
        Ok(())
    }
}
