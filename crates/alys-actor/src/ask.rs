//! A request and the wait for its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::addr::waits;
use crate::cell::Cell;
use crate::current;
use crate::error::AskError;
use crate::inbox::{Envelope, Refused, Taken};
use crate::message::Message;
use crate::reply::{Pending, Reply, Slot};
use crate::snapshot::DeadReason;

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not sent yet.
    Ready,
    /// In the line for room.
    Line,
    Sent,
    Done,
}

/// A place in the line.
struct Line<M> {
    envelope: Option<Envelope<M>>,
    ticket: Option<u64>,
}

/// The future of [`Addr::ask`](crate::Addr::ask). It sends when first polled.
///
/// # Cancel safety
///
/// Dropping it cancels the request, unless it was handled already.
#[must_use = "an ask is sent when it is awaited"]
pub struct Ask<M: Message, T: Send + 'static> {
    cell: Arc<Cell<M>>,
    slot: Arc<Slot<T>>,
    state: State,
    message: Option<M>,
    line: Option<Box<Line<M>>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<M: Message, T: Send + 'static> Ask<M, T> {
    pub(crate) fn new(cell: Arc<Cell<M>>, deadline: Option<Instant>, request: impl FnOnce(Reply<T>) -> M) -> Self {
        let (parent, inherited) = current::request();
        let deadline = match (deadline, inherited) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let slot = Arc::new(Slot::new(deadline, parent));
        let message = request(Reply::new(Arc::clone(&slot)));
        Self { cell, slot, state: State::Ready, message: Some(message), line: None, sleep: None }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        let correlation = self.enter_graph()?;
        let Some(message) = self.message.take() else { return Poll::Ready(Ok(())) };
        let ask: Arc<dyn Pending> = self.slot.clone();
        match self.cell.inbox.try_send(Envelope::new(message, Some(ask), correlation)) {
            Ok(Taken::Queued) => Poll::Ready(Ok(())),
            Ok(Taken::Displaced(old)) => {
                self.cell.bury(old, DeadReason::Displaced);
                Poll::Ready(Ok(()))
            }
            Err(Refused::Full(envelope)) if waits(&envelope.message) => {
                self.line = Some(Box::new(Line { envelope: Some(envelope), ticket: None }));
                self.state = State::Line;
                self.wait_in_line(cx)
            }
            Err(r) => Poll::Ready(Err(error(&r))),
        }
    }

    fn wait_in_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        let Some(line) = &mut self.line else { return Poll::Ready(Ok(())) };
        self.cell.inbox.poll_send(cx, &mut line.ticket, &mut line.envelope).map_err(|r| error(&r))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.slot.deadline() else { return Poll::Pending };
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    /// Publishes the wait, then looks whether it closes a cycle.
    ///
    /// Gives the correlation to send with.
    fn enter_graph(&mut self) -> Result<u64, AskError> {
        let target = self.cell.core();
        let id = target.id();
        let mut correlation = 0;
        let cycle = current::with(|scope| {
            correlation = scope.correlation;
            let node = scope.node.as_ref()?;
            let me = node.core();
            if me.id() == id {
                return Some(vec![me.path(), me.path()]);
            }
            self.slot.wait_begins(node, id);
            if !target.is_waiting() {
                return None;
            }
            let way = me.shared()?.graph.path(id, me.id())?;
            Some(std::iter::once(me.path()).chain(way).collect())
        });
        match cycle.flatten() {
            None => Ok(correlation),
            Some(cycle) => Err(AskError::Cycle(cycle)),
        }
    }

    fn finish(&mut self, result: Result<T, AskError>) -> Poll<Result<T, AskError>> {
        self.leave_line();
        self.state = State::Done;
        self.slot.wait_ends();
        Poll::Ready(result)
    }

    fn leave_line(&mut self) {
        if let Some(line) = self.line.take()
            && let Some(ticket) = line.ticket
        {
            self.cell.inbox.abandon(ticket);
        }
    }
}

impl<M: Message, T: Send + 'static> Unpin for Ask<M, T> {}

impl<M: Message, T: Send + 'static> Future for Ask<M, T> {
    type Output = Result<T, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let budget = std::task::ready!(coop::poll_proceed(cx));
        let this = &mut *self;
        let sent = match this.state {
            State::Ready => this.send(cx),
            State::Line => this.wait_in_line(cx),
            State::Sent => Poll::Ready(Ok(())),
            State::Done => return Poll::Pending,
        };
        match sent {
            Poll::Ready(Ok(())) => {
                this.state = State::Sent;
                if let Poll::Ready(result) = this.slot.poll(cx) {
                    budget.made_progress();
                    return this.finish(result);
                }
            }
            Poll::Ready(Err(error)) => {
                budget.made_progress();
                return this.finish(Err(error));
            }
            Poll::Pending => {}
        }
        if this.poll_deadline(cx).is_ready() {
            this.slot.close();
            return this.finish(Err(AskError::TimedOut));
        }
        Poll::Pending
    }
}

impl<M: Message, T: Send + 'static> Drop for Ask<M, T> {
    fn drop(&mut self) {
        if self.state != State::Done {
            self.slot.close();
            self.leave_line();
            self.slot.wait_ends();
        }
    }
}

fn error<M>(refused: &Refused<M>) -> AskError {
    match refused {
        Refused::Full(_) => AskError::Full,
        Refused::Closed(_) => AskError::Stopped,
        Refused::Restarting(_) => AskError::Restarting,
    }
}
