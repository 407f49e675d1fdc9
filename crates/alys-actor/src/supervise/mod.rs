//! What a running supervisor does: a state machine fed by events and deadlines.

mod ending;
mod exits;
mod sequence;
mod steps;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::ending::Ending;
use self::sequence::Sequence;
use crate::backoff::{Backoff, Intensity, Jitter};
use crate::cell::How;
use crate::child::Runner;
use crate::error::Exit;
use crate::incarnation::{Kill, Launch};
use crate::snapshot::Phase;
use crate::supervisor::Strategy;
use crate::system::SystemRef;
use crate::tree::Branch;

/// A killed actor has that long to let go of its thread before it is left behind.
const GRACE: Duration = Duration::from_secs(1);

/// Stands for the group restart among the deadlines of children.
const GROUP: u64 = u64::MAX;

/// What a supervisor is told.
pub(crate) enum Event {
    Started {
        uid: u64,
        incarnation: u64,
    },
    Exited {
        uid: u64,
        incarnation: u64,
        exit: Exit,
    },
    Add {
        uid: u64,
        runner: Box<dyn Runner>,
    },
    Restart {
        uid: u64,
    },
    Stop {
        uid: u64,
    },
    /// A probe found it failed.
    Recover {
        uid: u64,
    },
    End {
        how: How,
        /// Of the supervisor, when it was said.
        incarnation: u64,
    },
}

enum State {
    /// Not started, or waiting for its turn in a sequence.
    Down,
    /// Waits for its restart.
    Backoff,
    Starting,
    Running,
    Stopping {
        purpose: Purpose,
        killed: bool,
    },
    /// Ended for good.
    Finished,
}

#[derive(Clone, Copy)]
enum Purpose {
    /// To be started again in a sequence.
    Group,
    /// To be started again at once.
    Restart,
    /// For good.
    Remove,
    /// The supervisor ends.
    End(How),
    /// Its start took too long.
    Startup,
}

struct Entry {
    runner: Box<dyn Runner>,
    state: State,
    incarnation: u64,
    /// Restarts without a long run between them.
    row: u32,
    up_since: Option<Instant>,
    due: Option<Instant>,
    last: Option<Box<Exit>>,
    kill: Kill,
    dynamic: bool,
    /// The next start is to take an older checkpoint.
    restore: bool,
    /// The next start follows a failure, so admission is limited if the child wants that.
    ramp: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.kill.kill();
    }
}

pub(crate) struct Supervision {
    branch: Arc<Branch>,
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    entries: BTreeMap<u64, Box<Entry>>,
    events: mpsc::UnboundedReceiver<Event>,
    dues: BTreeSet<(Instant, u64)>,
    sequence: Option<Sequence>,
    ending: Option<Ending>,
    /// Children added at run time that have come nearer to their end since the last look.
    touched: Vec<u64>,
    jitter: Option<Jitter>,
    is_root: bool,
}

/// Starts the task of a supervisor, which takes the supervision and puts it back at its end.
pub(crate) fn start(branch: Arc<Branch>, place: Arc<Mutex<Option<Box<Supervision>>>>, launch: Launch) -> Kill {
    let runtime = launch.system.runtime().clone();
    let taken = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    branch.core().begin_incarnation(launch.incarnation);
    branch.core().set_phase(Phase::Starting);
    let mut report = Report { branch, launch, exit: Exit::Killed };
    let task = runtime.spawn(async move {
        // Only a supervisor that was killed does not put it back, and then its parent is ending too.
        let Some(mut supervision) = taken else { return };
        let exit = supervision.run(&report.launch).await;
        report.set(exit);
        *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(supervision);
    });
    Kill::Task(task.abort_handle())
}

struct Report {
    branch: Arc<Branch>,
    launch: Launch,
    exit: Exit,
}

impl Report {
    fn set(&mut self, exit: Exit) {
        self.exit = exit;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.branch.core().note_exit(&self.exit);
        let (uid, incarnation) = (self.launch.uid, self.launch.incarnation);
        let _ = self.launch.events.send(Event::Exited { uid, incarnation, exit: self.exit.clone() });
    }
}

