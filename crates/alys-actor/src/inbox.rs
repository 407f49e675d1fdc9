//! The bounded queue in front of an actor. It belongs to the logical actor, so it outlives incarnations.
//!
//! A short mutex rather than a lock-free channel: replacing a waiting message, dropping the oldest, giving refused
//! messages back and reading the age need the whole queue, and no user code runs while the lock is held.
//! Senders that wait are served in order: a message is never admitted past an earlier waiting sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::message::{Message, Overflow};
use crate::reply::Pending;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// Of one message in so many it is noted when it was queued.
const AGE_SAMPLE: u64 = 64;

/// A message on its way, with what travels along.
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    pub(crate) ask: Option<Arc<dyn Pending>>,
    pub(crate) correlation: u64,
    /// Times that handling this message has crashed its actor.
    pub(crate) crashes: u32,
}

impl<M> Envelope<M> {
    pub(crate) const fn new(message: M, ask: Option<Arc<dyn Pending>>, correlation: u64) -> Self {
        Self { message, ask, correlation, crashes: 0 }
    }

    pub(crate) fn crashed(self, times: u32) -> Self {
        Self { crashes: times, ..self }
    }
}

/// Why an envelope was not taken.
pub(crate) enum Refused<M> {
    Full(Envelope<M>),
    Closed(Envelope<M>),
    Restarting(Envelope<M>),
}

/// What taking an envelope did to the queue.
pub(crate) enum Taken<M> {
    Queued,
    /// This one lost its place.
    Displaced(Envelope<M>),
}

/// Which messages are let in while an actor recovers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Admission {
    All,
    Essential,
    /// A growing share, from `since` until all are let in `over` later.
    Ramp {
        since: Instant,
        over: std::time::Duration,
        count: u64,
    },
}

struct Waiter {
    ticket: u64,
    waker: Waker,
}

struct State<M> {
    capacity: usize,
    queue: VecDeque<Envelope<M>>,
    /// Messages that have left the front.
    gone: u64,
    /// When some of those that wait were queued, by how many were to leave before them.
    stamps: VecDeque<(u64, Instant)>,
    closed: bool,
    receiver: Option<Waker>,
    waiters: VecDeque<Waiter>,
    /// Tickets whose room is reserved until they use it or are dropped.
    granted: Vec<u64>,
    next_ticket: u64,
    sent: u64,
    admission: Admission,
}

