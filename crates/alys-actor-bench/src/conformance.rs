//! What a supervisor promises, as checks that any [`Framework`] can be put under.

use std::fmt::Write as _;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::framework::{Act, Feature, Framework, Happened, Log, Plan, Spec, Strategy, Trap};
use crate::host::Threads;

/// A check that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Kept,
    /// It was not; what was seen.
    Broken(String),
    /// It never came to an end.
    Hangs,
    /// The framework does not offer it.
    Absent,
}

impl Outcome {
    fn cell(&self) -> String {
        match self {
            Self::Kept => "kept".into(),
            Self::Broken(seen) => format!("**broken**: {seen}"),
            Self::Hangs => "**hangs**".into(),
            Self::Absent => "–".into(),
        }
    }
}

type Run = BoxFuture<'static, Result<(), String>>;

/// One promise.
pub struct Check {
    /// What is promised.
    pub name: &'static str,
    needs: Option<Feature>,
    run: fn(Threads) -> Run,
}

impl Check {
    /// Puts the framework under it, on a runtime of its own; with `paused` time it takes none.
    ///
    /// # Panics
    ///
    /// If the system gives no threads.
    #[must_use]
    pub fn judge<F: Framework>(&self, paused: bool) -> Outcome {
        if self.needs.is_some_and(|feature| !F::offers(feature)) {
            return Outcome::Absent;
        }
        let run = self.run;
        let host = F::host(Threads::One);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            host.run(async move {
                if paused {
                    tokio::time::pause();
                }
                tokio::time::timeout(PATIENCE, run(Threads::One)).await
            })
        }));
        host.abandon();
        match judged {
            Ok(Ok(Ok(()))) => Outcome::Kept,
            Ok(Ok(Err(seen))) => Outcome::Broken(seen),
            Ok(Err(_)) => Outcome::Hangs,
            Err(_) => Outcome::Broken("a panic got out".into()),
        }
    }
}

/// All checks.
#[must_use]
pub fn checks<F: Framework>() -> Vec<Check> {
    fn check(name: &'static str, needs: Option<Feature>, run: fn(Threads) -> Run) -> Check {
        Check { name, needs, run }
    }
    vec![
        check("one_for_all restarts in start order", Some(Feature::Groups), |t| {
            group::<F>(t, Strategy::OneForAll).boxed()
        }),
        check("rest_for_one restarts the later ones in start order", Some(Feature::Groups), |t| {
            group::<F>(t, Strategy::RestForOne).boxed()
        }),
        check("one_for_one leaves siblings alone", Some(Feature::Restart), |t| {
            group::<F>(t, Strategy::OneForOne).boxed()
        }),
        check("the intensity window slides", Some(Feature::Intensity), |t| slides::<F>(t).boxed()),
        check("too many restarts within the window are given up", Some(Feature::Intensity), |t| {
            gives_up::<F>(t).boxed()
        }),
        check("a busy supervisor delays no restart", Some(Feature::Restart), |t| busy::<F>(t).boxed()),
        check("a permanent child that is stopped stays stopped", Some(Feature::Stop), |t| {
            stays_stopped::<F>(t).boxed()
        }),
        check("an address outlives a restart", Some(Feature::Restart), |t| address::<F>(t).boxed()),
        check("what waits outlives a restart", Some(Feature::Restart), |t| inbox::<F>(t).boxed()),
        check("messages of one sender are handled in order", None, |t| fifo::<F>(t).boxed()),
        check("a shutdown handles what waits", Some(Feature::Drain), |t| drain::<F>(t).boxed()),
        check("a panic in a start is tried again", Some(Feature::Restart), |t| panic_in_start::<F>(t).boxed()),
        check("a panic in a goodbye harms nobody", Some(Feature::Stop), |t| panic_at_end::<F>(t, Trap::Stop).boxed()),
        check("a panic in a drop harms nobody", Some(Feature::Stop), |t| panic_at_end::<F>(t, Trap::Drop).boxed()),
        check("the state of a crashed incarnation is dropped", None, |t| dropped::<F>(t).boxed()),
        check("a panic with a request in hand is answered", None, |t| held::<F>(t).boxed()),
        check("an ask to oneself is answered", None, |t| cycle::<F>(t, 1).boxed()),
        check("asks in a circle of three are answered", None, |t| cycle::<F>(t, 3).boxed()),
    ]
}

