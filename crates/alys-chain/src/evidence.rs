//! Proofs that a member broke its promise: two signatures of one kind for one slot (protocol section 4).
//!
//! The chain records an offender once per kind and epoch ([`crate::Offences`]); further proofs say nothing new and are
//! refused, which bounds what a state holds and what blocks can be filled with. A proof goes on chain in the epoch that
//! it is about, because a block's ancestors name the members of its own epoch.

use crate::{
    constants::Constants,
    error::{BlockError, EvidenceError},
    federation::Federation,
    state::Offences,
};
use alys_primitives::{
    Approval, BlockHeader, Epoch, Evidence, ProposalEquivocation, Slot, VariableList, VoteEquivocation,
};
use std::collections::BTreeMap;

/// Who did what; the order puts the epochs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// The epoch that it happened in.
    pub epoch: Epoch,
    /// The member's index in it.
    pub member: u64,
    /// Whether it proposed twice; else it approved twice.
    pub proposal: bool,
}

/// One proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Proposal(Box<ProposalEquivocation>),
    Vote(Box<VoteEquivocation>),
}

impl Proof {
    /// What the proof is about.
    ///
    /// # Errors
    /// [`EvidenceError::Same`] or [`EvidenceError::Unrelated`] if the two messages do not contradict each other.
    pub(crate) fn offence(&self) -> Result<Offence, EvidenceError> {
        match self {
            Self::Proposal(proof) => of_proposals(&proof.first.header, &proof.second.header),
            Self::Vote(proof) => of_votes(&proof.first, &proof.second),
        }
    }

    pub(crate) fn slot(&self) -> Slot {
        match self {
            Self::Proposal(proof) => proof.first.header.slot,
            Self::Vote(proof) => proof.first.data.slot,
        }
    }
}

fn of_proposals(first: &BlockHeader, second: &BlockHeader) -> Result<Offence, EvidenceError> {
    let related = first.slot == second.slot && first.epoch == second.epoch && first.author_index == second.author_index;
    if !related {
        return Err(EvidenceError::Unrelated);
    }
    if first == second {
        return Err(EvidenceError::Same);
    }
    Ok(Offence { epoch: first.epoch, member: first.author_index, proposal: true })
}

fn of_votes(first: &Approval, second: &Approval) -> Result<Offence, EvidenceError> {
    let related = first.data.slot == second.data.slot
        && first.data.epoch == second.data.epoch
        && first.member_index == second.member_index;
    if !related {
        return Err(EvidenceError::Unrelated);
    }
    if first.data == second.data {
        return Err(EvidenceError::Same);
    }
    Ok(Offence { epoch: first.data.epoch, member: first.member_index, proposal: false })
}

/// The proofs of a container, proposals first.
pub(crate) fn proofs(evidence: &Evidence) -> impl Iterator<Item = Proof> {
    let proposals = evidence.proposals.iter().map(|proof| Proof::Proposal(Box::new(proof.clone())));
    let votes = evidence.votes.iter().map(|proof| Proof::Vote(Box::new(proof.clone())));
    proposals.chain(votes)
}

/// Proofs as a container; what goes beyond its bounds is left out.
pub(crate) fn container<'a>(proofs: impl IntoIterator<Item = &'a Proof>) -> Evidence {
    let (mut proposals, mut votes) = (Vec::new(), Vec::new());
    for proof in proofs {
        match proof {
            Proof::Proposal(proof) => proposals.push(proof.as_ref().clone()),
            Proof::Vote(proof) => votes.push(proof.as_ref().clone()),
        }
    }
    proposals.truncate(VariableList::<ProposalEquivocation, alys_primitives::typenum::U16>::max_len());
    votes.truncate(VariableList::<VoteEquivocation, alys_primitives::typenum::U16>::max_len());
    Evidence {
        proposals: VariableList::new(proposals).unwrap_or_else(|_| VariableList::empty()),
        votes: VariableList::new(votes).unwrap_or_else(|_| VariableList::empty()),
    }
}

/// Checks that the messages contradict each other and that a member of this federation signed both.
pub(crate) fn verify(constants: &Constants, federation: &Federation, proof: &Proof) -> Result<(), EvidenceError> {
    let offence = proof.offence()?;
    let key = federation.key(offence.member).ok_or(EvidenceError::Signature)?;
    #[cfg(feature = "testing")]
    if constants.scheme.planted(crate::testing::Plant::EvidenceUnchecked) {
        return Ok(());
    }
    match proof {
        Proof::Proposal(proof) => {
            for signed in [&proof.first, &proof.second] {
                let root = constants.proposal_root(signed.header.height, signed.header.root());
                constants.scheme.verify(key, root, &signed.author_signature).map_err(|_| EvidenceError::Signature)?;
            }
        }
        Proof::Vote(proof) => {
            for approval in [&proof.first, &proof.second] {
                let signed = constants.versions().any(|version| {
                    let root = constants.approval_root_of_version(version, &approval.data);
                    constants.scheme.verify(key, root, &approval.signature).is_ok()
                });
                if !signed {
                    return Err(EvidenceError::Signature);
                }
            }
        }
    }
    Ok(())
}

/// Takes a block's proofs into the record: each must be of the block's epoch and say something new.
pub(crate) fn record(offences: &mut Offences, epoch: Epoch, evidence: &Evidence) -> Result<(), BlockError> {
    for proof in proofs(evidence) {
        let offence = proof.offence()?;
        if offence.epoch != epoch {
            return Err(EvidenceError::Epoch(offence.epoch).into());
        }
        let fresh = offences.add(offence.member, offence.proposal).ok_or(EvidenceError::Signature)?;
        if !fresh {
            return Err(EvidenceError::Known.into());
        }
    }
    Ok(())
}

/// What this node has found or was told, by what it is about: one proof each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    proofs: BTreeMap<Offence, Proof>,
}

impl Found {
    /// Keeps a proof; `false` if there is one already.
    pub(crate) fn insert(&mut self, offence: Offence, proof: Proof) -> bool {
        let fresh = !self.proofs.contains_key(&offence);
        if fresh {
            self.proofs.insert(offence, proof);
        }
        fresh
    }

    /// What a block of this epoch can bring on a chain that has recorded these offences.
    pub(crate) fn unrecorded(&self, epoch: Epoch, offences: &Offences) -> Evidence {
        let from = Offence { epoch, member: 0, proposal: false };
        let to = Offence { epoch, member: u64::MAX, proposal: true };
        let of_epoch = self.proofs.range(from..=to);
        container(of_epoch.filter(|(key, _)| !offences.has(key.member, key.proposal)).map(|(_, proof)| proof))
    }

    /// Forgets the epochs before this one; gives what is forgotten.
    pub(crate) fn prune(&mut self, epoch: Epoch) -> BTreeMap<Offence, Proof> {
        let kept = self.proofs.split_off(&Offence { epoch, member: 0, proposal: false });
        std::mem::replace(&mut self.proofs, kept)
    }

    /// What the proofs are about.
    pub(crate) fn offences(&self) -> impl Iterator<Item = Offence> {
        self.proofs.keys().copied()
    }

    /// All proofs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Proof> {
        self.proofs.values()
    }
}
