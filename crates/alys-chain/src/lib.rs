//! The pure state machine of an Alys chain.
//!
//! Facts go in ([`Chain::handle`]), wishes come out ([`Chain::poll_effect`]), and [`Chain::poll_timeout`] says when the
//! core wants to hear of the time again. The rules are those of the protocol page, sections 2 to 7; a rule's code cites
//! its section.
//!
//! Invariants:
//! - the same facts in the same order give the same effects and the same [`Chain::state_root`], on every machine and in
//!   every replay: time is an argument, maps are ordered, arithmetic is checked;
//! - whether a block is valid depends on the block and its ancestors alone; what this node has seen decides only what it
//!   proposes, approves and follows;
//! - nothing becomes visible (a broadcast, a vote, a fork choice, an acknowledgement) before the batch that holds it is
//!   durable;
//! - the core accepts only messages whose signatures and work were checked ([`Verified`]);
//! - every buffer has a limit ([`ChainConfig`]); what does not fit is refused or evicted and can be brought again.
//!
//! Deliberately absent: I/O, clocks, randomness, threads, an async runtime, keys, and the signing record, which the
//! signer keeps outside of everything that a restore can touch.

#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions)]
#![warn(clippy::expect_used, clippy::panic, clippy::disallowed_methods, clippy::disallowed_types)]

mod basic;
mod bundle;
mod chain;
mod change;
mod checkpoint;
mod config;
mod constants;
mod digest;
mod early;
mod effect;
mod error;
mod evidence;
mod federation;
mod fees;
mod input;
mod journal;
mod light;
mod payload_hash;
pub mod peg;
mod pending;
pub mod proof;
mod queue;
mod scheme;
mod segment;
mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod transition;
mod tree;
mod validation;
mod validation_cache;
mod verify;
mod view;
mod witness;

pub use chain::{AuxTemplate, Chain, TimeoutReason};
pub use change::{FollowError, change_root, follow_custody};
pub use checkpoint::{Checkpoint, Restored, RestoredBlock, TrunkBlock};
pub use config::{ChainConfig, ConfigError};
pub use effect::{
    BlockRef, ChainBatch, ChainEvent, ChainWrite, Effect, ForkchoiceUpdate, ImportOutcome, Message, PayloadAttributes,
    PendingReason, Pointers, SignRequest,
};
pub use error::{
    AuxPowError, BlockError, CertificateError, EvidenceError, FederationError, GenesisError, InputError, MemberError,
    PayloadError, RestoreError, TemplateError, VerifyError,
};
pub use evidence::Offence;
pub use input::{
    BatchId, BuildId, Built, ExecutionId, ExecutionOutcome, Input, PeerTag, SignId, SignRefusal, Unavailable,
};
pub use light::{LightBundle, LightChain, LightError, OlderError};
pub use payload_hash::{PayloadShape, payload_hash};
pub use pending::PendingStatus;
pub use segment::{Certificates, Segment, SegmentError};
pub use state::{AuxPowEssence, Carrier, ChainState, ChangeInFlight, Committed, Ledger, MaxCarriers, Offences, Point};
pub use validation::{
    Consistent, Context, ErrorCategory, FullyValid, Signed, Validated, ValidationError, ValidationLevel, WellFormed,
};
pub use validation_cache::{Generation, MessageId, Outcome, ValidationCache};
pub use verify::{Verified, Verifier};
pub use view::{ChainView, Counters, QueuedAuxPow};
