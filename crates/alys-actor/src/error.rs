//! What can go wrong between a sender and an actor, and how an incarnation ends.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A message that was not taken, given back to its sender.
#[derive(thiserror::Error)]
pub enum TellError<M> {
    /// The inbox has no room and the message does not wait ([`Overflow`](crate::Overflow), or `try_tell`).
    #[error("the inbox is full")]
    Full(M),
    /// The actor has stopped for good, or is draining.
    #[error("the actor has stopped")]
    Stopped(M),
    /// The actor is recovering and takes only essential messages, or fewer of them.
    #[error("the actor is recovering and does not take this message")]
    Restarting(M),
}

impl<M> TellError<M> {
    /// The message that was refused.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(m) | Self::Stopped(m) | Self::Restarting(m) => m,
        }
    }

    /// True if the same message may be taken later.
    pub const fn is_temporary(&self) -> bool {
        match self {
            Self::Full(_) | Self::Restarting(_) => true,
            Self::Stopped(_) => false,
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Stopped(_) => "Stopped",
            Self::Restarting(_) => "Restarting",
        })
    }
}

/// Why an ask was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The inbox has no room and the request does not wait. It was not handled.
    #[error("the inbox is full")]
    Full,
    /// The actor has stopped for good. A request in hand when it stopped may have taken effect.
    #[error("the actor has stopped")]
    Stopped,
    /// The incarnation that held the request ended before answering and a new one takes its place,
    /// or the actor is recovering and does not take this request.
    #[error("the actor is restarting")]
    Restarting,
    /// The deadline passed. The request is dropped unhandled if it still waits in the inbox.
    #[error("the deadline passed")]
    TimedOut,
    /// The handler panicked, failed or ended without answering.
    #[error("failed in handler: {0}")]
    Failed(HandlerFailure),
    /// Waiting would never end: the actors named wait for one another in this order.
    #[error("cyclic ask: {}", .0.join(" -> "))]
    Cycle(Vec<Arc<str>>),
}

/// How a handler failed the request that it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerFailure {
    /// It panicked with the request in hand.
    #[error("panicked")]
    Panicked,
    /// It dropped the [`Reply`](crate::Reply) without answering, as a handler that returns an error does.
    #[error("ended without an answer")]
    Unanswered,
}

/// Why a child was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The supervisor has another child of that name.
    #[error("there is a child named {0} already")]
    Duplicate(Arc<str>),
    /// The supervisor has not been started, or ends.
    #[error("the supervisor is not running")]
    NotRunning,
}

/// Why a name could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing has that name.
    #[error("nothing is named {0}")]
    Unknown(String),
    /// It takes other messages, or is a supervisor.
    #[error("{0} does not take these messages")]
    OtherMessages(String),
}

/// Why a system was not started. What had been started was stopped again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Compiled with `panic = "abort"`, where no panic can be caught and so nothing can be restarted.
    #[error("compiled with panic = \"abort\": supervision needs panic = \"unwind\" in the profile")]
    PanicAbort,
    /// Two children of one supervisor have the same name.
    #[error("two children are named {0}")]
    DuplicateName(String),
    /// The tree gave up while it was started.
    #[error("the tree did not start: {0}")]
    GaveUp(Exit),
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Exit {
    /// It stopped itself ([`Context::stop`](crate::Context::stop)).
    Normal,
    /// It was told to stop and handled what its inbox held.
    Drained,
    /// It was told to stop between two messages, keeping its inbox for the next incarnation.
    Halted,
    /// It did not stop within its deadline; the future in hand was dropped at an await.
    Killed,
    /// The factory or [`Actor::started`](crate::Actor::started) failed.
    StartFailed(String),
    /// A handler returned an error.
    Failed(String),
    /// A panic, with the place it came from.
    Panicked(Panic),
    /// A supervisor used up its restarts; the last failure is named.
    Escalated {
        /// Path of the child whose failure was one too many.
        child: String,
        /// That failure.
        cause: Box<Exit>,
    },
}

impl Exit {
    /// True for the ends that a transient child is restarted after.
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::Normal | Self::Drained | Self::Halted => false,
            Self::Killed | Self::StartFailed(_) | Self::Failed(_) | Self::Panicked(_) | Self::Escalated { .. } => true,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("stopped itself"),
            Self::Drained => f.write_str("drained"),
            Self::Halted => f.write_str("halted"),
            Self::Killed => f.write_str("killed: it did not stop in time"),
            Self::StartFailed(e) => write!(f, "start failed: {e}"),
            Self::Failed(e) => write!(f, "failed: {e}"),
            Self::Panicked(p) => write!(f, "{p}"),
            Self::Escalated { child, cause } => write!(f, "restarts used up by {child}: {cause}"),
        }
    }
}

/// A caught panic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Panic {
    /// The payload, if it was text.
    pub message: String,
    /// `file:line:column`, if the panic hook of the [`System`](crate::System) was still in place.
    pub location: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(at) => write!(f, "panicked at {at}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

/// An error and its sources on one line.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        text.push_str(": ");
        text.push_str(&e.to_string());
        source = e.source();
    }
    text
}
