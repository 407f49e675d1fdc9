//! The logical actor: what an address points at, and what stays while incarnations come and go.

mod core;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

pub(crate) use self::core::{Core, Monitor, Watch};
use crate::error::AskError;
use crate::flags;
use crate::inbox::{Admission, Envelope, Inbox};
use crate::message::Message;
use crate::panics;
use crate::snapshot::DeadReason;
use crate::system::Shared;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A cell or a supervisor, whatever its messages are.
pub(crate) trait Node: Send + Sync + 'static {
    fn core(&self) -> &Core;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn attach(self: Arc<Self>, shared: &Arc<Shared>, path: Arc<str>);
    /// Tells the running incarnation to end, by the control lane.
    fn end(&self, how: How);
    fn suspend(&self, suspended: bool);
    /// The last incarnation has ended: everything that waits gets its end.
    fn finish(&self);
    fn inbox(&self) -> InboxView;
    fn set_admission(&self, admission: Admission);
    /// True if messages wait that were acknowledged to their senders.
    fn has_messages(&self) -> bool;
    /// Children in start order; `None` for an actor.
    fn children(&self) -> Option<Vec<Arc<dyn Node>>>;
}

/// In which way a node is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// For good: nothing new is taken, what waits is handled.
    Drain,
    /// Between two messages; what waits stays for the next incarnation.
    Halt,
}

/// What the outside may know of an inbox.
pub(crate) struct InboxView {
    pub(crate) depth: usize,
    pub(crate) capacity: usize,
    pub(crate) oldest: Option<Instant>,
}

type Deferred<M> = (u64, Box<dyn FnOnce() -> M + Send>);

pub(crate) struct Cell<M> {
    core: Core,
    pub(crate) inbox: Inbox<M>,
    /// Messages from the framework, made in the actor's own task. Bounded by the monitors it set.
    side: Mutex<VecDeque<Deferred<M>>>,
    /// Copy of the message in hand, if it may be handled again after a crash. At most one; its place is made once.
    retry: Mutex<Vec<Envelope<M>>>,
}

impl<M: Message> Cell<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            core: Core::new(),
            inbox: Inbox::new(capacity),
            side: Mutex::new(VecDeque::new()),
            retry: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Puts a message on the side lane of that incarnation.
    pub(crate) fn defer(&self, incarnation: u64, make: Box<dyn FnOnce() -> M + Send>) {
        lock(&self.side).push_back((incarnation, make));
        self.core.raise(flags::SIDE);
        self.inbox.wake_receiver();
    }

    pub(crate) fn take_deferred(&self, incarnation: u64) -> Option<Box<dyn FnOnce() -> M + Send>> {
        loop {
            let mut side = lock(&self.side);
            match side.pop_front() {
                Some((of, make)) if of == incarnation => return Some(make),
                Some(stale) => {
                    drop(side);
                    drop(stale);
                }
                None => {
                    self.core.lower(flags::SIDE);
                    return None;
                }
            }
        }
    }

    pub(crate) fn keep_for_retry(&self, envelope: Option<Envelope<M>>) {
        let mut retry = lock(&self.retry);
        let old = retry.pop();
        retry.extend(envelope);
        drop(retry);
        drop(old);
    }

    /// After a crash: the message in hand goes back to the front, or to the dead letters if it crashed too often.
    pub(crate) fn retry_or_bury(&self, crashes_allowed: u32) {
        let Some(mut envelope) = lock(&self.retry).pop() else { return };
        envelope.crashes = envelope.crashes.saturating_add(1);
        if envelope.crashes >= crashes_allowed {
            self.bury(envelope, DeadReason::Quarantined);
        } else {
            self.inbox.put_back(envelope);
        }
    }

    pub(crate) fn has_retry(&self) -> bool {
        !lock(&self.retry).is_empty()
    }

    /// Gives a message its end: an asker gets the error, the rest is listed as a dead letter.
    pub(crate) fn bury(&self, envelope: Envelope<M>, reason: DeadReason) {
        if let Some(ask) = &envelope.ask {
            ask.fail(match reason {
                DeadReason::Displaced => AskError::Full,
                DeadReason::Stopped | DeadReason::Crashed | DeadReason::Quarantined => AskError::Stopped,
            });
        } else if let Some(shared) = self.core.shared() {
            shared.dead(self.core.path(), envelope.message.kind(), reason, envelope.correlation);
        }
        // The drop of a message is code of the user.
        let _ = panics::caught(move || drop(envelope));
    }
}

impl<M: Message> Node for Cell<M> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn attach(self: Arc<Self>, shared: &Arc<Shared>, path: Arc<str>) {
        self.core.attach(shared, path);
        let node: Arc<dyn Node> = self;
        shared.graph.insert(&node);
    }

    fn end(&self, how: How) {
        match how {
            How::Drain => {
                self.inbox.close();
                self.core.raise(flags::DRAIN);
            }
            How::Halt => self.core.raise(flags::HALT),
        }
        self.core.cancel_token();
        self.inbox.wake_receiver();
    }

    fn suspend(&self, suspended: bool) {
        if suspended {
            self.core.raise(flags::SUSPEND);
        } else {
            self.core.lower(flags::SUSPEND);
        }
        self.inbox.wake_receiver();
    }

    fn finish(&self) {
        self.inbox.close();
        for envelope in self.inbox.take_all() {
            self.bury(envelope, DeadReason::Stopped);
        }
        let left = (std::mem::take(&mut *lock(&self.side)), std::mem::take(&mut *lock(&self.retry)));
        let _ = panics::caught(move || drop(left));
        if let Some(shared) = self.core.shared() {
            shared.graph.remove(self.core.id());
        }
        self.core.stopped_for_good();
    }

    fn inbox(&self) -> InboxView {
        InboxView { depth: self.inbox.depth(), capacity: self.inbox.capacity(), oldest: self.inbox.oldest() }
    }

    fn set_admission(&self, admission: Admission) {
        self.inbox.set_admission(admission);
    }

    fn has_messages(&self) -> bool {
        self.inbox.depth() > 0
    }

    fn children(&self) -> Option<Vec<Arc<dyn Node>>> {
        None
    }
}
