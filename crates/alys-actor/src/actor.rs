//! What a user writes: an actor.

use crate::context::Context;
use crate::error::Exit;
use crate::message::Message;

/// State that is owned by one task and reached only through messages.
///
/// Write the methods as plain `async fn`. One value is one incarnation: after a failure the factory of the
/// [`Child`](crate::Child) makes another, which continues with the same inbox.
///
/// # Cancel safety
///
/// An actor that does not stop within its deadline is dropped at the await it is in.
pub trait Actor: Sized + Send + 'static {
    /// The closed enum of what it takes.
    type Message: Message;
    /// Why it can fail; [`std::convert::Infallible`] if it can't.
    type Error: std::error::Error + Send + 'static;

    /// Runs once per incarnation, before the first message. The next sibling starts after it.
    ///
    /// # Errors
    ///
    /// Fails the start ([`Exit::StartFailed`]); the supervisor decides what follows.
    fn started(&mut self, ctx: &mut Context<Self::Message>) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }

    /// Handles one message; the next one waits until this is done.
    ///
    /// # Errors
    ///
    /// Ends the incarnation ([`Exit::Failed`]). An error that is an answer belongs into the [`Reply`](crate::Reply).
    fn handle(
        &mut self,
        message: Self::Message,
        ctx: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Runs last, unless the incarnation panicked (its memory is not trusted) or was killed.
    fn stopped(&mut self, ctx: &mut Context<Self::Message>) -> impl Future<Output = ()> + Send {
        let _ = ctx;
        std::future::ready(())
    }
}

/// Why an incarnation was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartCause {
    /// It is the first.
    First,
    /// The one before ended so.
    Restart(Exit),
    /// As a restart, and state should be taken from an older checkpoint than the newest
    /// ([`Recovery::Restore`](crate::Recovery::Restore)).
    Restore(Exit),
}
