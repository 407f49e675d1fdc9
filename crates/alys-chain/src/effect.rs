//! Wishes of the core to the outside.

use crate::{
    BatchId, BlockError, BuildId, Checkpoint, ExecutionId, SignId,
    error::{AuxPowError, FederationError},
    evidence::Offence,
    peg::PauseError,
};
use alys_crypto::SigningRoot;
use alys_primitives::{
    Address, Approval, ApprovalData, AuxPowRecord, B256, Burns, Epoch, Evidence, FederationChange, Height,
    Notarization, Pause, Root, SignedBlock, Slot, UnixMillis, Wei, Withdrawal,
};
use std::sync::Arc;

/// One wish. Effects are carried out in the order in which they are polled.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Build a payload; answered by [`crate::Input::Built`].
    Build {
        /// Names the answer.
        id: BuildId,
        /// The slot it is for.
        slot: Slot,
        /// Hash of the EVM block to build on.
        parent_execution_hash: B256,
        /// Everything that the rules prescribe.
        attributes: PayloadAttributes,
    },
    /// Execute a block's payload; answered by [`crate::Input::Executed`]. Its parent's payload was executed before.
    Execute {
        /// Names the answer.
        id: ExecutionId,
        /// The block.
        block: Arc<SignedBlock>,
    },
    /// Sign, after the signing record has been written; answered by [`crate::Input::Signed`].
    Sign {
        /// Names the answer.
        id: SignId,
        /// What to sign.
        request: SignRequest,
    },
    /// Write atomically and sync; answered by [`crate::Input::Durable`]. Batches are written in the order of their ids.
    Persist {
        /// Names the answer.
        id: BatchId,
        /// The writes.
        batch: ChainBatch,
    },
    /// Move the execution engine's pointers. Comes only after everything it names is durable.
    Forkchoice(ForkchoiceUpdate),
    /// Tell the peers. Comes only after what it tells is durable.
    Broadcast(Message),
    /// Answers [`crate::Input::Block`]. `Imported` comes only after the block is durable.
    Imported {
        /// The block.
        root: Root,
        /// What became of it.
        outcome: ImportOutcome,
    },
    /// Answers [`crate::Input::AuxPow`]. `Ok` comes only after the record is durable.
    AuxPowProcessed {
        /// Root of the record's bundle, the mined hash.
        hash: Root,
        /// Queued (or known), or why not.
        outcome: Result<(), AuxPowError>,
    },
    /// Answers [`crate::Input::FederationChange`].
    FederationProcessed {
        /// What it decides: [`crate::change_root`].
        change_root: Root,
        /// It waits for an author (or is known), or why it is refused.
        outcome: Result<(), FederationError>,
    },
    /// Answers [`crate::Input::Pause`].
    PauseProcessed {
        /// What it decides: [`crate::peg::pause_root`].
        pause_root: Root,
        /// It waits for an author (or is known), or why it is refused.
        outcome: Result<(), PauseError>,
    },
    /// Tell subscribers. Comes only after what it tells is durable.
    Event(ChainEvent),
}

/// What the rules prescribe for the next payload (`PayloadAttributesV3` of the Engine API).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadAttributes {
    /// Start of the slot in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The block's randomness.
    pub prev_randao: B256,
    /// The burn address.
    pub fee_recipient: Address,
    /// Exactly the withdrawals that the rules derive.
    pub withdrawals: Vec<Withdrawal>,
    /// Root of the parent block.
    pub parent_beacon_block_root: B256,
}

/// What a member is asked to sign. The signing record decides; see protocol section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignRequest {
    /// A proposal: at most one per slot, ever.
    Proposal {
        /// The slot.
        slot: Slot,
        /// Root of the proposed header.
        root: Root,
        /// What the key signs.
        signing_root: SigningRoot,
    },
    /// An approval: at most one per slot, slots rising, parent heights not falling.
    Approval {
        /// What is approved.
        data: ApprovalData,
        /// Height of the approved block's parent.
        parent_height: Height,
        /// What the key signs.
        signing_root: SigningRoot,
    },
}

/// A fork choice by execution hashes (`ForkchoiceStateV1` of the Engine API).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkchoiceUpdate {
    /// Tip of the notarized chain.
    pub head: B256,
    /// Newest safe block.
    pub safe: B256,
    /// Newest finalized block.
    pub finalized: B256,
}

/// What peers are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A proposal, ours or relayed.
    Block(Arc<SignedBlock>),
    /// An approval.
    Approval(Approval),
    /// A certificate.
    Notarization(Notarization),
    /// Queued work.
    AuxPow(AuxPowRecord),
    /// Proofs of equivocation.
    Evidence(Evidence),
    /// A change of the federation that waits for an author.
    FederationChange(FederationChange),
    /// A decision about pausing the peg that waits for an author.
    Pause(Pause),
}

/// What became of an imported block.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportOutcome {
    /// It was executed, is valid, and is durable.
    Imported {
        /// Its height.
        height: Height,
        /// Whether its certificate is known.
        notarized: bool,
    },
    /// It was imported before.
    AlreadyKnown,
    /// It waits. Another `Imported` effect follows when it is imported or rejected; none if it expires.
    Pending(PendingReason),
    /// It is invalid, or no place is left to keep it.
    Rejected(BlockError),
}

