//! Why facts are refused.

use alys_primitives::{Address, B256, Epoch, Height, Root, Slot};
use thiserror::Error;

/// Why an input was not handled. None of these changes the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// An answer to a question that is not open: asked before a restart, or answered already.
    #[error("no open question has this id ({id})")]
    UnknownId {
        /// The id.
        id: u64,
    },
    /// A proof against a federation that the chain does not have in that epoch: verify again with a fresh verifier.
    #[error("verified against another federation of epoch {epoch}")]
    StaleProof {
        /// The epoch.
        epoch: Epoch,
    },
    /// Proof made for another chain.
    #[error("verified for another chain")]
    OtherChain,
    /// An approval of a block that is unknown, with no place left to keep it.
    #[error("no place for an early approval")]
    ApprovalsFull,
    /// An approval or certificate whose slot, epoch or rules version is not its block's.
    #[error("does not match its block")]
    BlockMismatch,
    /// A certificate of a block that is not known (yet).
    #[error("no such block")]
    UnknownBlock,
}

/// Why a block is rejected (protocol sections 2 to 7).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// Not one more than the parent's.
    #[error("height {found} on a parent of height {parent}")]
    Height {
        /// The block's.
        found: Height,
        /// The parent's.
        parent: Height,
    },
    /// Not after the parent's.
    #[error("slot {found} on a parent of slot {parent}")]
    Slot {
        /// The block's.
        found: Slot,
        /// The parent's.
        parent: Slot,
    },
    /// Not the epoch of its height.
    #[error("epoch {found}, the height's is {expected}")]
    Epoch {
        /// The block's.
        found: Epoch,
        /// The right one.
        expected: Epoch,
    },
    /// Not the slot's author.
    #[error("author {found}, the slot's is {expected}")]
    Author {
        /// The block's.
        found: u64,
        /// The right one.
        expected: u64,
    },
    /// Not the state after the parent.
    #[error("state root {found}, the parent's state is {expected}")]
    StateRoot {
        /// The block's.
        found: Root,
        /// The right one.
        expected: Root,
    },
    /// On a branch that finality has abandoned.
    #[error("not on the finalized chain")]
    NotOnFinalized,
    /// The certificate of its parent is not about the parent that the chain has: wrong slot, epoch or rules version.
    #[error("the parent's certificate does not match the parent")]
    ParentCertificate,
    /// Its parent was rejected.
    #[error("the parent {parent} was rejected")]
    Parent {
        /// The parent.
        parent: Root,
    },
    /// Payload that is not what the rules prescribe.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// More than `max_blocks_without_pow` blocks past the last committed one, and no AuxPoW.
    #[error("height {height} needs an AuxPoW, the last committed block is at {committed}")]
    Stalled {
        /// The block's height.
        height: Height,
        /// Height of the last committed block.
        committed: Height,
    },
    /// A bad AuxPoW record.
    #[error("AuxPoW: {0}")]
    AuxPow(#[from] AuxPowError),
    /// Bad records of the peg.
    #[error("peg: {0}")]
    Peg(#[from] crate::peg::PegError),
    /// A bad federation change.
    #[error("federation change: {0}")]
    Federation(#[from] FederationError),
    /// A bad proof of equivocation.
    #[error("evidence: {0}")]
    Evidence(#[from] EvidenceError),
    /// Records that the rules at this height do not know.
    #[error("the rules at this height know no `{field}`")]
    UnknownRecords {
        /// The body's field.
        field: &'static str,
    },
    /// The payload's execution failed.
    #[error("execution: {reason}")]
    Execution {
        /// What the engine said.
        reason: String,
    },
    /// Fees beyond 2^256 wei.
    #[error("amounts overflow")]
    Overflow,
    /// No place to keep a block that can't be imported yet. Not the block's fault.
    #[error("no place for a waiting block")]
    PendingFull,
}

impl BlockError {
    /// Whether the block itself is at fault, so that its sender and its descendants are.
    pub fn is_invalid(&self) -> bool {
        !matches!(self, Self::PendingFull | Self::NotOnFinalized)
    }
}

/// Where a payload is not what the rules prescribe.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Not the parent's.
    #[error("parent hash {found}, expected {expected}")]
    ParentHash {
        /// The payload's.
        found: B256,
        /// The right one.
        expected: B256,
    },
    /// Not the height.
    #[error("block number {found} at height {height}")]
    Number {
        /// The payload's.
        found: u64,
        /// The block's height.
        height: Height,
    },
    /// Not the slot's start.
    #[error("timestamp {found}, the slot starts at {expected}")]
    Timestamp {
        /// The payload's.
        found: u64,
        /// The right one.
        expected: u64,
    },
    /// Not derived from the parent.
    #[error("prevRandao {found}, expected {expected}")]
    PrevRandao {
        /// The payload's.
        found: B256,
        /// The right one.
        expected: B256,
    },
    /// Not the burn address.
    #[error("fee recipient {found}, expected {expected}")]
    FeeRecipient {
        /// The payload's.
        found: Address,
        /// The right one.
        expected: Address,
    },
    /// Not exactly the derived ones.
    #[error("withdrawals differ from the derived ones at position {position}: {found} given, {expected} derived")]
    Withdrawals {
        /// First position that differs.
        position: usize,
        /// How many the payload has.
        found: usize,
        /// How many the rules derive.
        expected: usize,
    },
    /// Blob gas, which the rules do not know.
    #[error("blob gas is not zero")]
    BlobGas,
    /// The header names another payload.
    #[error("payload {found}, the header names {expected}")]
    BlockHash {
        /// The payload's.
        found: B256,
        /// The header's.
        expected: B256,
    },
}

/// Why an AuxPoW record is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuxPowError {
    /// Names another chain.
    #[error("made for another chain")]
    OtherChain,
    /// Names another merged-mining chain id.
    #[error("chain id {found}, ours is {expected}")]
    ChainId {
        /// The bundle's.
        found: u64,
        /// Ours.
        expected: u64,
    },
    /// The proof's bytes are no AuxPoW.
    #[error("proof: {0}")]
    Decode(#[from] alys_auxpow::DecodeError),
    /// The proof breaks a rule of merged mining or misses the target.
    #[error("proof: {0}")]
    Rule(#[from] alys_auxpow::VerifyError),
    /// The bits encode no target.
    #[error("bits: {0}")]
    Compact(#[from] alys_auxpow::CompactError),
    /// Follows another record than the last committed one: superseded, or of another branch.
    #[error("follows record {found}, the last committed one is {expected}")]
    Previous {
        /// The bundle's.
        found: Root,
        /// The right one.
        expected: Root,
    },
    /// Its parent header served the previous record.
    #[error("the parent header serves the previous record already")]
    HeaderReused,
    /// Does not begin right after the last committed block.
    #[error("begins with {found}, the block after the last committed one is {expected}")]
    Start {
        /// The bundle's.
        found: Root,
        /// The right one.
        expected: Root,
    },
    /// Its last block is not a block of this chain after the last committed one.
    #[error("ends with {found}, which is no uncommitted block of this chain")]
    End {
        /// The bundle's.
        found: Root,
    },
    /// Not the number of blocks from start to end.
    #[error("counts {found} blocks, the range has {expected}")]
    Count {
        /// The bundle's.
        found: u64,
        /// The right one.
        expected: u64,
    },
    /// More than `max_bundle_blocks`.
    #[error("{found} blocks are more than {max}")]
    TooLong {
        /// The bundle's.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// Not the root over the range's blocks.
    #[error("blocks root {found}, the range's is {expected}")]
    BlocksRoot {
        /// The bundle's.
        found: Root,
        /// The right one.
        expected: Root,
    },
    /// `end.slot <= template_slot <= carrier.slot` does not hold.
    #[error("template slot {found} is not within {from} to {to}")]
    TemplateSlot {
        /// The bundle's.
        found: Slot,
        /// Slot of the bundle's last block.
        from: Slot,
        /// Slot of the carrier, or of now.
        to: Slot,
    },
    /// Not the difficulty at the template's slot.
    #[error("bits {found:08x}, the difficulty at the template's slot is {expected:08x}")]
    Bits {
        /// The bundle's.
        found: u32,
        /// The right ones.
        expected: u32,
    },
    /// The queue is full.
    #[error("no place in the queue")]
    QueueFull,
}

impl AuxPowError {
    /// A short name of the broken rule, for logs and metrics.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::OtherChain => "other-chain",
            Self::ChainId { .. } => "chain-id",
            Self::Decode(error) => error.rule(),
            Self::Rule(error) => error.rule(),
            Self::Compact(_) => "compact-bits",
            Self::Previous { .. } => "stale-bundle",
            Self::HeaderReused => "header-reused",
            Self::Start { .. } => "start",
            Self::End { .. } => "end",
            Self::Count { .. } => "count",
            Self::TooLong { .. } => "too-long-bundle",
            Self::BlocksRoot { .. } => "blocks-root",
            Self::TemplateSlot { .. } => "template-slot",
            Self::Bits { .. } => "bits",
            Self::QueueFull => "queue-full",
        }
    }
}

/// Why no template can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Every block is committed to.
    #[error("no block to commit to")]
    NothingToCommit,
}

/// Why a federation change is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FederationError {
    /// Names another chain.
    #[error("made for another chain")]
    OtherChain,
    /// Signed by another epoch's federation.
    #[error("signed in epoch {found}, the current one is {expected}")]
    Epoch {
        /// The change's.
        found: Epoch,
        /// The right one.
        expected: Epoch,
    },
    /// One change at a time.
    #[error("a change is in flight")]
    InFlight,
    /// Unusable members.
    #[error("member {index}: {reason}")]
    Member {
        /// Position.
        index: usize,
        /// What is wrong.
        reason: MemberError,
    },
    /// No member, or more than a block's fee withdrawals have room for.
    #[error("{found} members, at least 1 and at most {max} are possible")]
    Size {
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// New custodians in a chain without a peg.
    #[error("new custodians, and the chain has no peg")]
    NoPeg,
    /// Custodians out of range.
    #[error("custody: {0}")]
    Custodians(alys_primitives::SpecError),
    /// Custodians that make no script.
    #[error("custody: {0}")]
    Custody(#[from] crate::peg::CustodyError),
    /// A custody key without proof, for this chain and epoch, that its holder holds it.
    #[error("custody key {index}: nothing proves that its holder holds it")]
    CustodyPossession {
        /// Position of the key.
        index: usize,
    },
    /// Not signed by a quorum.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
}

impl FederationError {
    /// Short name of the broken rule, which programs can go by.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::OtherChain => "other-chain",
            Self::Epoch { .. } => "epoch",
            Self::InFlight => "in-flight",
            Self::Member { reason: MemberError::Key(_), .. } => "public-key",
            Self::Member { reason: MemberError::Possession(_) | MemberError::Unproven, .. } => "possession",
            Self::Member { reason: MemberError::Duplicate(_), .. } => "duplicate",
            Self::Size { .. } => "size",
            Self::NoPeg => "no-peg",
            Self::Custodians(_) => "custodians",
            Self::Custody(_) => "custody-key",
            Self::CustodyPossession { .. } => "custody-possession",
            Self::Certificate(CertificateError::NoQuorum { .. }) => "no-quorum",
            Self::Certificate(CertificateError::NoMember { .. }) => "no-member",
            Self::Certificate(CertificateError::Signature) => "signature",
        }
    }
}

/// Why an aggregate signature is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// A bit that names no member.
    #[error("bit {bit} names no member, there are {members}")]
    NoMember {
        /// The bit.
        bit: usize,
        /// Number of members.
        members: usize,
    },
    /// Fewer than a quorum.
    #[error("{found} approvals, a quorum is {quorum}")]
    NoQuorum {
        /// How many.
        found: usize,
        /// How many it takes.
        quorum: usize,
    },
    /// The aggregate is not these members' signature.
    #[error("the aggregate signature does not verify")]
    Signature,
}

