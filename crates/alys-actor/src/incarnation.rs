//! One life of an actor: the task, from the factory to the report of how it ended.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::mpsc::UnboundedSender;
use tracing::Instrument as _;

use crate::actor::{Actor, StartCause};
use crate::addr::Addr;
use crate::backoff::Jitter;
use crate::cell::{Cell, Node};
use crate::child::Settings;
use crate::context::{Context, Next};
use crate::current::{self, Scope};
use crate::error::{AskError, Exit, HandlerFailure, chain_text};
use crate::flags;
use crate::inbox::Envelope;
use crate::message::Message;
use crate::panics::{caught, describe};
use crate::snapshot::{DeadReason, Phase};
use crate::supervise::Event;
use crate::system::SystemRef;

/// One handler in that many is timed.
const TIMED: u32 = 32;

type Factory<A> = Arc<dyn Fn() -> A + Send + Sync>;

/// What a supervisor says when it starts an incarnation.
pub(crate) struct Launch {
    pub(crate) system: SystemRef,
    pub(crate) uid: u64,
    pub(crate) incarnation: u64,
    pub(crate) cause: StartCause,
    /// Bounded by nature: each incarnation sends two events.
    pub(crate) events: UnboundedSender<Event>,
}

/// Ends an incarnation at its next await.
pub(crate) enum Kill {
    Task(tokio::task::AbortHandle),
    Thread(futures::future::AbortHandle),
    /// It never ran.
    Nothing,
}

impl Kill {
    pub(crate) fn kill(&self) {
        match self {
            Self::Task(handle) => handle.abort(),
            Self::Thread(handle) => handle.abort(),
            Self::Nothing => {}
        }
    }
}

/// Starts an incarnation on the runtime, or on a thread of its own.
pub(crate) fn start<A: Actor>(
    factory: Factory<A>,
    addr: Addr<A::Message>,
    settings: Arc<Settings>,
    launch: Launch,
) -> Kill {
    let cell = Arc::clone(&addr.cell);
    cell.core().begin_incarnation(launch.incarnation);
    cell.inbox.change_receiver();
    cell.core().set_phase(Phase::Starting);
    let Launch { system, uid, incarnation, cause, events } = launch;
    let blocking = settings.blocking && !system.blocking_inline();
    let perturb = system.perturbation().map(|seed| Box::new(Jitter::new(seed ^ incarnation, &cell.core().path())));
    let node: Arc<dyn Node> = addr.node();
    let ctx = Context::new(addr, system.clone(), incarnation, cause, settings.blocking);
    let task = Incarnation {
        quarantine_after: settings.quarantine_after,
        life: Some(live(factory, ctx, settings, events.clone(), uid)),
        scope: Some(Box::new(Scope { node: Some(node), ..Scope::default() })),
        cell,
        events,
        uid,
        incarnation,
        perturb,
    };
    if !blocking {
        return Kill::Task(system.runtime().spawn(task).abort_handle());
    }
    let thread_name = task.cell.core().name().to_string();
    let (task, handle) = futures::future::abortable(task);
    let runtime = system.runtime().clone();
    let spawned = std::thread::Builder::new().name(thread_name).spawn(move || {
        let _ = runtime.block_on(task);
    });
    // Without a thread the incarnation is dropped, which reports it as killed.
    if spawned.is_err() { Kill::Nothing } else { Kill::Thread(handle) }
}

pin_project_lite::pin_project! {
    struct Incarnation<M: Message, F> {
        // In place, not in a box of its own: one allocation less per start.
        #[pin]
        life: Option<F>,
        scope: Option<Box<Scope>>,
        cell: Arc<Cell<M>>,
        events: UnboundedSender<Event>,
        uid: u64,
        incarnation: u64,
        quarantine_after: u32,
        perturb: Option<Box<Jitter>>,
    }

    impl<M: Message, F> PinnedDrop for Incarnation<M, F> {
        fn drop(this: Pin<&mut Self>) {
            this.report(Exit::Killed);
        }
    }
}

impl<M: Message, F: Future<Output = Exit>> Future for Incarnation<M, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(life) = this.life.as_pin_mut() else { return Poll::Ready(()) };
        if this.perturb.as_mut().is_some_and(|p| p.next().is_multiple_of(3)) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let exit = match current::enter(this.scope, || caught(|| life.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(exit)) => exit,
            Err(panic) => Exit::Panicked(panic),
        };
        self.report(exit);
        Poll::Ready(())
    }
}

