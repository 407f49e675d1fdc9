//! The node beside anvil, what a developer would pick for a local chain, on the same signed transactions.
//!
//! Both run as processes and are spoken to over HTTP on loopback: transfers and ERC-20 transfers accepted and mined a
//! second, latency from sending to the receipt, calls a second, memory after 100,000 transactions, time to the first
//! answer. The servers take turns in every measurement. anvil runs twice: as it is by default, with a block for each
//! transaction, and with a block a second as the node has it.
//!
//! `ALYS_ANVIL` names anvil's program; `cargo xtask bench evm` installs it from npm and sets it. Without, this says so and
//! ends. `ALYS_BENCH_TRANSACTIONS` changes the 100,000. With `ALYS_BENCH_BLOCK_TIME_ONLY` the anvil that makes a block for
//! each transaction is left out: it takes longer and more memory than there is for so many.

#![allow(clippy::unwrap_used, reason = "a measurement stops where it can't go on")]

mod load;
mod server;

use load::{Load, Plan, balance_calls, latency, rate, token_calls};
use server::Server;
use std::time::Duration;

/// Transfers whose way into blocks is timed, and ERC-20 transfers.
const TRANSFERS: usize = 6_000;
const TOKENS: usize = 4_000;

/// Transactions whose way from sending to the receipt is timed.
const LATENCIES: usize = 20;

/// How long calls are counted, and how often.
const CALLING: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// Starts that are timed.
const STARTS: usize = 5;

fn main() {
    let Some(anvil) = std::env::var_os("ALYS_ANVIL") else {
        println!("skipped: the node beside anvil: ALYS_ANVIL names no program (cargo xtask bench evm installs it)");
        return;
    };
    let in_all: usize =
        std::env::var("ALYS_BENCH_TRANSACTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(anvil.as_ref(), in_all));
}

async fn measure(anvil: &std::path::Path, in_all: usize) {
    let mut kinds = vec![Kind::Alys, Kind::Anvil, Kind::AnvilBlockTime];
    if std::env::var_os("ALYS_BENCH_BLOCK_TIME_ONLY").is_some() {
        kinds.retain(|kind| *kind != Kind::Anvil);
    }
    let mut starts = vec![Vec::new(); kinds.len()];
    for _ in 0..STARTS {
        for (kind, times) in kinds.iter().zip(&mut starts) {
            times.push(kind.start(anvil).start);
        }
    }
    let mut servers: Vec<Server> = kinds.iter().map(|kind| kind.start(anvil)).collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    for (name, times) in names.iter().zip(&mut starts) {
        times.sort();
        println!("{name:<26} start to the first answer: {:>6.0} ms (median of {STARTS})", millis(times[STARTS / 2]));
    }

    let mut loads: Vec<Load> = servers.iter().map(|server| Load::new(&server.rpc)).collect();
    let plan = Plan::new(&loads[0]).await;
    for load in &mut loads {
        load.deploy(&plan).await;
    }
    let (transfers, tokens) = (TRANSFERS.min(in_all / 2), TOKENS.min(in_all / 2));
    for (what, count) in [("transfers", transfers), ("ERC-20 transfers", tokens)] {
        let batch = plan.sign(what != "transfers", count, &loads[0]);
        for (name, load) in names.iter().zip(&mut loads) {
            let (accepted, mined) = load.send_all(&batch).await;
            println!(
                "{name:<26} {what}: {:>6.0} accepted a second, {:>6.0} mined a second",
                per_second(count, accepted),
                per_second(count, mined)
            );
        }
        loads.iter_mut().for_each(|load| load.sent(&batch));
    }
    for (name, load) in names.iter().zip(&mut loads) {
        let mut times = latency(load, &plan, LATENCIES).await;
        times.sort();
        println!(
            "{name:<26} sent to receipt: p50 {:>6.0} ms, max {:>6.0} ms",
            millis(times[LATENCIES / 2]),
            millis(times[LATENCIES - 1])
        );
    }
    for (what, call) in [("eth_getBalance", balance_calls(&plan)), ("eth_call", token_calls(&plan))] {
        let mut best = vec![0.0_f64; loads.len()];
        for _ in 0..ROUNDS {
            for (best, load) in best.iter_mut().zip(&loads) {
                *best = best.max(rate(load, what, &call, CALLING).await);
            }
        }
        for (name, rate) in names.iter().zip(best) {
            println!("{name:<26} {what}: {rate:>6.0} a second over HTTP (best of {ROUNDS})");
        }
    }
    // All go on to 100,000 transactions.
    let mut sent = transfers + tokens;
    while sent < in_all {
        let count = TRANSFERS.min(in_all - sent);
        let batch = plan.sign(false, count, &loads[0]);
        for load in &mut loads {
            load.send_all(&batch).await;
            load.sent(&batch);
        }
        sent += count;
    }
    for (name, server) in names.iter().zip(&servers) {
        println!("{name:<26} memory after {sent} transactions: {:>6.0} MiB resident", server.resident_mib());
    }
    servers.clear();
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Alys,
    Anvil,
    AnvilBlockTime,
}

impl Kind {
    fn start(self, anvil: &std::path::Path) -> Server {
        match self {
            Self::Alys => Server::alys(),
            Self::Anvil => Server::anvil(anvil, None),
            Self::AnvilBlockTime => Server::anvil(anvil, Some(1)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Alys => "alys-node dev, 1 s slots",
            Self::Anvil => "anvil",
            Self::AnvilBlockTime => "anvil --block-time 1",
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
