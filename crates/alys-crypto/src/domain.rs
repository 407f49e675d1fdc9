//! What a signature is bound to: a chain, its rule set, and a kind of message.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use std::fmt;

/// The kind of message a signature is for; a signature of one kind never verifies as another.
///
/// The three trailing bytes spell `ALY`, so that no type coincides with one of Ethereum's consensus layer and a key that
/// was (wrongly) used on both can't be made to sign for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DomainType {
    /// A block header by its slot's author.
    Proposal,
    /// A member's approval of a block.
    Approval,
    /// A quorum's change of the federation.
    FederationChange,
    /// A quorum's decision to stop or resume a direction of the peg.
    Pause,
    /// Messages between members in a peg-out signing session.
    PegMessage,
    /// Equivocation evidence as gossiped by a member.
    Evidence,
}

impl DomainType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Proposal, Self::Approval, Self::FederationChange, Self::Pause, Self::PegMessage, Self::Evidence];

    /// The four bytes that open a [`Domain`].
    pub const fn to_bytes(self) -> [u8; 4] {
        let kind = match self {
            Self::Proposal => 0x01,
            Self::Approval => 0x02,
            Self::FederationChange => 0x03,
            Self::Pause => 0x04,
            Self::PegMessage => 0x05,
            Self::Evidence => 0x06,
        };
        [kind, b'A', b'L', b'Y']
    }
}

/// `domain_type(4) || fork_data_root[..28]` (protocol section 3; `compute_domain` of the Ethereum consensus specs).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain([u8; 32]);

impl Domain {
    /// The domain of one kind of message under one version of one chain's rules.
    ///
    /// `genesis_root` is the chain's hash-tree-root over every constant of its spec and its EVM genesis;
    /// `fork_version` is the version of the rules at the height that the message is about.
    pub fn new(kind: DomainType, fork_version: [u8; 4], genesis_root: B256) -> Self {
        let mut bytes = [0; 32];
        let source = kind.to_bytes().into_iter().chain(fork_data_root(fork_version, genesis_root));
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = from;
        }
        Self(bytes)
    }

    /// The domain's bytes.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// What is signed for an object: `hash_tree_root(SigningData { object_root, domain })`, two 32-byte leaves.
    pub fn signing_root(&self, object_root: B256) -> SigningRoot {
        SigningRoot(hash_pair(object_root.0, self.0))
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", B256::from(self.0))
    }
}

/// The 32 bytes that a key signs. Comes from [`Domain::signing_root`]; wrapping any other hash gives up what domains are
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningRoot(pub B256);

impl fmt::Display for SigningRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `hash_tree_root(ForkData { fork_version, genesis_root })` (`compute_fork_data_root` of the Ethereum consensus specs):
/// the version padded with zeros to a leaf, then the root.
pub fn fork_data_root(fork_version: [u8; 4], genesis_root: B256) -> B256 {
    let [a, b, c, d] = fork_version;
    let mut leaf = [0; 32];
    for (to, from) in leaf.iter_mut().zip([a, b, c, d]) {
        *to = from;
    }
    hash_pair(leaf, genesis_root.0)
}

fn hash_pair(left: [u8; 32], right: [u8; 32]) -> B256 {
    let digest: [u8; 32] = Sha256::new_with_prefix(left).chain_update(right).finalize().into();
    B256::from(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;
    use std::collections::BTreeSet;

    #[test]
    fn fork_data_root_is_the_one_of_the_consensus_specs() {
        // The tail of Ethereum's deposit domain at version zero, which every deposit on mainnet carries.
        assert_eq!(
            fork_data_root([0; 4], B256::ZERO),
            b256!("f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b")
        );
    }

    #[test]
    fn domains_differ_by_kind_version_and_chain() {
        let mut seen = BTreeSet::new();
        for kind in DomainType::ALL {
            for version in [[0; 4], [0, 0, 0, 1]] {
                for chain in [B256::ZERO, B256::repeat_byte(1)] {
                    let domain = Domain::new(kind, version, chain);
                    assert_eq!(domain.to_bytes()[..4], kind.to_bytes());
                    assert_eq!(domain.to_bytes()[4..], fork_data_root(version, chain)[..28]);
                    assert!(seen.insert(domain.signing_root(B256::ZERO)));
                }
            }
        }
    }
}
