//! Background work of one incarnation: awaited by it, aborted with it.

use std::collections::HashMap;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::current::{self, Scoped};
use crate::error::{Exit, Panic};
use crate::panics;

enum Done<M> {
    Message(M),
    Ran,
    Panicked(Panic),
}

pub(crate) struct Work<M> {
    set: JoinSet<Done<M>>,
    running: HashMap<Id, (u64, &'static str, AbortHandle)>,
    next: u64,
    runtime: Handle,
    /// Work that blocks runs as an ordinary task.
    inline: bool,
}

impl<M: Send + 'static> Work<M> {
    pub(crate) fn new(runtime: Handle, inline: bool) -> Self {
        Self { set: JoinSet::new(), running: HashMap::new(), next: 0, runtime, inline }
    }

    pub(crate) fn spawn(&mut self, name: &'static str, work: impl Future<Output = M> + Send + 'static) -> u64 {
        self.start(name, async move { Done::Message(work.await) })
    }

    pub(crate) fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> u64 {
        self.start(name, async move {
            task.await;
            Done::Ran
        })
    }

    pub(crate) fn spawn_blocking(&mut self, name: &'static str, work: impl FnOnce() -> M + Send + 'static) -> u64 {
        if self.inline {
            return self.spawn(name, async move { work() });
        }
        let correlation = current::correlation();
        let handle = self.set.spawn_blocking_on(
            move || {
                let mut scope = Some(Box::new(current::Scope { correlation, ..current::Scope::default() }));
                current::enter(&mut scope, || panics::caught(work)).map_or_else(Done::Panicked, Done::Message)
            },
            &self.runtime,
        );
        self.note(name, handle)
    }

    pub(crate) fn abort(&mut self, id: u64) -> bool {
        match self.running.values().find(|(i, ..)| *i == id) {
            Some((_, _, handle)) => {
                handle.abort();
                true
            }
            None => false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The next result, or the failure of a piece of work.
    pub(crate) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<M, Exit>> {
        loop {
            let (id, done) = match self.set.poll_join_next_with_id(cx) {
                Poll::Pending | Poll::Ready(None) => return Poll::Pending,
                Poll::Ready(Some(Ok((id, done)))) => (id, done),
                Poll::Ready(Some(Err(error))) => (error.id(), Done::Ran),
            };
            let name = self.running.remove(&id).map_or("work", |(_, name, _)| name);
            match done {
                Done::Message(message) => return Poll::Ready(Ok(message)),
                Done::Ran => {}
                Done::Panicked(mut panic) => {
                    panic.message = format!("in {name}: {}", panic.message);
                    return Poll::Ready(Err(Exit::Panicked(panic)));
                }
            }
        }
    }

    /// Aborts all and waits until nothing runs any more.
    pub(crate) async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }

    fn start(&mut self, name: &'static str, work: impl Future<Output = Done<M>> + Send + 'static) -> u64 {
        let caught = async move {
            use futures::FutureExt as _;
            std::panic::AssertUnwindSafe(work)
                .catch_unwind()
                .await
                .unwrap_or_else(|payload| Done::Panicked(panics::describe(&*payload)))
        };
        let scoped = Scoped::new(current::correlation(), Box::pin(caught));
        let handle = self.set.spawn_on(scoped, &self.runtime);
        self.note(name, handle)
    }

    fn note(&mut self, name: &'static str, handle: AbortHandle) -> u64 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.running.insert(handle.id(), (id, name, handle));
        id
    }
}
