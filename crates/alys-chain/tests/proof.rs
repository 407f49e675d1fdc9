//! Proofs that a block is final: built from what a node stores, checked by whoever has none.

#![allow(clippy::unwrap_used, reason = "tests may stop")]

use alys_chain::{
    FederationError,
    proof::{
        BlockProof, ProofError, ProofParts, prove,
        verifier::{ProofFlaw, verify},
    },
    testing::{Cluster, Fixture, SchemeKind},
};
use alys_primitives::{
    BlockHeader, Epoch, Height, Members, Root, SignedBlock, VariableList,
    ssz::{Decode as _, Encode as _},
};
use std::{collections::BTreeSet, sync::Arc};

/// A chain with final bundles, and the parts of a proof for a height.
fn scene(scheme: SchemeKind) -> Cluster {
    let mut cluster = Cluster::new(Fixture::with_scheme(4, scheme));
    for _ in 0..3 {
        cluster.run_slots(5);
        cluster.mine(0);
    }
    cluster.run_slots(6);
    cluster
}

fn at(cluster: &Cluster, height: u64) -> Arc<SignedBlock> {
    let store = &cluster.nodes[0].store;
    store.block(&store.canonical(Height(height)).unwrap()).unwrap().0
}

fn header(cluster: &Cluster, height: u64) -> BlockHeader {
    if height == 0 { cluster.fixture.spec.genesis_header() } else { at(cluster, height).header.clone() }
}

/// The carrier of the bundle that holds a height, and the bundle's first and last height.
fn bundle_of(cluster: &Cluster, height: u64) -> (u64, u64, u64) {
    let top = cluster.nodes[0].store.top().0;
    let mut from = 1;
    for carrier in 1..=top {
        if let Some(record) = at(cluster, carrier).body.auxpow.first() {
            let to = from + record.bundle.count - 1;
            if (from..=to).contains(&height) {
                return (carrier, from, to);
            }
            from = to + 1;
        }
    }
    panic!("height {height} is in no bundle");
}

fn parts(cluster: &Cluster, height: u64) -> ProofParts {
    let (carrier, from, to) = bundle_of(cluster, height);
    let top = cluster.nodes[0].store.top().0;
    let descendant = |height: u64| {
        let (block, certificate) = cluster.nodes[0].store.block(&at(cluster, height).root()).unwrap();
        (block.header.clone(), certificate)
    };
    ProofParts {
        bundle: (from..=to).map(|height| at(cluster, height).root()).collect(),
        header: header(cluster, height),
        carrier: at(cluster, carrier).as_ref().clone(),
        parent: header(cluster, carrier - 1),
        descendants: (carrier + 1..=top).map(descendant).collect(),
    }
}

fn check(cluster: &Cluster, proof: &BlockProof) -> Result<(), ProofFlaw> {
    let verifier = cluster.nodes[0].chain.verifier();
    let quorum = verifier.quorum(proof.header.epoch).unwrap();
    verify(proof, &verifier.trust(), &quorum)
}

#[test]
fn every_final_block_can_be_proven() {
    for scheme in [SchemeKind::Unproven, SchemeKind::Bls] {
        let cluster = scene(scheme);
        let finalized = cluster.nodes[0].chain.view().finalized.height.0;
        assert!(finalized >= 8);
        for height in 1..=finalized {
            let proof = prove(&parts(&cluster, height), cluster.fixture.spec.min_finalization_depth).unwrap();
            assert_eq!(check(&cluster, &proof), Ok(()), "height {height}");
            assert_eq!(proof.header.root(), at(&cluster, height).root());
            let bytes = proof.as_ssz_bytes();
            assert_eq!(BlockProof::from_ssz_bytes(&bytes).unwrap(), proof);
        }
    }
}

#[test]
fn what_is_not_final_yet_has_no_proof() {
    let mut cluster = Cluster::new(Fixture::new(4));
    cluster.run_slots(5);
    cluster.mine(0);
    cluster.run_slots(2);
    assert_eq!(cluster.nodes[0].chain.view().finalized.height, Height(0));
    let depth = cluster.fixture.spec.min_finalization_depth;
    assert_eq!(prove(&parts(&cluster, 2), depth), Err(ProofError::NotFinal));
    cluster.run_slots(1);
    assert!(cluster.nodes[0].chain.view().finalized.height > Height(0));
    assert!(prove(&parts(&cluster, 2), depth).is_ok(), "as soon as the chain calls it final");
}

