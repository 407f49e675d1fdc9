//! `cargo xtask chaos`: faults against real processes, judged from outside.
//!
//! Exit codes: 0 nothing found, 3 a promise was broken, 4 no progress after a fault had been healed, 5 a fault that was
//! asked for never happened, 6 the run itself could not be carried out.

mod books;
mod canary;
mod faults;
mod ledger;
mod report;
mod signatures;
mod transactions;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::chance::Random;
use crate::failure::Failure;
use crate::federation::{Federation, Plan, line, program};
use crate::testnet::number;
use faults::{Fault, Kind, Revival};
use ledger::Ledger;
use report::{Report, write};
use transactions::Load;

const VIOLATION: u8 = 3;
const NO_PROGRESS: u8 = 4;
const VACUOUS: u8 = 5;
const INFRASTRUCTURE: u8 = 6;

/// How long the federation may take to be level and moving again after a fault.
const RECOVERY: Duration = Duration::from_secs(90);

/// Quiet time between two faults.
const QUIET: Duration = Duration::from_secs(4);

/// The longest quiet time where faults are counted, in milliseconds.
const PACE: u64 = 500;

/// Time between two blocks of the regtest Bitcoin, whose headers the chain carries.
const BITCOIN_BLOCKS: Duration = Duration::from_secs(5);

/// How often the nodes are watched.
const WATCH: Duration = Duration::from_millis(250);

/// Transfers sent to each node in a second, unless the command line says otherwise.
const RATE: f64 = 2.0;

#[derive(Clone)]
struct Arguments {
    seed: u64,
    minutes: u64,
    kinds: Vec<Kind>,
    report: PathBuf,
    plan: Plan,
    keep: bool,
    rate: f64,
    canary: bool,
    /// Faults after which the run ends, whatever the time, with little pause between them.
    cycles: Option<u64>,
    /// How long each fault lasts; by chance without.
    lasting: Option<Duration>,
    /// How long the federation may take to be level and moving again after a fault.
    within: Duration,
}

pub(crate) fn chaos(args: &[String]) -> Result<(), Failure> {
    let arguments = parse(args)?;
    if arguments.canary {
        return canary::canary(&arguments);
    }
    let program = program(&arguments.plan)?;
    carry_out(&program, &arguments)
}

/// A whole run with a program that is there.
fn carry_out(program: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let broken = |failure: Failure| failure.with_code(INFRASTRUCTURE);
    fs::create_dir_all(&arguments.plan.folder)
        .map_err(|error| broken(Failure::file("make", &arguments.plan.folder, &error)))?;
    let mut federation = Federation::start(program, &arguments.plan).map_err(broken)?;
    println!("seed {}; folder {}", arguments.seed, arguments.plan.folder.display());
    let mut run = Run {
        random: Random::new(arguments.seed),
        ledger: Ledger::new(arguments.plan.nodes),
        report: Report::new(arguments.seed, arguments.plan.nodes, &arguments.kinds),
        began: Instant::now(),
        mined: Instant::now(),
    };
    let outcome = run.carry_out(&mut federation, program, arguments);
    if let Err(failure) = &outcome {
        run.report.failure = Some(failure.to_string());
    }
    let ends = federation.stop();
    let records = run.ledger.signatures.audit(program, &federation).map_err(broken)?;
    run.ledger.violations.extend(records);
    run.report.finish(&run.ledger, run.began.elapsed(), &ends);
    write(&run.report, &arguments.report).map_err(broken)?;
    println!("{}", run.report.markdown());
    println!("report in {}", arguments.report.display());
    let verdict = verdict(&run, arguments, outcome);
    if verdict.is_ok() && !arguments.keep {
        fs::remove_dir_all(&arguments.plan.folder)
            .map_err(|error| broken(Failure::file("remove", &arguments.plan.folder, &error)))?;
    }
    verdict
}

/// A broken promise weighs more than how the run ended.
fn verdict(run: &Run, arguments: &Arguments, outcome: Result<(), Failure>) -> Result<(), Failure> {
    if let Some(first) = run.ledger.violations.first() {
        return Err(Failure::work(format!("{} promises were broken", run.ledger.violations.len()))
            .because(first)
            .with_code(VIOLATION));
    }
    outcome?;
    let never: Vec<&str> =
        arguments.kinds.iter().filter(|kind| run.report.count(**kind) == 0).map(|kind| kind.name()).collect();
    if !never.is_empty() {
        return Err(Failure::work(format!("these faults never happened: {}", never.join(", "))).with_code(VACUOUS));
    }
    Ok(())
}