/// What a block waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingReason {
    /// Its parent, which is unknown or waits itself; ask peers for it.
    Parent(Root),
    /// Its slot, which is more than `max_clock_drift` ahead.
    Slot(UnixMillis),
    /// The execution engine.
    Execution,
}

/// What subscribers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// A valid block was imported.
    NewBlock(BlockRef),
    /// A block got its certificate.
    Notarized(BlockRef),
    /// The newest safe block moved.
    Safe(BlockRef),
    /// A bundle became final.
    Finalized {
        /// Height of its first block.
        from: Height,
        /// Its last block.
        to: BlockRef,
        /// Hash of the bundle.
        bundle: Root,
        /// The block that carries its AuxPoW.
        carrier: Root,
    },
    /// The head moved to another branch.
    Reorg {
        /// The newest block of both branches.
        common_ancestor: BlockRef,
        /// Blocks that left the head's chain, newest first.
        dropped: Vec<Root>,
        /// Blocks that joined it, oldest first.
        added: Vec<Root>,
        /// Whether more blocks were dropped than the operator's `max_reorg_depth`.
        alert: bool,
    },
    /// Work was queued.
    AuxPowQueued {
        /// Hash of the bundle.
        hash: Root,
    },
    /// `max_blocks_without_pow` was reached at this height: the next block must carry an AuxPoW.
    Stalled {
        /// The head's height.
        height: Height,
    },
    /// A block with an AuxPoW ended a stall.
    Resumed {
        /// The head's height.
        height: Height,
    },
    /// A member broke its promise; the proof is gossiped and kept for the next block body. Told once per member, kind and
    /// epoch.
    Equivocation {
        /// The epoch.
        epoch: Epoch,
        /// The member's index in its epoch.
        member: u64,
        /// The slot.
        slot: Slot,
        /// Whether it proposed twice; else it approved twice.
        proposal: bool,
    },
    /// From this height on another federation proposes and approves.
    Epoch {
        /// The epoch.
        epoch: Epoch,
        /// Its first block's height.
        from: Height,
        /// How many members it has.
        members: u64,
    },
    /// Two certificates or safe blocks contradict each other: more than f members are malicious.
    SafetyViolation {
        /// The safe or finalized block that the other contradicts.
        kept: BlockRef,
        /// The contradicting block.
        conflicting: BlockRef,
    },
}

/// A block as events and views name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockRef {
    /// Its root.
    pub root: Root,
    /// Its height.
    pub height: Height,
    /// Its slot.
    pub slot: Slot,
    /// Hash of its EVM block.
    pub execution_hash: B256,
}

/// One atomic, synced write.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainBatch {
    /// The writes, in order; a later one may overwrite an earlier one.
    pub writes: Vec<ChainWrite>,
    /// [`crate::Chain::state_root`] after this batch.
    pub state_root: Root,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum ChainWrite {
    /// A block that was executed and is valid.
    Block {
        /// Its root.
        root: Root,
        /// The block.
        block: Arc<SignedBlock>,
        /// The fees that its transactions paid.
        fees: Wei,
        /// What they burned for bitcoin.
        burns: Burns,
    },
    /// A block's certificate; at most one per block.
    Certificate(Notarization),
    /// Work waits for an author.
    QueueAuxPow {
        /// Hash of the bundle.
        hash: Root,
        /// The record.
        record: AuxPowRecord,
    },
    /// Work does not wait any more.
    DropAuxPow {
        /// Hash of the bundle.
        hash: Root,
    },
    /// A proof of equivocation waits for an author; one per offence.
    KeepProof {
        /// Who did what.
        offence: Offence,
        /// The proof, alone in its container.
        proof: Box<Evidence>,
    },
    /// A proof is of no use any more.
    DropProof {
        /// What it proves.
        offence: Offence,
    },
    /// A change of the federation waits for an author; replaces the one before.
    KeepChange(Box<FederationChange>),
    /// No change of the federation waits any more.
    DropChange,
    /// A decision about pausing the peg waits for an author; replaces the one before.
    KeepPause(Box<Pause>),
    /// No decision about pausing the peg waits any more.
    DropPause,
    /// The head's chain has this block at this height.
    Canonical {
        /// The height.
        height: Height,
        /// The block.
        root: Root,
    },
    /// The head's chain has no block at this height any more.
    Decanonical {
        /// The height.
        height: Height,
    },
    /// The pointers.
    Pointers(Pointers),
    /// A bundle became final: index from its heights to it, for proofs.
    Finalized {
        /// Hash of the bundle.
        bundle: Root,
        /// The block that carries its AuxPoW.
        carrier: Root,
        /// Height of its first block.
        from: Height,
        /// Height of its last block.
        to: Height,
    },
    /// Where a restart begins; replaces the one before.
    Checkpoint(Box<Checkpoint>),
    /// An abandoned side block, with its certificate if it has one.
    DropBlock {
        /// The block.
        root: Root,
    },
}

/// Roots of the blocks that the tags `latest`, `safe` and `finalized` name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointers {
    /// Tip of the notarized chain.
    pub head: Root,
    /// Newest safe block.
    pub safe: Root,
    /// Newest finalized block.
    pub finalized: Root,
}