/// Why a message proves nothing. Blames its sender, except for [`VerifyError::UnknownEpoch`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// About an epoch that this node does not know, perhaps not yet.
    #[error("epoch {epoch} is not known")]
    UnknownEpoch {
        /// The epoch.
        epoch: Epoch,
    },
    /// Nobody has this index.
    #[error("index {index} names no member, there are {members}")]
    NoMember {
        /// The index.
        index: u64,
        /// Number of members.
        members: usize,
    },
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The certificate does not hold.
    #[error("certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The parent's certificate is missing, needless, or another block's.
    #[error("the parent's certificate is missing or another block's")]
    ParentCertificate,
    /// The header's `body_root` is not the body's.
    #[error("body root {found}, the header names {expected}")]
    BodyRoot {
        /// The body's.
        found: Root,
        /// The header's.
        expected: Root,
    },
    /// Invalid whatever the ancestors are.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Why a member can't enter a federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MemberError {
    /// The key is no point of the group.
    #[error("public key: {0}")]
    Key(#[from] alys_crypto::PublicKeyError),
    /// The proof of possession is no signature.
    #[error("proof of possession: {0}")]
    Possession(#[from] alys_crypto::SignatureError),
    /// The proof of possession does not verify.
    #[error("possession of the key is not proven")]
    Unproven,
    /// Another member has the key.
    #[error("has the key of member {0}")]
    Duplicate(usize),
}

/// Why a proof of equivocation proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// Both messages are the same.
    #[error("both messages are the same")]
    Same,
    /// The messages are by different members, or about different slots or epochs.
    #[error("the messages do not contradict each other")]
    Unrelated,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// About another epoch than the block's.
    #[error("epoch {0} is not the block's")]
    Epoch(Epoch),
    /// The chain has recorded that this member did this in this epoch.
    #[error("recorded before")]
    Known,
}

