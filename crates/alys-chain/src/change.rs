//! A change of the federation: a record that a quorum of the current one signed (protocol section 7).

use crate::{constants::Constants, error::FederationError, federation::Federation, scheme::Scheme};
use alys_crypto::{DomainType, SigningRoot};
use alys_primitives::{Epoch, FederationChange, FixedBytes, Members, Root, TreeHash as _};
use std::sync::Arc;
use tree_hash_derive::TreeHash;

/// What the members sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TreeHash)]
struct ChangeData {
    genesis_root: Root,
    epoch: Epoch,
    /// Hash-tree-root of the new members.
    members_root: Root,
}

/// What a member of `epoch` signs to bring in `members` under a version of the rules.
pub(crate) fn signing_root(
    constants: &Constants,
    version: FixedBytes<4>,
    epoch: Epoch,
    members: &Members,
) -> SigningRoot {
    let data = ChangeData { genesis_root: constants.genesis_root, epoch, members_root: members.tree_hash_root() };
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
        let root = signing_root(constants, version, change.epoch, &change.members);
        verdict = current.verify_quorum(constants.scheme, root, &change.bitfield, &change.aggregate_signature);
        if verdict.is_ok() {
            break;
        }
    }
    verdict?;
    federation(constants, &change.members).map(Arc::new)
}
