//! Builds a proof from what a node stores.

use super::{BlockProof, MAX_PROOF_HEADERS, verifier::pair};
use crate::{change, error::FederationError, federation::Federation, verify::Verifier};
use alys_primitives::{
    ApprovalData, BlockBody, BlockHeader, Epoch, Height, Members, Notarization, Root, SignedBlock, TreeHash as _,
    VariableList, typenum,
};
use std::sync::Arc;

/// What a proof is made of: the final bundle, its carrier, and the chain above it.
#[derive(Clone, Debug)]
pub struct ProofParts {
    /// Roots of the bundle's blocks, oldest first.
    pub bundle: Vec<Root>,
    /// The block to be proven, one of them.
    pub header: BlockHeader,
    /// The block that carries the bundle's record.
    pub carrier: SignedBlock,
    /// The carrier's parent.
    pub parent: BlockHeader,
    /// The carrier's descendants on the head's chain, oldest first, with their certificates; as many as there are, or at
    /// least as many as it takes.
    pub descendants: Vec<(BlockHeader, Option<Notarization>)>,
}

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The block is not in the bundle.
    #[error("the block is not in the bundle")]
    NotInBundle,
    /// The carrier carries no record.
    #[error("the carrier has no record")]
    NoRecord,
    /// The descendants do not make the carrier final, or too many blocks lie between.
    #[error("the descendants do not show that the carrier is final")]
    NotFinal,
}

/// Builds a proof.
///
/// # Errors
/// [`ProofError`] if the parts do not fit together.
pub fn prove(parts: &ProofParts, min_finalization_depth: u64) -> Result<BlockProof, ProofError> {
    let root = parts.header.root();
    let index = parts.bundle.iter().position(|known| *known == root).ok_or(ProofError::NotInBundle)?;
    let record = parts.carrier.body.auxpow.first().cloned().ok_or(ProofError::NoRecord)?;
    let branch = bundle_branch(&parts.bundle, index).ok_or(ProofError::NotInBundle)?;
    let fields = fields(&parts.carrier.body);
    let body_branch = VariableList::new(siblings(&fields, 1, 4)).map_err(|_| ProofError::NoRecord)?;

    let carrier = parts.carrier.header.clone();
    let mut headers = vec![parts.parent.clone(), carrier.clone()];
    let mut safe = false;
    for (header, certificate) in &parts.descendants {
        headers.push(header.clone());
        if headers.len() > MAX_PROOF_HEADERS {
            break;
        }
        safe = safe || is_run(&headers, carrier.height);
        if let Some(certificate) = certificate
            && safe
            && header.height.since(carrier.height) >= min_finalization_depth
        {
            return Ok(BlockProof {
                header: parts.header.clone(),
                index: u64::try_from(index).map_err(|_| ProofError::NotInBundle)?,
                branch,
                record,
                body_branch,
                headers: VariableList::new(headers).map_err(|_| ProofError::NotFinal)?,
                certificate: certificate.clone(),
            });
        }
    }
    Err(ProofError::NotFinal)
}

/// The siblings on the way from a block's root to the root of its bundle's list, as [`super::verifier::holds`] takes them.
/// `roots` are all of the bundle's; `None` if there is none at `index`.
pub fn bundle_branch(roots: &[Root], index: usize) -> Option<VariableList<Root, typenum::U16>> {
    roots.get(index)?;
    VariableList::new(siblings(roots, index, 16)).ok()
}

/// Whether the last three headers lie in consecutive slots of one epoch, the second of them not below the carrier.
fn is_run(headers: &[BlockHeader], carrier: Height) -> bool {
    match headers {
        [.., first, second, third] => {
            first.epoch == third.epoch
                && second.slot == first.slot.next()
                && third.slot == second.slot.next()
                && second.height >= carrier
        }
        _ => false,
    }
}

/// Roots of a body's fields, in order.
fn fields(body: &BlockBody) -> Vec<Root> {
    let BlockBody {
        execution_requests,
        auxpow,
        bitcoin_headers,
        pegins,
        pegout_batches,
        fee_bumps,
        settlements,
        refunds,
        federation_change,
        pause,
        evidence,
    } = body;
    vec![
        execution_requests.tree_hash_root(),
        auxpow.tree_hash_root(),
        bitcoin_headers.tree_hash_root(),
        pegins.tree_hash_root(),
        pegout_batches.tree_hash_root(),
        fee_bumps.tree_hash_root(),
        settlements.tree_hash_root(),
        refunds.tree_hash_root(),
        federation_change.tree_hash_root(),
        pause.tree_hash_root(),
        evidence.tree_hash_root(),
    ]
}

/// The siblings of a leaf, the lowest first, in a tree of this depth that is filled up with zeros.
fn siblings(leaves: &[Root], index: usize, depth: usize) -> Vec<Root> {
    let mut level = leaves.to_vec();
    let (mut at, mut zero) = (index, Root::ZERO);
    let mut found = Vec::with_capacity(depth);
    for _ in 0..depth {
        found.push(level.get(at ^ 1).copied().unwrap_or(zero));
        level = level
            .chunks(2)
            .map(|two| match two {
                [left, right] => pair(*left, *right),
                [left] => pair(*left, zero),
                _ => zero,
            })
            .collect();
        zero = pair(zero, zero);
        at >>= 1;
    }
    found
}

/// The federation of one epoch, as a proof's checker asks it.
#[derive(Clone, Debug)]
pub struct EpochQuorum {
    verifier: Verifier,
    federation: Arc<Federation>,
}

impl super::verifier::Quorum for EpochQuorum {
    fn is_certified(&self, height: Height, data: &ApprovalData, certificate: &Notarization) -> bool {
        let constants = &self.verifier.constants;
        let root = constants.approval_root(height, data);
        self.federation
            .verify_quorum(constants.scheme, root, &certificate.bitfield, &certificate.aggregate_signature)
            .is_ok()
    }
}

impl Verifier {
    /// What a checker of proofs takes for granted on this chain.
    pub fn trust(&self) -> super::verifier::Trust {
        let constants = &self.constants;
        super::verifier::Trust {
            genesis_root: constants.genesis_root,
            auxpow_chain_id: constants.spec.auxpow.chain_id,
            rules: constants.auxpow_rules,
            limit: constants.asert.limit(),
            min_finalization_depth: constants.spec.min_finalization_depth,
        }
    }

    /// A federation that the caller knows from elsewhere.
    ///
    /// # Errors
    /// [`FederationError`] if the members make no federation.
    pub fn quorum_of(&self, members: &Members) -> Result<EpochQuorum, FederationError> {
        let federation = Arc::new(change::federation(&self.constants, members)?);
        Ok(EpochQuorum { verifier: self.clone(), federation })
    }

    /// The federation of an epoch, if it is known.
    pub fn quorum(&self, epoch: Epoch) -> Option<EpochQuorum> {
        let federation = self.federations.get(&epoch)?;
        Some(EpochQuorum { verifier: self.clone(), federation: Arc::clone(federation) })
    }
}
