//! The ends of the actors' ports: whatever is asked of others goes into one queue, in order.

use alys_actor::{Actor, Context, Reply};
use alys_chain::{AuxPowError, FederationError, VerifyError, peg::PauseError};
use alys_chain::{Built, ExecutionOutcome, ForkchoiceUpdate, ImportOutcome, PayloadAttributes, Unavailable};
use alys_node::actors::chain::{BlockWitness, Knowledge};
use alys_node::actors::signer::SignerMessage;
use alys_node::actors::storage::StorageMessage;
use alys_p2p::Verdict;
use alys_primitives::{B256, ExecutionPayload, Root};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// What leaves the actors of one machine.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "moved once, and never many")]
pub(crate) enum Out {
    Storage(StorageMessage),
    Signer(SignerMessage),
    Build {
        parent: B256,
        attributes: PayloadAttributes,
        reply: oneshot::Sender<Result<Built, Unavailable>>,
    },
    Execute {
        payload: ExecutionPayload,
        reply: oneshot::Sender<ExecutionOutcome>,
    },
    Forkchoice(ForkchoiceUpdate),
    Bitcoin {
        blocks: Vec<B256>,
        reply: oneshot::Sender<bool>,
    },
    /// The chain's answer about a message of gossip.
    Judged {
        block: Option<(Root, Root)>,
        verdict: Option<Verdict>,
    },
    /// Its answer about a run of blocks.
    RangeImported {
        refused: bool,
    },
    /// Its answer about a block.
    Imported {
        root: Root,
        outcome: Result<ImportOutcome, VerifyError>,
    },
    Worked {
        hash: Root,
        outcome: Result<(), AuxPowError>,
    },
    Changed {
        change_root: Root,
        outcome: Result<(), FederationError>,
    },
    Paused {
        pause_root: Root,
        outcome: Result<(), PauseError>,
    },
    /// The execution actor was made to fail.
    Failed,
    /// The engine was asked for what it never may be.
    Broken(String),
    /// The supervision tree has ended.
    Ended,
}

/// The queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Arc<Mutex<VecDeque<Out>>>);

impl Outbox {
    pub(crate) fn push(&self, out: Out) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(out);
    }

    pub(crate) fn take(&self) -> VecDeque<Out> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stands in the place of the storage actor.
pub(crate) struct StoragePort(pub(crate) Outbox);

impl Actor for StoragePort {
    type Message = StorageMessage;
    type Error = Infallible;

    async fn handle(&mut self, message: StorageMessage, _: &mut Context<StorageMessage>) -> Result<(), Infallible> {
        self.0.push(Out::Storage(message));
        Ok(())
    }
}

/// Stands in the place of the signer.
pub(crate) struct SignerPort(pub(crate) Outbox);

impl Actor for SignerPort {
    type Message = SignerMessage;
    type Error = Infallible;

    async fn handle(&mut self, message: SignerMessage, _: &mut Context<SignerMessage>) -> Result<(), Infallible> {
        self.0.push(Out::Signer(message));
        Ok(())
    }
}

/// The world's Bitcoin.
pub(crate) struct BitcoinPort(pub(crate) Outbox);

impl BlockWitness for BitcoinPort {
    fn has_all(&self, blocks: Vec<BlockHash>) -> Knowledge {
        let outbox = self.0.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let blocks = blocks.into_iter().map(|block| B256::from(block.to_byte_array())).collect();
            outbox.push(Out::Bitcoin { blocks, reply });
            // No answer: not known.
            Ok(answer.await.unwrap_or(false))
        })
    }
}

/// Answers that the world owes.
pub(crate) type SignReply = Reply<Result<alys_primitives::SignatureBytes, alys_chain::SignRefusal>>;
