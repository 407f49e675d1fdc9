//! BLS12-381 signatures with domains, proofs of possession and key files.
//!
//! Purpose: everything a federation member needs to sign, and everything anyone needs to check what was signed.
//! Public keys lie in G1 (48 bytes), signatures in G2 (96 bytes); the ciphersuite is
//! `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_` (draft-irtf-cfrg-bls-signature, as Ethereum's consensus layer uses it).
//!
//! Invariants:
//! - a [`PublicKey`] is in the right subgroup and is not the identity, a [`Signature`] is in the right subgroup: parsing
//!   is the only way to get one from outside bytes, and it checks;
//! - what is signed is a [`SigningRoot`], which a [`Domain`] binds to one chain, one rule set and one kind of message;
//! - secrets are wiped when dropped and never printed;
//! - work asked for by a key file is bounded before it is done ([`keystore`]).
//!
//! Deliberately absent: I/O, clocks and random numbers. Entropy is an argument wherever it is needed (batch
//! verification, new key files), so that a simulation repeats exactly. Whether a signature may be made at all is the
//! signing record's business (the store crate), not decided here.

#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions)]

mod aggregate;
mod batch;
mod derivation;
mod domain;
pub mod keystore;
mod public_key;
mod secret_key;
mod signature;

pub use aggregate::{AggregateError, AggregateSignature};
pub use batch::{SignatureSet, verify_batch};
pub use derivation::{DerivationError, DerivationPath, MAX_PATH_DEPTH, MAX_SEED_BYTES, MIN_SEED_BYTES};
pub use domain::{Domain, DomainType, SigningRoot, fork_data_root};
pub use public_key::{PUBLIC_KEY_BYTES, PublicKey, PublicKeyError};
pub use secret_key::{SECRET_KEY_BYTES, SecretKey, SecretKeyError};
pub use signature::{SIGNATURE_BYTES, Signature, SignatureError, VerifyError};

/// Domain separation tag of signatures over [`SigningRoot`]s.
const SIGNATURE_TAG: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Domain separation tag of proofs of possession.
const POSSESSION_TAG: &[u8] = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
