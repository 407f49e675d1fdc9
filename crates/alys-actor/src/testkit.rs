//! For tests of actors: an address with the test behind it, and panics at any await.
//!
//! Run them on one thread with paused time, and with [`Builder::perturb`](crate::Builder::perturb) for other interleavings.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use crate::actor::Actor;
use crate::addr::{Addr, Seat};
use crate::cell::Node as _;
use crate::context::Context;
use crate::error::AskError;
use crate::message::Message;

/// The far end of an address: what actors send to it is looked at by the test.
pub struct Sink<M: Message> {
    addr: Addr<M>,
}

impl<M: Message> Sink<M> {
    /// An address with nothing behind it but the test.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let addr = Seat::new().addr();
        addr.cell.inbox.set_capacity(capacity);
        addr.cell.core().set_name(Arc::from("sink"));
        Self { addr }
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> Addr<M> {
        self.addr.clone()
    }

    /// The next message.
    pub async fn recv(&mut self) -> M {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The next message, if it is there.
    pub fn try_recv(&mut self) -> Option<M> {
        let mut cx = TaskContext::from_waker(std::task::Waker::noop());
        match self.poll(&mut cx) {
            Poll::Ready(message) => Some(message),
            Poll::Pending => None,
        }
    }

    fn poll(&self, cx: &mut TaskContext<'_>) -> Poll<M> {
        // Each call may come from another task.
        self.addr.cell.inbox.change_receiver();
        self.addr.cell.inbox.poll_receive(cx).map(|envelope| envelope.message)
    }
}

impl<M: Message> Drop for Sink<M> {
    fn drop(&mut self) {
        self.addr.cell.finish();
    }
}

/// Burns with every await of the actors that hold it, and lets one of them panic at its end.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<AtomicU64>);

/// What a fuse holds once it has burnt down.
const BURNT: u64 = 0;

impl Fuse {
    /// Panics at the `nth` poll of a handler, 1 being the first.
    #[must_use]
    pub fn at(nth: u64) -> Self {
        Self(Arc::new(AtomicU64::new(nth)))
    }

    /// True if the panic has happened.
    #[must_use]
    pub fn has_burnt(&self) -> bool {
        self.0.load(Ordering::SeqCst) == BURNT
    }

    fn burn(&self) {
        let left = self.0.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        assert!(left != Ok(1), "the fuse has burnt down");
    }
}

/// An actor that panics where its fuse says: before the first line of a method, or where it resumes after an await.
///
/// Run a scenario with `Fuse::at(1)`, `Fuse::at(2)`, … until the fuse survives it, and every await has been a crash.
pub struct Fragile<A> {
    actor: A,
    fuse: Fuse,
}

impl<A: Actor> Fragile<A> {
    /// Wraps an actor.
    pub const fn new(actor: A, fuse: Fuse) -> Self {
        Self { actor, fuse }
    }
}

impl<A: Actor> Actor for Fragile<A> {
    type Message = A::Message;
    type Error = A::Error;

    async fn started(&mut self, ctx: &mut Context<A::Message>) -> Result<(), A::Error> {
        Burning { future: Box::pin(self.actor.started(ctx)), fuse: &self.fuse }.await
    }

    async fn handle(&mut self, message: A::Message, ctx: &mut Context<A::Message>) -> Result<(), A::Error> {
        Burning { future: Box::pin(self.actor.handle(message, ctx)), fuse: &self.fuse }.await
    }

    async fn stopped(&mut self, ctx: &mut Context<A::Message>) {
        Burning { future: Box::pin(self.actor.stopped(ctx)), fuse: &self.fuse }.await;
    }
}

struct Burning<'a, F> {
    future: Pin<Box<F>>,
    fuse: &'a Fuse,
}

impl<F: Future> Future for Burning<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        self.fuse.burn();
        self.future.as_mut().poll(cx)
    }
}

/// True for the answers that leave open whether a request took effect; its sender may repeat it with the same key.
#[must_use]
pub const fn is_uncertain(error: &AskError) -> bool {
    match error {
        AskError::Stopped | AskError::Restarting | AskError::TimedOut | AskError::Failed(_) => true,
        AskError::Full | AskError::Cycle(_) => false,
    }
}