impl Supervision {
    pub(crate) fn new(
        branch: Arc<Branch>,
        strategy: Strategy,
        intensity: Intensity,
        backoff: Backoff,
        children: Vec<(u64, Box<dyn Runner>)>,
        events: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        let entries = children.into_iter().map(|(uid, runner)| (uid, Box::new(Entry::new(runner, false)))).collect();
        Self {
            branch,
            strategy,
            intensity,
            backoff,
            entries,
            events,
            dues: BTreeSet::new(),
            sequence: None,
            ending: None,
            touched: Vec::new(),
            jitter: None,
            is_root: false,
        }
    }

    async fn run(&mut self, launch: &Launch) -> Exit {
        let system = &launch.system;
        self.is_root = !self.branch.core().path().contains('/');
        self.jitter.get_or_insert_with(|| Jitter::new(system.seed(), &self.branch.core().path()));
        self.intensity.clear();
        self.ending = None;
        self.dues.clear();
        for entry in self.entries.values_mut() {
            entry.due = None;
            entry.row = 0;
        }
        self.sequence = Some(Sequence { starting: self.unfinished().collect(), ..Sequence::default() });
        let mut announced = false;
        // Set anew for earlier times only: most of what is due some day has happened before, and a timer set and unset with
        // each step of each child would cost more than one that rings in vain.
        let mut sleep = std::pin::pin!(sleep_until(Instant::now()));
        let mut alarm: Option<Instant> = None;
        loop {
            if self.advance(system)
                && let Some(ending) = &self.ending
            {
                return ending.exit.clone();
            }
            if !announced && self.sequence.is_none() && self.ending.is_none() {
                announced = true;
                self.branch.core().set_phase(Phase::Running);
                let _ = launch.events.send(Event::Started { uid: launch.uid, incarnation: launch.incarnation });
            }
            if let Some((first, _)) = self.dues.first()
                && alarm.is_none_or(|set| *first < set)
            {
                sleep.as_mut().reset(*first);
                alarm = Some(*first);
            }
            let event = match alarm {
                None => self.events.recv().await,
                Some(_) => tokio::select! {
                    biased;
                    event = self.events.recv() => event,
                    () = sleep.as_mut() => None,
                },
            };
            match event {
                Some(event) => self.on(event, system),
                None => {
                    alarm = None;
                    self.on_time(system);
                }
            }
        }
    }

    fn unfinished(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().filter(|(_, e)| !matches!(e.state, State::Finished)).map(|(uid, _)| *uid)
    }

    fn on(&mut self, event: Event, system: &SystemRef) {
        match event {
            Event::Started { uid, incarnation } => self.on_started(uid, incarnation),
            Event::Exited { uid, incarnation, exit } => {
                if self.entries.get(&uid).is_some_and(|e| e.incarnation == incarnation) {
                    self.on_exited(uid, exit, system);
                }
            }
            Event::Add { uid, runner } => {
                self.entries.insert(uid, Box::new(Entry::new(runner, true)));
                match &mut self.ending {
                    None => self.start(uid, system),
                    Some(ending) => {
                        ending.dynamic.insert(uid);
                        self.touched.push(uid);
                    }
                }
            }
            Event::Restart { uid } => self.restart(uid, system),
            Event::Stop { uid } => self.remove(uid, system),
            Event::Recover { uid } => self.recover(uid),
            Event::End { how: How::Drain, .. } => self.end(How::Drain, Exit::Drained),
            // A halt that an incarnation before this one did not live to hear is none of this one's.
            Event::End { how: How::Halt, incarnation } => {
                if incarnation == self.branch.core().incarnation() {
                    self.end(How::Halt, Exit::Halted);
                }
            }
        }
    }

    fn set_due(&mut self, uid: u64, due: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if let Some(old) = std::mem::replace(&mut entry.due, due) {
            self.dues.remove(&(old, uid));
        }
        if let Some(at) = due {
            self.dues.insert((at, uid));
        }
    }
}

impl Entry {
    fn new(runner: Box<dyn Runner>, dynamic: bool) -> Self {
        Self {
            runner,
            state: State::Down,
            incarnation: 0,
            row: 0,
            up_since: None,
            due: None,
            last: None,
            kill: Kill::Nothing,
            dynamic,
            restore: false,
            ramp: false,
        }
    }
}
