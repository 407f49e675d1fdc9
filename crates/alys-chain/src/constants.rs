//! What never changes on one chain, with everything derived from it once.

use crate::{error::GenesisError, federation::Federation, peg::PegRules, scheme::Scheme};
use alys_auxpow::Asert;
use alys_crypto::{Domain, DomainType, SigningRoot};
use alys_primitives::{ApprovalData, BlockBody, BlockHeader, ChainSpec, FixedBytes, Height, Root, Slot, TreeHash as _};
use std::sync::Arc;

/// A validated chain spec.
#[derive(Debug)]
pub(crate) struct Constants {
    pub(crate) spec: ChainSpec,
    pub(crate) genesis_root: Root,
    pub(crate) genesis_header: BlockHeader,
    pub(crate) genesis_block_root: Root,
    /// Root of a body with nothing in it.
    pub(crate) empty_body_root: Root,
    pub(crate) asert: Asert,
    pub(crate) auxpow_rules: alys_auxpow::Rules,
    pub(crate) scheme: Scheme,
    /// The peg's rules; none for a chain without a peg.
    pub(crate) peg: Option<PegRules>,
}

impl Constants {
    /// Checks the spec and parses its federation.
    pub(crate) fn new(spec: ChainSpec, scheme: Scheme) -> Result<(Self, Arc<Federation>), GenesisError> {
        spec.validate()?;
        let asert = Asert::of_spec(&spec.auxpow)?;
        let federation = Federation::new(spec.members.clone(), scheme)
            .map_err(|(index, reason)| GenesisError::Member { index, reason })?;
        let peg = spec.peg.first().map(PegRules::new).transpose()?;
        let genesis_header = spec.genesis_header();
        let constants = Self {
            genesis_root: spec.genesis_root(),
            genesis_block_root: genesis_header.root(),
            genesis_header,
            empty_body_root: BlockBody::default().tree_hash_root(),
            asert,
            auxpow_rules: alys_auxpow::Rules::of_spec(&spec.auxpow),
            scheme,
            peg,
            spec,
        };
        Ok((constants, Arc::new(federation)))
    }

    /// What an author signs for a header.
    pub(crate) fn proposal_root(&self, height: Height, header_root: Root) -> SigningRoot {
        self.signing_root(DomainType::Proposal, self.spec.fork_version(height), header_root)
    }

    /// What a member signs for an approval of a block at `height`.
    pub(crate) fn approval_root(&self, height: Height, data: &ApprovalData) -> SigningRoot {
        self.approval_root_of_version(self.spec.fork_version(height), data)
    }

    /// As [`Constants::approval_root`] under a given version of the rules.
    pub(crate) fn approval_root_of_version(&self, version: FixedBytes<4>, data: &ApprovalData) -> SigningRoot {
        self.signing_root(DomainType::Approval, version, data.tree_hash_root())
    }

    /// What a key signs for an object.
    pub(crate) fn signing_root(&self, kind: DomainType, version: FixedBytes<4>, object: Root) -> SigningRoot {
        Domain::new(kind, version.0, self.genesis_root).signing_root(object)
    }

    /// Versions of the rules, newest first; at most 16.
    pub(crate) fn versions(&self) -> impl Iterator<Item = FixedBytes<4>> {
        self.spec.forks.iter().rev().map(|fork| fork.fork_version)
    }

    /// The difficulty of a bundle whose template was made in `slot` after `records` committed records.
    pub(crate) fn bits(&self, slot: Slot, records: u64) -> u32 {
        self.asert.bits(slot.0.saturating_mul(self.spec.slot_duration), records)
    }
}
