//! Members that break the rules, with nothing but their own keys.

use crate::dice::Dice;
use alys_chain::{PayloadShape, payload_hash, peg::PauseState, testing::Fixture};
use alys_crypto::{Domain, DomainType, SigningRoot};
use alys_primitives::{
    Approval, ApprovalData, BitVector, BlockHeader, Epoch, Evidence, FederationChange, MaxMembers, Member, Members,
    Notarization, OfferedCustody, Optional, Pause, ProposalEquivocation, Root, SignatureBytes, SignedBlock,
    SignedHeader, TreeHash as _, VariableList,
};

/// What signs for the members of a run.
#[derive(Clone, Debug)]
pub(crate) struct Forge {
    fixture: Fixture,
    genesis_root: Root,
}

impl Forge {
    pub(crate) fn new(fixture: &Fixture) -> Self {
        Self { genesis_root: fixture.spec.genesis_root(), fixture: fixture.clone() }
    }

    fn root(&self, kind: DomainType, header: &BlockHeader, object: Root) -> SigningRoot {
        let version = self.fixture.spec.fork_version(header.height);
        Domain::new(kind, version.0, self.genesis_root).signing_root(object)
    }

    /// A block changed and made consistent again by its author, who is this node.
    pub(crate) fn variant(
        &self,
        node: usize,
        block: &SignedBlock,
        change: impl FnOnce(&mut SignedBlock),
    ) -> SignedBlock {
        let mut block = block.clone();
        change(&mut block);
        block.header.body_root = block.body.tree_hash_root();
        block.payload.block_hash = payload_hash(
            &block.payload,
            block.header.parent_root,
            &block.body.execution_requests,
            PayloadShape::Prague,
        );
        block.header.execution_block_hash = block.payload.block_hash;
        let root = self.root(DomainType::Proposal, &block.header, block.root());
        block.author_signature = self.fixture.sign_as(node, root);
        block
    }

    /// A second proposal for the slot.
    pub(crate) fn twin(&self, node: usize, block: &SignedBlock, salt: u64) -> SignedBlock {
        self.variant(node, block, |twin| {
            twin.payload.extra_data =
                VariableList::new(salt.to_le_bytes().to_vec()).unwrap_or_else(|_| VariableList::empty());
        })
    }

    /// A proposal whose payload the engine refuses.
    pub(crate) fn with_invalid_payload(&self, node: usize, block: &SignedBlock) -> SignedBlock {
        let marked = self.fixture.with_invalid_payload(block).payload.extra_data;
        self.variant(node, block, |invalid| invalid.payload.extra_data = marked)
    }

    /// An approval by this node, which has `index` in the block's epoch.
    pub(crate) fn approval(&self, node: usize, index: u64, header: &BlockHeader) -> Approval {
        let data = ApprovalData { block_root: header.root(), slot: header.slot, epoch: header.epoch };
        let root = self.root(DomainType::Approval, header, data.tree_hash_root());
        Approval { data, member_index: index, signature: self.fixture.sign_as(node, root) }
    }

    /// A certificate of one member's approval, with bits of nobody beside it.
    pub(crate) fn certificate(&self, node: usize, index: u64, header: &BlockHeader, members: usize) -> Notarization {
        let approval = self.approval(node, index, header);
        let mut bitfield = BitVector::new();
        let own = usize::try_from(index).unwrap_or(0);
        for bit in std::iter::once(own).chain(members..2 * members) {
            let _ = bitfield.set(bit, true);
        }
        Notarization {
            block_root: approval.data.block_root,
            slot: header.slot,
            epoch: header.epoch,
            bitfield,
            aggregate_signature: approval.signature,
        }
    }

    /// Evidence against the author of a block, with a second header that the author never signed.
    pub(crate) fn accusation(&self, block: &SignedBlock, dice: &mut Dice) -> Evidence {
        let first = block.signed_header();
        let mut header = first.header.clone();
        header.body_root = Root::repeat_byte(u8::try_from(dice.below(256)).unwrap_or(0));
        let second = SignedHeader { header, author_signature: first.author_signature };
        let proof = ProposalEquivocation { first, second };
        Evidence {
            proposals: VariableList::new(vec![proof]).unwrap_or_else(|_| VariableList::empty()),
            votes: VariableList::empty(),
        }
    }

    /// A decision about the peg's directions that these nodes sign with their indices in the epoch.
    pub(crate) fn pause(
        &self,
        signing_root: SigningRoot,
        epoch: Epoch,
        decision: &PauseState,
        signers: &[(usize, usize)],
    ) -> Pause {
        let PauseState { sequence, pegin_paused, pegout_paused } = *decision;
        let (bitfield, aggregate_signature) = self.quorum(signing_root, signers);
        Pause {
            genesis_root: self.genesis_root,
            epoch,
            sequence,
            pegin_paused,
            pegout_paused,
            bitfield,
            aggregate_signature,
        }
    }

    /// Who signs, and the sum of their signatures.
    fn quorum(&self, signing_root: SigningRoot, signers: &[(usize, usize)]) -> (BitVector<MaxMembers>, SignatureBytes) {
        let mut bitfield = BitVector::new();
        let mut signatures = Vec::new();
        for (node, index) in signers {
            let _ = bitfield.set(*index, true);
            signatures.push(self.fixture.sign_as(*node, signing_root));
        }
        (bitfield, self.fixture.sum(&signatures).unwrap_or(SignatureBytes::ZERO))
    }

    /// A change of the federation that these nodes sign with their indices in the current epoch.
    pub(crate) fn federation_change(
        &self,
        signing_root: SigningRoot,
        epoch: Epoch,
        members: Vec<Member>,
        custody: Optional<OfferedCustody>,
        signers: &[(usize, usize)],
    ) -> FederationChange {
        let (bitfield, aggregate_signature) = self.quorum(signing_root, signers);
        FederationChange {
            genesis_root: self.genesis_root,
            epoch,
            members: Members::new(members).unwrap_or_else(|_| Members::empty()),
            custody,
            bitfield,
            aggregate_signature,
        }
    }
}
