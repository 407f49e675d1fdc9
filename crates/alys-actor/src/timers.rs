//! Timers of one incarnation. They live in it and end with it.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Intervals are not shorter.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

enum Entry<M> {
    Once(M),
    Every { period: Duration, make: Box<dyn FnMut() -> M + Send> },
}

pub(crate) struct Timers<M> {
    queue: BTreeMap<(Instant, u64), Entry<M>>,
    due: HashMap<u64, Instant>,
    next: u64,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl<M> Timers<M> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            due: HashMap::new(),
            next: 0,
            sleep: Box::pin(sleep_until(Instant::now())),
            armed: None,
        }
    }

    pub(crate) fn once(&mut self, at: Instant, message: M) -> u64 {
        self.insert(at, Entry::Once(message))
    }

    pub(crate) fn every(&mut self, period: Duration, make: Box<dyn FnMut() -> M + Send>) -> u64 {
        let period = period.max(SHORTEST_PERIOD);
        let now = Instant::now();
        self.insert(now.checked_add(period).unwrap_or(now), Entry::Every { period, make })
    }

    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        let Some(at) = self.due.remove(&id) else { return false };
        self.queue.remove(&(at, id)).is_some()
    }

    /// The next message that is due.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<M> {
        let Some(((first, _), _)) = self.queue.first_key_value() else { return Poll::Pending };
        let first = *first;
        let now = Instant::now();
        if first > now {
            if self.armed != Some(first) {
                self.sleep.as_mut().reset(first);
                self.armed = Some(first);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
        }
        match self.fire(now.max(first)) {
            Some(message) => Poll::Ready(message),
            None => Poll::Pending,
        }
    }

    fn fire(&mut self, now: Instant) -> Option<M> {
        let ((at, id), entry) = self.queue.pop_first()?;
        self.due.remove(&id);
        match entry {
            Entry::Once(message) => Some(message),
            Entry::Every { period, mut make } => {
                let message = make();
                // Ticks that were missed are not made up for; the phase stays.
                let behind = now.saturating_duration_since(at).as_nanos();
                let steps = behind.checked_div(period.as_nanos()).unwrap_or(0).saturating_add(1);
                let next =
                    u32::try_from(steps).ok().and_then(|n| period.checked_mul(n)).and_then(|d| at.checked_add(d));
                if let Some(next) = next.or_else(|| now.checked_add(period)) {
                    self.due.insert(id, next);
                    self.queue.insert((next, id), Entry::Every { period, make });
                }
                Some(message)
            }
        }
    }

    fn insert(&mut self, at: Instant, entry: Entry<M>) -> u64 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.due.insert(id, at);
        self.queue.insert((at, id), entry);
        id
    }
}
