//! The part of a logical actor that does not depend on the type of its messages: also a supervisor's.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::error::Exit;
use crate::flags::{self, Flags};
use crate::health::{Health, Probe, Recovery};
use crate::reply::Pending;
use crate::snapshot::Phase;
use crate::supervise::Event;
use crate::system::Shared;

/// Called with how an incarnation ended, and whether it was the last.
pub(crate) type OnDown = Box<dyn FnOnce(Exit, bool) + Send>;

/// Who hears of the end of incarnations.
pub(crate) enum Monitor {
    /// Of the next, whatever it is.
    Once(OnDown),
    /// Of the next that is a failure.
    Failure(OnDown),
}

impl Monitor {
    pub(crate) fn tell(self, exit: Exit, is_final: bool) {
        match self {
            Self::Once(down) | Self::Failure(down) => down(exit, is_final),
        }
    }
}

/// What most actors never have; made when it is first written to.
#[derive(Default)]
struct Rare {
    last_exit: Option<Exit>,
    health: Health,
    probed: Health,
    memory: u64,
    token: Option<CancellationToken>,
    link: Option<Exit>,
    monitors: Vec<(u64, Monitor)>,
    next_monitor: u64,
    /// The request in hand of a blocking actor, whose thread may never come back to fail it.
    hand: Option<Arc<dyn Pending>>,
    waits: Vec<usize>,
}

/// The part of a cell that does not depend on the type of its messages.
pub(crate) struct Core {
    name: OnceLock<Arc<str>>,
    path: OnceLock<Arc<str>>,
    shared: OnceLock<Weak<Shared>>,
    flags: Flags,
    phase: AtomicU8,
    incarnation: AtomicU64,
    restarts: AtomicU64,
    failures: AtomicU64,
    /// Twice the messages handled, plus one while one is in hand. Written by the actor's task only.
    progress: AtomicU64,
    /// Number of the kind in hand in the system's table of them.
    kind: AtomicUsize,
    /// Sampled handle time, smoothed.
    handle_nanos: AtomicU64,
    /// Address of the one core that its asks wait for, 0 if none; more of them are in `Rare::waits`.
    waits_for: AtomicUsize,
    more_waits: AtomicUsize,
    /// What the actor counts as errors.
    errors: AtomicU64,
    /// The depth that the metrics know.
    shown_depth: AtomicUsize,
    watch: OnceLock<Box<Watch>>,
    gone: Notify,
    rare: Mutex<Option<Box<Rare>>>,
}

/// How a child is probed, and how its supervisor is told to recover it.
pub(crate) struct Watch {
    pub(crate) probe: Probe,
    pub(crate) recovery: Recovery,
    pub(crate) uid: u64,
    pub(crate) supervisor: UnboundedSender<Event>,
}

impl Core {
    pub(crate) fn new() -> Self {
        Self {
            name: OnceLock::new(),
            path: OnceLock::new(),
            shared: OnceLock::new(),
            flags: Flags::new(),
            phase: AtomicU8::new(Phase::Declared.code()),
            incarnation: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            kind: AtomicUsize::new(0),
            handle_nanos: AtomicU64::new(0),
            waits_for: AtomicUsize::new(0),
            more_waits: AtomicUsize::new(0),
            errors: AtomicU64::new(0),
            shown_depth: AtomicUsize::new(0),
            watch: OnceLock::new(),
            gone: Notify::new(),
            rare: Mutex::new(None),
        }
    }