/// Why a chain can't start again from what the store kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The chain spec or its federation is unusable.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The checkpoint contradicts itself or the chain spec.
    #[error("checkpoint: {0}")]
    Checkpoint(&'static str),
    /// A stored block has no stored parent.
    #[error("block {root} has no parent in the store")]
    Orphan {
        /// The block.
        root: Root,
    },
    /// A stored block is invalid.
    #[error("block {root}: {error}")]
    Block {
        /// The block.
        root: Root,
        /// Why.
        error: Box<BlockError>,
    },
    /// A certificate of no stored block, or that does not match it.
    #[error("certificate of {root} does not belong to a stored block")]
    Certificate {
        /// The block.
        root: Root,
    },
    /// The members of a stored change that waits for an author make no federation.
    #[error("the stored change of the federation has unusable members")]
    Change,
    /// The pointers that follow from the blocks are not the stored ones.
    #[error("the blocks lead to other pointers than the stored ones")]
    Pointers {
        /// Stored.
        stored: Box<crate::Pointers>,
        /// Computed.
        computed: Box<crate::Pointers>,
    },
    /// The state root that follows from everything is not the stored one.
    #[error("state root {computed}, the stored one is {stored}")]
    StateRoot {
        /// Stored.
        stored: Root,
        /// Computed.
        computed: Root,
    },
}

/// Why a chain can't begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// A constant is out of range.
    #[error(transparent)]
    Spec(#[from] alys_primitives::SpecError),
    /// A member's key or proof is unusable.
    #[error("member {index}: {reason}")]
    Member {
        /// Position.
        index: usize,
        /// What is wrong.
        reason: MemberError,
    },
    /// The difficulty's constants are unusable.
    #[error("difficulty: {0}")]
    Difficulty(#[from] alys_auxpow::AsertError),
    /// The peg's constants are unusable.
    #[error("chain spec: {0}")]
    Peg(#[from] crate::peg::PegSpecError),
}
