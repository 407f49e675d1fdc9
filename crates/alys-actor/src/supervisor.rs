//! Declaring supervisors, and reaching them while they run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::actor::Actor;
use crate::addr::Addr;
use crate::backoff::{Backoff, Intensity};
use crate::cell::{Node, Watch};
use crate::child::{Child, RestartPolicy, Runner, Settings};
use crate::error::{AddError, LookupError};
use crate::health::Recovery;
use crate::incarnation::{Kill, Launch};
use crate::supervise::{self, Event, Supervision};
use crate::tree::Branch;

/// Who is restarted when one child ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All: stopped in reverse order, started in order.
    OneForAll,
    /// That one and those declared after it.
    RestForOne,
}

/// Declares a supervisor and its children, in start order.
///
/// Supervisors run no code of the user's, so nothing that a handler does delays them.
pub struct Supervisor {
    branch: Arc<Branch>,
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    critical: bool,
    children: Vec<(u64, Box<dyn Runner>)>,
    duplicate: Option<Arc<str>>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Supervisor {
    /// A one-for-one supervisor that allows 5 restarts in 30 s.
    pub fn new(name: impl AsRef<str>) -> Self {
        let (tx, events) = mpsc::unbounded_channel();
        let name: Arc<str> = Arc::from(name.as_ref().replace('/', "-"));
        Self {
            branch: Arc::new(Branch::new(name, tx)),
            strategy: Strategy::OneForOne,
            intensity: Intensity::new(5, Duration::from_secs(30)),
            backoff: Backoff::default(),
            critical: false,
            children: Vec::new(),
            duplicate: None,
            events,
        }
    }

    /// Who is restarted when one child ends.
    #[must_use]
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// More than `max` restarts within any `window` fail the supervisor itself: its parent decides what follows.
    #[must_use]
    pub fn intensity(mut self, max: u32, window: Duration) -> Self {
        self.intensity = Intensity::new(max, window);
        self
    }

    /// How long to wait before restarts.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Its failure is not restarted but shuts the whole system down, in order.
    #[must_use]
    pub const fn critical(mut self) -> Self {
        self.critical = true;
        self
    }

    /// Declares an actor. The address works at once; messages wait until it is started.
    ///
    /// A name that a sibling has is refused by the start of the system.
    pub fn add<A: Actor>(&mut self, child: Child<A>) -> Addr<A::Message> {
        let (addr, runner) = child.into_runner();
        self.enter(runner);
        addr
    }

    /// Declares a supervisor below this one.
    pub fn supervisor(&mut self, child: Self) -> SupervisorHandle {
        let handle = child.handle();
        self.duplicate = self.duplicate.take().or_else(|| child.duplicate.clone());
        self.enter(Box::new(child.into_runner()));
        handle
    }

    /// Reaches this supervisor while it runs.
    #[must_use]
    pub fn handle(&self) -> SupervisorHandle {
        SupervisorHandle { branch: Arc::clone(&self.branch) }
    }

    fn enter(&mut self, runner: Box<dyn Runner>) {
        match self.branch.enter(runner.node()) {
            Ok(uid) => {
                set_watch(&self.branch, uid, &*runner);
                self.children.push((uid, runner));
            }
            Err(AddError::Duplicate(name)) => {
                self.duplicate.get_or_insert(name);
            }
            Err(AddError::NotRunning) => {}
        }
    }

    pub(crate) fn duplicate(&self) -> Option<&str> {
        self.duplicate.as_deref()
    }

    pub(crate) fn branch(&self) -> Arc<Branch> {
        Arc::clone(&self.branch)
    }

    pub(crate) fn into_runner(self) -> BranchRunner {
        let branch = Arc::clone(&self.branch);
        let settings = Settings {
            restart: RestartPolicy::Permanent,
            // The children have deadlines of their own.
            shutdown: Duration::MAX,
            startup: None,
            blocking: false,
            critical: self.critical,
            quarantine_after: 0,
            probe: None,
            recovery: Recovery::Report,
        };
        let supervision =
            Supervision::new(self.branch, self.strategy, self.intensity, self.backoff, self.children, self.events);
        BranchRunner { branch, supervision: Arc::new(Mutex::new(Some(Box::new(supervision)))), settings }
    }
}

fn set_watch(branch: &Arc<Branch>, uid: u64, runner: &dyn Runner) {
    let settings = runner.settings();
    if settings.probe.is_some() || settings.recovery != Recovery::Report {
        runner.node().core().set_watch(Watch {
            probe: settings.probe.as_deref().copied().unwrap_or_default(),
            recovery: settings.recovery,
            uid,
            supervisor: branch.events.clone(),
        });
    }
}

pub(crate) struct BranchRunner {
    branch: Arc<Branch>,
    /// Handed to the task that supervises, and back when it ends.
    supervision: Arc<Mutex<Option<Box<Supervision>>>>,
    settings: Settings,
}

impl Runner for BranchRunner {
    fn node(&self) -> Arc<dyn Node> {
        Arc::clone(&self.branch) as Arc<dyn Node>
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn start(&mut self, launch: Launch) -> Kill {
        supervise::start(Arc::clone(&self.branch), Arc::clone(&self.supervision), launch)
    }
}

/// Reaches a supervisor while it runs.
#[derive(Clone)]
pub struct SupervisorHandle {
    branch: Arc<Branch>,
}

impl SupervisorHandle {
    /// Starts another child. It takes part in the strategy as the newest; once it has ended for good it is forgotten.
    ///
    /// When the supervisor drains, children that were added at run time drain first, all at once.
    ///
    /// # Errors
    ///
    /// If the supervisor does not run or has a child of that name.
    pub fn add<A: Actor>(&self, child: Child<A>) -> Result<Addr<A::Message>, AddError> {
        let shared = self.branch.core().shared().ok_or(AddError::NotRunning)?;
        let (addr, runner) = child.into_runner();
        let path = Arc::from(format!("{}/{}", self.branch.core().path(), addr.cell.core().name()));
        let uid = self.branch.enter(addr.node())?;
        addr.node().attach(&shared, path);
        set_watch(&self.branch, uid, &*runner);
        self.branch.events.send(Event::Add { uid, runner }).map_err(|_| AddError::NotRunning)?;
        Ok(addr)
    }

