//! A quorum's decision to hold a direction of the peg, or to let it go on (protocol section 7).
//!
//! Decisions are numbered, so that none can be replayed; each says how both directions are from then on. While deposits are
//! held none is credited, while payments are held none begins and no attempt is repeated. Headers, settlements and refunds
//! go on in either case, and so does everything that is no peg.

use crate::{constants::Constants, error::CertificateError, federation::Federation};
use alys_crypto::{DomainType, SigningRoot};
use alys_primitives::{Epoch, FixedBytes, Pause, Root, TreeHash as _};
use ssz_derive::{Decode, Encode};
use tree_hash_derive::TreeHash;

/// Why a decision is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// Signed for another chain.
    #[error("a decision about another chain")]
    OtherChain,
    /// Not of the epoch whose members decide.
    #[error("signed in epoch {found}, members of epoch {expected} decide")]
    Epoch {
        /// The record's.
        found: Epoch,
        /// The block's.
        expected: Epoch,
    },
    /// Not the next decision.
    #[error("decision {found}, the next is {expected}")]
    Sequence {
        /// The record's number.
        found: u64,
        /// The next one.
        expected: u64,
    },
    /// Another decision with this number waits for an author.
    #[error("another decision {sequence} waits for an author")]
    Waiting {
        /// The number.
        sequence: u64,
    },
    /// The chain has no peg.
    #[error("the chain has no peg")]
    NoPeg,
    /// No quorum signed it.
    #[error("no quorum: {0}")]
    Quorum(#[from] CertificateError),
}

/// What the newest decision says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PauseState {
    /// Its number; zero if there is none yet.
    pub sequence: u64,
    /// Whether deposits are held.
    pub pegin_paused: bool,
    /// Whether payments are held.
    pub pegout_paused: bool,
}

impl PauseState {
    /// Takes a decision whose signatures were checked, in a block of `epoch`.
    pub(crate) fn decide(&self, pause: &Pause, epoch: Epoch) -> Result<Self, PauseError> {
        if pause.epoch != epoch {
            return Err(PauseError::Epoch { found: pause.epoch, expected: epoch });
        }
        let expected = self.sequence.saturating_add(1);
        if pause.sequence != expected {
            return Err(PauseError::Sequence { found: pause.sequence, expected });
        }
        let Pause { sequence, pegin_paused, pegout_paused, .. } = *pause;
        Ok(Self { sequence, pegin_paused, pegout_paused })
    }
}

/// What the members sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TreeHash)]
struct PauseData {
    genesis_root: Root,
    epoch: Epoch,
    sequence: u64,
    pegin_paused: bool,
    pegout_paused: bool,
}

/// What a record decides, whoever signed it: chain, epoch, number and both directions. Two records with one root are one
/// decision.
pub fn pause_root(pause: &Pause) -> Root {
    let Pause { genesis_root, epoch, sequence, pegin_paused, pegout_paused, .. } = *pause;
    PauseData { genesis_root, epoch, sequence, pegin_paused, pegout_paused }.tree_hash_root()
}

/// What a member of `epoch` signs for a decision under a version of the rules.
pub(crate) fn signing_root(
    constants: &Constants,
    version: FixedBytes<4>,
    epoch: Epoch,
    state: &PauseState,
) -> SigningRoot {
    let PauseState { sequence, pegin_paused, pegout_paused } = *state;
    let data = PauseData { genesis_root: constants.genesis_root, epoch, sequence, pegin_paused, pegout_paused };
    constants.signing_root(DomainType::Pause, version, data.tree_hash_root())
}

/// Checks a record's signatures against the federation of its epoch.
pub(crate) fn verify(constants: &Constants, current: &Federation, pause: &Pause) -> Result<(), PauseError> {
    if pause.genesis_root != constants.genesis_root {
        return Err(PauseError::OtherChain);
    }
    let Pause { sequence, pegin_paused, pegout_paused, .. } = *pause;
    let state = PauseState { sequence, pegin_paused, pegout_paused };
    let mut verdict = Ok(());
    for version in constants.versions() {
        let root = signing_root(constants, version, pause.epoch, &state);
        verdict = current.verify_quorum(constants.scheme, root, &pause.bitfield, &pause.aggregate_signature);
        if verdict.is_ok() {
            break;
        }
    }
    Ok(verdict?)
}