struct Run {
    random: Random,
    ledger: Ledger,
    report: Report,
    began: Instant,
    /// When the last block of the regtest Bitcoin was made.
    mined: Instant,
}

impl Run {
    fn carry_out(&mut self, federation: &mut Federation, program: &Path, arguments: &Arguments) -> Result<(), Failure> {
        let stuck = |failure: Failure| failure.with_code(NO_PROGRESS);
        federation
            .until("a first safe block on every node", RECOVERY, |statuses| {
                statuses.iter().all(|status| status.as_ref().is_some_and(|status| status.safe > 0))
            })
            .map_err(stuck)?;
        let load = (arguments.rate > 0.0).then(|| Load::start(program, federation, arguments.rate)).transpose()?;
        let deadline = self.began + Duration::from_secs(arguments.minutes.saturating_mul(60));
        // Each kind once first, in the order given; then by chance.
        let mut first = arguments.kinds.iter().copied();
        let mut done = 0;
        loop {
            let quiet = match arguments.cycles {
                None => QUIET,
                Some(_) => Duration::from_millis(self.random.below(PACE)),
            };
            self.watch(federation, quiet);
            let over = arguments.cycles.map_or_else(|| Instant::now() >= deadline, |cycles| done >= cycles);
            let kind = match first.next() {
                Some(kind) => kind,
                None if over => break,
                None => *self.random.pick(&arguments.kinds).unwrap_or(&Kind::Kill),
            };
            let mut fault = Fault::draw(kind, federation.nodes.len(), &mut self.random);
            fault.aim(federation);
            if arguments.cycles.is_some() {
                fault.duration = Duration::ZERO;
            }
            fault.duration = arguments.lasting.unwrap_or(fault.duration);
            done += 1;
            println!("{:>5} s  {fault}", self.began.elapsed().as_secs());
            fault.inflict(federation).map_err(|failure| failure.with_code(INFRASTRUCTURE))?;
            let before = highest(federation);
            self.watch(federation, fault.duration);
            if fault.kind == Kind::Partition {
                let more = highest(federation).saturating_sub(before);
                println!("         {more} blocks while the halves were apart");
            }
            fault.heal(federation, &mut self.ledger).map_err(|failure| failure.with_code(INFRASTRUCTURE))?;
            let took = self.recover(federation, &fault, arguments.within).map_err(stuck)?;
            println!(
                "{:>5} s  level and moving again after {:.1} s, that is {:.1} slots",
                self.began.elapsed().as_secs(),
                took.as_secs_f64(),
                took.as_secs_f64() / Duration::from_secs(arguments.plan.slot_seconds).as_secs_f64()
            );
            self.report.add(&fault, took);
            self.ledger.audit(federation);
        }
        if let Some(load) = load {
            let sent = load.stop().map_err(|failure| failure.with_code(INFRASTRUCTURE))?;
            let found = transactions::audit(federation, &sent);
            (self.report.transactions, self.report.transactions_lost) = (found.acknowledged, found.lost);
            self.ledger.violations.extend(found.violations);
        }
        let counted = books::audit(federation).map_err(|failure| failure.with_code(INFRASTRUCTURE))?;
        self.report.sats = counted.sats;
        self.ledger.violations.extend(counted.violations);
        // Finality must have moved, or the miner's work was lost.
        federation
            .until("a finalized block on every node", RECOVERY, |statuses| {
                statuses.iter().all(|status| status.as_ref().is_some_and(|status| status.finalized > 0))
            })
            .map_err(stuck)?;
        self.ledger.observe(&federation.statuses());
        self.ledger.audit(federation);
        println!("{:>5} s  {}", self.began.elapsed().as_secs(), line(&federation.statuses()));
        Ok(())
    }