    /// Restarts a child between two messages. It does not count as a failure.
    ///
    /// # Errors
    ///
    /// If there is no child of that name.
    pub fn restart(&self, name: &str) -> Result<(), LookupError> {
        self.send(name, |uid| Event::Restart { uid })
    }

    /// Drains a child and ends it for good; [`Addr::stopped`] waits for it.
    ///
    /// # Errors
    ///
    /// If there is no child of that name.
    pub fn stop(&self, name: &str) -> Result<(), LookupError> {
        self.send(name, |uid| Event::Stop { uid })
    }

    /// Lets a child, or all actors below it, handle nothing until resumed. Their inboxes fill up meanwhile.
    ///
    /// # Errors
    ///
    /// If there is no child of that name.
    pub fn suspend(&self, name: &str) -> Result<(), LookupError> {
        self.child(name)?.suspend(true);
        Ok(())
    }

    /// Undoes [`SupervisorHandle::suspend`].
    ///
    /// # Errors
    ///
    /// If there is no child of that name.
    pub fn resume(&self, name: &str) -> Result<(), LookupError> {
        self.child(name)?.suspend(false);
        Ok(())
    }

    fn child(&self, name: &str) -> Result<Arc<dyn Node>, LookupError> {
        self.branch.child(name).ok_or_else(|| LookupError::Unknown(name.to_owned()))
    }

    fn send(&self, name: &str, event: impl FnOnce(u64) -> Event) -> Result<(), LookupError> {
        let unknown = || LookupError::Unknown(name.to_owned());
        let uid = self.branch.uid(name).ok_or_else(unknown)?;
        self.branch.events.send(event(uid)).map_err(|_| unknown())
    }
}