pub(crate) struct Inbox<M> {
    state: Mutex<State<M>>,
    /// The queue is empty and the next message wakes the receiver. Written under the lock only; while it reads true, the
    /// receiver need not look at the queue: what comes later wakes it again.
    armed: AtomicBool,
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                capacity: capacity.max(1),
                queue: VecDeque::new(),
                gone: 0,
                stamps: VecDeque::new(),
                closed: false,
                receiver: None,
                waiters: VecDeque::new(),
                granted: Vec::new(),
                next_ticket: 0,
                sent: 0,
                admission: Admission::All,
            }),
            armed: AtomicBool::new(false),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        lock(&self.state).capacity
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        lock(&self.state).capacity = capacity.max(1);
    }

    pub(crate) fn depth(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// About how long the oldest message has waited, exact to a few messages.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        lock(&self.state).stamps.front().map(|(_, at)| *at)
    }

    pub(crate) fn set_admission(&self, admission: Admission) {
        lock(&self.state).admission = admission;
    }

    /// Takes an envelope if that needs no waiting.
    #[inline]
    pub(crate) fn try_send(&self, envelope: Envelope<M>) -> Result<Taken<M>, Refused<M>> {
        let mut state = lock(&self.state);
        if let Some(refused) = state.refuse(&envelope) {
            return Err(refused.of(envelope));
        }
        if state.has_room() && state.waiters.is_empty() {
            // Replacing keeps at most one waiting message per key, even while there is room.
            let envelope = match envelope.message.overflow() {
                Overflow::Coalesce => match state.replace(envelope) {
                    Ok(old) => return Ok(Taken::Displaced(old)),
                    Err(envelope) => envelope,
                },
                Overflow::Wait | Overflow::Reject | Overflow::DropOldest => envelope,
            };
            let receiver = self.push(&mut state, envelope);
            drop(state);
            wake(receiver);
            return Ok(Taken::Queued);
        }
        match envelope.message.overflow() {
            Overflow::Wait | Overflow::Reject => Err(Refused::Full(envelope)),
            Overflow::Coalesce => state.replace(envelope).map(Taken::Displaced).map_err(Refused::Full),
            Overflow::DropOldest => {
                let oldest = state.queue.iter().position(|e| e.message.overflow() == Overflow::DropOldest);
                match oldest.and_then(|i| state.queue.remove(i)) {
                    Some(old) => {
                        state.left();
                        let receiver = self.push(&mut state, envelope);
                        drop(state);
                        wake(receiver);
                        Ok(Taken::Displaced(old))
                    }
                    None => Err(Refused::Full(envelope)),
                }
            }
        }
    }

    /// Waits for room. `ticket` is the place in the line; give it back with [`Inbox::abandon`] if the wait is given up.
    pub(crate) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        ticket: &mut Option<u64>,
        envelope: &mut Option<Envelope<M>>,
    ) -> Poll<Result<(), Refused<M>>> {
        let mut state = lock(&self.state);
        let Some(waiting) = envelope.take() else { return Poll::Ready(Ok(())) };
        if let Some(refused) = state.refuse(&waiting) {
            return Poll::Ready(Err(refused.of(waiting)));
        }
        let granted = ticket.and_then(|t| state.granted.iter().position(|g| *g == t));
        let room = match granted {
            Some(i) => {
                state.granted.swap_remove(i);
                true
            }
            None => ticket.is_none() && state.waiters.is_empty() && state.has_room(),
        };
        if room {
            *ticket = None;
            let receiver = self.push(&mut state, waiting);
            drop(state);
            wake(receiver);
            return Poll::Ready(Ok(()));
        }
        *envelope = Some(waiting);
        match *ticket {
            None => {
                let t = state.next_ticket;
                state.next_ticket = t.wrapping_add(1);
                *ticket = Some(t);
                state.waiters.push_back(Waiter { ticket: t, waker: cx.waker().clone() });
            }
            Some(t) => {
                if let Some(w) = state.waiters.iter_mut().find(|w| w.ticket == t) {
                    w.waker.clone_from(cx.waker());
                }
            }
        }
        Poll::Pending
    }

    /// Leaves the line.
    pub(crate) fn abandon(&self, ticket: u64) {
        let mut state = lock(&self.state);
        state.waiters.retain(|w| w.ticket != ticket);
        if let Some(i) = state.granted.iter().position(|g| *g == ticket) {
            state.granted.swap_remove(i);
        }
        let next = state.grant();
        drop(state);
        wake(next);
    }

    /// Forgets the receiver: another takes its place.
    pub(crate) fn change_receiver(&self) {
        let mut state = lock(&self.state);
        self.armed.store(false, Ordering::Release);
        let old = state.receiver.take();
        drop(state);
        drop(old);
    }

    /// Next message, or parks the receiver, which is the same until [`Inbox::change_receiver`].
    #[inline]
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Envelope<M>> {
        if self.armed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut state = lock(&self.state);
        match state.queue.pop_front() {
            Some(envelope) => {
                state.left();
                // Who asks waits for the answer, so the look at the queue after it would most often be in vain.
                if envelope.ask.is_some() && state.queue.is_empty() {
                    self.arm(&mut state, cx.waker());
                }
                let next = state.grant();
                drop(state);
                wake(next);
                Poll::Ready(envelope)
            }
            None => {
                self.arm(&mut state, cx.waker());
                Poll::Pending
            }
        }
    }

    fn arm(&self, state: &mut State<M>, waker: &Waker) {
        state.park(waker);
        self.armed.store(true, Ordering::Release);
    }

    /// Queues, and gives the receiver to wake, to be woken after the lock.
    fn push(&self, state: &mut State<M>, envelope: Envelope<M>) -> Option<Waker> {
        state.push(envelope);
        self.disarm(state)
    }

    fn disarm(&self, state: &mut State<M>) -> Option<Waker> {
        if !self.armed.load(Ordering::Relaxed) {
            return None;
        }
        self.armed.store(false, Ordering::Release);
        state.receiver.take()
    }

    /// Parks the receiver for [`Inbox::wake_receiver`] only: messages don't wake it.
    pub(crate) fn park(&self, waker: &Waker) {
        let mut state = lock(&self.state);
        self.armed.store(false, Ordering::Release);
        state.park(waker);
    }

    pub(crate) fn wake_receiver(&self) {
        let mut state = lock(&self.state);
        self.armed.store(false, Ordering::Release);
        let waker = state.receiver.take();
        drop(state);
        wake(waker);
    }

    /// Puts a message back in front: it is handled before those that wait.
    pub(crate) fn put_back(&self, envelope: Envelope<M>) {
        let mut state = lock(&self.state);
        state.queue.push_front(envelope);
        state.gone = state.gone.wrapping_sub(1);
        let receiver = self.disarm(&mut state);
        drop(state);
        wake(receiver);
    }

    /// Lets nobody in any more; what waits stays to be handled.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiters = std::mem::take(&mut state.waiters);
        state.granted.clear();
        drop(state);
        for w in waiters {
            w.waker.wake();
        }
    }

    /// Takes out what waits.
    pub(crate) fn take_all(&self) -> VecDeque<Envelope<M>> {
        let mut state = lock(&self.state);
        state.stamps.clear();
        std::mem::take(&mut state.queue)
    }
}

