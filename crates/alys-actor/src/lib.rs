//! Supervised actors as tokio tasks.

mod actor;
mod addr;
mod ask;
mod backoff;
mod cell;
mod child;
mod context;
mod current;
mod error;
mod graph;
mod inbox;
mod incarnation;
mod message;
mod panics;
mod reply;
mod snapshot;
mod supervise;
mod supervisor;
mod sync;
mod system;
mod timers;
mod tree;
mod work;

pub use actor::{Actor, Health, StartCause};
pub use addr::{Addr, Correlation, Seat, correlated};
pub use ask::Ask;
pub use backoff::Backoff;
pub use child::{Child, RestartPolicy};
pub use context::{Context, Down, TimerId, WorkId};
pub use error::{AddError, AskError, Exit, HandlerFailure, LookupError, Panic, StartError, TellError};
pub use message::{Message, Overflow};
pub use reply::Reply;
pub use snapshot::{DeadLetter, DeadReason, NodeKind, NodeSnapshot, Phase, TreeSnapshot};
pub use supervisor::{Strategy, Supervisor, SupervisorHandle};
pub use system::{Builder, Registry, ShutdownReport, System, SystemRef};
pub use tokio_util::sync::CancellationToken;
