//! Blocks.

use crate::{
    AuxPowRecord, B256, BitcoinHeaderBytes, Epoch, Evidence, ExecutionPayload, FederationChange, FeeBump, Height,
    Notarization, Pause, PegInRecord, PegOutBatch, Refund, Root, Settlement, SignatureBytes, Slot,
};
use serde::{Deserialize, Serialize};
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum};
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

/// SSZ's way to say "at most one".
pub type Optional<T> = VariableList<T, typenum::U1>;

/// One EIP-7685 request: a type byte and its data.
pub type ExecutionRequest = VariableList<u8, typenum::U65536>;

/// The EIP-7685 requests of a payload, in order of type.
pub type ExecutionRequests = VariableList<ExecutionRequest, typenum::U16>;

/// The most Bitcoin headers that one block can bring.
pub const MAX_BITCOIN_HEADERS: usize = 144;

/// What the author signs and what identifies a block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct BlockHeader {
    /// The slot it was proposed in.
    pub slot: Slot,
    /// One more than the parent's.
    pub height: Height,
    /// The parent block.
    pub parent_root: Root,
    /// The federation's epoch.
    pub epoch: Epoch,
    /// Position of the author in the federation.
    pub author_index: u64,
    /// Hash of the EVM block in the payload.
    pub execution_block_hash: B256,
    /// Root of the consensus state after the parent.
    pub state_root: Root,
    /// Root of the [`BlockBody`].
    pub body_root: Root,
}

impl BlockHeader {
    /// The block's identity.
    pub fn root(&self) -> Root {
        self.tree_hash_root()
    }
}

/// Everything of a block that is neither header nor EVM payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct BlockBody {
    /// EIP-7685 requests that the payload's execution produced; passed on and otherwise ignored.
    pub execution_requests: ExecutionRequests,
    /// Work that finalizes a bundle of ancestors.
    pub auxpow: Optional<AuxPowRecord>,
    /// New Bitcoin headers, parents first.
    pub bitcoin_headers: VariableList<BitcoinHeaderBytes, typenum::U144>,
    /// Deposits.
    pub pegins: VariableList<PegInRecord, typenum::U64>,
    /// Payments to make.
    pub pegout_batches: VariableList<PegOutBatch, typenum::U4>,
    /// Payments to attempt again at a higher fee.
    pub fee_bumps: VariableList<FeeBump, typenum::U16>,
    /// Payments that confirmed.
    pub settlements: VariableList<Settlement, typenum::U16>,
    /// Payments that can't be made.
    pub refunds: VariableList<Refund, typenum::U64>,
    /// A change of the federation.
    pub federation_change: Optional<FederationChange>,
    /// A change of the peg's switches.
    pub pause: Optional<Pause>,
    /// Proofs of equivocation.
    pub evidence: Evidence,
}

/// A block as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct SignedBlock {
    /// The header.
    pub header: BlockHeader,
    /// The body.
    pub body: BlockBody,
    /// The EVM block.
    pub payload: ExecutionPayload,
    /// The author's signature over the header's root.
    pub author_signature: SignatureBytes,
    /// The parent's certificate; absent only on a child of genesis, which needs none.
    pub parent_notarization: Optional<Notarization>,
}

impl SignedBlock {
    /// The block's identity: its header's root.
    pub fn root(&self) -> Root {
        self.header.root()
    }

    /// The header with the author's signature.
    pub fn signed_header(&self) -> SignedHeader {
        SignedHeader { header: self.header.clone(), author_signature: self.author_signature }
    }
}

/// A header with its author's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct SignedHeader {
    /// The header.
    pub header: BlockHeader,
    /// The author's signature over the header's root.
    pub author_signature: SignatureBytes,
}
