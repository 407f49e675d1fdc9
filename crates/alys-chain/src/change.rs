//! A change of the federation: a record that a quorum of the current one signed (protocol section 7).

use crate::{GenesisError, constants::Constants, error::FederationError, federation::Federation, peg, scheme::Scheme};
use alys_crypto::{DomainType, SigningRoot};
use alys_primitives::{
    ChainSpec, Custodians, Epoch, FederationChange, FixedBytes, Members, OfferedCustody, Optional, Root, TreeHash as _,
};
use std::sync::Arc;
use tree_hash_derive::TreeHash;

/// What the members sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TreeHash)]
struct ChangeData {
    genesis_root: Root,
    epoch: Epoch,
    /// Hash-tree-root of the new members.
    members_root: Root,
    /// Hash-tree-root of the list of new custodians with their proofs, which is empty or has one entry.
    custody_root: Root,
}

/// Checks that custodians, named by a change of this epoch, can hold the deposits of this chain, and that each holds its key.
pub(crate) fn check_custody(
    constants: &Constants,
    epoch: Epoch,
    offered: &OfferedCustody,
) -> Result<(), FederationError> {
    let Some(rules) = &constants.peg else { return Err(FederationError::NoPeg) };
    let custodians = offered.custodians();
    custodians.validate().map_err(FederationError::Custodians)?;
    rules.custody_by(&custodians)?;
    let is_held = |offer| peg::is_held(&constants.genesis_root, epoch, offer);
    match offered.offers.iter().position(|offer| !is_held(offer)) {
        Some(index) => Err(FederationError::CustodyPossession { index }),
        None => Ok(()),
    }
}

/// What a record decides, whoever signed it: chain, epoch, members and custodians. Two records with one root are one change.
pub fn change_root(change: &FederationChange) -> Root {
    data(change.genesis_root, change.epoch, &change.members, &change.custody).tree_hash_root()
}

fn data(genesis_root: Root, epoch: Epoch, members: &Members, custody: &Optional<OfferedCustody>) -> ChangeData {
    ChangeData { genesis_root, epoch, members_root: members.tree_hash_root(), custody_root: custody.tree_hash_root() }
}

/// What a member of `epoch` signs to bring in `members`, and new custodians if there are any, under a version of the rules.
pub(crate) fn signing_root(
    constants: &Constants,
    version: FixedBytes<4>,
    epoch: Epoch,
    members: &Members,
    custody: &Optional<OfferedCustody>,
) -> SigningRoot {
    let data = data(constants.genesis_root, epoch, members, custody);
    constants.signing_root(DomainType::FederationChange, version, data.tree_hash_root())
}

/// Checks that members can make a federation: none twice, each with a proof of possession, few enough for the fee
/// withdrawals of one block.
pub(crate) fn federation(constants: &Constants, members: &Members) -> Result<Federation, FederationError> {
    let room = usize::try_from(constants.spec.max_withdrawals).unwrap_or(usize::MAX);
    // The miner and one for each member, and at least one place for something else.
    let max = room.saturating_sub(2);
    if members.is_empty() || members.len() > max {
        return Err(FederationError::Size { found: members.len(), max });
    }
    parse(members, constants.scheme)
}

/// As [`federation`] for members that were checked before.
pub(crate) fn parse(members: &Members, scheme: Scheme) -> Result<Federation, FederationError> {
    Federation::new(members.clone(), scheme).map_err(|(index, reason)| FederationError::Member { index, reason })
}

/// Why changes of the federation do not lead from genesis to custodians.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The spec makes no chain.
    #[error("the chain spec: {0}")]
    Genesis(#[from] GenesisError),
    /// A record that the federation before it did not decide.
    #[error("change {position}: {error}")]
    Change {
        /// Its position, from 0.
        position: usize,
        /// What is wrong.
        error: FederationError,
    },
}

/// Follows the changes of the federation since genesis, all of them and in their order, for somebody who knows nothing but
/// the spec; gives the custodians that they name, oldest first. That a quorum signed each is checked, that a chain took
/// it is not.
///
/// # Errors
/// [`FollowError`].
pub fn follow_custody(spec: ChainSpec, changes: &[FederationChange]) -> Result<Vec<Custodians>, FollowError> {
    let (constants, mut federation) = Constants::new(spec, Scheme::Bls)?;
    let mut found = Vec::new();
    for (position, (change, epoch)) in changes.iter().zip(0u64..).enumerate() {
        let verdict = if change.epoch == Epoch(epoch) {
            verify(&constants, &federation, change)
        } else {
            Err(FederationError::Epoch { found: change.epoch, expected: Epoch(epoch) })
        };
        federation = verdict.map_err(|error| FollowError::Change { position, error })?;
        found.extend(change.custody.first().map(OfferedCustody::custodians));
    }
    Ok(found)
}

/// Checks a record against the federation of its epoch. Gives the new federation.
pub(crate) fn verify(
    constants: &Constants,
    current: &Federation,
    change: &FederationChange,
) -> Result<Arc<Federation>, FederationError> {
    if change.genesis_root != constants.genesis_root {
        return Err(FederationError::OtherChain);
    }
    // The cheap and decisive check first: without a quorum nobody makes us check a hundred proofs of possession.
    let mut verdict = Ok(());
    for version in constants.versions() {
        let root = signing_root(constants, version, change.epoch, &change.members, &change.custody);
        verdict = current.verify_quorum(constants.scheme, root, &change.bitfield, &change.aggregate_signature);
        if verdict.is_ok() {
            break;
        }
    }
    verdict?;
    if let Some(custodians) = change.custody.first() {
        check_custody(constants, change.epoch, custodians)?;
    }
    federation(constants, &change.members).map(Arc::new)
}