    fn rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        f(lock(&self.rare).get_or_insert_default())
    }

    /// As `rare`, but nothing is made for the sake of looking.
    fn look<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        lock(&self.rare).as_deref_mut().map(f)
    }

    /// Tells cores apart while they live.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn set_name(&self, name: Arc<str>) {
        let _ = self.name.set(name);
    }

    pub(crate) fn name(&self) -> Arc<str> {
        self.name.get().cloned().unwrap_or_else(|| Arc::from("unseated"))
    }

    pub(crate) fn path(&self) -> Arc<str> {
        self.path.get().cloned().unwrap_or_else(|| self.name())
    }

    pub(crate) fn attach(&self, shared: &Arc<Shared>, path: Arc<str>) {
        let _ = self.path.set(path);
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.get().and_then(Weak::upgrade)
    }

    pub(crate) fn flags(&self) -> u32 {
        self.flags.get()
    }

    pub(crate) fn raise(&self, flag: u32) {
        self.flags.raise(flag);
    }

    pub(crate) fn lower(&self, flag: u32) {
        self.flags.lower(flag);
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_code(self.phase.load(Ordering::Acquire))
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase.code(), Ordering::Release);
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Begins incarnation `n`: those before lose the inbox, and what was asked of them is forgotten.
    pub(crate) fn begin_incarnation(&self, n: u64) {
        self.incarnation.store(n, Ordering::Release);
        self.lower(flags::HALT | flags::LINK);
        self.waits_for.store(0, Ordering::SeqCst);
        self.more_waits.store(0, Ordering::SeqCst);
        self.set_idle();
        self.look(|r| {
            r.health = Health::Healthy;
            r.memory = 0;
            r.token = None;
            r.link = None;
            r.waits.clear();
        });
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Messages handled, and whether one is in hand.
    pub(crate) fn progress(&self) -> (u64, bool) {
        let p = self.progress.load(Ordering::Acquire);
        (p >> 1, p & 1 == 1)
    }

    pub(crate) fn set_busy(&self, kind: usize) {
        self.kind.store(kind, Ordering::Relaxed);
        self.progress.store(self.progress.load(Ordering::Relaxed) | 1, Ordering::Release);
    }

    pub(crate) fn set_idle(&self) {
        let p = self.progress.load(Ordering::Relaxed);
        self.progress.store(p.wrapping_add(p & 1), Ordering::Release);
    }

    pub(crate) fn learn_kind(&self, kind: &'static str) -> usize {
        self.shared().map_or(0, |shared| shared.kinds.number(kind))
    }

    pub(crate) fn kind_in_hand(&self) -> Option<&'static str> {
        let (_, busy) = self.progress();
        let i = self.kind.load(Ordering::Relaxed);
        if busy { self.shared().and_then(|shared| shared.kinds.get(i)) } else { None }
    }

    pub(crate) fn handle_nanos(&self) -> u64 {
        self.handle_nanos.load(Ordering::Relaxed)
    }

    pub(crate) fn sample_handle(&self, nanos: u64) {
        let old = self.handle_nanos.load(Ordering::Relaxed);
        let smooth = if old == 0 { nanos } else { old.saturating_sub(old / 8).saturating_add(nanos / 8) };
        self.handle_nanos.store(smooth, Ordering::Relaxed);
    }

    pub(crate) fn last_exit(&self) -> Option<Exit> {
        self.look(|r| r.last_exit.clone()).flatten()
    }

    pub(crate) fn note_exit(&self, exit: &Exit) {
        if exit.is_failure() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.rare(|r| r.last_exit = Some(exit.clone()));
    }

    pub(crate) fn health(&self) -> Health {
        self.look(|r| r.health.clone().worse(r.probed.clone())).unwrap_or_default()
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.rare(|r| r.health = health);
    }

    pub(crate) fn set_probed(&self, health: Health) {
        if health == Health::Healthy {
            self.look(|r| r.probed = health);
        } else {
            self.rare(|r| r.probed = health);
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(crate) fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// True if `depth` is not what was shown last.
    pub(crate) fn show_depth(&self, depth: usize) -> bool {
        self.shown_depth.swap(depth, Ordering::Relaxed) != depth
    }

    pub(crate) fn set_watch(&self, watch: Watch) {
        let _ = self.watch.set(Box::new(watch));
    }

    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.get().map(|w| &**w)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.look(|r| r.memory).unwrap_or(0)
    }

    pub(crate) fn set_memory(&self, bytes: u64) {
        self.rare(|r| r.memory = bytes);
    }

    /// The token of the running incarnation, made when first wanted.
    pub(crate) fn token(&self) -> CancellationToken {
        let ending = self.flags() & (flags::DRAIN | flags::HALT) != 0;
        let token = self.rare(|r| r.token.get_or_insert_with(CancellationToken::new).clone());
        if ending {
            token.cancel();
        }
        token
    }

    pub(crate) fn cancel_token(&self) {
        let token = self.look(|r| r.token.clone()).flatten();
        if let Some(token) = token {
            token.cancel();
        }
    }

    pub(crate) fn set_link_failure(&self, exit: Exit) {
        self.rare(|r| {
            r.link.get_or_insert(exit);
        });
        self.raise(flags::LINK);
    }

    pub(crate) fn link_failure(&self) -> Option<Exit> {
        self.look(|r| r.link.take()).flatten()
    }

    /// Calls `down` when the incarnation ends, or gives it back with the end if the actor has stopped for good.
    pub(crate) fn monitor(&self, down: Monitor) -> Result<u64, (Monitor, Exit)> {
        self.rare(|r| {
            if self.phase() == Phase::Stopped {
                return Err((down, r.last_exit.clone().unwrap_or(Exit::Normal)));
            }
            let id = r.next_monitor;
            r.next_monitor = id.wrapping_add(1);
            r.monitors.push((id, down));
            Ok(id)
        })
    }

    pub(crate) fn demonitor(&self, id: u64) {
        let found = self.look(|r| {
            let i = r.monitors.iter().position(|(m, _)| *m == id)?;
            Some(r.monitors.swap_remove(i))
        });
        drop(found);
    }

    pub(crate) fn tell_monitors(&self, exit: &Exit, is_final: bool) {
        let all = is_final || exit.is_failure();
        let monitors: Vec<_> = self
            .look(|r| r.monitors.extract_if(.., |(_, m)| all || matches!(m, Monitor::Once(_))).collect())
            .unwrap_or_default();
        for (_, monitor) in monitors {
            monitor.tell(exit.clone(), is_final);
        }
    }

    /// Keeps the request in hand where the supervisor can fail it.
    pub(crate) fn hold(&self, ask: Option<Arc<dyn Pending>>) -> Option<Arc<dyn Pending>> {
        match ask {
            Some(ask) => self.rare(|r| r.hand.replace(ask)),
            None => self.look(|r| r.hand.take()).flatten(),
        }
    }

    pub(crate) fn stopped_for_good(&self) {
        {
            // Under the lock that `monitor` looks at the phase in.
            let _rare = lock(&self.rare);
            self.set_phase(Phase::Stopped);
        }
        self.gone.notify_waiters();
    }

    pub(crate) async fn gone(&self) {
        let gone = self.gone.notified();
        tokio::pin!(gone);
        // Registered before the check, or a stop between the two would be missed.
        gone.as_mut().enable();
        if self.phase() != Phase::Stopped {
            gone.await;
        }
    }

    /// Notes that an ask of this actor waits for the core with that id.
    pub(crate) fn wait_begins(&self, id: usize) {
        if self.waits_for.compare_exchange(0, id, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.rare(|r| r.waits.push(id));
            self.more_waits.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn wait_ends(&self, id: usize) {
        if self.more_waits.load(Ordering::SeqCst) != 0 {
            let found = self.look(|r| {
                let i = r.waits.iter().position(|w| *w == id);
                i.map(|i| r.waits.swap_remove(i)).is_some()
            });
            if found == Some(true) {
                self.more_waits.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
        let _ = self.waits_for.compare_exchange(id, 0, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waits_for.load(Ordering::SeqCst) != 0 || self.more_waits.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn waits(&self) -> Vec<usize> {
        let mut waits = self.look(|r| r.waits.clone()).unwrap_or_default();
        let first = self.waits_for.load(Ordering::SeqCst);
        if first != 0 {
            waits.push(first);
        }
        waits
    }
}
