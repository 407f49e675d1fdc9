//! What the sync actor takes.

use alys_actor::{AskError, Message, Overflow};
use alys_chain::{ImportOutcome, VerifyError};
use alys_p2p::{BlockRange, PeerId, RequestError, Response};
use alys_primitives::{Height, Root};

/// A peer's answer, or that there is none.
#[derive(Debug)]
pub struct Fetched {
    /// Which attempt asked.
    pub attempt: u64,
    /// Whom.
    pub peer: PeerId,
    /// For what.
    pub range: BlockRange,
    /// The answer.
    pub result: Result<Result<Response, RequestError>, AskError>,
}

/// Everything comes from the actor's own timer and questions.
#[derive(Debug)]
pub enum SyncMessage {
    /// Time to see whether anything is missing.
    LookAround,
    /// A peer answered.
    Fetched(Fetched),
    /// The chain has taken a run, or not.
    Imported {
        /// Which attempt asked.
        attempt: u64,
        /// Who gave the run.
        peer: PeerId,
        /// Its last block.
        last: (Height, Root),
        /// Its number of blocks.
        count: u64,
        /// What became of the last block.
        result: Result<Result<ImportOutcome, VerifyError>, AskError>,
    },
}

impl Message for SyncMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::LookAround => Overflow::Coalesce,
            Self::Fetched(_) | Self::Imported { .. } => Overflow::Wait,
        }
    }

    fn key(&self) -> Option<u64> {
        match self {
            Self::LookAround => Some(0),
            Self::Fetched(_) | Self::Imported { .. } => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::LookAround => "look_around",
            Self::Fetched(_) => "fetched",
            Self::Imported { .. } => "imported",
        }
    }
}
