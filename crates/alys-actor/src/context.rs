//! What an actor can do while it runs.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll, Stream};
use tokio::task::coop;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::actor::StartCause;
use crate::addr::{Addr, Correlation};
use crate::cell::{Cell, Core, Monitor, Node};
use crate::current;
use crate::error::Exit;
use crate::flags;
use crate::health::Health;
use crate::inbox::Envelope;
use crate::message::Message;
use crate::panics::caught;
use crate::snapshot::Phase;
use crate::system::SystemRef;
use crate::timers::Timers;
use crate::work::Work;

/// A user message never waits for more than that many timers and results in a row, nor a timer for more messages.
const LANE_BOUND: u32 = 16;

/// Names a timer of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(u64);

/// Names a piece of background work of one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkId(u64);

/// An incarnation of a monitored actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Whose.
    pub path: Arc<str>,
    /// How.
    pub exit: Exit,
    /// True if no other follows.
    pub is_final: bool,
}

/// What happens next in an incarnation.
pub(crate) enum Next<M> {
    User(Envelope<M>),
    /// From the lane of timers and results.
    Event(M),
    End(Exit),
}

/// The actor's own side: address, timers, background work, ending. It belongs to one incarnation.
///
/// Messages come from three lanes: control (stop, drain, suspend), then timers and results of work, then the inbox.
/// A later lane is served at least once in 17 messages, and an earlier one is looked at as often.
pub struct Context<M: Message> {
    addr: Addr<M>,
    system: SystemRef,
    incarnation: u64,
    cause: StartCause,
    timers: Option<Box<Timers<M>>>,
    work: Option<Box<Work<M>>>,
    streams: Option<Box<SelectAll<BoxStream<'static, M>>>>,
    monitors: Vec<(Arc<dyn Node>, u64)>,
    stop: bool,
    draining: bool,
    suspended: bool,
    blocking: bool,
    /// User messages since the lanes were looked at.
    run_of_users: u32,
    /// Lane messages since a user message.
    run_of_events: u32,
}

impl<M: Message> Context<M> {
    pub(crate) fn new(addr: Addr<M>, system: SystemRef, incarnation: u64, cause: StartCause, blocking: bool) -> Self {
        Self {
            addr,
            system,
            incarnation,
            cause,
            timers: None,
            work: None,
            streams: None,
            monitors: Vec::new(),
            stop: false,
            draining: false,
            suspended: false,
            blocking,
            run_of_users: 0,
            run_of_events: 0,
        }
    }

    /// Own address. Telling oneself is fine; asking oneself is answered with [`AskError::Cycle`](crate::AskError::Cycle).
    pub fn addr(&self) -> &Addr<M> {
        &self.addr
    }

    /// Own path.
    pub fn path(&self) -> Arc<str> {
        self.addr.path()
    }

    /// The system that this actor lives in.
    pub const fn system(&self) -> &SystemRef {
        &self.system
    }

    /// Why this incarnation was started.
    pub const fn start_cause(&self) -> &StartCause {
        &self.cause
    }

    /// What the message in hand belongs to.
    pub fn correlation(&self) -> Correlation {
        Correlation(current::correlation())
    }

    /// Brings `message` after `delay`, ahead of the inbox. Timers end with the incarnation and when draining begins.
    pub fn after(&mut self, delay: Duration, message: M) -> TimerId {
        let now = Instant::now();
        // A delay beyond the range of the clock never comes; half a century stands for it.
        let at = now.checked_add(delay).or_else(|| now.checked_add(Duration::from_hours(24 * 365 * 50))).unwrap_or(now);
        self.at(at, message)
    }

    /// Brings `message` at a time, or at once if it has passed.
    pub fn at(&mut self, when: Instant, message: M) -> TimerId {
        TimerId(self.timers.get_or_insert_with(|| Box::new(Timers::new())).once(when, message))
    }

    /// Brings a message every `period` (at least 1 ms). Ticks that were missed are skipped.
    pub fn every(&mut self, period: Duration, make: impl FnMut() -> M + Send + 'static) -> TimerId {
        TimerId(self.timers.get_or_insert_with(|| Box::new(Timers::new())).every(period, Box::new(make)))
    }

