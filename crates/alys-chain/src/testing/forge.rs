//! Messages made by hand, with good signatures: what members that break the rules could send.

use super::{FakeSigner, Fixture, executor::INVALID, fixture::key};
use crate::{PayloadShape, payload_hash};
use alys_crypto::{Domain, DomainType, SigningRoot};
use alys_primitives::{
    Approval, ApprovalData, BitVector, BlockHeader, Notarization, SignatureBytes, SignedBlock, TreeHash as _,
    VariableList,
};

impl Fixture {
    /// Makes a changed block consistent again: body root, payload hash and author's signature.
    pub fn reseal(&self, block: &mut SignedBlock) {
        block.header.body_root = block.body.tree_hash_root();
        block.payload.block_hash = payload_hash(
            &block.payload,
            block.header.parent_root,
            &block.body.execution_requests,
            PayloadShape::Prague,
        );
        block.header.execution_block_hash = block.payload.block_hash;
        block.author_signature = self.sign_header(&block.header);
    }

    /// Changes a copy of a block and makes it consistent again.
    pub fn forge(&self, block: &SignedBlock, change: impl FnOnce(&mut SignedBlock)) -> SignedBlock {
        let mut forged = block.clone();
        change(&mut forged);
        self.reseal(&mut forged);
        forged
    }

    /// A copy of a block whose payload the fake engine calls invalid.
    pub fn with_invalid_payload(&self, block: &SignedBlock) -> SignedBlock {
        self.forge(block, |forged| {
            forged.payload.extra_data = VariableList::new(INVALID.to_vec()).expect("seven bytes");
        })
    }

    /// The signature of a header's author.
    pub fn sign_header(&self, header: &BlockHeader) -> SignatureBytes {
        let root = self.signing_root(DomainType::Proposal, header, header.root());
        self.sign_as(usize::try_from(header.author_index).expect("an index"), root)
    }

    /// A member's approval of a block.
    pub fn approve(&self, header: &BlockHeader, member: usize) -> Approval {
        let data = ApprovalData { block_root: header.root(), slot: header.slot, epoch: header.epoch };
        let root = self.signing_root(DomainType::Approval, header, data.tree_hash_root());
        Approval { data, member_index: u64::try_from(member).expect("an index"), signature: self.sign_as(member, root) }
    }

    /// A certificate of a block by some members.
    pub fn certify(&self, header: &BlockHeader, members: &[usize]) -> Notarization {
        let approvals: Vec<Approval> = members.iter().map(|member| self.approve(header, *member)).collect();
        let signatures: Vec<SignatureBytes> = approvals.iter().map(|approval| approval.signature).collect();
        let mut bitfield = BitVector::new();
        for member in members {
            bitfield.set(*member, true).expect("within the bitfield");
        }
        Notarization {
            block_root: header.root(),
            slot: header.slot,
            epoch: header.epoch,
            bitfield,
            aggregate_signature: self.sum(&signatures).expect("good signatures"),
        }
    }

    /// The sum of signatures; `None` if one is no signature.
    pub fn sum(&self, signatures: &[SignatureBytes]) -> Option<SignatureBytes> {
        let scheme = match self.scheme {
            super::SchemeKind::Bls => crate::scheme::Scheme::Bls,
            super::SchemeKind::Unproven => crate::scheme::Scheme::Unproven(self.plant),
        };
        scheme.aggregate(signatures).ok()
    }

    /// Signs with the key of an index, which need not be a member's.
    pub fn sign_as(&self, member: usize, root: SigningRoot) -> SignatureBytes {
        match (self.scheme, self.public_keys.get(member)) {
            (super::SchemeKind::Unproven, Some(public_key)) => super::sign(public_key, root),
            _ => {
                let secret = self.keys.get(member).cloned().unwrap_or_else(|| key(member));
                FakeSigner::new(secret, self.scheme).raw(root)
            }
        }
    }

    /// What is signed for an object that is about a block.
    fn signing_root(&self, kind: DomainType, header: &BlockHeader, object: alys_primitives::Root) -> SigningRoot {
        let version = self.spec.fork_version(header.height);
        Domain::new(kind, version.0, self.spec.genesis_root()).signing_root(object)
    }
}
