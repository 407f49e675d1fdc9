//! The rows of the measurement, and the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::framework::{Act, Feature, Framework, Plan, Spec};
use crate::host::{Host, Threads};
use crate::{alys::Alys, counting, raw::Raw};

const ASKS: u32 = 20_000;
/// Short batches, of which the median counts: what else the machine does then hits some of them and not the figure.
const BATCHES: u32 = 50;
const TELLS: u32 = 2000;
const SENDERS: u32 = 8;
const IN_FLIGHT: usize = 64;
const FLIGHTS: u32 = 500;
const SPAWNS: u32 = 2_000;
const RESTARTS: u32 = 200;
const IDLE: u32 = 100_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// One ask after the other: median, in nanoseconds.
    AskP50,
    /// The same: the slowest hundredth.
    AskP99,
    /// One sender, per message.
    Tell,
    /// Eight senders, per message.
    TellFromMany,
    /// 64 asks at a time, per ask.
    InFlight,
    /// Start, one ask, stop.
    SpawnAndStop,
    /// From the panic to the first answer after it.
    Restart,
    /// Bytes.
    Idle,
}

impl Row {
    /// All that are measured in one go; the p99 comes with the p50.
    pub const ALL: [Self; 7] =
        [Self::AskP50, Self::Tell, Self::TellFromMany, Self::InFlight, Self::SpawnAndStop, Self::Restart, Self::Idle];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AskP50 => "ask p50, ns",
            Self::AskP99 => "ask p99, ns",
            Self::Tell => "tell 1 to 1, ns",
            Self::TellFromMany => "tell 8 to 1, ns",
            Self::InFlight => "64 asks in flight, ns each",
            Self::SpawnAndStop => "spawn, ask, stop, ns",
            Self::Restart => "restart after a panic, ns",
            Self::Idle => "bytes per idle actor",
        }
    }
}

/// A framework on a runtime, ready to be measured.
pub trait Candidate {
    /// Its name in tables.
    fn name(&self) -> &'static str;
    /// One round of a row; none if it can't do that.
    fn round(&mut self, row: Row) -> Vec<(Row, f64)>;
}

/// A [`Candidate`].
pub struct On<F: Framework> {
    host: Host,
    threads: Threads,
    /// False if it offers no restarts, or did not come back once.
    restarts: bool,
    framework: PhantomData<F>,
}

impl<F: Framework> On<F> {
    /// Puts a framework on a runtime.
    #[must_use]
    pub fn new(threads: Threads) -> Self {
        Self { host: F::host(threads), threads, restarts: F::offers(Feature::Restart), framework: PhantomData }
    }
}