/// Names and outcomes, in order.
#[must_use]
pub fn judge<F: Framework>(paused: bool) -> Vec<(&'static str, Outcome)> {
    checks::<F>().iter().map(|check| (check.name, check.judge::<F>(paused))).collect()
}

/// One column per framework.
#[must_use]
pub fn table(columns: &[(&str, Vec<(&'static str, Outcome)>)]) -> String {
    let mut text = String::from("| |");
    for (name, _) in columns {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    let names = columns.first().map(|(_, outcomes)| outcomes.as_slice()).unwrap_or_default();
    for (i, (name, _)) in names.iter().enumerate() {
        let _ = write!(text, "| {name} |");
        for (_, outcomes) in columns {
            let _ = write!(text, " {} |", outcomes.get(i).map_or_else(String::new, |(_, outcome)| outcome.cell()));
        }
        text.push('\n');
    }
    text
}

fn spec(threads: Threads) -> Spec {
    Spec { max_restarts: 1000, window: Duration::from_secs(1), ..Spec::plain(threads) }
}

async fn millis(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

/// Waits until something is so, for two seconds at most.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    for _ in 0..400 {
        if is_so() {
            return Ok(());
        }
        millis(5).await;
    }
    Err(format!("never {what}"))
}

fn expect<T: PartialEq + std::fmt::Debug>(seen: &T, expected: &T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
}

fn plan(child: usize, log: &Log) -> Plan {
    Plan { child, log: Some(log.clone()), ..Plan::silent() }
}

async fn group<F: Framework>(threads: Threads, strategy: Strategy) -> Result<(), String> {
    let tree = F::tree(Spec { strategy, ..spec(threads) }).await;
    let log = Log::default();
    let mut addrs = Vec::new();
    for child in 0..5 {
        addrs.push(F::add(&tree, plan(child, &log)).await);
    }
    until("started", || log.starts().len() == 5).await?;
    let expected: Vec<usize> = match strategy {
        Strategy::OneForOne => vec![2],
        Strategy::OneForAll => (0..5).collect(),
        Strategy::RestForOne => (2..5).collect(),
    };
    // An order that is right by chance is not right four times.
    for _ in 0..4 {
        let _ = log.take();
        if let Some(addr) = addrs.get(2) {
            F::tell(&F::again(&tree, addr), Act::Panic).await;
        }
        until("restarted", || log.starts().len() >= expected.len()).await?;
        millis(50).await;
        expect(&log.starts(), &expected)?;
    }
    Ok(())
}

async fn crash<F: Framework>(tree: &F::Tree, addr: &F::Addr, log: &Log) -> Result<(), String> {
    let before = log.starts().len();
    F::tell(&F::again(tree, addr), Act::Panic).await;
    until("restarted", || log.starts().len() > before).await
}

async fn slides<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(Spec { max_restarts: 2, window: Duration::from_millis(600), ..spec(threads) }).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    // Never three within 600 ms.
    for n in 1..=6 {
        crash::<F>(&tree, &addr, &log).await.map_err(|_| format!("given up at failure {n} of one every 350 ms"))?;
        millis(350).await;
    }
    if F::gave_up(&tree) { Err("given up".into()) } else { Ok(()) }
}

async fn gives_up<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(Spec { max_restarts: 2, window: Duration::from_secs(60), ..spec(threads) }).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    for _ in 0..2 {
        crash::<F>(&tree, &addr, &log).await?;
    }
    F::tell(&addr, Act::Panic).await;
    until("given up", || F::gave_up(&tree)).await
}

async fn busy<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    until("started", || log.starts().len() == 1).await?;
    F::busy(&tree, Duration::from_millis(500)).await;
    millis(20).await;
    let began = tokio::time::Instant::now();
    crash::<F>(&tree, &addr, &log).await?;
    let took = began.elapsed();
    if took < Duration::from_millis(250) { Ok(()) } else { Err(format!("after {} ms", took.as_millis())) }
}

