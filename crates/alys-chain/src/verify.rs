//! Proofs: messages whose signatures and work were checked.
//!
//! Checking is heavy and pure, so it happens on any thread with a [`Verifier`]; the core accepts only [`Verified`]
//! values and compares on whose authority they were verified with its own view of the federation.

use crate::{
    basic, change,
    constants::Constants,
    error::{AuxPowError, BlockError, CertificateError, FederationError, VerifyError},
    evidence,
    federation::Federation,
    peg::{self, PauseError, PauseState},
    scheme::Claim,
};
use alys_auxpow::{AuxPow, Target};
use alys_primitives::{
    Approval, AuxPowRecord, B256, Epoch, Evidence, FederationChange, FixedBytes, Members, Notarization, OfferedCustody,
    Optional, Pause, PublicKeyBytes, Root, SignedBlock, TreeHash as _, VariableList,
};
use std::{collections::BTreeMap, ops::Deref, sync::Arc};

/// A value whose signatures and work were checked by a [`Verifier`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    pub(crate) basis: Basis,
}

/// On whose authority a value was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    pub(crate) genesis_root: Root,
    /// Epochs and roots of the federations whose signatures were checked.
    pub(crate) federations: Vec<(Epoch, Root)>,
    /// Version of the rules under which the signature is made, for approvals and certificates.
    pub(crate) version: FixedBytes<4>,
    /// Hash of the parent chain's header that did the work, if there is work.
    pub(crate) parent_header: Option<B256>,
    /// The federation that a change brings, if there is a change.
    pub(crate) next_federation: Option<Arc<Federation>>,
}

impl<T> Verified<T> {
    pub(crate) fn new(value: T, basis: Basis) -> Self {
        Self { value, basis }
    }

    pub(crate) fn into_parts(self) -> (T, Basis) {
        (self.value, self.basis)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Everything that checking takes: the chain's constants and the federations it knows. Cheap to clone; get a fresh one
/// when the chain's epoch changes.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) constants: Arc<Constants>,
    pub(crate) federations: Arc<BTreeMap<Epoch, Arc<Federation>>>,
}

impl Verifier {
    /// Checks everything about a block that does not depend on its ancestors: form, author's signature, the parent's
    /// certificate, the AuxPoW's proof.
    ///
    /// # Errors
    /// [`VerifyError`] with the first rule that is broken.
    pub fn block(&self, block: SignedBlock) -> Result<Verified<SignedBlock>, VerifyError> {
        basic::validate(&self.constants, &block)?;
        let basis = self.signatures(&block)?;
        Ok(Verified::new(block, basis))
    }

