//! One to many: published values, with a declared policy for those who are too slow.

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};

/// What happens to a subscriber that falls further behind than the topic keeps.
///
/// A publisher never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagPolicy {
    /// It is told how many it missed, and goes on with the oldest that is kept.
    Skip,
    /// It is told how many it missed, and gets no more.
    Drop,
}

/// What a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published<T> {
    /// A value.
    Value(T),
    /// That many values were missed here.
    Lagged(u64),
}

/// Values for whoever subscribes; those that are published before are not seen.
pub struct Topic<T> {
    sender: broadcast::Sender<T>,
    policy: LagPolicy,
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), policy: self.policy }
    }
}

impl<T: Clone + Send + 'static> Topic<T> {
    /// Keeps about `capacity` values (rounded up to a power of two) for slow subscribers. Wrap large ones in an [`Arc`](std::sync::Arc).
    #[must_use]
    pub fn new(capacity: usize, policy: LagPolicy) -> Self {
        Self { sender: broadcast::Sender::new(capacity.max(1)), policy }
    }

    /// Publishes; returns how many subscribers there are.
    pub fn publish(&self, value: T) -> usize {
        self.sender.send(value).unwrap_or(0)
    }

    /// Subscribers that there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// What is published from now on, until all topics of this kind are dropped.
    ///
    /// An actor attaches it: `ctx.attach(topic.subscribe().map(Msg::Event))`.
    #[must_use]
    pub fn subscribe(&self) -> BoxStream<'static, Published<T>> {
        let policy = self.policy;
        stream::unfold(Some(self.sender.subscribe()), move |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(value) => Some((Published::Value(value), Some(receiver))),
                Err(RecvError::Lagged(n)) => {
                    let rest = match policy {
                        LagPolicy::Skip => Some(receiver),
                        LagPolicy::Drop => None,
                    };
                    Some((Published::Lagged(n), rest))
                }
                Err(RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

impl<T> std::fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("policy", &self.policy).finish_non_exhaustive()
    }
}
