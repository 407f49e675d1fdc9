//! Facts that the outside tells the core.

use crate::{peg::PegOffer, verify::Verified};
use alys_primitives::{
    Approval, AuxPowRecord, Burns, Evidence, ExecutionPayload, ExecutionRequests, FederationChange, Notarization,
    Pause, SignatureBytes, SignedBlock, Wei,
};

/// Names a [`crate::Effect::Build`] and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(pub u64);

/// Names a [`crate::Effect::Execute`] and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u64);

/// Names a [`crate::Effect::Sign`] and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignId(pub u64);

/// Names a [`crate::Effect::Persist`] and its answer. Ids rise by one from batch to batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Names a peer for as long as it is connected; the number means nothing to the core but "the same one".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerTag(pub u64);

/// One fact. The order of facts decides everything that follows; nothing else does.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "an input is moved once and never kept")]
pub enum Input {
    /// Time passed; due no later than [`crate::Chain::poll_timeout`] says.
    Tick,
    /// A block from a peer, from an import, or our own. Answered by [`crate::Effect::Imported`].
    Block(Verified<SignedBlock>),
    /// As [`Input::Block`], from a peer that has only its share of the place for waiting blocks.
    PeerBlock {
        /// The block.
        block: Verified<SignedBlock>,
        /// Who brought it.
        peer: PeerTag,
    },
    /// A member's approval.
    Approval(Verified<Approval>),
    /// A certificate.
    Notarization(Verified<Notarization>),
    /// Work that a miner or a peer brought. Answered by [`crate::Effect::AuxPowProcessed`].
    AuxPow(Verified<AuxPowRecord>),
    /// Proofs of equivocation.
    Evidence(Verified<Evidence>),
    /// A change of the federation that a quorum signed. Answered by [`crate::Effect::FederationProcessed`].
    FederationChange(Verified<FederationChange>),
    /// A quorum's decision about pausing the peg. Answered by [`crate::Effect::PauseProcessed`].
    Pause(Verified<Pause>),
    /// What this node's Bitcoin suggests for blocks of ours; replaces what was suggested before. Never kept.
    Peg(Box<PegOffer>),
    /// Answers [`crate::Effect::Build`].
    Built {
        /// Which.
        id: BuildId,
        /// The payload, or that there is none now.
        result: Result<Built, Unavailable>,
    },
    /// Answers [`crate::Effect::Execute`].
    Executed {
        /// Which.
        id: ExecutionId,
        /// What came out.
        outcome: ExecutionOutcome,
    },
    /// Answers [`crate::Effect::Sign`].
    Signed {
        /// Which.
        id: SignId,
        /// The signature, or why the signer gives none.
        result: Result<SignatureBytes, SignRefusal>,
    },
    /// Answers [`crate::Effect::Persist`]: this batch **and every batch before it** are synced. One answer for the
    /// newest batch of a group commit is enough.
    Durable {
        /// The newest synced batch.
        id: BatchId,
    },
}

/// A payload that was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The payload.
    pub payload: ExecutionPayload,
    /// The EIP-7685 requests that its execution produced.
    pub requests: ExecutionRequests,
}

/// Something outside gave no answer; asking again may help. Says nothing about any block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unavailable: {reason}")]
pub struct Unavailable {
    /// What happened, for logs.
    pub reason: String,
}

/// What came out of executing a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutionOutcome {
    /// Everything that the payload claims holds.
    Valid {
        /// Base and priority fees together in wei, computed from receipts that were checked against the receipts root.
        fees: Wei,
        /// What the bridge contract logged, in order.
        burns: Burns,
    },
    /// The payload is wrong; blames the block.
    Invalid {
        /// What was wrong.
        reason: String,
    },
    /// The engine lacks ancestors; says nothing about the block, which is tried again.
    Syncing,
    /// The engine gave no answer; says nothing about the block, which is tried again.
    Unavailable {
        /// What happened, for logs.
        reason: String,
    },
}

/// Why the signer gives no signature. None of these is an error of the core: it goes on without the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignRefusal {
    /// The signing record holds a different message for the slot, or a later slot, or a greater parent height.
    #[error("the signing record does not allow it")]
    Recorded,
    /// Clocks disagree, or the doppelganger wait is on.
    #[error("signing is suspended")]
    Suspended,
    /// The signer or its record can't be reached.
    #[error("the signer gives no answer")]
    Unavailable,
}
