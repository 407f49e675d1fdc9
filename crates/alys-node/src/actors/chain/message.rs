//! What the chain actor takes.

use super::gossip::{Heard, NotHeard};
use super::range::{RangeReply, VerifiedRange};
use super::requests::{BroadcastError, NotFinal, ProduceError, ReorgError};
use alys_actor::{Message, Overflow, Reply};
use alys_chain::peg::{PauseError, PegOffer};
use alys_chain::{
    AuxPowError, AuxTemplate, BatchId, BlockRef, BuildId, Built, ChainView, ExecutionId, ExecutionOutcome,
    FederationError, ImportOutcome, Message as Gossip, PeerTag, SignId, SignRefusal, SignRequest, TemplateError,
    Unavailable, Verified, VerifyError,
};
use alys_p2p::Verdict;
use alys_primitives::{
    Address, AuxPowRecord, FederationChange, Height, Notarization, Pause, Root, SignatureBytes, SignedBlock,
};

/// Requests of other actors, and answers to the chain's own requests.
#[derive(Debug)]
pub enum ChainMessage {
    /// Checks a block and takes it in; answered when it is durable, rejected or set aside.
    ImportBlock {
        /// The block, bounded and decoded.
        block: Box<SignedBlock>,
        /// What became of it.
        reply: Reply<Result<ImportOutcome, VerifyError>>,
    },
    /// Checks a block's form, signatures, certificate and work without taking it in.
    ValidateBlock {
        /// The block, bounded and decoded.
        block: Box<SignedBlock>,
        /// The first broken rule, if any.
        reply: Reply<Result<(), VerifyError>>,
    },
    /// A message of gossip: judged when its signatures are checked, then taken in.
    Gossip {
        /// Anything but work, bounded and decoded.
        message: Box<Gossip>,
        /// Who passed it on.
        peer: PeerTag,
        /// What the network is to do with it.
        reply: Reply<Verdict>,
    },
    /// A message of gossip that was verified off the actor.
    Heard {
        /// It with its proof, or what is wrong with it.
        result: Result<Heard, NotHeard>,
        /// Who passed it on.
        peer: PeerTag,
        /// What the network is to do with it.
        reply: Reply<Verdict>,
    },
    /// A run of blocks, parents first; answered when the last one is durable or rejected.
    ImportRange {
        /// The blocks, bounded and decoded.
        blocks: Vec<SignedBlock>,
        /// Who gave them.
        peer: PeerTag,
        /// The last block's certificate; the others' stand in their children.
        certificate: Option<Box<Notarization>>,
        /// What became of the last block.
        reply: RangeReply,
    },
    /// A run that was verified off the actor.
    RangeVerified {
        /// The run with its proofs, or the first broken rule.
        result: Result<Box<VerifiedRange>, VerifyError>,
        /// Who gave it.
        peer: PeerTag,
        /// Who asked for it.
        reply: RangeReply,
    },
    /// Queues a proof of work for inclusion; answered when it is durable.
    ProcessAuxPow {
        /// The bundle with its proof.
        record: Box<AuxPowRecord>,
        /// Whether the chain took it.
        reply: Reply<Result<(), AuxPowError>>,
    },
    /// What this node's Bitcoin suggests for the next block of ours.
    PegOffer(Box<PegOffer>),
    /// A bundle to mine on, paid to an address.
    AuxPowTemplate {
        /// Who is paid.
        payout: Address,
        /// The template, or why there is none now.
        reply: Reply<Result<AuxTemplate, TemplateError>>,
    },
    /// Waits for this member's next block; answered when it is durable, or when it can't come.
    ProduceBlock {
        /// The block.
        reply: Reply<Result<BlockRef, ProduceError>>,
    },
    /// Tells the peers of a stored block again.
    BroadcastBlock {
        /// The block.
        root: Root,
        /// Whether there is such a block.
        reply: Reply<Result<(), BroadcastError>>,
    },
    /// Queues a change of the federation that a quorum signed for the next author; answered when it waits.
    UpdateFederation {
        /// The change.
        change: Box<FederationChange>,
        /// The rule that it breaks, if any.
        reply: Reply<Result<(), FederationError>>,
    },
    /// Queues a decision about pausing the peg that a quorum signed for the next author; answered when it waits.
    PausePeg {
        /// The decision.
        pause: Box<Pause>,
        /// The rule that it breaks, if any.
        reply: Reply<Result<(), PauseError>>,
    },
    /// A decision about pausing that was verified off the actor.
    PauseVerified {
        /// The decision with its proof, or the broken rule.
        result: Result<Box<Verified<Pause>>, PauseError>,
        /// Who asked for it.
        reply: Reply<Result<(), PauseError>>,
    },
    /// A change of the federation that was verified off the actor.
    FederationVerified {
        /// The change with its proof, or the broken rule.
        result: Result<Box<Verified<FederationChange>>, FederationError>,
        /// Who asked for it.
        reply: Reply<Result<(), FederationError>>,
    },
    /// Asks whether every block up to a height is final. Nothing makes a block final but work (protocol section 6): what
    /// is missing is the answer.
    FinalizeBlocks {
        /// The height.
        to: Height,
        /// The newest finalized block, or what this height waits for.
        reply: Reply<Result<BlockRef, NotFinal>>,
    },
    /// Asks the chain to follow the branch of a block. The rules choose the head (protocol section 4), nobody else: what
    /// speaks against the branch is the answer.
    ReorgChain {
        /// A block of the branch.
        to: Root,
        /// The head, if the block is on its chain.
        reply: Reply<Result<BlockRef, ReorgError>>,
    },
    /// Head, safe, finalized and the rest of the published view.
    GetChainStatus {
        /// The view.
        reply: Reply<ChainView>,
    },
    /// A block that was verified off the actor.
    BlockVerified {
        /// The block with its proof, or what is wrong with it.
        result: Result<Box<Verified<SignedBlock>>, VerifyError>,
        /// Who asked for it, if somebody did.
        reply: Option<Reply<Result<ImportOutcome, VerifyError>>>,
    },
    /// A proof of work that was verified off the actor.
    AuxPowVerified {
        /// The record with its proof, or the broken rule.
        result: Result<Box<Verified<AuxPowRecord>>, AuxPowError>,
        /// Who asked for it.
        reply: Reply<Result<(), AuxPowError>>,
    },
    /// Nothing: something from outside did not verify and was counted.
    Discarded,
    /// A payload was built, or can't be now.
    Built {
        /// The request.
        id: BuildId,
        /// The payload.
        result: Result<Box<Built>, Unavailable>,
    },
    /// A payload was executed, or can't be now.
    Executed {
        /// The request.
        id: ExecutionId,
        /// What the engine said.
        outcome: ExecutionOutcome,
    },
    /// This node's Bitcoin was asked about what a proposal relies on.
    Judged {
        /// The request to approve it.
        id: SignId,
        /// What would be signed.
        request: SignRequest,
        /// Whether everything is on its best branch.
        known: bool,
    },
    /// The signer signed, or refused.
    Signed {
        /// The request.
        id: SignId,
        /// The signature.
        result: Result<SignatureBytes, SignRefusal>,
    },
    /// Writes are on disk, or the storage did not answer and they must be written again.
    Written {
        /// The batches of the write.
        ids: Vec<BatchId>,
        /// Whether storage confirmed them.
        durable: bool,
    },
    /// Try the write in hand again.
    RetryWrite,
    /// The chain asked to be woken at about this time.
    Tick,
}

