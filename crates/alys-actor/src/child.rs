//! How one actor is to be run.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::Actor;
use crate::addr::{Addr, DEFAULT_CAPACITY, Seat};
use crate::cell::{Cell, Node};
use crate::error::Exit;
use crate::health::{Probe, Recovery};
use crate::incarnation::{self, Kill, Launch};
use crate::message::Message;

/// Which ends of an incarnation another one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// All.
    #[default]
    Permanent,
    /// Failures.
    Transient,
    /// None.
    Temporary,
}

impl RestartPolicy {
    pub(crate) const fn restarts(self, exit: &Exit) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => exit.is_failure(),
            Self::Temporary => false,
        }
    }
}

/// Settings that do not depend on the type of the actor.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) restart: RestartPolicy,
    pub(crate) shutdown: Duration,
    /// `None` for supervisors, whose children have their own.
    pub(crate) startup: Option<Duration>,
    pub(crate) blocking: bool,
    pub(crate) critical: bool,
    pub(crate) quarantine_after: u32,
    pub(crate) probe: Option<Box<Probe>>,
    pub(crate) recovery: Recovery,
}

/// Declares an actor: its name among its siblings, how it is made, and how it is treated.
pub struct Child<A: Actor> {
    name: Arc<str>,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    capacity: usize,
    seat: Option<Seat<A::Message>>,
    settings: Settings,
}

impl<A: Actor> Child<A> {
    /// A permanent child. `factory` is called for each incarnation, in the actor's own task.
    ///
    /// A `/` in the name is replaced by `-`, since it separates the names in a path.
    pub fn new(name: impl AsRef<str>, factory: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self {
            name: Arc::from(name.as_ref().replace('/', "-")),
            factory: Arc::new(factory),
            capacity: DEFAULT_CAPACITY,
            seat: None,
            settings: Settings {
                restart: RestartPolicy::Permanent,
                shutdown: Duration::from_secs(5),
                startup: Some(Duration::from_secs(60)),
                blocking: false,
                critical: false,
                quarantine_after: 3,
                probe: None,
                recovery: Recovery::Report,
            },
        }
    }

    /// Which ends it is restarted after.
    #[must_use]
    pub const fn restart(mut self, policy: RestartPolicy) -> Self {
        self.settings.restart = policy;
        self
    }

    /// Messages that may wait in the inbox; at least 1, 1024 unless set.
    #[must_use]
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// How long it may take to drain before it is killed. 5 s unless set.
    #[must_use]
    pub const fn shutdown(mut self, deadline: Duration) -> Self {
        self.settings.shutdown = deadline;
        self
    }

    /// How long [`Actor::started`] may take before it is killed. 60 s unless set.
    #[must_use]
    pub const fn startup(mut self, deadline: Duration) -> Self {
        self.settings.startup = Some(deadline);
        self
    }

    /// Runs it on a thread of its own, where handlers may block.
    #[must_use]
    pub const fn blocking(mut self) -> Self {
        self.settings.blocking = true;
        self
    }

    /// Its failure is not restarted but shuts the whole system down, in order.
    #[must_use]
    pub const fn critical(mut self) -> Self {
        self.settings.critical = true;
        self
    }

    /// A message with [`Message::retry`] is given up after crashing its actor that often. 3 unless set.
    #[must_use]
    pub const fn quarantine_after(mut self, crashes: u32) -> Self {
        self.settings.quarantine_after = crashes;
        self
    }

    /// Judges its health from outside.
    #[must_use]
    pub fn probe(mut self, probe: Probe) -> Self {
        self.settings.probe = Some(Box::new(probe));
        self
    }

    /// What is done when it fails.
    #[must_use]
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.settings.recovery = recovery;
        self
    }

    /// Takes an address that was given out beforehand.
    #[must_use]
    pub fn seat(mut self, seat: Seat<A::Message>) -> Self {
        self.seat = Some(seat);
        self
    }

    pub(crate) fn into_runner(self) -> (Addr<A::Message>, Box<dyn Runner>) {
        let addr = match self.seat {
            Some(seat) => {
                seat.addr.cell.inbox.set_capacity(self.capacity);
                seat.addr
            }
            None => Addr { cell: Arc::new(Cell::new(self.capacity)) },
        };
        addr.cell.core().set_name(self.name);
        let runner = ActorRunner { factory: self.factory, addr: addr.clone(), settings: Arc::new(self.settings) };
        (addr, Box::new(runner))
    }
}

/// Starts incarnations of one node. The supervisor that owns it runs no code of the user's.
pub(crate) trait Runner: Send {
    fn node(&self) -> Arc<dyn Node>;
    fn settings(&self) -> &Settings;
    fn start(&mut self, launch: Launch) -> Kill;
}

struct ActorRunner<A: Actor> {
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    addr: Addr<A::Message>,
    settings: Arc<Settings>,
}

impl<A: Actor> Runner for ActorRunner<A>
where
    A::Message: Message,
{
    fn node(&self) -> Arc<dyn Node> {
        self.addr.node()
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn start(&mut self, launch: Launch) -> Kill {
        incarnation::start(Arc::clone(&self.factory), self.addr.clone(), Arc::clone(&self.settings), launch)
    }
}