impl<M: Message, F> Incarnation<M, F> {
    fn report(self: Pin<&mut Self>, exit: Exit) {
        let mut this = self.project();
        if this.life.is_none() {
            return;
        }
        let core = this.cell.core();
        // What is left of the state is dropped in the actor's scope, so that replies in it say why they were lost.
        let (dropped, request) = current::enter(this.scope, || {
            if current::loss().is_none() {
                current::set_loss(AskError::Restarting);
            }
            (caught(|| this.life.set(None)), current::end())
        });
        let exit = match dropped {
            Err(panic) if !exit.is_failure() => Exit::Panicked(panic),
            Ok(()) | Err(_) => exit,
        };
        let current = core.incarnation() == *this.incarnation;
        if exit == Exit::Killed
            && current
            && request.is_none()
            && !this.cell.has_retry()
            && let Some(kind) = core.kind_in_hand()
            && let Some(shared) = core.shared()
        {
            shared.dead(core.path(), kind, DeadReason::Crashed, 0);
        }
        if let Some(request) = request {
            request.fail(match &exit {
                Exit::Panicked(_) => AskError::Failed(HandlerFailure::Panicked),
                Exit::Killed if core.flags() & flags::DRAIN != 0 => AskError::Stopped,
                Exit::Killed => AskError::Restarting,
                Exit::Normal
                | Exit::Drained
                | Exit::Halted
                | Exit::StartFailed(_)
                | Exit::Failed(_)
                | Exit::Escalated { .. } => AskError::Failed(HandlerFailure::Unanswered),
            });
        }
        if current {
            core.set_idle();
            core.cancel_token();
            core.note_exit(&exit);
            if exit.is_failure() {
                this.cell.retry_or_bury(*this.quarantine_after);
            } else {
                this.cell.keep_for_retry(None);
            }
        }
        let _ = this.events.send(Event::Exited { uid: *this.uid, incarnation: *this.incarnation, exit });
    }
}

/// One life. The block uses what it captures in place: an `async fn` would keep its arguments twice.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
fn live<A: Actor>(
    factory: Factory<A>,
    mut ctx: Context<A::Message>,
    settings: Arc<Settings>,
    events: UnboundedSender<Event>,
    uid: u64,
) -> impl Future<Output = Exit> + Send {
    async move {
        let mut actor = match caught(|| factory()) {
            Ok(actor) => actor,
            Err(panic) => return Exit::Panicked(panic),
        };
        let started = AssertUnwindSafe(actor.started(&mut ctx)).catch_unwind().await;
        let exit = match started {
            Err(payload) => Exit::Panicked(describe(&*payload)),
            Ok(Err(error)) => Exit::StartFailed(chain_text(&error)),
            // The start took so long that it was given up.
            Ok(Ok(())) if !ctx.is_current() => Exit::Killed,
            Ok(Ok(())) => {
                ctx.core().set_phase(Phase::Running);
                let _ = events.send(Event::Started { uid, incarnation: ctx.incarnation() });
                if ctx.is_stopping() { Exit::Normal } else { serve(&mut actor, &mut ctx).await }
            }
        };
        let restarts = matches!(exit, Exit::Halted) || settings.restart.restarts(&exit);
        current::set_loss(if restarts { AskError::Restarting } else { AskError::Stopped });
        let exit = farewell(&mut actor, &mut ctx, settings.shutdown, exit).await;
        ctx.end(settings.shutdown).await;
        match caught(|| drop(actor)) {
            Err(panic) if !exit.is_failure() => Exit::Panicked(panic),
            Ok(()) | Err(_) => exit,
        }
    }
}

/// Lets the actor say goodbye, unless its memory can't be trusted.
async fn farewell<A: Actor>(actor: &mut A, ctx: &mut Context<A::Message>, patience: Duration, exit: Exit) -> Exit {
    match exit {
        Exit::Panicked(_) | Exit::Killed => return exit,
        Exit::Normal
        | Exit::Drained
        | Exit::Halted
        | Exit::StartFailed(_)
        | Exit::Failed(_)
        | Exit::Escalated { .. } => {}
    }
    let stopped = AssertUnwindSafe(actor.stopped(ctx)).catch_unwind();
    match tokio::time::timeout(patience, stopped).await {
        Ok(Ok(())) => exit,
        Ok(Err(payload)) if !exit.is_failure() => Exit::Panicked(describe(&*payload)),
        Ok(Err(_)) => exit,
        Err(_) => Exit::Killed,
    }
}

