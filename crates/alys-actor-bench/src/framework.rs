//! What a framework has to be able to do to be measured and judged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::host::{Host, Threads};

/// Who is restarted when one child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// That one.
    OneForOne,
    /// All of them.
    OneForAll,
    /// That one and those added after it.
    RestForOne,
}

/// How a tree is to be supervised.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Who is restarted.
    pub strategy: Strategy,
    /// More restarts than that within the window are too many.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// The runtime that it runs on.
    pub threads: Threads,
}

impl Spec {
    /// One for one, with restarts enough for any measurement.
    #[must_use]
    pub const fn plain(threads: Threads) -> Self {
        Self { strategy: Strategy::OneForOne, max_restarts: u32::MAX, window: Duration::from_secs(1), threads }
    }
}

/// What the actor under test did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// That child started.
    Started(usize),
    /// It handled a note.
    Noted(usize, u64),
    /// Its goodbye ran.
    Stopped(usize),
    /// Its state was dropped.
    Dropped(usize),
}

/// Where the actors under test write down what they did.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Happened>>>);

impl Log {
    /// Adds a line.
    pub fn add(&self, what: Happened) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Happened> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// All lines so far, which are forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<Happened> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The children that started, in order.
    #[must_use]
    pub fn starts(&self) -> Vec<usize> {
        self.lines()
            .into_iter()
            .filter_map(|line| match line {
                Happened::Started(child) => Some(child),
                Happened::Noted(..) | Happened::Stopped(_) | Happened::Dropped(_) => None,
            })
            .collect()
    }

    /// The notes that were handled, in order.
    #[must_use]
    pub fn notes(&self) -> Vec<u64> {
        self.lines()
            .into_iter()
            .filter_map(|line| match line {
                Happened::Noted(_, note) => Some(note),
                Happened::Started(_) | Happened::Stopped(_) | Happened::Dropped(_) => None,
            })
            .collect()
    }
}

/// Where an actor under test panics by itself, the first time it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// Nowhere.
    Nowhere,
    /// In its start, from the second one on: once.
    Restart,
    /// In its goodbye.
    Stop,
    /// When its state is dropped.
    Drop,
}

/// How one actor under test behaves.
#[derive(Clone)]
pub struct Plan {
    /// Tells it from its siblings, in start order.
    pub child: usize,
    /// Where it writes.
    pub log: Option<Log>,
    /// Where it panics.
    pub trap: Trap,
    /// Not to be started again, whatever its end.
    pub is_temporary: bool,
    /// Incarnations so far.
    pub starts: Arc<Mutex<u32>>,
}

impl Plan {
    /// An actor that writes nothing and panics when told to only.
    #[must_use]
    pub fn silent() -> Self {
        Self { child: 0, log: None, trap: Trap::Nowhere, is_temporary: false, starts: Arc::default() }
    }

    /// As it is, but never started again.
    #[must_use]
    pub fn temporary(self) -> Self {
        Self { is_temporary: true, ..self }
    }

    /// The actor's start.
    ///
    /// # Panics
    ///
    /// If the trap is there.
    pub fn start(&self) {
        let mut starts = self.starts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *starts = starts.saturating_add(1);
        let second = *starts == 2;
        drop(starts);
        assert!(!(second && self.trap == Trap::Restart), "trapped in start");
        self.note(Happened::Started(self.child));
    }

    /// The actor's goodbye.
    ///
    /// # Panics
    ///
    /// If the trap is there.
    pub fn stop(&self) {
        self.note(Happened::Stopped(self.child));
        assert!(self.trap != Trap::Stop, "trapped in stop");
    }

    /// Writes a line.
    pub fn note(&self, what: Happened) {
        if let Some(log) = &self.log {
            log.add(what);
        }
    }
}

/// The state of an actor under test, whichever framework runs it.
pub struct State {
    /// How it behaves.
    pub plan: Plan,
    /// What it has added up.
    pub sum: u64,
}

impl State {
    /// A fresh one.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self { plan, sum: 0 }
    }

    /// Does what it is told, but for waiting.
    ///
    /// # Panics
    ///
    /// If it is told to.
    pub fn act(&mut self, act: Act) -> Option<Duration> {
        match act {
            Act::Add(n) => self.sum = self.sum.wrapping_add(n),
            Act::Note(n) => self.plan.note(Happened::Noted(self.plan.child, n)),
            Act::Sleep(time) => return Some(time),
            Act::Panic => panic!("as told"),
        }
        None
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.plan.note(Happened::Dropped(self.plan.child));
        assert!(self.plan.trap != Trap::Drop || std::thread::panicking(), "trapped in drop");
    }
}

/// What an actor under test is told.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Add a number.
    Add(u64),
    /// Write a line.
    Note(u64),
    /// Be busy, without blocking the thread.
    Sleep(Duration),
    /// Panic.
    Panic,
}

/// What a framework may or may not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Restarting one actor after a panic.
    Restart,
    /// Restarting groups.
    Groups,
    /// Giving up after too many restarts.
    Intensity,
    /// Ending one child for good.
    Stop,
    /// Ending everything after what waits has been handled.
    Drain,
}

/// No answer came: the request, or the actor that had it, is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// A framework, by its adapter.
pub trait Framework: 'static {
    /// Its name in tables.
    const NAME: &'static str;

    /// A running supervisor, or whatever stands for one.
    type Tree: Send + Sync + 'static;
    /// An address.
    type Addr: Clone + Send + Sync + 'static;

    /// What it offers; the checks of the rest are not run.
    fn offers(feature: Feature) -> bool;

    /// The runtime that it needs.
    fn host(threads: Threads) -> Host {
        Host::plain(threads)
    }

    /// Starts a supervisor without children.
    fn tree(spec: Spec) -> impl Future<Output = Self::Tree> + Send;

    /// Adds a child and returns when it has started, or failed to.
    fn add(tree: &Self::Tree, plan: Plan) -> impl Future<Output = Self::Addr> + Send;

    /// The address to use after a restart: the same where addresses survive one.
    fn again(tree: &Self::Tree, addr: &Self::Addr) -> Self::Addr {
        let _ = tree;
        addr.clone()
    }

    /// Sends; waits for room where the inbox is bounded. False if it was refused.
    fn tell(addr: &Self::Addr, act: Act) -> impl Future<Output = bool> + Send;

    /// Asks for the sum.
    fn ask(addr: &Self::Addr) -> impl Future<Output = Result<u64, NoAnswer>> + Send;

    /// Asks for the sum, and the actor panics while it holds the request.
    fn ask_panic(addr: &Self::Addr) -> impl Future<Output = Result<u64, NoAnswer>> + Send;

    /// Asks an actor to ask the first of the others to ask the next, and so on; the last one answers its sum.
    fn relay(addr: &Self::Addr, others: Vec<Self::Addr>) -> impl Future<Output = Result<u64, NoAnswer>> + Send;

    /// Ends a child for good and waits until it has ended.
    fn stop(tree: &Self::Tree, addr: &Self::Addr) -> impl Future<Output = ()> + Send;

    /// Keeps the supervisor busy with the code of a user for that long, if it runs any.
    fn busy(tree: &Self::Tree, time: Duration) -> impl Future<Output = ()> + Send;

    /// True once the supervisor has given up.
    fn gave_up(tree: &Self::Tree) -> bool;

    /// Drains everything and waits for the end.
    fn shutdown(tree: Self::Tree) -> impl Future<Output = ()> + Send;
}
