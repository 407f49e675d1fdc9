//! What an actor takes, and what happens to it when the inbox is full.

/// What happens to a message that finds the inbox full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// `tell` and `ask` wait for room; `try_tell` gives the message back.
    #[default]
    Wait,
    /// The message is given back at once.
    Reject,
    /// The message takes the place of the one that waits under the same [`Message::key`], full or not;
    /// without such a one it waits as with [`Overflow::Wait`]. Put it on messages that replace each other.
    Coalesce,
    /// The oldest waiting message that is itself `DropOldest` goes to the dead letters; if there is none,
    /// the message is given back.
    DropOldest,
}

/// The closed set of messages of one actor: an enum of the user's.
///
/// Every method has a default that fits most messages, so `impl Message for Msg {}` is enough.
pub trait Message: Send + Sized + 'static {
    /// What happens when the inbox is full.
    fn overflow(&self) -> Overflow {
        Overflow::Wait
    }

    /// Names messages that replace one another ([`Overflow::Coalesce`]).
    fn key(&self) -> Option<u64> {
        None
    }

    /// Name of the variant, for dead letters, traces and the watchdog.
    fn kind(&self) -> &'static str {
        "message"
    }

    /// True if a degraded actor still takes it ([`Recovery::Degraded`](crate::Recovery::Degraded)).
    fn is_essential(&self) -> bool {
        true
    }

    /// A copy to handle again if this message crashes its actor: only for messages whose handling is safe to repeat.
    /// A copy that crashes its actor as often as [`Child::quarantine_after`](crate::Child::quarantine_after) says is dead-lettered.
    /// A request can't be retried, since its reply has failed.
    fn retry(&self) -> Option<Self> {
        None
    }
}