    /// Checks many blocks as [`Verifier::block`] does, with the same answers, their signatures in one batch. `entropy`
    /// must be unpredictable to whoever made the blocks.
    pub fn blocks(
        &self,
        blocks: Vec<SignedBlock>,
        entropy: &[u8; 32],
    ) -> Vec<Result<Verified<SignedBlock>, VerifyError>> {
        let prepared: Vec<_> = blocks
            .iter()
            .map(|block| {
                basic::validate(&self.constants, block)?;
                self.claims(block)
            })
            .collect();
        let mut owners = Vec::new();
        let mut claims = Vec::new();
        for (at, (of_block, _)) in prepared.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref().ok()?))) {
            for (part, claim) in of_block {
                owners.push((at, *part));
                claims.push(claim.clone());
            }
        }
        // The first broken part of a block is its answer, as if it had been checked alone.
        let mut broken = BTreeMap::new();
        for (at, part) in self.constants.scheme.verify_all(&claims, entropy).iter().filter_map(|bad| owners.get(*bad)) {
            broken.entry(*at).or_insert(*part);
        }
        let bases: Vec<Result<Basis, VerifyError>> = prepared
            .into_iter()
            .zip(&blocks)
            .enumerate()
            .map(|(at, (prepared, block))| {
                let (_, basis) = prepared?;
                if let Some(part) = broken.get(&at) {
                    return Err(part.error());
                }
                self.records(block, basis)
            })
            .collect();
        blocks.into_iter().zip(bases).map(|(block, basis)| Ok(Verified::new(block, basis?))).collect()
    }

    /// Checks all signatures and the work of a block.
    pub(crate) fn signatures(&self, block: &SignedBlock) -> Result<Basis, VerifyError> {
        let (claims, basis) = self.claims(block)?;
        for (part, claim) in claims {
            let holds = match claim.keys.as_slice() {
                [key] if part == Part::Author => self.constants.scheme.verify(key, claim.root, claim.signature),
                keys => self.constants.scheme.verify_aggregate(keys, claim.root, claim.signature),
            };
            holds.map_err(|_| part.error())?;
        }
        self.records(block, basis)
    }

    /// Who must have signed what for the author's signature and the parent's certificate to hold.
    pub(crate) fn claims<'a>(&'a self, block: &'a SignedBlock) -> Result<(Vec<(Part, Claim<'a>)>, Basis), VerifyError> {
        let header = &block.header;
        let federation = self.federation(header.epoch)?;
        let members = federation.len();
        let key =
            federation.key(header.author_index).ok_or(VerifyError::NoMember { index: header.author_index, members })?;
        let root = self.constants.proposal_root(header.height, header.root());
        let mut claims = vec![(Part::Author, Claim { keys: vec![key], root, signature: &block.author_signature })];
        let mut federations = vec![(header.epoch, federation.root())];
        if let Some(parent) = block.parent_notarization.first() {
            let signers = self.federation(parent.epoch)?;
            let version = self.constants.spec.fork_version(header.height.saturating_sub(1));
            let keys = signers.quorum_keys(self.constants.scheme, &parent.bitfield)?;
            let root = self.constants.approval_root_of_version(version, &parent.data());
            claims.push((Part::ParentCertificate, Claim { keys, root, signature: &parent.aggregate_signature }));
            if parent.epoch != header.epoch {
                federations.push((parent.epoch, signers.root()));
            }
        }
        let basis = Basis {
            genesis_root: self.constants.genesis_root,
            federations,
            version: self.constants.spec.fork_version(header.height),
            parent_header: None,
            next_federation: None,
        };
        Ok((claims, basis))
    }

    /// Checks the records in the body that prove something themselves: work, evidence, a change of the federation.
    pub(crate) fn records(&self, block: &SignedBlock, basis: Basis) -> Result<Basis, VerifyError> {
        let epoch = block.header.epoch;
        let parent_header = match block.body.auxpow.first() {
            Some(record) => {
                Some(self.work(record, &AuxPow::decode_normalised(&record.proof).map_err(decode)?).map_err(work)?)
            }
            None => None,
        };
        let federation = self.federation(epoch)?;
        for proof in evidence::proofs(&block.body.evidence) {
            evidence::verify(&self.constants, federation, &proof).map_err(BlockError::from)?;
        }
        let next_federation = match block.body.federation_change.first() {
            Some(change) => Some(self.change(epoch, change).map_err(BlockError::from)?),
            None => None,
        };
        if let Some(pause) = block.body.pause.first() {
            peg::verify_pause(&self.constants, federation, pause).map_err(|error| BlockError::Peg(error.into()))?;
        }
        Ok(Basis { parent_header, next_federation, ..basis })
    }

    /// Checks an approval: a member of its epoch signed it.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn approval(&self, approval: Approval) -> Result<Verified<Approval>, VerifyError> {
        let federation = self.federation(approval.data.epoch)?;
        let members = federation.len();
        let key = federation
            .key(approval.member_index)
            .ok_or(VerifyError::NoMember { index: approval.member_index, members })?;
        // An approval does not say its block's height, which fixes the version; the core compares the two.
        let version = self
            .constants
            .versions()
            .find(|version| {
                let root = self.constants.approval_root_of_version(*version, &approval.data);
                self.constants.scheme.verify(key, root, &approval.signature).is_ok()
            })
            .ok_or(VerifyError::Signature)?;
        let basis = self.basis(approval.data.epoch, federation, version);
        Ok(Verified::new(approval, basis))
    }

    /// Checks a certificate: a quorum of its epoch's members signed it.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn notarization(&self, certificate: Notarization) -> Result<Verified<Notarization>, VerifyError> {
        let federation = self.federation(certificate.epoch)?;
        let mut answer = Err(VerifyError::Signature);
        for version in self.constants.versions() {
            answer = self.verify_certificate(federation, &certificate, version).map(|()| version);
            if answer.is_ok() {
                break;
            }
        }
        let basis = self.basis(certificate.epoch, federation, answer?);
        Ok(Verified::new(certificate, basis))
    }

    /// Checks the work of an AuxPoW record and normalises its proof. Whether the record fits the chain is the core's to
    /// say.
    ///
    /// # Errors
    /// [`AuxPowError`] with the first rule that is broken.
    pub fn auxpow(&self, record: AuxPowRecord) -> Result<Verified<AuxPowRecord>, AuxPowError> {
        let proof = AuxPow::decode(&record.proof)?;
        let parent_header = self.work(&record, &proof)?;
        let normalised = VariableList::new(proof.encode())
            .map_err(|_| AuxPowError::TooLong { found: 0, max: self.constants.spec.max_bundle_blocks })?;
        let basis = Basis {
            genesis_root: self.constants.genesis_root,
            federations: Vec::new(),
            version: FixedBytes::ZERO,
            parent_header: Some(parent_header),
            next_federation: None,
        };
        Ok(Verified::new(AuxPowRecord { bundle: record.bundle, proof: normalised }, basis))
    }

    /// Checks proofs of equivocation: members of known epochs signed messages that contradict each other.
    ///
    /// # Errors
    /// [`VerifyError`] with what is wrong with the first bad proof.
    pub fn evidence(&self, evidence: Evidence) -> Result<Verified<Evidence>, VerifyError> {
        let mut federations = BTreeMap::new();
        for proof in evidence::proofs(&evidence) {
            let epoch = proof.offence().map_err(BlockError::from)?.epoch;
            let federation = self.federation(epoch)?;
            evidence::verify(&self.constants, federation, &proof).map_err(BlockError::from)?;
            federations.insert(epoch, federation.root());
        }
        let basis = Basis {
            genesis_root: self.constants.genesis_root,
            federations: federations.into_iter().collect(),
            version: FixedBytes::ZERO,
            parent_header: None,
            next_federation: None,
        };
        Ok(Verified::new(evidence, basis))
    }

    /// Checks a change of the federation: a quorum of its epoch's members signed it, and the new members are usable.
    ///
    /// # Errors
    /// [`FederationError`] with the first rule that is broken.
    pub fn federation_change(&self, change: FederationChange) -> Result<Verified<FederationChange>, FederationError> {
        let current = self.federations.get(&change.epoch).ok_or_else(|| FederationError::Epoch {
            found: change.epoch,
            expected: self.federations.last_key_value().map(|(epoch, _)| *epoch).unwrap_or_default(),
        })?;
        let next = self.change(change.epoch, &change)?;
        let basis = Basis { next_federation: Some(next), ..self.basis(change.epoch, current, FixedBytes::ZERO) };
        Ok(Verified::new(change, basis))
    }

    /// Whether the members of an epoch are known here.
    pub fn knows(&self, epoch: Epoch) -> bool {
        self.federations.contains_key(&epoch)
    }

    /// Position of a key among the members of a known epoch.
    pub fn index_of(&self, epoch: Epoch, key: &PublicKeyBytes) -> Option<u64> {
        self.federations.get(&epoch)?.index_of(key)
    }

    /// Checks a decision about pausing the peg: a quorum of its epoch's members signed it.
    ///
    /// # Errors
    /// [`PauseError`] with the first rule that is broken.
    pub fn pause(&self, pause: Pause) -> Result<Verified<Pause>, PauseError> {
        let current = self.federations.get(&pause.epoch).ok_or_else(|| PauseError::Epoch {
            found: pause.epoch,
            expected: self.federations.last_key_value().map(|(epoch, _)| *epoch).unwrap_or_default(),
        })?;
        peg::verify_pause(&self.constants, current, &pause)?;
        let basis = self.basis(pause.epoch, current, FixedBytes::ZERO);
        Ok(Verified::new(pause, basis))
    }

    /// What a member of `epoch` signs for a decision about pausing, under the newest scheduled version of the rules.
    pub fn pause_signing_root(&self, epoch: Epoch, decision: &PauseState) -> alys_crypto::SigningRoot {
        let version = self.constants.versions().next().unwrap_or_default();
        peg::pause_signing_root(&self.constants, version, epoch, decision)
    }

    /// What a member of `epoch` signs to bring in `members`, and new custodians if there are any, under the newest scheduled
    /// version of the rules.
    pub fn federation_signing_root(
        &self,
        epoch: Epoch,
        members: &Members,
        custody: &Optional<OfferedCustody>,
    ) -> alys_crypto::SigningRoot {
        let version = self.constants.versions().next().unwrap_or_default();
        change::signing_root(&self.constants, version, epoch, members, custody)
    }

    /// Checks that members could make a federation, before anybody signs for them.
    ///
    /// # Errors
    /// [`FederationError::Size`] or [`FederationError::Member`].
    pub fn members(&self, members: &Members) -> Result<(), FederationError> {
        change::federation(&self.constants, members).map(|_| ())
    }

    /// Checks that custodians could hold the deposits, and hold their keys, before anybody signs for them in `epoch`.
    ///
    /// # Errors
    /// [`FederationError::NoPeg`], [`FederationError::Custodians`], [`FederationError::Custody`] or
    /// [`FederationError::CustodyPossession`].
    pub fn custodians(&self, epoch: Epoch, offered: &OfferedCustody) -> Result<(), FederationError> {
        change::check_custody(&self.constants, epoch, offered)
    }

    fn change(&self, epoch: Epoch, change: &FederationChange) -> Result<Arc<Federation>, FederationError> {
        let epoch_of = || FederationError::Epoch { found: change.epoch, expected: epoch };
        let current = self.federations.get(&epoch).filter(|_| change.epoch == epoch).ok_or_else(epoch_of)?;
        change::verify(&self.constants, current, change)
    }

    /// The hash that miners mine on, checked against the proof. Gives the parent header's hash.
    pub(crate) fn work(&self, record: &AuxPowRecord, proof: &AuxPow) -> Result<B256, AuxPowError> {
        let bundle = &record.bundle;
        if bundle.genesis_root != self.constants.genesis_root {
            return Err(AuxPowError::OtherChain);
        }
        let chain_id = self.constants.spec.auxpow.chain_id;
        if bundle.auxpow_chain_id != chain_id {
            return Err(AuxPowError::ChainId { found: bundle.auxpow_chain_id, expected: chain_id });
        }
        let max = self.constants.spec.max_bundle_blocks;
        if bundle.count > max {
            return Err(AuxPowError::TooLong { found: bundle.count, max });
        }
        let target = Target::from_compact(bundle.bits)?;
        // The chain compares bits with the difficulty; this bound keeps free work out of queues and gossip.
        if target > self.constants.asert.limit() {
            let expected = self.constants.asert.limit().to_compact();
            return Err(AuxPowError::Bits { found: bundle.bits, expected });
        }
        #[cfg(feature = "testing")]
        if self.constants.scheme.planted(crate::testing::Plant::WorkUnchecked) {
            return Ok(proof.parent.hash());
        }
        let verified = proof.verify(bundle.tree_hash_root(), &self.constants.auxpow_rules, target)?;
        Ok(verified.parent_hash)
    }

    fn verify_certificate(
        &self,
        federation: &Federation,
        certificate: &Notarization,
        version: FixedBytes<4>,
    ) -> Result<(), VerifyError> {
        let root = self.constants.approval_root_of_version(version, &certificate.data());
        federation.verify_quorum(
            self.constants.scheme,
            root,
            &certificate.bitfield,
            &certificate.aggregate_signature,
        )?;
        Ok(())
    }

    fn federation(&self, epoch: Epoch) -> Result<&Arc<Federation>, VerifyError> {
        self.federations.get(&epoch).ok_or(VerifyError::UnknownEpoch { epoch })
    }

    fn basis(&self, epoch: Epoch, federation: &Federation, version: FixedBytes<4>) -> Basis {
        Basis {
            genesis_root: self.constants.genesis_root,
            federations: vec![(epoch, federation.root())],
            version,
            parent_header: None,
            next_federation: None,
        }
    }
}

/// A signed part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Author,
    ParentCertificate,
}

impl Part {
    pub(crate) fn error(self) -> VerifyError {
        match self {
            Self::Author => VerifyError::Signature,
            Self::ParentCertificate => VerifyError::Certificate(CertificateError::Signature),
        }
    }
}

fn work(error: AuxPowError) -> VerifyError {
    VerifyError::Block(error.into())
}

fn decode(error: alys_auxpow::DecodeError) -> VerifyError {
    work(error.into())
}