async fn stays_stopped<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    let sibling = F::add(&tree, plan(1, &log)).await;
    until("started", || log.starts().len() == 2).await?;
    let stopped = tokio::time::timeout(Duration::from_secs(1), F::stop(&tree, &addr)).await;
    millis(300).await;
    if log.starts().len() > 2 {
        return Err("started again".into());
    }
    stopped.map_err(|_| "never stopped".to_owned())?;
    F::ask(&sibling).await.map(drop).map_err(|_| "its sibling is gone".into())
}

async fn address<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    crash::<F>(&tree, &addr, &log).await?;
    F::ask(&addr).await.map(drop).map_err(|_| "it is dead".into())
}

async fn inbox<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    F::tell(&addr, Act::Sleep(Duration::from_millis(20))).await;
    F::tell(&addr, Act::Panic).await;
    for n in 1..=3 {
        if !F::tell(&addr, Act::Note(n)).await {
            return Err("refused".into());
        }
    }
    until("restarted", || log.starts().len() == 2).await?;
    millis(100).await;
    expect(&log.notes(), &vec![1, 2, 3]).map_err(|seen| format!("only {seen} of [1, 2, 3]"))
}

async fn fifo<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    F::tell(&addr, Act::Sleep(Duration::from_millis(20))).await;
    for n in 0..3000 {
        F::tell(&addr, Act::Note(n)).await;
    }
    F::ask(&addr).await.map_err(|_| "no answer".to_owned())?;
    until("all handled", || log.notes().len() == 3000).await?;
    let notes = log.notes();
    match notes.iter().zip(0..).position(|(seen, sent)| *seen != sent) {
        None => Ok(()),
        Some(at) => Err(format!("message {at} was not handled in its turn")),
    }
}

async fn drain<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    F::tell(&addr, Act::Sleep(Duration::from_millis(50))).await;
    for n in 0..100 {
        F::tell(&addr, Act::Note(n)).await;
    }
    F::shutdown(tree).await;
    millis(100).await;
    expect(&log.notes().len(), &100).map_err(|seen| format!("{seen} of 100 handled"))
}

async fn panic_in_start<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, Plan { trap: Trap::Restart, ..plan(0, &log) }).await;
    F::tell(&addr, Act::Panic).await;
    for _ in 0..50 {
        millis(20).await;
        if log.starts().len() == 2
            && let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), F::ask(&F::again(&tree, &addr))).await
        {
            return Ok(());
        }
    }
    Err("never came back".into())
}

async fn panic_at_end<F: Framework>(threads: Threads, trap: Trap) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, Plan { trap, ..plan(0, &log).temporary() }).await;
    let sibling = F::add(&tree, plan(1, &log)).await;
    until("started", || log.starts().len() == 2).await?;
    tokio::time::timeout(Duration::from_secs(1), F::stop(&tree, &addr))
        .await
        .map_err(|_| "the stop never ends".to_owned())?;
    millis(20).await;
    match tokio::time::timeout(Duration::from_secs(1), F::ask(&sibling)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err("its sibling is gone".into()),
        Err(_) => Err("its sibling hangs".into()),
    }
}

async fn dropped<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let log = Log::default();
    let addr = F::add(&tree, plan(0, &log)).await;
    F::tell(&addr, Act::Panic).await;
    until("dropped", || log.lines().contains(&Happened::Dropped(0))).await
}

async fn held<F: Framework>(threads: Threads) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let addr = F::add(&tree, Plan::silent()).await;
    match tokio::time::timeout(Duration::from_secs(1), F::ask_panic(&addr)).await {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(_)) => Err("answered by nobody".into()),
        Err(_) => Err("never answered".into()),
    }
}

async fn cycle<F: Framework>(threads: Threads, length: usize) -> Result<(), String> {
    let tree = F::tree(spec(threads)).await;
    let mut addrs = Vec::new();
    for _ in 0..length {
        addrs.push(F::add(&tree, Plan::silent()).await);
    }
    let Some(first) = addrs.first().cloned() else { return Ok(()) };
    let way = addrs.into_iter().skip(1).chain([first.clone()]).collect();
    match tokio::time::timeout(Duration::from_secs(2), F::relay(&first, way)).await {
        Ok(_) => Ok(()),
        Err(_) => Err("hangs".into()),
    }
}
