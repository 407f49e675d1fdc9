//! The signer: holds the member's key and the signing record. Nothing else in the node can sign.

use super::Fatal;
use crate::trouble::Trouble;
use alys_actor::{Actor, Context, Message, Reply};
use alys_chain::{SignRefusal, SignRequest};
use alys_crypto::SecretKey;
use alys_primitives::SignatureBytes;
use alys_store::signing::{RecordIdentity, Refusal, SigningError, SigningRecord};
use std::path::PathBuf;
use std::sync::Arc;

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
}

impl Message for SignerMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
        }
    }
}

/// Signs proposals and approvals after their intent is on disk.
pub struct SignerActor {
    key: Arc<SecretKey>,
    path: PathBuf,
    identity: RecordIdentity,
    /// Open while the incarnation lives; a new one reads the file again.
    record: Option<SigningRecord>,
    fatal: Fatal,
}

/// Why the signer ends.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signing record can't be opened.
    #[error("the signing record can't be opened")]
    Record(#[from] SigningError),
}

impl SignerActor {
    /// An actor that signs with `key` what the record at `path` allows.
    pub fn new(key: Arc<SecretKey>, path: PathBuf, identity: RecordIdentity, fatal: Fatal) -> Self {
        Self { key, path, identity, record: None, fatal }
    }

    fn sign(&mut self, request: &SignRequest) -> Result<SignatureBytes, SignRefusal> {
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
        }
        Ok(())
    }
}
