//! Supervised actors as tokio tasks.
//!
//! An [`Actor`] owns its state and handles one message at a time; an [`Addr`] names it whichever incarnation runs; a
//! [`Supervisor`] starts, restarts and stops it; a [`System`] owns the whole tree, and nothing is global but the panic
//! hook, which notes where an actor panicked and then does what the hook before did.
//!
//! ```text
//!   declared ──► starting ──► running ◄──► suspended
//!                   ▲  │         │ │
//!                   │  └─ fails ─┤ └─ told to stop ──► draining ──► stopped
//!                   │            ▼                         ▲
//!                   └─────── restarting ── given up ───────┘
//! ```
//!
//! # Promises
//!
//! - **Delivery.** A tell that returned `Ok` is in the inbox. The inbox belongs to the logical actor: what waits in it
//!   is handled by the next incarnation. A message ends in a handler, back at its sender with a typed error, or among
//!   the dead letters.
//! - **Order.** Messages of one sender are handled in the order they were sent, across restarts too.
//! - **Restart.** The message in hand when an actor fails is not handled again unless [`Message::retry`] gives a copy;
//!   a request in hand answers [`AskError::Failed`]. Groups restart in start order. The memory of an incarnation that
//!   panicked is never used again.
//! - **Lanes.** Control first, then timers and results of background work, then the inbox; none waits for more than
//!   16 messages of another.
//! - **Cancellation.** Dropping an ask cancels it; a deadline travels through nested asks, and an expired request is not
//!   handled. An actor that does not stop in time is dropped at the await it is in.
//! - **No deadlock by asks.** An ask that would close a cycle answers [`AskError::Cycle`]. Tells that wait for room in each
//!   other's full inboxes are not looked for.
//! - **Durability** is opt-in: see [`durable`].
//!
//! # Limits
//!
//! A handler that blocks its thread can't be killed: after its deadline it is left behind and named in the
//! [`ShutdownReport`]. Inboxes are not persisted; what has to survive the process goes into a journal. Blocking children
//! have threads that paused time does not wait for: tests use [`Builder::blocking_inline`].
//!
//! # Guides
//!
//! `docs/actors/from-tokio-tasks.md` turns a task with a channel into an actor, `docs/actors/from-other-frameworks.md` says what
//! ractor, kameo, actix and xtra call things and where they behave differently. What each promise costs beside a raw channel is
//! in `docs/adr/0006-cost-of-an-actor.md`, and `cargo xtask bench actors` measures it.
//!
//! ```
//! use std::convert::Infallible;
//! use alys_actor::{Actor, Child, Context, Message, Reply, Supervisor, System};
//!
//! enum Msg {
//!     Add(u64),
//!     Get(Reply<u64>),
//! }
//! impl Message for Msg {}
//!
//! struct Counter(u64);
//! impl Actor for Counter {
//!     type Message = Msg;
//!     type Error = Infallible;
//!     async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
//!         match message {
//!             Msg::Add(n) => self.0 += n,
//!             Msg::Get(reply) => reply.send(self.0),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut root = Supervisor::new("root");
//! let counter = root.add(Child::new("counter", || Counter(0)));
//! let system = System::builder("demo").start(root).await.expect("starts");
//! counter.tell(Msg::Add(2)).await.expect("taken");
//! assert_eq!(counter.ask(Msg::Get).await, Ok(2));
//! assert!(system.shutdown().await.is_clean());
//! # }
//! ```

mod actor;
mod addr;
mod ask;
mod backoff;
mod cell;
mod child;
mod context;
mod current;
pub mod durable;
mod error;
mod flags;
mod graph;
mod health;
mod inbox;
mod incarnation;
mod kinds;
#[cfg(all(test, feature = "loom"))]
mod loom_models;
mod message;
mod panics;
mod reply;
mod snapshot;
mod supervise;
mod supervisor;
mod sync;
mod system;
pub mod testkit;
mod timers;
mod topic;
mod tree;
mod watch;
mod work;

pub use actor::{Actor, StartCause};
pub use addr::{Addr, Correlation, Seat, Tell, correlated};
pub use ask::Ask;
pub use backoff::Backoff;
pub use child::{Child, RestartPolicy};
pub use context::{Context, Down, TimerId, WorkId};
pub use error::{AddError, AskError, Exit, HandlerFailure, LookupError, Panic, StartError, TellError};
pub use health::{Health, Probe, Recovery, Threshold};
pub use message::{Message, Overflow};
pub use reply::Reply;
pub use snapshot::{DeadLetter, DeadReason, NodeKind, NodeSnapshot, Phase, TreeSnapshot};
pub use supervisor::{Strategy, Supervisor, SupervisorHandle};
pub use system::{Builder, Registry, ShutdownReport, System, SystemRef};
pub use tokio_util::sync::CancellationToken;
pub use topic::{LagPolicy, Published, Topic};