/// Handles one message after the other until something ends the incarnation.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
fn serve<'a, A: Actor>(
    actor: &'a mut A,
    ctx: &'a mut Context<A::Message>,
) -> impl Future<Output = Exit> + Send + use<'a, A> {
    async move {
        let mut meter = Meter::default();
        loop {
            let next = std::future::poll_fn(|cx| ctx.poll_next(cx)).await;
            let envelope = match next {
                Next::User(envelope) => envelope,
                Next::Event(message) => Envelope::new(message, None, 0),
                Next::End(exit) => return exit,
            };
            let (message, hand) = match begin(ctx, &mut meter, envelope) {
                Begun::Hand(message, hand) => (message, hand),
                Begun::Expired => continue,
                Begun::End(exit) => return exit,
            };
            // The future of the handler is made where it is awaited, so that it is kept once.
            let result = if tracing::enabled!(tracing::Level::DEBUG) {
                let path = ctx.path();
                let span = tracing::debug_span!("handle", actor = %path, message = hand.kind, hand.correlation);
                let handling = AssertUnwindSafe(actor.handle(message, ctx)).catch_unwind();
                Box::pin(handling.instrument(span)).await
            } else {
                AssertUnwindSafe(actor.handle(message, ctx)).catch_unwind().await
            };
            if let Some(exit) = finish(ctx, &mut meter, &hand, result) {
                return exit;
            }
        }
    }
}

/// What is remembered of a message while it is handled.
struct Hand {
    kind: &'static str,
    correlation: u64,
    is_request: bool,
    has_copy: bool,
    began: Option<std::time::Instant>,
}

enum Begun<M> {
    Hand(M, Hand),
    /// Nobody waits for its answer any more.
    Expired,
    End(Exit),
}

#[inline]
fn begin<M: Message>(ctx: &Context<M>, meter: &mut Meter, envelope: Envelope<M>) -> Begun<M> {
    if let Some(ask) = &envelope.ask
        && ask.is_over()
    {
        ask.fail(AskError::TimedOut);
        return match caught(|| drop(envelope)) {
            Ok(()) => Begun::Expired,
            Err(panic) => Begun::End(Exit::Panicked(panic)),
        };
    }
    let Envelope { message, ask, correlation, crashes, .. } = envelope;
    let kind = message.kind();
    let is_request = ask.is_some();
    let copy = if is_request { None } else { message.retry() };
    let has_copy = copy.is_some();
    if let Some(message) = copy {
        ctx.cell().keep_for_retry(Some(Envelope::new(message, None, correlation).crashed(crashes)));
    }
    let core = ctx.core();
    if is_request && ctx.is_blocking() {
        core.hold(ask.clone());
    }
    current::begin(correlation, ask);
    core.set_busy(meter.index(core, kind));
    Begun::Hand(message, Hand { kind, correlation, is_request, has_copy, began: meter.begin() })
}

#[inline]
fn finish<M: Message, E: std::error::Error>(
    ctx: &Context<M>,
    meter: &mut Meter,
    hand: &Hand,
    result: Result<Result<(), E>, Box<dyn std::any::Any + Send>>,
) -> Option<Exit> {
    let core = ctx.core();
    if let Some(began) = hand.began {
        meter.end(core, began);
    }
    if !ctx.is_current() {
        // It was given up as stuck; what the cell holds belongs to the one that runs now.
        return Some(Exit::Killed);
    }
    if hand.is_request && ctx.is_blocking() {
        drop(core.hold(None));
    }
    let exit = match result {
        Ok(Ok(())) => {
            core.set_idle();
            current::end();
            if hand.has_copy {
                ctx.cell().keep_for_retry(None);
            }
            return ctx.is_stopping().then_some(Exit::Normal);
        }
        Ok(Err(error)) => Exit::Failed(chain_text(&error)),
        Err(payload) => Exit::Panicked(describe(&*payload)),
    };
    if !hand.is_request
        && !hand.has_copy
        && let Some(shared) = core.shared()
    {
        shared.dead(core.path(), hand.kind, DeadReason::Crashed, hand.correlation);
    }
    Some(exit)
}

/// Times some of the handlers and knows the kinds of messages.
#[derive(Default)]
struct Meter {
    count: u32,
    kinds: Vec<(&'static str, usize)>,
    histogram: Option<metrics::Histogram>,
}

impl Meter {
    /// The number under which the outside finds `kind`.
    fn index(&mut self, core: &crate::cell::Core, kind: &'static str) -> usize {
        if let Some((_, i)) = self.kinds.iter().find(|(k, _)| std::ptr::eq(*k, kind)) {
            return *i;
        }
        let i = core.learn_kind(kind);
        // Exactly one for the many that see one kind only.
        if self.kinds.is_empty() {
            self.kinds.reserve_exact(1);
        }
        self.kinds.push((kind, i));
        i
    }

    fn begin(&mut self) -> Option<std::time::Instant> {
        self.count = self.count.wrapping_add(1);
        self.count.is_multiple_of(TIMED).then(std::time::Instant::now)
    }

    fn end(&mut self, core: &crate::cell::Core, began: std::time::Instant) {
        let took = began.elapsed();
        core.sample_handle(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.histogram
            .get_or_insert_with(|| metrics::histogram!("alys_actor_handle_seconds", "actor" => core.path().to_string()))
            .record(took.as_secs_f64());
    }
}
