//! The members of one epoch with their parsed keys, and the order in which they author.

use crate::{
    error::{CertificateError, MemberError},
    scheme::Scheme,
};
use alys_crypto::{PublicKey, Signature, SigningRoot};
use alys_primitives::{
    BitVector, Epoch, MaxMembers, Members, PublicKeyBytes, Root, SignatureBytes, Slot, TreeHash as _,
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The federation of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Federation {
    members: Arc<Members>,
    keys: Vec<PublicKey>,
    root: Root,
    quorum: usize,
}

/// Approvals that notarize a block of `members`: ceil(2n/3).
#[allow(unused_variables, reason = "the scheme can carry a planted mistake")]
fn quorum(members: usize, scheme: Scheme) -> usize {
    #[cfg(feature = "testing")]
    if scheme.planted(crate::testing::Plant::HalfIsQuorum) {
        return members.div_ceil(2);
    }
    members.saturating_mul(2).div_ceil(3)
}

/// The root covers the members, and keys follow from members.
impl PartialEq for Federation {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Eq for Federation {}

impl Federation {
    /// Parses keys and checks proofs of possession and that no key occurs twice.
    pub(crate) fn new(members: Members, scheme: Scheme) -> Result<Self, (usize, MemberError)> {
        let mut keys: Vec<PublicKey> = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let key = PublicKey::from_bytes(member.public_key.as_slice()).map_err(|error| (index, error.into()))?;
            if let Some(other) = keys.iter().position(|other| *other == key) {
                return Err((index, MemberError::Duplicate(other)));
            }
            match scheme {
                Scheme::Bls => {
                    let proof = Signature::from_bytes(member.proof_of_possession.as_slice())
                        .map_err(|error| (index, error.into()))?;
                    key.verify_possession(&proof).map_err(|_| (index, MemberError::Unproven))?;
                }
                #[cfg(feature = "testing")]
                Scheme::Unproven(_) => {}
            }
            keys.push(key);
        }
        let quorum = quorum(keys.len(), scheme);
        Ok(Self { root: members.tree_hash_root(), members: Arc::new(members), keys, quorum })
    }

    /// Hash-tree-root of the members.
    pub(crate) fn root(&self) -> Root {
        self.root
    }

    /// The members.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Approvals that notarize a block: ceil(2n/3).
    pub(crate) fn quorum(&self) -> usize {
        self.quorum
    }

    /// The key at an index.
    pub(crate) fn key(&self, index: u64) -> Option<&PublicKey> {
        self.keys.get(usize::try_from(index).ok()?)
    }

    /// The index of a key.
    pub(crate) fn index_of(&self, key: &PublicKeyBytes) -> Option<u64> {
        self.members.iter().position(|member| member.public_key == *key).and_then(|index| u64::try_from(index).ok())
    }

    /// Checks an aggregate signature of a quorum. Bits beyond the members make it invalid, so that nobody who is no
    /// member can be counted.
    pub(crate) fn verify_quorum(
        &self,
        scheme: Scheme,
        root: SigningRoot,
        bitfield: &BitVector<MaxMembers>,
        aggregate: &SignatureBytes,
    ) -> Result<(), CertificateError> {
        let keys = self.quorum_keys(scheme, bitfield)?;
        scheme.verify_aggregate(&keys, root, aggregate).map_err(|_| CertificateError::Signature)
    }

    /// The keys that a bitfield names, if they are a quorum.
    #[allow(unused_variables, reason = "the scheme can carry a planted mistake")]
    pub(crate) fn quorum_keys(
        &self,
        scheme: Scheme,
        bitfield: &BitVector<MaxMembers>,
    ) -> Result<Vec<&PublicKey>, CertificateError> {
        let mut keys = Vec::with_capacity(self.len());
        #[allow(unused_mut, reason = "no strangers but planted ones")]
        let mut strangers = 0usize;
        for (bit, set) in bitfield.iter().enumerate() {
            if set {
                let members = self.len();
                #[cfg(feature = "testing")]
                if bit >= members && scheme.planted(crate::testing::Plant::CountStrangers) {
                    strangers = strangers.saturating_add(1);
                    continue;
                }
                keys.push(self.keys.get(bit).ok_or(CertificateError::NoMember { bit, members })?);
            }
        }
        if keys.len().saturating_add(strangers) < self.quorum() {
            return Err(CertificateError::NoQuorum { found: keys.len(), quorum: self.quorum() });
        }
        Ok(keys)
    }

    /// The author of a slot. In each round of n slots every member authors once, in an order shuffled by a hash of
    /// chain, epoch and round (protocol section 2): the members sorted by
    /// `sha256(genesis_root || epoch || round || index)`, numbers as 8 bytes little-endian.
    pub(crate) fn author(&self, genesis_root: Root, epoch: Epoch, slot: Slot) -> u64 {
        let members = u64::try_from(self.len()).unwrap_or(u64::MAX);
        let round = slot.0.checked_div(members).unwrap_or(0);
        let position = slot.0.checked_rem(members).and_then(|position| usize::try_from(position).ok()).unwrap_or(0);
        if members <= 1 {
            return 0;
        }
        let mut order: Vec<([u8; 32], u64)> = (0..members)
            .map(|index| {
                let digest = Sha256::new_with_prefix(genesis_root)
                    .chain_update(epoch.0.to_le_bytes())
                    .chain_update(round.to_le_bytes())
                    .chain_update(index.to_le_bytes())
                    .finalize();
                (digest.into(), index)
            })
            .collect();
        order.sort_unstable();
        order.get(position).map_or(0, |(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_member_authors_once_a_round_and_no_round_follows_from_another(
            members in 1usize..12, round in 0u64..1 << 40, epoch: u64, genesis: [u8; 32],
        ) {
            let fixture = Fixture::new(members);
            let Ok(federation) = Federation::new(fixture.spec.members.clone(), Scheme::Unproven(None)) else {
                return Err(TestCaseError::fail("usable members"));
            };
            let count = u64::try_from(members).unwrap_or(1);
            let author = |slot| federation.author(Root::from(genesis), Epoch(epoch), Slot(slot));
            let first = round.saturating_mul(count);
            let authors: BTreeSet<u64> = (first..first.saturating_add(count)).map(author).collect();
            prop_assert_eq!(authors, (0..count).collect::<BTreeSet<u64>>());
        }
    }
}
