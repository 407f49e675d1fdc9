//! Why a mining call is not carried out, with the codes that existing mining software knows.

use alys_auxpow::DecodeError;
use alys_chain::TemplateError;

/// A refused mining call. A proof that is wrong is not one of these: it is answered with `false`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MiningError {
    /// The node misses blocks that others have.
    #[error("Alys is downloading blocks...")]
    Syncing,
    /// There is nothing to mine on now.
    #[error("merged mining is not available: {0}")]
    NoTemplate(#[from] TemplateError),
    /// The payout address can't be read.
    #[error("Invalid coinbase payout address: {given}")]
    BadPayout {
        /// What was given.
        given: String,
    },
    /// `getauxblock` without a payout address in the configuration.
    #[error("no payout address is configured: set mining.payout, or use createauxblock with an address")]
    NoPayout,
    /// The hash is not 64 hex digits.
    #[error("invalid block hash hex")]
    BadHash,
    /// No template with that hash is kept: never handed out here, or superseded.
    #[error("block hash unknown")]
    UnknownHash,
    /// The proof's bytes can't be read.
    #[error("auxpow can't be decoded: {}: {}", .0.rule(), .0)]
    Undecodable(DecodeError),
    /// The proof is not hex.
    #[error("auxpow is not hex")]
    NotHex,
    /// Wrong number of arguments.
    #[error("{usage}")]
    Usage {
        /// How the call is made.
        usage: &'static str,
    },
    /// The chain or its storage does not answer now.
    #[error("the node can't answer now: {reason}")]
    Unavailable {
        /// What was in the way.
        reason: String,
    },
}

impl MiningError {
    /// The JSON-RPC error code (Bitcoin Core's `protocol.h`).
    pub fn code(&self) -> i32 {
        match self {
            Self::Syncing => -10,
            Self::NoTemplate(_) | Self::NoPayout | Self::Undecodable(_) | Self::NotHex | Self::Usage { .. } => -1,
            Self::BadPayout { .. } => -5,
            Self::BadHash | Self::UnknownHash => -8,
            Self::Unavailable { .. } => -9,
        }
    }
}