impl<F: Framework> Candidate for On<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn round(&mut self, row: Row) -> Vec<(Row, f64)> {
        let spec = Spec::plain(self.threads);
        match row {
            Row::AskP50 | Row::AskP99 => self.host.run(asks::<F>(spec)),
            Row::Tell => vec![(row, self.host.run(tells::<F>(spec, 1)))],
            Row::TellFromMany => vec![(row, self.host.run(tells::<F>(spec, SENDERS)))],
            Row::InFlight => vec![(row, self.host.run(in_flight::<F>(spec)))],
            Row::SpawnAndStop => vec![(row, self.host.run(spawns::<F>(spec)))],
            Row::Restart if self.restarts => {
                let took = self.host.run(restarts::<F>(spec));
                self.restarts = took.is_some();
                took.into_iter().map(|took| (row, took)).collect()
            }
            Row::Restart => Vec::new(),
            Row::Idle => vec![(row, self.host.run(idle::<F>(spec)))],
        }
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn at(sorted: &[f64], permille: usize) -> f64 {
    let i = sorted.len().saturating_mul(permille) / 1000;
    sorted.get(i.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    at(values, 500)
}

/// What reading the clock costs, which is in every single ask.
fn clock() -> f64 {
    let mut reads: Vec<f64> = (0..1000).map(|_| nanos(Instant::now().elapsed())).collect();
    median(&mut reads)
}

async fn asks<F: Framework>(spec: Spec) -> Vec<(Row, f64)> {
    let tree = F::tree(spec).await;
    let addr = F::add(&tree, Plan::silent().temporary()).await;
    let clock = clock();
    let mut times = Vec::with_capacity(20_000);
    for _ in 0..ASKS {
        let began = Instant::now();
        let _ = F::ask(&addr).await;
        times.push((nanos(began.elapsed()) - clock).max(0.0));
    }
    F::stop(&tree, &addr).await;
    F::shutdown(tree).await;
    times.sort_by(f64::total_cmp);
    vec![(Row::AskP50, at(&times, 500)), (Row::AskP99, at(&times, 990))]
}

async fn tells<F: Framework>(spec: Spec, senders: u32) -> f64 {
    let tree = F::tree(spec).await;
    let addr = F::add(&tree, Plan::silent().temporary()).await;
    let each = TELLS.checked_div(senders).unwrap_or(TELLS);
    let one = |addr: F::Addr| async move {
        for n in 0..each {
            F::tell(&addr, Act::Add(n.into())).await;
        }
        let _ = F::ask(&addr).await;
    };
    let mut times = Vec::with_capacity(50);
    for _ in 0..BATCHES {
        let began = Instant::now();
        if senders == 1 {
            one(addr.clone()).await;
        } else {
            let all: Vec<_> = (0..senders).map(|_| tokio::spawn(one(addr.clone()))).collect();
            for task in all {
                let _ = task.await;
            }
        }
        times.push(nanos(began.elapsed()) / f64::from(TELLS));
    }
    F::stop(&tree, &addr).await;
    F::shutdown(tree).await;
    median(&mut times)
}

async fn in_flight<F: Framework>(spec: Spec) -> f64 {
    let tree = F::tree(spec).await;
    let addr = F::add(&tree, Plan::silent().temporary()).await;
    let mut times = Vec::with_capacity(500);
    for _ in 0..FLIGHTS {
        let began = Instant::now();
        join_all((0..IN_FLIGHT).map(|_| F::ask(&addr))).await;
        times.push(nanos(began.elapsed()) / 64.0);
    }
    F::stop(&tree, &addr).await;
    F::shutdown(tree).await;
    median(&mut times)
}

async fn spawns<F: Framework>(spec: Spec) -> f64 {
    let tree = F::tree(spec).await;
    let mut times = Vec::with_capacity(2000);
    for _ in 0..SPAWNS {
        let began = Instant::now();
        let addr = F::add(&tree, Plan::silent().temporary()).await;
        let _ = F::ask(&addr).await;
        F::stop(&tree, &addr).await;
        times.push(nanos(began.elapsed()));
    }
    F::shutdown(tree).await;
    median(&mut times)
}

async fn restarts<F: Framework>(spec: Spec) -> Option<f64> {
    let tree = F::tree(spec).await;
    let addr = F::add(&tree, Plan::silent()).await;
    let mut times = Vec::with_capacity(200);
    for _ in 0..RESTARTS {
        let began = Instant::now();
        F::tell(&F::again(&tree, &addr), Act::Panic).await;
        while F::ask(&F::again(&tree, &addr)).await.is_err() {
            // It does not come back.
            if began.elapsed() > Duration::from_secs(2) {
                return None;
            }
            tokio::task::yield_now().await;
        }
        times.push(nanos(began.elapsed()));
    }
    F::shutdown(tree).await;
    Some(median(&mut times))
}

async fn idle<F: Framework>(spec: Spec) -> f64 {
    let tree = F::tree(spec).await;
    let mut addrs = Vec::with_capacity(100_000);
    counting::watch();
    for _ in 0..IDLE {
        addrs.push(F::add(&tree, Plan::silent().temporary()).await);
    }
    // Each has run, and is idle.
    for addr in &addrs {
        let _ = F::ask(addr).await;
    }
    let live = u32::try_from(counting::live()).map_or(f64::NAN, f64::from);
    counting::unwatch();
    drop(addrs);
    F::shutdown(tree).await;
    live / f64::from(IDLE)
}

/// Medians over rounds, by row and candidate.
#[derive(Default)]
pub struct Results {
    names: Vec<&'static str>,
    rounds: BTreeMap<Row, BTreeMap<usize, Vec<f64>>>,
}

impl Results {
    /// The median of a row.
    #[must_use]
    pub fn median(&self, row: Row, name: &str) -> Option<f64> {
        let candidate = self.names.iter().position(|n| *n == name)?;
        let mut values = self.rounds.get(&row)?.get(&candidate)?.clone();
        Some(median(&mut values))
    }

    /// The median over rounds of the ratio to the first candidate in the same round.
    #[must_use]
    pub fn ratio(&self, row: Row, name: &str) -> Option<f64> {
        let candidate = self.names.iter().position(|n| *n == name)?;
        let row = self.rounds.get(&row)?;
        let mut ratios: Vec<f64> =
            row.get(&candidate)?.iter().zip(row.get(&0)?).map(|(own, floor)| own / floor).collect();
        Some(median(&mut ratios))
    }

    /// The table: nanoseconds or bytes, and in brackets the ratio to the first candidate.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from("| |");
        for name in &self.names {
            let _ = write!(text, " {name} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.names.len()));
        text.push('\n');
        for row in self.rounds.keys() {
            let _ = write!(text, "| {} |", row.name());
            for (i, name) in self.names.iter().enumerate() {
                let _ = match (self.median(*row, name), self.ratio(*row, name)) {
                    (Some(value), Some(ratio)) if i > 0 => write!(text, " {value:.0} ({ratio:.2}×) |"),
                    (Some(value), _) => write!(text, " {value:.0} |"),
                    (None, _) => write!(text, " – |"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// Measures all candidates in turn within each round, so that what else the machine does hits them alike.
#[must_use]
pub fn measure(mut candidates: Vec<Box<dyn Candidate>>, rounds: usize, rows: &[Row]) -> Results {
    // Freed once, a large block teaches the system's allocator not to hand back every page at once; else fetching them anew
    // is most of what short-lived candidates seem to cost.
    drop(std::hint::black_box(vec![1_u8; 24 << 20]));
    let mut results =
        Results { names: candidates.iter().map(|candidate| candidate.name()).collect(), ..Results::default() };
    for round in 0..rounds {
        // Bytes are the same each time.
        for row in rows.iter().copied().filter(|row| *row != Row::Idle || round == 0) {
            for (i, candidate) in candidates.iter_mut().enumerate() {
                for (row, value) in candidate.round(row) {
                    results.rounds.entry(row).or_default().entry(i).or_default().push(value);
                }
            }
        }
        eprintln!("round {} of {rounds}", round.saturating_add(1));
    }
    results
}

/// The floor and ours.
#[must_use]
pub fn ours(threads: Threads) -> Vec<Box<dyn Candidate>> {
    vec![Box::new(On::<Raw>::new(threads)), Box::new(On::<Alys>::new(threads))]
}
