//! The chain's state root: one hash over everything durable, kept up to date write by write.
//!
//! Sets (blocks, certificates, what waits for an author) enter as the sum of their members' hashes modulo 2^256, so that the root does
//! not depend on the order in which they came. It compares a node with itself (live, restored, replayed); it is no
//! commitment against an adversary, who has the `state_root` of block headers to beat instead.

use crate::{Pointers, tree::Entry};
use alys_primitives::{Evidence, FederationChange, Notarization, Pause, Root, U256};
use sha2::{Digest as _, Sha256};
use ssz::Encode as _;

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    blocks: U256,
    certificates: U256,
    /// Work, proofs of equivocation, a change of the federation, a decision about pausing: whatever waits for an author.
    waiting: U256,
}

fn hash(kind: u8, parts: &[&[u8]]) -> U256 {
    let mut hash = Sha256::new_with_prefix([kind]);
    for part in parts {
        hash.update(part);
    }
    U256::from_be_bytes(<[u8; 32]>::from(hash.finalize()))
}

fn block(entry: &Entry) -> U256 {
    hash(1, &[entry.root.as_slice(), entry.state_root.as_slice()])
}

fn certificate(certificate: &Notarization) -> U256 {
    hash(2, &[&certificate.as_ssz_bytes()])
}

fn auxpow(bundle: &Root) -> U256 {
    hash(3, &[bundle.as_slice()])
}

fn proof(evidence: &Evidence) -> U256 {
    hash(4, &[&evidence.as_ssz_bytes()])
}

fn change(change: &FederationChange) -> U256 {
    hash(5, &[&change.as_ssz_bytes()])
}

fn pause(pause: &Pause) -> U256 {
    hash(6, &[&pause.as_ssz_bytes()])
}

impl Sums {
    pub(crate) fn add_block(&mut self, entry: &Entry) {
        self.blocks = self.blocks.wrapping_add(block(entry));
    }

    pub(crate) fn add_certificate(&mut self, added: &Notarization) {
        self.certificates = self.certificates.wrapping_add(certificate(added));
    }

    /// Takes a block out, with its certificate if it has one.
    pub(crate) fn remove_block(&mut self, entry: &Entry) {
        self.blocks = self.blocks.wrapping_sub(block(entry));
        if let Some(removed) = &entry.certificate {
            self.certificates = self.certificates.wrapping_sub(certificate(removed));
        }
    }

    pub(crate) fn add_auxpow(&mut self, bundle: &Root) {
        self.waiting = self.waiting.wrapping_add(auxpow(bundle));
    }

    pub(crate) fn remove_auxpow(&mut self, bundle: &Root) {
        self.waiting = self.waiting.wrapping_sub(auxpow(bundle));
    }

    /// A proof of equivocation, in a container of its own.
    pub(crate) fn add_proof(&mut self, evidence: &Evidence) {
        self.waiting = self.waiting.wrapping_add(proof(evidence));
    }

    pub(crate) fn remove_proof(&mut self, evidence: &Evidence) {
        self.waiting = self.waiting.wrapping_sub(proof(evidence));
    }

    pub(crate) fn add_change(&mut self, added: &FederationChange) {
        self.waiting = self.waiting.wrapping_add(change(added));
    }

    pub(crate) fn remove_change(&mut self, removed: &FederationChange) {
        self.waiting = self.waiting.wrapping_sub(change(removed));
    }

    pub(crate) fn add_pause(&mut self, added: &Pause) {
        self.waiting = self.waiting.wrapping_add(pause(added));
    }

    pub(crate) fn remove_pause(&mut self, removed: &Pause) {
        self.waiting = self.waiting.wrapping_sub(pause(removed));
    }

    /// The state root.
    pub(crate) fn root(&self, genesis_root: Root, pointers: &Pointers, finalized_state: Root) -> Root {
        let root = hash(
            0,
            &[
                genesis_root.as_slice(),
                &self.blocks.to_be_bytes::<32>(),
                &self.certificates.to_be_bytes::<32>(),
                &self.waiting.to_be_bytes::<32>(),
                pointers.head.as_slice(),
                pointers.safe.as_slice(),
                pointers.finalized.as_slice(),
                finalized_state.as_slice(),
            ],
        );
        Root::from(root.to_be_bytes::<32>())
    }
}
