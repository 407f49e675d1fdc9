//! `cargo xtask testnet`: a federation of processes on this machine, with a merged miner.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::federation::{Bitcoin, Federation, Log, Plan, line, percentile, program};

/// How often the nodes are asked and a line is printed.
const LINE: Duration = Duration::from_secs(2);

/// How long a killed node stays down.
const DOWN: Duration = Duration::from_secs(5);

struct Arguments {
    plan: Plan,
    kill_every: Option<Duration>,
    seconds: Option<u64>,
    keep: bool,
}

/// Starts the nodes and the miner and reports until ctrl-C, or for `--seconds`.
///
/// Ctrl-C reaches every process of the terminal's foreground group: the nodes and the miner stop in order by themselves.
pub(crate) fn testnet(args: &[String]) -> Result<(), Failure> {
    let Arguments { plan, kill_every, seconds, keep } = parse(args)?;
    let program = program(&plan)?;
    fs::create_dir_all(&plan.folder).map_err(|error| Failure::file("make", &plan.folder, &error))?;
    let began = Instant::now();
    let mut federation = Federation::start(&program, &plan)?;
    for (name, value) in federation.bitcoin.iter().flat_map(Bitcoin::environment) {
        println!("{name}={value}");
    }
    println!(
        "{} nodes answer after {:.1} s; folder {}",
        plan.nodes,
        began.elapsed().as_secs_f64(),
        plan.folder.display()
    );
    for node in &federation.nodes {
        println!(
            "node {}  JSON-RPC http://{}  metrics http://{}/metrics  log {}",
            node.index,
            node.rpc,
            node.metrics,
            node.log.display()
        );
    }
    println!("each node: head/safe/finalized height, p = peers");
    let mut next_kill = kill_every.map(|every| Instant::now() + every);
    let mut down: Option<(usize, Instant)> = None;
    let mut victim = 0;
    let mut lags = Vec::new();
    while seconds.is_none_or(|seconds| began.elapsed() < Duration::from_secs(seconds)) {
        thread::sleep(LINE);
        let statuses = federation.statuses();
        println!("{:>5} s  {}", began.elapsed().as_secs(), line(&statuses));
        lags.extend(statuses.iter().flatten().map(|status| status.head.saturating_sub(status.safe)));
        for node in &mut federation.nodes {
            if let Some(end) = node.ended() {
                return Err(Failure::work(format!("node {} ended by itself: {end}", node.index)));
            }
        }
        if let Some((index, since)) = down
            && since.elapsed() >= DOWN
        {
            if let Some(node) = federation.nodes.get_mut(index) {
                println!("         node {index} is started again");
                node.start()?;
            }
            down = None;
        }
        if let (Some(every), Some(at)) = (kill_every, next_kill)
            && down.is_none()
            && Instant::now() >= at
        {
            if let Some(node) = federation.nodes.get_mut(victim) {
                println!("         node {victim} is killed (SIGKILL)");
                node.kill();
                down = Some((victim, Instant::now()));
            }
            victim = (victim + 1) % plan.nodes;
            next_kill = Some(Instant::now() + every);
        }
    }
    for (index, end) in federation.stop() {
        println!("node {index}: {end}");
    }
    summary(&federation, lags)?;
    if !keep {
        fs::remove_dir_all(&plan.folder).map_err(|error| Failure::file("remove", &plan.folder, &error))?;
    }
    Ok(())
}

fn summary(federation: &Federation, mut lags: Vec<u64>) -> Result<(), Failure> {
    let mut millis = Vec::new();
    let mut alarms = 0;
    for node in &federation.nodes {
        let log = Log::read(&node.log)?;
        millis.extend(log.notarized);
        alarms += log.alarms.len();
    }
    millis.sort_unstable();
    lags.sort_unstable();
    println!(
        "slot start to certificate, on every node: p50 {} ms, p95 {} ms, p99 {} ms, worst {} ms of {}",
        percentile(&millis, 50),
        percentile(&millis, 95),
        percentile(&millis, 99),
        millis.last().copied().unwrap_or(0),
        millis.len()
    );
    println!(
        "blocks from head to safe: p50 {}, p95 {}; lines of WARN and ERROR: {alarms}",
        percentile(&lags, 50),
        percentile(&lags, 95)
    );
    Ok(())
}

fn parse(args: &[String]) -> Result<Arguments, Failure> {
    let mut plan = Plan {
        nodes: 4,
        slot_seconds: 2,
        folder: env::temp_dir().join(format!("alys-testnet-{}", std::process::id())),
        release: true,
        program: None,
        proxied: false,
        mining: Some(5),
        preloaded: false,
        environment: Vec::new(),
        small_disks: false,
        bitcoin: true,
        client: false,
    };
    let (mut kill_every, mut seconds, mut keep) = (None, None, false);
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        let mut value = || args.next().ok_or_else(|| Failure::usage(format!("{argument} needs a value")));
        match argument.as_str() {
            "--nodes" => plan.nodes = number(value()?, 1..=16)?.try_into().unwrap_or(4),
            "--slot-seconds" => plan.slot_seconds = number(value()?, 1..=60)?,
            "--data-dir" => {
                plan.folder = PathBuf::from(value()?);
                keep = true;
            }
            "--kill-every" => kill_every = Some(Duration::from_secs(number(value()?, 1..=86_400)?)),
            "--seconds" => seconds = Some(number(value()?, 1..=864_000)?),
            "--debug" => plan.release = false,
            "--binary" => plan.program = Some(PathBuf::from(value()?)),
            "--no-mine" => plan.mining = None,
            "--keep" => keep = true,
            other => return Err(Failure::usage(format!("unexpected argument '{other}'"))),
        }
    }
    Ok(Arguments { plan, kill_every, seconds, keep })
}

/// A whole number, with or without an `s` for seconds.
pub(crate) fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Failure> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Failure::usage(format!("`{text}` is no number from {} to {}", range.start(), range.end())))
}