    fn watch(&mut self, federation: &Federation, duration: Duration) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            self.ledger.observe(&federation.statuses());
            if let Some(bitcoin) = &federation.bitcoin
                && self.mined.elapsed() >= BITCOIN_BLOCKS
            {
                // Without one while it is away.
                bitcoin.mine();
                self.mined = Instant::now();
            }
            thread::sleep(WATCH);
        }
    }

    /// Until every node answers, is level with the others, and the chain has moved on.
    fn recover(&mut self, federation: &mut Federation, fault: &Fault, within: Duration) -> Result<Duration, Failure> {
        let statuses = federation.statuses();
        self.ledger.observe(&statuses);
        let before = statuses.iter().flatten().map(|status| status.head).max().unwrap_or(0);
        let began = Instant::now();
        loop {
            for index in 0..federation.nodes.len() {
                let ended = federation.nodes.get_mut(index).and_then(|node| node.ended());
                let Some(end) = ended else { continue };
                match fault.revive(federation, index, &end)? {
                    Revival::Restarted => {}
                    Revival::Anew => {
                        self.report.noticed += 1;
                        self.ledger.begins_anew(index);
                    }
                    Revival::Unexpected => {
                        self.ledger.violations.push(format!("node {index} ended by itself after {fault}: {end}"));
                        return Err(Failure::work(format!("node {index} ended by itself: {end}")));
                    }
                }
            }
            let statuses = federation.statuses();
            self.ledger.observe(&statuses);
            let heads: Vec<u64> = statuses.iter().flatten().map(|status| status.head).collect();
            let level = heads.len() == federation.nodes.len()
                && statuses.iter().flatten().all(|status| status.synced)
                && heads.iter().max().zip(heads.iter().min()).is_some_and(|(most, least)| most - least <= 1);
            if level && heads.iter().all(|head| *head > before) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > within {
                return Err(
                    Failure::work(format!("no recovery within {} s", within.as_secs())).because(line(&statuses))
                );
            }
            thread::sleep(WATCH);
        }
    }
}

/// The greatest height that a node shows.
fn highest(federation: &Federation) -> u64 {
    federation.statuses().iter().flatten().map(|status| status.head).max().unwrap_or(0)
}

fn parse(args: &[String]) -> Result<Arguments, Failure> {
    let mut arguments = Arguments {
        seed: 1,
        minutes: 2,
        kinds: vec![Kind::Kill, Kind::Pause, Kind::Partition],
        report: crate::run::target().join("chaos"),
        plan: Plan {
            nodes: 4,
            slot_seconds: 2,
            folder: env::temp_dir().join(format!("alys-chaos-{}", std::process::id())),
            release: true,
            program: None,
            proxied: true,
            mining: Some(3),
            preloaded: false,
            environment: Vec::new(),
            small_disks: false,
            bitcoin: false,
            client: false,
        },
        keep: false,
        rate: RATE,
        canary: false,
        cycles: None,
        lasting: None,
        within: RECOVERY,
    };
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failure::usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "--seed" => arguments.seed = number(value()?, 0..=u64::MAX)?,
            "--nodes" => arguments.plan.nodes = number(value()?, 1..=16)?.try_into().unwrap_or(4),
            "--minutes" => arguments.minutes = number(value()?, 1..=100_000)?,
            "--cycles" => arguments.cycles = Some(number(value()?, 1..=1_000_000)?),
            "--for" => arguments.lasting = Some(Duration::from_secs(number(value()?, 1..=3_600)?)),
            "--within" => arguments.within = Duration::from_secs(number(value()?, 1..=3_600)?),
            "--slot-seconds" => arguments.plan.slot_seconds = number(value()?, 1..=60)?,
            "--faults" => arguments.kinds = kinds(value()?)?,
            "--report" => arguments.report = PathBuf::from(value()?),
            "--rate" => arguments.rate = rate(value()?)?,
            "--debug" => arguments.plan.release = false,
            "--binary" => arguments.plan.program = Some(PathBuf::from(value()?)),
            "--canary" => arguments.canary = true,
            "--keep" => arguments.keep = true,
            other => return Err(Failure::usage(format!("unexpected argument '{other}'"))),
        }
    }
    if let Some(kind) = arguments.kinds.iter().find(|kind| kind.least_nodes() > arguments.plan.nodes) {
        return Err(Failure::usage(format!("{} takes at least {} nodes", kind.name(), kind.least_nodes())));
    }
    arguments.plan.preloaded = arguments.kinds.iter().any(|kind| kind.is_preloaded());
    arguments.plan.bitcoin = arguments.kinds.iter().any(|kind| kind.is_of_bitcoin());
    arguments.plan.client = arguments.kinds.iter().any(|kind| kind.is_of_execution());
    arguments.plan.small_disks = arguments.kinds.contains(&Kind::DiskFull);
    Ok(arguments)
}

fn rate(text: &str) -> Result<f64, Failure> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1000.0).contains(rate));
    rate.ok_or_else(|| Failure::usage(format!("'{text}' is no number from 0 to 1000")))
}

fn kinds(text: &str) -> Result<Vec<Kind>, Failure> {
    if text == "all" {
        return Ok(Kind::ALL.to_vec());
    }
    let known = || Kind::ALL.map(Kind::name).join(", ");
    text.split(',')
        .map(|name| {
            Kind::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| Failure::usage(format!("no fault '{name}'; there are: all, {}", known())))
        })
        .collect()
}
