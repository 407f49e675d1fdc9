//! What a running supervisor does: a state machine fed by events and deadlines.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::actor::StartCause;
use crate::backoff::{Backoff, Intensity, Jitter};
use crate::cell::How;
use crate::child::{RestartPolicy, Runner};
use crate::error::Exit;
use crate::health::Recovery;
use crate::inbox::Admission;
use crate::incarnation::{Kill, Launch};
use crate::panics::caught;
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
    End(How),
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
    last: Option<Exit>,
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

/// Children stopped in reverse order, a pause, children started in order.
#[derive(Default)]
struct Sequence {
    halting: Vec<u64>,
    due: Option<Instant>,
    starting: VecDeque<u64>,
}

struct Ending {
    how: How,
    exit: Exit,
    /// Added at run time; they end all at once.
    dynamic: HashSet<u64>,
    /// Declared ones, the last of which ends next.
    rest: Vec<u64>,
}

pub(crate) struct Supervision {
    branch: Arc<Branch>,
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    entries: BTreeMap<u64, Entry>,
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
        let entries = children.into_iter().map(|(uid, runner)| (uid, Entry::new(runner, false))).collect();
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
            let event = match self.dues.first().map(|(at, _)| *at) {
                None => self.events.recv().await,
                Some(at) => tokio::select! {
                    biased;
                    event = self.events.recv() => event,
                    () = sleep_until(at) => None,
                },
            };
            match event {
                Some(event) => self.on(event, system),
                None => self.on_time(system),
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
                self.entries.insert(uid, Entry::new(runner, true));
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
            Event::End(how) => self.end(
                how,
                match how {
                    How::Drain => Exit::Drained,
                    How::Halt => Exit::Halted,
                },
            ),
        }
    }

    fn on_started(&mut self, uid: u64, incarnation: u64) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if entry.incarnation == incarnation && matches!(entry.state, State::Starting) {
            entry.state = State::Running;
            entry.up_since = Some(Instant::now());
            self.set_due(uid, None);
        }
    }

    fn on_exited(&mut self, uid: u64, exit: Exit, system: &SystemRef) {
        self.set_due(uid, None);
        if self.ending.as_ref().is_some_and(|e| e.dynamic.contains(&uid)) {
            self.touched.push(uid);
        }
        let now = Instant::now();
        let reset_after = self.backoff.reset_after;
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if entry.up_since.take().is_some_and(|up| now.saturating_duration_since(up) >= reset_after) {
            entry.row = 0;
        }
        entry.last = Some(exit.clone());
        entry.kill = Kill::Nothing;
        let state = std::mem::replace(&mut entry.state, State::Down);
        match state {
            State::Finished => entry.state = State::Finished,
            State::Down | State::Backoff => {}
            State::Starting | State::Running | State::Stopping { purpose: Purpose::Startup, .. } => {
                self.on_failed_or_done(uid, exit, system);
            }
            State::Stopping { purpose: Purpose::Group, .. } => self.down_for_now(uid, &exit),
            State::Stopping { purpose: Purpose::Restart, .. } => {
                self.down_for_now(uid, &exit);
                if self.ending.is_none() {
                    self.start(uid, system);
                }
            }
            State::Stopping { purpose: Purpose::Remove, killed } => {
                if !self.drains_on(uid, &exit, killed, system) {
                    self.finish(uid, &exit);
                }
            }
            State::Stopping { purpose: Purpose::End(How::Drain), killed } => {
                if !self.drains_on(uid, &exit, killed, system) {
                    self.finish(uid, &exit);
                }
            }
            State::Stopping { purpose: Purpose::End(How::Halt), .. } => self.down_for_now(uid, &exit),
        }
    }

    /// A child that crashes while it drains is started again to handle what it has acknowledged.
    fn drains_on(&mut self, uid: u64, exit: &Exit, killed: bool, system: &SystemRef) -> bool {
        let Some(entry) = self.entries.get(&uid) else { return false };
        let left = entry.runner.node().inbox().depth;
        let policy = entry.runner.settings().restart;
        if killed || left == 0 || !exit.is_failure() || policy == RestartPolicy::Temporary {
            return false;
        }
        if !self.intensity.allow(Instant::now()) {
            return false;
        }
        self.down_for_now(uid, exit);
        self.start_draining(uid, system);
        true
    }

    fn on_failed_or_done(&mut self, uid: u64, exit: Exit, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let settings = entry.runner.settings();
        let path = entry.runner.node().core().path();
        if settings.critical && exit.is_failure() {
            tracing::error!(actor = %path, %exit, "critical actor failed");
            self.finish(uid, &exit);
            system.shared.critical(&path, &exit);
            return;
        }
        if !settings.restart.restarts(&exit) {
            if exit.is_failure() {
                tracing::warn!(actor = %path, %exit, "actor failed and is not restarted");
            }
            self.finish(uid, &exit);
            return;
        }
        if self.ending.is_some() {
            self.down_for_now(uid, &exit);
            return;
        }
        let row = entry.row;
        entry.row = row.saturating_add(1);
        entry.restore = row > 0 && settings.recovery == Recovery::Restore;
        entry.ramp = true;
        self.down_for_now(uid, &exit);
        let now = Instant::now();
        if !self.intensity.allow(now) {
            tracing::error!(actor = %path, supervisor = %self.branch.core().path(), %exit, "restarts used up");
            // Nobody restarts what is above the root, so that its children end in good order.
            let how = if self.is_root { How::Drain } else { How::Halt };
            self.end(how, Exit::Escalated { child: path.to_string(), cause: Box::new(exit) });
            return;
        }
        let delay = self.jitter.as_mut().map_or(Duration::ZERO, |j| self.backoff.delay(row, j));
        let due = now.checked_add(delay).filter(|_| !delay.is_zero());
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(actor = %path, %exit, delay_ms, "restarting");
        match self.strategy {
            Strategy::OneForOne => match due {
                None => self.start(uid, system),
                Some(_) => {
                    if let Some(entry) = self.entries.get_mut(&uid) {
                        entry.state = State::Backoff;
                    }
                    self.set_due(uid, due);
                }
            },
            Strategy::OneForAll => self.restart_group(0, due),
            Strategy::RestForOne => self.restart_group(uid, due),
        }
    }

    /// Stops and starts all children from `first` on, and those that a sequence under way has still to start.
    fn restart_group(&mut self, first: u64, due: Option<Instant>) {
        let pending: HashSet<u64> = self.sequence.take().map(|s| s.starting.into_iter().collect()).unwrap_or_default();
        let members: Vec<u64> = self.unfinished().filter(|uid| *uid >= first || pending.contains(uid)).collect();
        for uid in &members {
            if let Some(entry) = self.entries.get_mut(uid)
                && matches!(entry.state, State::Backoff)
            {
                entry.state = State::Down;
                self.set_due(*uid, None);
            }
        }
        if let Some(old) = self.dues.iter().find(|(_, uid)| *uid == GROUP).copied() {
            self.dues.remove(&old);
        }
        if let Some(at) = due {
            self.dues.insert((at, GROUP));
        }
        self.sequence = Some(Sequence { halting: members.clone(), due, starting: members.into() });
    }

    fn restart(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        match entry.state {
            State::Running | State::Starting => self.stop(uid, How::Halt, Purpose::Restart),
            State::Backoff if self.ending.is_none() => {
                self.set_due(uid, None);
                self.start(uid, system);
            }
            // In a sequence it is started anyway.
            State::Backoff | State::Down | State::Stopping { .. } | State::Finished => {}
        }
    }

    /// Restarts a child that its probe calls failed; that counts as a crash would.
    fn recover(&mut self, uid: u64) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if self.ending.is_some() || !matches!(entry.state, State::Running) {
            return;
        }
        entry.restore = entry.runner.settings().recovery == Recovery::Restore;
        entry.ramp = true;
        let path = entry.runner.node().core().path();
        if self.intensity.allow(Instant::now()) {
            self.stop(uid, How::Halt, Purpose::Restart);
        } else {
            let cause = Box::new(Exit::Failed("its probe failed".to_owned()));
            let how = if self.is_root { How::Drain } else { How::Halt };
            self.end(how, Exit::Escalated { child: path.to_string(), cause });
        }
    }

    fn remove(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        match &mut entry.state {
            State::Running | State::Starting => self.stop(uid, How::Drain, Purpose::Remove),
            State::Stopping { purpose, .. } => {
                if !matches!(purpose, Purpose::End(_)) {
                    *purpose = Purpose::Remove;
                    entry.runner.node().end(How::Drain);
                }
            }
            State::Down | State::Backoff => {
                let exit = entry.last.clone().unwrap_or(Exit::Drained);
                if entry.incarnation > 0 && entry.runner.node().inbox().depth > 0 {
                    self.start_draining(uid, system);
                    if let Some(Entry { state: State::Stopping { purpose, .. }, .. }) = self.entries.get_mut(&uid) {
                        *purpose = Purpose::Remove;
                    }
                } else {
                    self.finish(uid, &exit);
                }
            }
            State::Finished => {}
        }
    }

    fn end(&mut self, how: How, exit: Exit) {
        if let Some(ending) = &mut self.ending {
            // A drain outranks a halt that is under way.
            if how == How::Drain && ending.how == How::Halt {
                ending.how = how;
                ending.rest = self.entries.iter().filter(|(_, e)| !e.dynamic).map(|(uid, _)| *uid).collect();
                ending.dynamic = self.entries.iter().filter(|(_, e)| e.dynamic).map(|(uid, _)| *uid).collect();
                self.touched = ending.dynamic.iter().copied().collect();
            }
            return;
        }
        if how == How::Drain {
            self.branch.close();
            self.branch.core().set_phase(Phase::Draining);
        }
        self.sequence = None;
        let pick = |dynamic: bool| self.entries.iter().filter(move |(_, e)| e.dynamic == dynamic).map(|(uid, _)| *uid);
        let (dynamic, rest) = (pick(true).collect(), pick(false).collect());
        let dynamic: HashSet<u64> = dynamic;
        self.touched = self.entries.iter().filter(|(_, e)| e.dynamic).map(|(uid, _)| *uid).collect();
        self.ending = Some(Ending { how, exit, dynamic, rest });
    }

    /// Goes as far as is possible without waiting; true when the supervisor has ended.
    fn advance(&mut self, system: &SystemRef) -> bool {
        if self.ending.is_some() {
            return self.advance_ending(system);
        }
        let Some(mut sequence) = self.sequence.take() else { return false };
        if !self.advance_sequence(&mut sequence, system) {
            self.sequence = Some(sequence);
        }
        false
    }

    fn advance_sequence(&mut self, sequence: &mut Sequence, system: &SystemRef) -> bool {
        while let Some(uid) = sequence.halting.last().copied() {
            match self.entries.get(&uid).map(|e| &e.state) {
                Some(State::Running | State::Starting) => {
                    self.stop(uid, How::Halt, Purpose::Group);
                    return false;
                }
                Some(State::Stopping { .. }) => return false,
                Some(State::Down | State::Backoff | State::Finished) | None => {
                    sequence.halting.pop();
                }
            }
        }
        if sequence.due.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        sequence.due = None;
        while let Some(uid) = sequence.starting.front().copied() {
            match self.entries.get(&uid).map(|e| &e.state) {
                Some(State::Down) => {
                    self.start(uid, system);
                    return false;
                }
                Some(State::Starting | State::Backoff | State::Stopping { .. }) => return false,
                Some(State::Running | State::Finished) | None => {
                    sequence.starting.pop_front();
                }
            }
        }
        true
    }

    fn advance_ending(&mut self, system: &SystemRef) -> bool {
        let Some(mut ending) = self.ending.take() else { return false };
        let how = ending.how;
        for uid in std::mem::take(&mut self.touched) {
            if self.settle(uid, how, system) {
                ending.dynamic.remove(&uid);
            }
        }
        let mut done = ending.dynamic.is_empty();
        while done && let Some(uid) = ending.rest.last().copied() {
            done = self.settle(uid, how, system);
            if done {
                ending.rest.pop();
            }
        }
        self.ending = Some(ending);
        done
    }

    /// Brings a child nearer to its end; true once it is there.
    fn settle(&mut self, uid: u64, how: How, system: &SystemRef) -> bool {
        let Some(entry) = self.entries.get_mut(&uid) else { return true };
        match &mut entry.state {
            State::Running | State::Starting => {
                self.stop(uid, how, Purpose::End(how));
                false
            }
            State::Stopping { purpose: Purpose::End(How::Drain) | Purpose::Remove | Purpose::Group, .. } => false,
            State::Stopping { purpose, .. } => {
                if how == How::Drain {
                    *purpose = Purpose::End(how);
                    entry.runner.node().end(how);
                }
                false
            }
            State::Finished => true,
            State::Down | State::Backoff => {
                let has_messages = entry.incarnation > 0 && entry.runner.node().inbox().depth > 0;
                let exit = entry.last.clone().unwrap_or(Exit::Drained);
                entry.state = State::Down;
                self.set_due(uid, None);
                match how {
                    How::Halt => true,
                    How::Drain if has_messages && self.intensity.allow(Instant::now()) => {
                        self.start_draining(uid, system);
                        false
                    }
                    How::Drain => {
                        self.finish(uid, &exit);
                        true
                    }
                }
            }
        }
    }

    fn on_time(&mut self, system: &SystemRef) {
        let now = Instant::now();
        while let Some((at, uid)) = self.dues.first().copied()
            && at <= now
        {
            self.dues.remove(&(at, uid));
            // The next advance looks at the pause of the group.
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            entry.due = None;
            let node = entry.runner.node();
            let path = node.core().path();
            match &mut entry.state {
                State::Backoff => self.start(uid, system),
                State::Starting => {
                    tracing::error!(actor = %path, "start took too long");
                    entry.kill.kill();
                    entry.state = State::Stopping { purpose: Purpose::Startup, killed: true };
                    self.set_due(uid, now.checked_add(GRACE));
                }
                State::Stopping { killed, .. } if !*killed => {
                    *killed = true;
                    tracing::error!(actor = %path, handling = node.core().kind_in_hand(), "killed: did not stop in time");
                    system.shared.note_killed(&path);
                    entry.kill.kill();
                    self.set_due(uid, now.checked_add(GRACE));
                }
                State::Stopping { .. } => {
                    tracing::error!(actor = %path, handling = node.core().kind_in_hand(), "stuck: left behind");
                    system.shared.note_stuck(&path);
                    // Whatever it still does, it is no longer the one that has the inbox.
                    entry.incarnation = entry.incarnation.saturating_add(1);
                    node.core().begin_incarnation(entry.incarnation);
                    node.core().note_exit(&Exit::Killed);
                    self.on_exited(uid, Exit::Killed, system);
                }
                State::Down | State::Running | State::Finished => {}
            }
        }
    }

    fn start(&mut self, uid: u64, system: &SystemRef) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.incarnation = entry.incarnation.saturating_add(1);
        let node = entry.runner.node();
        let cause = match entry.last.take() {
            None => StartCause::First,
            Some(exit) => {
                let core = node.core();
                core.count_restart();
                metrics::counter!("alys_actor_restarts_total", "actor" => core.path().to_string()).increment(1);
                if std::mem::take(&mut entry.restore) { StartCause::Restore(exit) } else { StartCause::Restart(exit) }
            }
        };
        if std::mem::take(&mut entry.ramp) {
            match entry.runner.settings().recovery {
                Recovery::Report | Recovery::Restart | Recovery::Restore => {}
                Recovery::Gradual { over } => {
                    node.set_admission(Admission::Ramp { since: Instant::now(), over, count: 0 });
                }
                // Until the next look finds it healthy.
                Recovery::Degraded => node.set_admission(Admission::Essential),
            }
        }
        entry.state = State::Starting;
        let due = entry.runner.settings().startup.and_then(|d| Instant::now().checked_add(d));
        entry.kill = entry.runner.start(Launch {
            system: system.clone(),
            uid,
            incarnation: entry.incarnation,
            cause,
            events: self.branch.events.clone(),
        });
        self.set_due(uid, due);
    }

    /// Starts an incarnation only to handle what waits.
    fn start_draining(&mut self, uid: u64, system: &SystemRef) {
        self.start(uid, system);
        self.stop(uid, How::Drain, Purpose::End(How::Drain));
    }

    fn stop(&mut self, uid: u64, how: How, purpose: Purpose) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Stopping { purpose, killed: false };
        entry.runner.node().end(how);
        let due = Instant::now().checked_add(entry.runner.settings().shutdown);
        self.set_due(uid, due);
    }

    fn down_for_now(&mut self, uid: u64, exit: &Exit) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Down;
        let node = entry.runner.node();
        node.core().set_phase(Phase::Restarting);
        node.core().tell_monitors(exit, false);
    }

    fn finish(&mut self, uid: u64, exit: &Exit) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.state = State::Finished;
        let dynamic = entry.dynamic;
        let node = entry.runner.node();
        let _ = caught(|| node.finish());
        node.core().tell_monitors(exit, true);
        self.set_due(uid, None);
        if dynamic {
            self.branch.remove(uid);
            let entry = self.entries.remove(&uid);
            // The factory is dropped with it, which is code of the user's.
            let _ = caught(move || drop(entry));
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