    /// True if the timer was still to come.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.timers.as_mut().is_some_and(|t| t.cancel(timer.0))
    }

    /// Runs `work` beside the actor; its result arrives as a message. Draining waits for it.
    ///
    /// It ends with the incarnation; a panic in it fails the actor.
    pub fn spawn(&mut self, name: &'static str, work: impl Future<Output = M> + Send + 'static) -> WorkId {
        WorkId(self.work().spawn(name, work))
    }

    /// As [`Context::spawn`], for work that blocks its thread. It can't be aborted once it runs.
    pub fn spawn_blocking(&mut self, name: &'static str, work: impl FnOnce() -> M + Send + 'static) -> WorkId {
        WorkId(self.work().spawn_blocking(name, work))
    }

    /// Runs `task` beside the actor. Draining waits for it, so one that runs for ever watches [`Context::token`].
    pub fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> WorkId {
        WorkId(self.work().run(name, task))
    }

    /// Aborts background work at its next await; true if it ran.
    pub fn abort(&mut self, work: WorkId) -> bool {
        self.work.as_mut().is_some_and(|w| w.abort(work.0))
    }

    /// Turns what the stream yields into messages. It is polled by the actor, between messages, until draining begins.
    pub fn attach(&mut self, stream: impl Stream<Item = M> + Send + 'static) {
        self.streams.get_or_insert_with(|| Box::new(SelectAll::new())).push(stream.boxed());
    }

    /// Brings a message when an incarnation of `of` ends, once; at once if it has stopped for good.
    pub fn monitor<N: Message>(&mut self, of: &Addr<N>, down: impl FnOnce(Down) -> M + Send + 'static) {
        let node = of.node();
        let path = node.core().path();
        let cell = Arc::clone(&self.addr.cell);
        let incarnation = self.incarnation;
        let deliver = move |exit: Exit, is_final: bool| {
            cell.defer(incarnation, Box::new(move || down(Down { path, exit, is_final })));
        };
        self.watch(node, Monitor::Once(Box::new(deliver)));
    }

    /// Ends this incarnation in failure when one of `to` does, or has done if it has stopped for good.
    pub fn link<N: Message>(&mut self, to: &Addr<N>) {
        let node = to.node();
        let child = node.core().path().to_string();
        let cell = Arc::clone(&self.addr.cell);
        let incarnation = self.incarnation;
        let deliver = move |exit: Exit, _: bool| {
            if exit.is_failure() && cell.core().incarnation() == incarnation {
                cell.core().set_link_failure(Exit::Escalated { child, cause: Box::new(exit) });
                cell.inbox.wake_receiver();
            }
        };
        self.watch(node, Monitor::Failure(Box::new(deliver)));
    }

    fn watch(&mut self, node: Arc<dyn Node>, monitor: Monitor) {
        match node.core().monitor(monitor) {
            Ok(id) => self.monitors.push((node, id)),
            Err((monitor, exit)) => monitor.tell(exit, true),
        }
    }

    /// Cancelled as soon as this incarnation is told to end, and when it ends.
    pub fn token(&self) -> CancellationToken {
        self.core().token()
    }

    /// Ends the incarnation after the message in hand ([`Exit::Normal`]).
    pub const fn stop(&mut self) {
        self.stop = true;
    }

    /// Reports health; it shows in the tree until reported otherwise or restarted.
    pub fn set_health(&mut self, health: Health) {
        self.core().set_health(health);
    }

    /// Counts an error that did not end the incarnation, for the probe.
    pub fn count_error(&mut self) {
        self.core().count_error();
    }

    /// Reports memory in use, for the tree and the probe.
    pub fn set_memory(&mut self, bytes: u64) {
        self.core().set_memory(bytes);
    }

    pub(crate) fn core(&self) -> &Core {
        self.addr.cell.core()
    }

    pub(crate) fn cell(&self) -> &Cell<M> {
        &self.addr.cell
    }

    pub(crate) const fn is_blocking(&self) -> bool {
        self.blocking
    }

    pub(crate) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// False once the incarnation was given up as stuck: another may have the inbox and the cell.
    pub(crate) fn is_current(&self) -> bool {
        self.core().incarnation() == self.incarnation
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.stop
    }

    fn work(&mut self) -> &mut Work<M> {
        self.work
            .get_or_insert_with(|| Box::new(Work::new(self.system.runtime().clone(), self.system.blocking_inline())))
    }

    /// The next thing to do, by lanes.
    #[inline]
    pub(crate) fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Next<M>> {
        let budget = std::task::ready!(coop::poll_proceed(cx));
        let next = self.poll_lanes(cx);
        if next.is_ready() {
            budget.made_progress();
        }
        next
    }

    #[inline]
    fn poll_lanes(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Next<M>> {
        loop {
            let flags = self.core().flags();
            if (flags != 0 || self.suspended)
                && let Some(exit) = self.control(flags)
            {
                return Poll::Ready(Next::End(exit));
            }
            let is_turn = self.run_of_users == 0 && self.run_of_events < LANE_BOUND && !self.suspended;
            // With nothing to look at, the look is saved, and with it a second visit to the empty inbox.
            let has_events = self.has_events(flags);
            let events_looked_at = is_turn || !has_events;
            if is_turn
                && has_events
                && let Poll::Ready(next) = self.poll_events_caught(cx, flags)
            {
                self.run_of_events = self.run_of_events.saturating_add(1);
                return Poll::Ready(next);
            }
            self.run_of_events = 0;
            let received = if self.suspended {
                self.addr.cell.inbox.park(cx.waker());
                Poll::Pending
            } else {
                self.addr.cell.inbox.poll_receive(cx)
            };
            match received {
                Poll::Ready(envelope) => {
                    self.run_of_users = self.run_of_users.saturating_add(1) % LANE_BOUND;
                    return Poll::Ready(Next::User(envelope));
                }
                Poll::Pending if !events_looked_at && !self.suspended => self.run_of_users = 0,
                // Raised between the look at the flags and parking, when there was nobody to wake.
                Poll::Pending if self.core().flags() != flags => {}
                Poll::Pending if self.draining && self.is_idle() => return Poll::Ready(Next::End(Exit::Drained)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    #[cold]
    fn control(&mut self, flags: u32) -> Option<Exit> {
        if flags & flags::HALT != 0 {
            return Some(Exit::Halted);
        }
        if flags & flags::LINK != 0 {
            self.core().lower(flags::LINK);
            if let Some(exit) = self.core().link_failure() {
                return Some(exit);
            }
        }
        if flags & flags::DRAIN != 0 && !self.draining {
            self.draining = true;
            self.timers = None;
            self.streams = None;
            self.core().set_phase(Phase::Draining);
        }
        // A drain ends a suspension: what waits has to be handled before the deadline.
        let suspend = flags & flags::SUSPEND != 0 && !self.draining;
        if suspend != self.suspended {
            self.suspended = suspend;
            self.run_of_users = 0;
            if !self.draining {
                self.core().set_phase(if suspend { Phase::Suspended } else { Phase::Running });
            }
        }
        None
    }

    /// Streams and what makes messages are code of the user.
    #[inline(never)]
    fn poll_events_caught(&mut self, cx: &mut std::task::Context<'_>, flags: u32) -> Poll<Next<M>> {
        let next = caught(|| self.poll_events(cx, flags))
            .unwrap_or_else(|panic| Poll::Ready(Next::End(Exit::Panicked(panic))));
        // If that took so long that this one was given up as stuck, another has the inbox.
        if self.is_current() { next } else { Poll::Ready(Next::End(Exit::Killed)) }
    }

    fn poll_events(&mut self, cx: &mut std::task::Context<'_>, flags: u32) -> Poll<Next<M>> {
        if flags & flags::SIDE != 0
            && let Some(make) = self.addr.cell.take_deferred(self.incarnation)
        {
            return Poll::Ready(Next::Event(make()));
        }
        if let Some(timers) = &mut self.timers
            && let Poll::Ready(message) = timers.poll_due(cx)
        {
            return Poll::Ready(Next::Event(message));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.poll_done(cx)
        {
            return Poll::Ready(match done {
                Ok(message) => Next::Event(message),
                Err(exit) => Next::End(exit),
            });
        }
        if let Some(streams) = &mut self.streams {
            match streams.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => return Poll::Ready(Next::Event(message)),
                Poll::Ready(None) => self.streams = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    const fn has_events(&self, flags: u32) -> bool {
        flags & flags::SIDE != 0 || self.timers.is_some() || self.work.is_some() || self.streams.is_some()
    }

    fn is_idle(&self) -> bool {
        self.work.as_ref().is_none_or(|w| w.is_empty())
    }

    /// Ends what belongs to the incarnation. Blocking work that still runs is waited for until `patience` is over.
    pub(crate) async fn end(&mut self, patience: Duration) {
        self.core().cancel_token();
        self.timers = None;
        self.streams = None;
        if let Some(mut work) = self.work.take()
            && !work.is_empty()
        {
            let _ = tokio::time::timeout(patience, work.shutdown()).await;
        }
    }
}

impl<M: Message> Drop for Context<M> {
    fn drop(&mut self) {
        self.core().cancel_token();
        for (node, id) in self.monitors.drain(..) {
            node.core().demonitor(id);
        }
    }
}
