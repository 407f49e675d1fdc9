//! The value that everything hangs off.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::actor::StartCause;
use crate::addr::{Addr, Correlation};
use crate::cell::{Cell, How, Node};
use crate::child::Runner as _;
use crate::error::{Exit, LookupError, StartError};
use crate::graph::Graph;
use crate::incarnation::{Kill, Launch};
use crate::kinds::Kinds;
use crate::message::Message;
use crate::panics;
use crate::snapshot::{DeadLetter, DeadReason, NodeSnapshot, Phase, TreeSnapshot};
use crate::supervise::Event;
use crate::supervisor::Supervisor;
use crate::tree::Branch;
use crate::watch::Watcher;

/// Dead letters that are kept, newest last.
const DEAD_LETTERS: usize = 256;

pub(crate) struct Shared {
    name: String,
    seed: u64,
    runtime: Handle,
    blocking_inline: bool,
    perturb: Option<u64>,
    root: OnceLock<Arc<Branch>>,
    pub(crate) graph: Graph,
    pub(crate) kinds: Kinds,
    dead: Mutex<VecDeque<DeadLetter>>,
    dead_count: AtomicU64,
    correlation: AtomicU64,
    keeper: mpsc::UnboundedSender<Event>,
    /// Why the system ends, if that was not asked for.
    cause: Mutex<Option<Exit>>,
    ended: watch::Sender<Option<Exit>>,
    report: Mutex<ShutdownReport>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn dead(&self, path: Arc<str>, message: &'static str, reason: DeadReason, correlation: u64) {
        self.dead_count.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(actor = %path, message, ?reason, correlation, "dead letter");
        let mut dead = lock(&self.dead);
        if dead.len() >= DEAD_LETTERS {
            dead.pop_front();
        }
        dead.push_back(DeadLetter { path: path.to_string(), message, reason, correlation: Correlation(correlation) });
    }

    /// A child failed whose failure ends everything.
    pub(crate) fn critical(&self, child: &str, exit: &Exit) {
        lock(&self.cause)
            .get_or_insert_with(|| Exit::Escalated { child: child.to_owned(), cause: Box::new(exit.clone()) });
        let _ = self.keeper.send(Event::End { how: How::Drain, incarnation: 0 });
    }

    pub(crate) fn note_killed(&self, path: &str) {
        lock(&self.report).killed.push(path.to_owned());
    }

    pub(crate) fn note_stuck(&self, path: &str) {
        lock(&self.report).stuck.push(path.to_owned());
    }
}

/// Settings of a [`System`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    seed: u64,
    blocking_inline: bool,
    look_every: Duration,
    watchdog: Duration,
    perturb: Option<u64>,
}

impl Builder {
    /// Seeds the jitter of all backoffs. 0 unless set.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs blocking children and blocking work as ordinary tasks: for tests on one thread with paused time, which other
    /// threads escape.
    #[must_use]
    pub const fn blocking_inline(mut self) -> Self {
        self.blocking_inline = true;
        self
    }

    /// How often probes, the watchdog and the gauges look at the actors. 1 s unless set.
    #[must_use]
    pub const fn look_every(mut self, period: Duration) -> Self {
        self.look_every = period;
        self
    }

    /// A handler that runs that long is named in the log and in the tree. 10 s unless set.
    #[must_use]
    pub const fn watchdog(mut self, patience: Duration) -> Self {
        self.watchdog = patience;
        self
    }

    /// Lets actors yield at random before they go on, from the seed: on one thread the same seed gives the same
    /// interleaving, and other seeds give others. For tests.
    #[must_use]
    pub const fn perturb(mut self, seed: u64) -> Self {
        self.perturb = Some(seed);
        self
    }

