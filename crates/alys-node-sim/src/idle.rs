//! When a runtime of one thread has nothing left to do until the time moves.

use futures::task::AtomicWaker;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

/// The first time that the thread would sleep, its driver has not looked at timers that are due; the second time it has.
const LOOKS: u32 = 2;

/// Counts how often the runtime's thread was about to sleep.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    looks: AtomicU32,
    waker: AtomicWaker,
}

impl Idle {
    /// For [`tokio::runtime::Builder::on_thread_park`]: keeps paused time from moving by itself, as whoever waits is woken.
    pub(crate) fn about_to_sleep(self: &Arc<Self>) -> impl Fn() + Send + Sync + 'static {
        let idle = Arc::clone(self);
        move || {
            idle.looks.fetch_add(1, Ordering::Relaxed);
            idle.waker.wake();
        }
    }

    /// Waits until every task waits for something that is not there, and no timer is due.
    pub(crate) async fn wait(&self) {
        self.looks.store(0, Ordering::Relaxed);
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.looks.load(Ordering::Relaxed) >= LOOKS { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
