//! Which actor the running code belongs to.
//!
//! An actor's scope is put in place around each poll of its code and taken out after, as a task-local would be; nothing
//! outlives the poll. Asks read it for the deadline, the correlation id and the wait-for graph; a dropped
//! [`Reply`](crate::Reply) reads it to say why it was lost.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cell::Node;
use crate::error::AskError;
use crate::reply::Pending;

/// What the code of an actor runs under.
#[derive(Default)]
pub(crate) struct Scope {
    /// The actor; `None` in its background work, which blocks nobody.
    pub(crate) node: Option<Arc<dyn Node>>,
    /// Rides along from message to message, across hops.
    pub(crate) correlation: u64,
    /// The request in hand, if it is one.
    pub(crate) request: Option<Arc<dyn Pending>>,
    /// Set while state is thrown away: what replies dropped now answer.
    pub(crate) loss: Option<AskError>,
}

thread_local! {
    static CURRENT: RefCell<Option<Box<Scope>>> = const { RefCell::new(None) };
}

/// Runs `f` under `scope`. The scope is back in its place after a panic too.
pub(crate) fn enter<R>(scope: &mut Option<Box<Scope>>, f: impl FnOnce() -> R) -> R {
    struct Back<'a>(&'a mut Option<Box<Scope>>);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            CURRENT.with(|c| std::mem::swap(&mut *c.borrow_mut(), self.0));
        }
    }
    CURRENT.with(|c| std::mem::swap(&mut *c.borrow_mut(), scope));
    let _back = Back(scope);
    f()
}

/// Reads the current scope; `None` outside of actors.
pub(crate) fn with<R>(f: impl FnOnce(&Scope) -> R) -> Option<R> {
    CURRENT.try_with(|c| c.try_borrow().ok().and_then(|s| s.as_deref().map(f))).ok().flatten()
}

/// Changes the current scope, if there is one.
pub(crate) fn change(f: impl FnOnce(&mut Scope)) {
    let _ = CURRENT.try_with(|c| {
        if let Ok(mut scope) = c.try_borrow_mut()
            && let Some(scope) = scope.as_deref_mut()
        {
            f(scope);
        }
    });
}

/// Begins work on a message: what it carries rides along with what the actor sends meanwhile.
pub(crate) fn begin(correlation: u64, request: Option<Arc<dyn Pending>>) {
    let mut old = None;
    change(|s| {
        s.correlation = correlation;
        old = std::mem::replace(&mut s.request, request);
    });
    drop(old);
}

/// The work on the message is over; gives the request that it was.
pub(crate) fn end() -> Option<Arc<dyn Pending>> {
    let mut request = None;
    change(|s| {
        s.correlation = 0;
        request = s.request.take();
    });
    request
}

pub(crate) fn set_loss(loss: AskError) {
    change(|s| s.loss = Some(loss));
}

/// Runs a future under a scope of its own.
pub(crate) struct Scoped<F> {
    scope: Option<Box<Scope>>,
    future: F,
}

impl<F> Scoped<F> {
    pub(crate) fn new(correlation: u64, future: F) -> Self {
        Self { scope: Some(Box::new(Scope { correlation, ..Scope::default() })), future }
    }
}

impl<F: Future + Unpin> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        let this = &mut *self;
        enter(&mut this.scope, || std::pin::Pin::new(&mut this.future).poll(cx))
    }
}

pub(crate) fn is_scoped() -> bool {
    with(|_| ()).is_some()
}

pub(crate) fn loss() -> Option<AskError> {
    with(|s| s.loss.clone()).flatten()
}

pub(crate) fn correlation() -> u64 {
    with(|s| s.correlation).unwrap_or(0)
}

/// The request in hand and its deadline.
pub(crate) fn request() -> (Option<Arc<dyn Pending>>, Option<Instant>) {
    let request = with(|s| s.request.clone()).flatten();
    let deadline = request.as_ref().and_then(|r| r.deadline());
    (request, deadline)
}