    /// Starts the tree on the current runtime, in order; returns when all children have started.
    ///
    /// # Errors
    ///
    /// If the tree can't be started; what had been started is stopped again.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without time.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, everything is killed.
    pub async fn start(self, root: Supervisor) -> Result<System, StartError> {
        refuse_abort(cfg!(panic = "abort"))?;
        if let Some(name) = root.duplicate() {
            return Err(StartError::DuplicateName(name.to_owned()));
        }
        panics::install_hook();
        let (keeper, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            name: self.name,
            seed: self.seed,
            runtime: Handle::current(),
            blocking_inline: self.blocking_inline,
            perturb: self.perturb,
            root: OnceLock::new(),
            graph: Graph::default(),
            kinds: Kinds::default(),
            dead: Mutex::new(VecDeque::new()),
            dead_count: AtomicU64::new(0),
            correlation: AtomicU64::new(0),
            keeper,
            cause: Mutex::new(None),
            ended: watch::channel(None).0,
            report: Mutex::new(ShutdownReport::default()),
        });
        let branch = root.branch();
        let path = branch.core().name();
        Arc::clone(&branch).attach(&shared, path);
        let _ = shared.root.set(branch);
        let system = SystemRef { shared };
        let (started, mut start) = watch::channel(false);
        let watcher = Watcher::new(self.watchdog);
        let keeper = tokio::spawn(keep(system.clone(), root, events, started, watcher, self.look_every)).abort_handle();
        let system = System { system, keeper };
        tokio::select! {
            biased;
            exit = system.ended() => return Err(StartError::GaveUp(exit)),
            _ = start.wait_for(|up| *up) => {}
        }
        Ok(system)
    }
}

/// Why a system with caught panics can't be built that way.
fn refuse_abort(abort: bool) -> Result<(), StartError> {
    if abort { Err(StartError::PanicAbort) } else { Ok(()) }
}

/// However the keeper ends, nothing runs on and nobody waits in vain.
struct Keeping {
    kill: Kill,
    node: Arc<dyn Node>,
    shared: Arc<Shared>,
    exit: Exit,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.kill.kill();
        self.node.finish();
        let exit = lock(&self.shared.cause).take().unwrap_or_else(|| self.exit.clone());
        self.shared.ended.send_replace(Some(exit));
    }
}

/// Runs the root supervisor and publishes how it ends.
async fn keep(
    system: SystemRef,
    root: Supervisor,
    mut events: mpsc::UnboundedReceiver<Event>,
    started: watch::Sender<bool>,
    mut watcher: Watcher,
    look_every: Duration,
) {
    let shared = &system.shared;
    let mut runner = root.into_runner();
    let node = runner.node();
    let launch = Launch {
        system: system.clone(),
        uid: 0,
        incarnation: 1,
        cause: StartCause::First,
        events: shared.keeper.clone(),
    };
    let kill = runner.start(launch);
    let mut keeping = Keeping { kill, node: Arc::clone(&node), shared: Arc::clone(shared), exit: Exit::Killed };
    let mut next_look = Instant::now().checked_add(look_every);
    keeping.exit = loop {
        let event = match next_look {
            None => events.recv().await,
            Some(at) => tokio::select! {
                biased;
                event = events.recv() => event,
                () = tokio::time::sleep_until(at) => {
                    watcher.look(&node).await;
                    next_look = Instant::now().checked_add(look_every);
                    continue;
                }
            },
        };
        match event {
            Some(Event::Started { .. }) => {
                let _ = started.send(true);
            }
            Some(Event::End { how, .. }) => node.end(how),
            Some(Event::Exited { exit, .. }) => break exit,
            Some(Event::Add { .. } | Event::Restart { .. } | Event::Stop { .. } | Event::Recover { .. }) => {}
            None => break Exit::Killed,
        }
    };
}

/// A running tree of actors. Dropping it kills them; [`System::shutdown`] lets them drain.
pub struct System {
    system: SystemRef,
    keeper: tokio::task::AbortHandle,
}

impl std::ops::Deref for System {
    type Target = SystemRef;

    fn deref(&self) -> &SystemRef {
        &self.system
    }
}

