//! Typed addresses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Instant;

use crate::ask::Ask;
use crate::cell::{Cell, Node};
use crate::current;
use crate::error::TellError;
use crate::inbox::{Envelope, Refused, Taken};
use crate::message::{Message, Overflow};
use crate::reply::Reply;
use crate::snapshot::{DeadReason, Phase};

/// Capacity of an inbox unless the child says otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 1024;

/// Ties together what one external event caused, across hops; 0 if nothing did.
///
/// It rides along with every message that is sent while another one is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct Correlation(pub u64);

/// Runs a future whose messages carry `id`: for what enters from outside.
pub async fn correlated<F: Future>(id: Correlation, future: F) -> F::Output {
    current::Scoped::new(id.0, Box::pin(future)).await
}

/// Names a logical actor, whichever incarnation runs, and also while none does.
///
/// Messages from one sender arrive in the order they were sent, across restarts too.
pub struct Addr<M> {
    pub(crate) cell: Arc<Cell<M>>,
}

impl<M> Clone for Addr<M> {
    fn clone(&self) -> Self {
        Self { cell: Arc::clone(&self.cell) }
    }
}

impl<M> PartialEq for Addr<M> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }
}

impl<M> Eq for Addr<M> {}

impl<M: Message> std::fmt::Debug for Addr<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Addr({})", self.path())
    }
}

impl<M: Message> Addr<M> {
    /// Sends; waits for room if the message's [`Overflow`] says so.
    ///
    /// `Ok` means that the message is in the inbox, which survives restarts.
    ///
    /// # Errors
    ///
    /// The message comes back if it can't be taken.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the message is not sent and the place in the line is given up.
    pub fn tell(&self, message: M) -> Tell<'_, M> {
        Tell { cell: &self.cell, message: Some(message), line: None }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    ///
    /// The message comes back if it can't be taken now.
    pub fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        match self.cell.inbox.try_send(Envelope::new(message, None, current::correlation())) {
            Ok(Taken::Queued) => Ok(()),
            Ok(Taken::Displaced(old)) => {
                self.cell.bury(old, DeadReason::Displaced);
                Ok(())
            }
            Err(r) => Err(refused(r)),
        }
    }

    /// Asks and awaits the answer: `addr.ask(|reply| Msg::Get { key, reply }).await`.
    ///
    /// Inside a handler the ask inherits the deadline of the request in hand and ends with it. Dropping the future
    /// cancels: a request that still waits in the inbox is not handled, one in hand sees [`Reply::is_wanted`] turn false.
    pub fn ask<T: Send + 'static>(&self, request: impl FnOnce(Reply<T>) -> M) -> Ask<M, T> {
        Ask::new(Arc::clone(&self.cell), None, request)
    }

    /// As [`Addr::ask`], for no longer than `within`, and no longer than the request in hand has left.
    pub fn ask_within<T: Send + 'static>(&self, within: Duration, request: impl FnOnce(Reply<T>) -> M) -> Ask<M, T> {
        Ask::new(Arc::clone(&self.cell), Instant::now().checked_add(within), request)
    }

    /// Names of the supervisors above, and its own: `root/network/sync`.
    pub fn path(&self) -> Arc<str> {
        self.cell.core().path()
    }

    /// True once the last incarnation has ended.
    pub fn is_stopped(&self) -> bool {
        self.cell.core().phase() == Phase::Stopped
    }

    /// Messages that wait in the inbox.
    pub fn depth(&self) -> usize {
        self.cell.inbox.depth()
    }

    /// Waits until the actor has stopped for good.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn stopped(&self) {
        self.cell.core().gone().await;
    }

    pub(crate) fn node(&self) -> Arc<dyn Node> {
        Arc::clone(&self.cell) as Arc<dyn Node>
    }
}

/// An address before its actor is declared, so that two actors can know each other.
///
/// Give it to the child with [`Child::seat`](crate::Child::seat). Messages wait in it until then.
pub struct Seat<M> {
    pub(crate) addr: Addr<M>,
}

impl<M: Message> Seat<M> {
    /// Reserves an address.
    #[must_use]
    pub fn new() -> Self {
        Self { addr: Addr { cell: Arc::new(Cell::new(DEFAULT_CAPACITY)) } }
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> Addr<M> {
        self.addr.clone()
    }
}

impl<M: Message> Default for Seat<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// True for messages that wait for room.
pub(crate) fn waits<M: Message>(message: &M) -> bool {
    match message.overflow() {
        Overflow::Wait | Overflow::Coalesce => true,
        Overflow::Reject | Overflow::DropOldest => false,
    }
}

fn refused<M>(refused: Refused<M>) -> TellError<M> {
    match refused {
        Refused::Full(e) => TellError::Full(e.message),
        Refused::Closed(e) => TellError::Stopped(e.message),
        Refused::Restarting(e) => TellError::Restarting(e.message),
    }
}

/// The future of [`Addr::tell`]. It sends when first polled.
#[must_use = "a message is sent when it is awaited"]
pub struct Tell<'a, M: Message> {
    cell: &'a Cell<M>,
    message: Option<M>,
    line: Option<Sending<'a, M>>,
}

impl<M: Message> Unpin for Tell<'_, M> {}

impl<M: Message> Future for Tell<'_, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let budget = std::task::ready!(coop::poll_proceed(cx));
        if let Some(message) = this.message.take() {
            match this.cell.inbox.try_send(Envelope::new(message, None, current::correlation())) {
                Ok(Taken::Queued) => {
                    budget.made_progress();
                    return Poll::Ready(Ok(()));
                }
                Ok(Taken::Displaced(old)) => {
                    budget.made_progress();
                    this.cell.bury(old, DeadReason::Displaced);
                    return Poll::Ready(Ok(()));
                }
                Err(Refused::Full(envelope)) if waits(&envelope.message) => {
                    this.line = Some(Sending::new(this.cell, envelope));
                }
                Err(r) => {
                    budget.made_progress();
                    return Poll::Ready(Err(refused(r)));
                }
            }
        }
        let Some(line) = &mut this.line else { return Poll::Pending };
        let sent = std::task::ready!(Pin::new(line).poll(cx));
        budget.made_progress();
        this.line = None;
        Poll::Ready(sent.map_err(refused))
    }
}

/// A message in the line for room.
pub(crate) struct Sending<'a, M: Message> {
    cell: &'a Cell<M>,
    envelope: Option<Envelope<M>>,
    ticket: Option<u64>,
}

impl<'a, M: Message> Sending<'a, M> {
    pub(crate) const fn new(cell: &'a Cell<M>, envelope: Envelope<M>) -> Self {
        Self { cell, envelope: Some(envelope), ticket: None }
    }
}

impl<M: Message> Unpin for Sending<'_, M> {}

impl<M: Message> Future for Sending<'_, M> {
    type Output = Result<(), Refused<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.cell.inbox.poll_send(cx, &mut this.ticket, &mut this.envelope)
    }
}

impl<M: Message> Drop for Sending<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.cell.inbox.abandon(ticket);
        }
    }
}
