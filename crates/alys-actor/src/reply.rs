//! The one-shot answer to a request.
//!
//! One allocation serves both ends and the envelope, which sees it as a [`Pending`].

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::cell::Node;
use crate::current;
use crate::error::{AskError, HandlerFailure};
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

enum State<T> {
    Waiting(Option<Waker>),
    Done(Result<T, AskError>),
    /// The asker has taken the answer or gone.
    Closed,
}

/// What an envelope knows of the ask inside it.
pub(crate) trait Pending: Send + Sync {
    /// False once the asker, or the one that it asks for, has gone.
    fn is_live(&self) -> bool;
    /// True if nobody waits for the answer any more: the asker has gone or its deadline has passed.
    fn is_over(&self) -> bool;
    fn deadline(&self) -> Option<Instant>;
    /// Answers with an error, if nothing was answered yet.
    fn fail(&self, error: AskError);
}

pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
    gone: AtomicBool,
    deadline: Option<Instant>,
    parent: Option<Arc<dyn Pending>>,
    wait: Wait,
}

/// The edge of an ask in the graph of waits, if an actor asks. It ends with the answer, not only when the asker looks at
/// it: who has answered may ask back at once.
#[derive(Default)]
struct Wait {
    asker: OnceLock<(Arc<dyn Node>, usize)>,
    open: AtomicBool,
}

impl Wait {
    fn end(&self) {
        if self.open.load(Ordering::Acquire)
            && self.open.swap(false, Ordering::AcqRel)
            && let Some((asker, target)) = self.asker.get()
        {
            asker.core().wait_ends(*target);
        }
    }
}

impl<T> Slot<T> {
    pub(crate) fn new(deadline: Option<Instant>, parent: Option<Arc<dyn Pending>>) -> Self {
        Self {
            state: Mutex::new(State::Waiting(None)),
            gone: AtomicBool::new(false),
            deadline,
            parent,
            wait: Wait::default(),
        }
    }

    /// Notes that `asker` waits for the core with the id `target` until this is answered. Called once, before the request is sent.
    pub(crate) fn wait_begins(&self, asker: &Arc<dyn Node>, target: usize) {
        if self.wait.asker.set((Arc::clone(asker), target)).is_ok() {
            asker.core().wait_begins(target);
            self.wait.open.store(true, Ordering::Release);
        }
    }

    pub(crate) fn wait_ends(&self) {
        self.wait.end();
    }

    fn complete(&self, result: Result<T, AskError>) {
        let mut state = lock(&self.state);
        let State::Waiting(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Done(result);
        drop(state);
        self.wait.end();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Waiting(Some(old)) if old.will_wake(cx.waker()) => Poll::Pending,
            State::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Done(_) => match std::mem::replace(&mut *state, State::Closed) {
                State::Done(result) => Poll::Ready(result),
                State::Waiting(_) | State::Closed => Poll::Ready(Err(AskError::Stopped)),
            },
            State::Closed => Poll::Ready(Err(AskError::Stopped)),
        }
    }

    /// The asker goes: an answer on its way is dropped, a request still waiting will not be handled.
    pub(crate) fn close(&self) {
        self.gone.store(true, Ordering::Release);
        let old = std::mem::replace(&mut *lock(&self.state), State::Closed);
        drop(old);
    }
}

impl<T: Send> Pending for Slot<T> {
    fn is_live(&self) -> bool {
        !self.gone.load(Ordering::Acquire) && self.parent.as_ref().is_none_or(|p| p.is_live())
    }

    fn is_over(&self) -> bool {
        !self.is_live() || self.deadline.is_some_and(|d| d <= Instant::now())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn fail(&self, error: AskError) {
        self.complete(Err(error));
    }
}

/// The right to answer one request, once.
///
/// Dropping it unanswered tells the asker so with a typed error; it can be kept and answered later, or sent on.
pub struct Reply<T> {
    slot: Option<Arc<Slot<T>>>,
}

impl<T> Reply<T> {
    pub(crate) const fn new(slot: Arc<Slot<T>>) -> Self {
        Self { slot: Some(slot) }
    }

    /// Answers. The answer is dropped if the asker has gone.
    pub fn send(mut self, value: T) {
        if let Some(slot) = self.slot.take() {
            slot.complete(Ok(value));
        }
    }

    /// True while the asker still waits; check it before expensive work.
    pub fn is_wanted(&self) -> bool {
        self.slot.as_ref().is_some_and(|s| !s.gone.load(Ordering::Acquire))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let cause = if std::thread::panicking() {
                AskError::Failed(HandlerFailure::Panicked)
            } else {
                current::loss().unwrap_or(AskError::Failed(HandlerFailure::Unanswered))
            };
            slot.complete(Err(cause));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