impl System {
    /// Settings for a system of that name.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            seed: 0,
            blocking_inline: false,
            look_every: Duration::from_secs(1),
            watchdog: Duration::from_secs(10),
            perturb: None,
        }
    }

    /// A handle that can be cloned.
    #[must_use]
    pub fn handle(&self) -> SystemRef {
        self.system.clone()
    }

    /// Drains all actors in the reverse of the order they were started in, each within its deadline.
    pub async fn shutdown(self) -> ShutdownReport {
        let began = Instant::now();
        self.request_shutdown();
        let exit = self.ended().await;
        let mut report = lock(&self.system.shared.report).clone();
        report.took = began.elapsed();
        report.exit = exit;
        report
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Reaches a system from anywhere, without keeping it alive.
#[derive(Clone)]
pub struct SystemRef {
    pub(crate) shared: Arc<Shared>,
}

impl SystemRef {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The seed it was built with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The supervision tree as it is now; no actor is asked.
    #[must_use]
    pub fn tree(&self) -> TreeSnapshot {
        let root: Arc<dyn Node> = match self.shared.root.get() {
            Some(root) => Arc::clone(root) as Arc<dyn Node>,
            // Set before the system is given out.
            None => Arc::new(Branch::new(Arc::from(self.name()), mpsc::unbounded_channel().0)),
        };
        TreeSnapshot {
            system: self.shared.name.clone(),
            root: NodeSnapshot::of(&root),
            dead_letters: self.shared.dead_count.load(Ordering::Relaxed),
        }
    }

    /// Addresses by path.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry { system: self.clone() }
    }

    /// The newest messages that found no handler.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.shared.dead).iter().cloned().collect()
    }

    /// A correlation that nothing else in this system has, for an event from outside.
    #[must_use]
    pub fn correlate(&self) -> Correlation {
        Correlation(self.shared.correlation.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Begins an orderly shutdown.
    pub fn request_shutdown(&self) {
        let _ = self.shared.keeper.send(Event::End { how: How::Drain, incarnation: 0 });
    }

    /// Waits until the whole tree has ended: after a shutdown, the failure of a critical child, or an escalation of the root.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn ended(&self) -> Exit {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Killed),
            Err(_) => Exit::Killed,
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    pub(crate) fn blocking_inline(&self) -> bool {
        self.shared.blocking_inline
    }

    pub(crate) fn perturbation(&self) -> Option<u64> {
        self.shared.perturb
    }

    fn node(&self, path: &str) -> Option<Arc<dyn Node>> {
        let mut names = path.split('/');
        let mut at: Arc<dyn Node> = Arc::clone(self.shared.root.get()?) as Arc<dyn Node>;
        if names.next() != Some(&*at.core().name()) {
            return None;
        }
        for name in names {
            let branch = at.as_any().downcast::<Branch>().ok()?;
            at = branch.child(name)?;
        }
        Some(at)
    }
}

/// Typed addresses by path (`root/network/sync`).
#[derive(Clone)]
pub struct Registry {
    system: SystemRef,
}

impl Registry {
    /// The address of the actor at `path`.
    ///
    /// # Errors
    ///
    /// If nothing is there, or something that takes other messages.
    pub fn get<M: Message>(&self, path: &str) -> Result<Addr<M>, LookupError> {
        let node = self.system.node(path).ok_or_else(|| LookupError::Unknown(path.to_owned()))?;
        let cell = node.as_any().downcast::<Cell<M>>().map_err(|_| LookupError::OtherMessages(path.to_owned()))?;
        Ok(Addr { cell })
    }

    /// Paths of all actors that have not stopped for good.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let tree = self.system.tree();
        tree.nodes().into_iter().filter(|n| n.state != Phase::Stopped).map(|n| n.path.clone()).collect()
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShutdownReport {
    /// How the tree ended; [`Exit::Drained`] if all went well.
    pub exit: Exit,
    /// How long it took.
    pub took: Duration,
    /// Actors that missed a deadline and were killed.
    pub killed: Vec<String>,
    /// Killed ones that did not let go of their thread and were left behind.
    pub stuck: Vec<String>,
}

impl ShutdownReport {
    /// True if every actor drained in time and nothing had failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.exit == Exit::Drained && self.killed.is_empty() && self.stuck.is_empty()
    }
}

impl Default for ShutdownReport {
    fn default() -> Self {
        Self { exit: Exit::Drained, took: Duration::ZERO, killed: Vec::new(), stuck: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::{StartError, refuse_abort};

    #[test]
    fn a_build_that_aborts_on_panic_is_refused() {
        assert_eq!(refuse_abort(true), Err(StartError::PanicAbort));
        assert_eq!(refuse_abort(false), Ok(()));
    }
}