#[test]
fn a_proof_with_anything_changed_does_not_hold() {
    let cluster = scene(SchemeKind::Bls);
    let good = prove(&parts(&cluster, 3), cluster.fixture.spec.min_finalization_depth).unwrap();
    let flaw = |change: &dyn Fn(&mut BlockProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        check(&cluster, &proof).unwrap_err()
    };
    assert_eq!(flaw(&|proof| proof.header.slot.0 += 1), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.index += 1), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.index += 1 << 16), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.branch[4] = Root::repeat_byte(1)), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.branch = VariableList::empty()), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.record.bundle.count += 1), ProofFlaw::NotInBundle);
    assert_eq!(flaw(&|proof| proof.record.bundle.genesis_root.0[0] ^= 1), ProofFlaw::OtherChain);
    assert_eq!(flaw(&|proof| proof.record.bundle.miner_address.0[0] ^= 1), ProofFlaw::Work);
    assert_eq!(flaw(&|proof| proof.record.bundle.bits = 0x2100_ffff), ProofFlaw::Work);
    assert_eq!(flaw(&|proof| proof.record.proof = VariableList::empty()), ProofFlaw::Work);
    assert_eq!(flaw(&|proof| proof.body_branch[0] = Root::repeat_byte(1)), ProofFlaw::NotCarried);
    assert_eq!(flaw(&|proof| proof.headers[1].body_root.0[0] ^= 1), ProofFlaw::NotCarried);
    assert_eq!(flaw(&|proof| proof.headers = VariableList::empty()), ProofFlaw::Chain);
    assert_eq!(flaw(&|proof| proof.headers[2].parent_root.0[0] ^= 1), ProofFlaw::Chain);
    assert_eq!(flaw(&|proof| proof.certificate.slot.0 += 1), ProofFlaw::Certificate);
    assert_eq!(flaw(&|proof| proof.certificate.bitfield.set(100, true).unwrap()), ProofFlaw::Certificate);
    // Cut off before the carrier is safe or deep.
    let cut = |length: usize| {
        let mut proof = good.clone();
        proof.headers = VariableList::new(good.headers.iter().take(length).cloned().collect()).unwrap();
        check(&cluster, &proof).unwrap_err()
    };
    assert_eq!(cut(2), ProofFlaw::NotSafe);
    assert_eq!(cut(3), ProofFlaw::NotDeep);
}

#[test]
fn each_flaw_says_what_is_wrong() {
    let flaws = [
        ProofFlaw::OtherChain,
        ProofFlaw::NotInBundle,
        ProofFlaw::Work,
        ProofFlaw::NotCarried,
        ProofFlaw::Chain,
        ProofFlaw::NotSafe,
        ProofFlaw::NotDeep,
        ProofFlaw::Certificate,
    ];
    let texts: BTreeSet<String> = flaws.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), flaws.len());
    assert_eq!(ProofFlaw::NotDeep.to_string(), "too few blocks follow the carrier");
}

#[test]
fn a_federation_known_from_elsewhere_checks_proofs_as_the_chains_own_does() {
    let cluster = scene(SchemeKind::Bls);
    let verifier = cluster.nodes[0].chain.verifier();
    let proof = prove(&parts(&cluster, 2), cluster.fixture.spec.min_finalization_depth).unwrap();
    let members = cluster.fixture.spec.members.clone();
    let quorum = verifier.quorum_of(&members).unwrap();
    assert_eq!(verify(&proof, &verifier.trust(), &quorum), Ok(()));
    let mut others = members.to_vec();
    others.rotate_left(1);
    let others = verifier.quorum_of(&Members::new(others).unwrap()).unwrap();
    assert_eq!(verify(&proof, &verifier.trust(), &others), Err(ProofFlaw::Certificate));
    let nobody = verifier.quorum_of(&Members::empty()).unwrap_err();
    assert_eq!(nobody, FederationError::Size { found: 0, max: 254 });
    assert!(verifier.quorum(Epoch(1)).is_none(), "an epoch to come");
}

#[test]
fn damaged_proofs_do_not_decode() {
    let cluster = scene(SchemeKind::Unproven);
    let bytes = prove(&parts(&cluster, 2), 2).unwrap().as_ssz_bytes();
    assert!(BlockProof::from_ssz_bytes(&vec![0xff; bytes.len()]).is_err());
    assert!(BlockProof::from_ssz_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(BlockProof::from_ssz_bytes(&bytes[..100]).is_err());
}