enum Refusal {
    Closed,
    Restarting,
}

impl Refusal {
    fn of<M>(self, envelope: Envelope<M>) -> Refused<M> {
        match self {
            Self::Closed => Refused::Closed(envelope),
            Self::Restarting => Refused::Restarting(envelope),
        }
    }
}

impl<M: Message> State<M> {
    fn refuse(&mut self, envelope: &Envelope<M>) -> Option<Refusal> {
        if self.closed {
            return Some(Refusal::Closed);
        }
        match &mut self.admission {
            Admission::All => None,
            Admission::Essential => (!envelope.message.is_essential()).then_some(Refusal::Restarting),
            Admission::Ramp { since, over, count } => {
                let (gone, over) = (since.elapsed().as_millis(), over.as_millis().max(1));
                if gone >= over {
                    self.admission = Admission::All;
                    return None;
                }
                if envelope.message.is_essential() {
                    return None;
                }
                // Lets in `gone / over` of the messages, evenly spread: the n-th passes if the share crosses a whole number.
                *count = count.wrapping_add(1);
                let n = u128::from(*count);
                let passes = n.saturating_mul(gone) / over > (n.saturating_sub(1)).saturating_mul(gone) / over;
                (!passes).then_some(Refusal::Restarting)
            }
        }
    }

    fn has_room(&self) -> bool {
        self.queue.len().saturating_add(self.granted.len()) < self.capacity
    }

    fn push(&mut self, envelope: Envelope<M>) {
        if self.sent.is_multiple_of(AGE_SAMPLE) {
            self.stamp();
        }
        self.sent = self.sent.wrapping_add(1);
        if self.queue.capacity() == 0 {
            // Many actors never have more than one message that waits.
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(envelope);
    }

    /// Puts the envelope in the place of the one with its key; gives the old one back, or the new one if there is none.
    fn replace(&mut self, envelope: Envelope<M>) -> Result<Envelope<M>, Envelope<M>> {
        let key = envelope.message.key();
        match self.queue.iter_mut().rev().find(|e| e.message.overflow() == Overflow::Coalesce && e.message.key() == key)
        {
            Some(old) => Ok(std::mem::replace(old, envelope)),
            None => Err(envelope),
        }
    }

    fn stamp(&mut self) {
        if self.stamps.capacity() == 0 {
            self.stamps.reserve_exact(1);
        }
        let before = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.stamps.push_back((self.gone.wrapping_add(before), Instant::now()));
    }

    /// The first has been taken out.
    fn left(&mut self) {
        self.gone = self.gone.wrapping_add(1);
        while self.stamps.front().is_some_and(|(n, _)| *n < self.gone) {
            self.stamps.pop_front();
        }
    }

    /// Reserves free room for the first in line.
    fn grant(&mut self) -> Option<Waker> {
        if self.waiters.is_empty() || !self.has_room() {
            return None;
        }
        let waiter = self.waiters.pop_front()?;
        self.granted.push(waiter.ticket);
        Some(waiter.waker)
    }

    fn park(&mut self, waker: &Waker) {
        match &mut self.receiver {
            Some(old) if old.will_wake(waker) => {}
            receiver => *receiver = Some(waker.clone()),
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