impl Message for ChainMessage {
    fn overflow(&self) -> Overflow {
        match self {
            Self::ImportBlock { .. }
            | Self::ValidateBlock { .. }
            | Self::ProcessAuxPow { .. }
            | Self::Gossip { .. }
            | Self::ImportRange { .. }
            | Self::AuxPowTemplate { .. }
            | Self::ProduceBlock { .. }
            | Self::BroadcastBlock { .. }
            | Self::UpdateFederation { .. }
            | Self::PausePeg { .. }
            | Self::FinalizeBlocks { .. }
            | Self::ReorgChain { .. } => Overflow::Reject,
            Self::PegOffer(_) => Overflow::Coalesce,
            Self::GetChainStatus { .. }
            | Self::BlockVerified { .. }
            | Self::Heard { .. }
            | Self::RangeVerified { .. }
            | Self::AuxPowVerified { .. }
            | Self::FederationVerified { .. }
            | Self::PauseVerified { .. }
            | Self::Discarded
            | Self::Built { .. }
            | Self::Executed { .. }
            | Self::Judged { .. }
            | Self::Signed { .. }
            | Self::Written { .. }
            | Self::RetryWrite
            | Self::Tick => Overflow::Wait,
        }
    }

    /// A newer offer takes the place of one that waits.
    fn key(&self) -> Option<u64> {
        matches!(self, Self::PegOffer(_)).then_some(0)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::PegOffer(_) => "peg_offer",
            Self::ImportBlock { .. } => "import",
            Self::ValidateBlock { .. } => "validate",
            Self::Gossip { .. } => "gossip",
            Self::Heard { .. } => "heard",
            Self::ImportRange { .. } => "import_range",
            Self::RangeVerified { .. } => "range_verified",
            Self::ProcessAuxPow { .. } => "process_auxpow",
            Self::AuxPowTemplate { .. } => "auxpow_template",
            Self::ProduceBlock { .. } => "produce",
            Self::BroadcastBlock { .. } => "broadcast",
            Self::UpdateFederation { .. } => "update_federation",
            Self::FederationVerified { .. } => "federation_verified",
            Self::PausePeg { .. } => "pause_peg",
            Self::PauseVerified { .. } => "pause_verified",
            Self::FinalizeBlocks { .. } => "finalize",
            Self::ReorgChain { .. } => "reorg",
            Self::GetChainStatus { .. } => "status",
            Self::BlockVerified { .. } => "block_verified",
            Self::AuxPowVerified { .. } => "auxpow_verified",
            Self::Discarded => "discarded",
            Self::Built { .. } => "built",
            Self::Executed { .. } => "executed",
            Self::Judged { .. } => "judged",
            Self::Signed { .. } => "signed",
            Self::Written { .. } => "written",
            Self::RetryWrite => "retry_write",
            Self::Tick => "tick",
        }
    }
}
