//! What can be seen of a running tree, without asking an actor.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use crate::addr::Correlation;
use crate::cell::Node;
use crate::error::Exit;
use crate::health::Health;

/// The supervision tree at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreeSnapshot {
    /// Name of the system.
    pub system: String,
    /// The root supervisor.
    pub root: NodeSnapshot,
    /// Messages that found no handler since the start; the newest of them are kept as dead letters.
    pub dead_letters: u64,
}

impl TreeSnapshot {
    /// All nodes, parents before children.
    #[must_use]
    pub fn nodes(&self) -> Vec<&NodeSnapshot> {
        let mut all = Vec::new();
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            all.push(node);
            open.extend(node.children.iter().rev());
        }
        all
    }

    /// The node of that path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&NodeSnapshot> {
        self.nodes().into_iter().find(|n| n.path == path)
    }
}

/// An actor or a supervisor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeSnapshot {
    /// Names from the root down, joined by `/`.
    pub path: String,
    /// Actor or supervisor.
    pub kind: NodeKind,
    /// Where in its life it is.
    pub state: Phase,
    /// Its own report or that of its probe, whichever is worse.
    pub health: Health,
    /// Restarts since the start of the system.
    pub restarts: u64,
    /// Incarnations that ended in failure.
    pub failures: u64,
    /// Errors that it counted itself.
    pub errors: u64,
    /// How the last incarnation that ended did so.
    pub last_exit: Option<Exit>,
    /// That, if it was a failure, in words.
    pub last_error: Option<String>,
    /// Messages handled by all incarnations.
    pub handled: u64,
    /// Kind of the message in hand.
    pub handling: Option<&'static str>,
    /// Sampled, smoothed time per message, in microseconds.
    pub handle_micros: f64,
    /// Messages that wait.
    pub inbox_depth: usize,
    /// Messages that may wait.
    pub inbox_capacity: usize,
    /// About how long the oldest has waited, in milliseconds.
    pub inbox_age_ms: Option<u64>,
    /// Memory that the actor reports, in bytes; 0 if it reports none.
    pub memory_bytes: u64,
    /// In start order; empty for an actor.
    pub children: Vec<NodeSnapshot>,
}

impl NodeSnapshot {
    pub(crate) fn of(node: &Arc<dyn Node>) -> Self {
        let core = node.core();
        let inbox = node.inbox();
        let children = node.children();
        let last_exit = core.last_exit();
        let (handled, _) = core.progress();
        #[expect(clippy::cast_precision_loss, reason = "a display value")]
        #[expect(clippy::as_conversions, reason = "no lossless conversion exists")]
        let handle_micros = core.handle_nanos() as f64 / 1000.0;
        Self {
            path: core.path().to_string(),
            kind: if children.is_some() { NodeKind::Supervisor } else { NodeKind::Actor },
            state: core.phase(),
            health: core.health(),
            restarts: core.restarts(),
            failures: core.failures(),
            errors: core.errors(),
            last_error: last_exit.as_ref().filter(|e| e.is_failure()).map(ToString::to_string),
            last_exit,
            handled,
            handling: core.kind_in_hand(),
            handle_micros,
            inbox_depth: inbox.depth,
            inbox_capacity: inbox.capacity,
            inbox_age_ms: inbox
                .oldest
                .map(|at| u64::try_from(Instant::now().saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)),
            memory_bytes: core.memory(),
            children: children.unwrap_or_default().iter().map(Self::of).collect(),
        }
    }
}

/// What a node of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A leaf.
    Actor,
    /// It has children.
    Supervisor,
}

/// Where in its life a logical actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not started yet.
    Declared,
    /// [`Actor::started`](crate::Actor::started) runs.
    Starting,
    /// Takes messages.
    Running,
    /// Handles nothing until resumed.
    Suspended,
    /// Takes no more messages and handles those that wait.
    Draining,
    /// Between two incarnations.
    Restarting,
    /// Ended for good.
    Stopped,
}

impl Phase {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Declared => 0,
            Self::Starting => 1,
            Self::Running => 2,
            Self::Suspended => 3,
            Self::Draining => 4,
            Self::Restarting => 5,
            Self::Stopped => 6,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Declared,
            1 => Self::Starting,
            2 => Self::Running,
            3 => Self::Suspended,
            4 => Self::Draining,
            5 => Self::Restarting,
            _ => Self::Stopped,
        }
    }
}

/// A message that ended without a handler or a sender to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Whose inbox it was in.
    pub path: String,
    /// [`Message::kind`](crate::Message::kind).
    pub message: &'static str,
    /// What happened to it.
    pub reason: DeadReason,
    /// Of the event that caused it.
    pub correlation: Correlation,
}

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadReason {
    /// A newer message took its place.
    Displaced,
    /// The actor stopped for good before its turn.
    Stopped,
    /// Its handling ended the incarnation, and it is not safe to handle again.
    Crashed,
    /// Its handling ended the incarnation as often as the child allows.
    Quarantined,
}
