//! One process, all candidates in turn within each round, one table per runtime.
//!
//! `cargo bench -p alys-actor-bench --features others --bench actors -- tell` measures the rows with that in their names;
//! the variable `ROUNDS` says how often.

use alys_actor_bench::counting::Counting;
use alys_actor_bench::measure::{Row, measure, ours};
use alys_actor_bench::{Threads, others};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(9)
}

/// What a service in production has: numbers for Prometheus, and a log at its usual level.
fn observe() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    if metrics::set_global_recorder(recorder).is_err() {
        eprintln!("there is a recorder already");
    }
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(std::io::sink)
        .init();
}

fn main() {
    // The rows about restarts panic on purpose.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let rows = |threads| -> Vec<Row> {
        Row::ALL
            .into_iter()
            .filter(|row| wanted.is_empty() || wanted.iter().any(|part| row.name().contains(part.as_str())))
            // Counted over all threads, bytes are exact on one only.
            .filter(|row| *row != Row::Idle || threads == Threads::One)
            .collect()
    };
    println!(
        "Nanoseconds or bytes: medians over {} rounds of the medians in each, in brackets the ratio to the floor in the same round.",
        rounds()
    );
    for threads in [Threads::One, Threads::Two] {
        let mut candidates = ours(threads);
        candidates.extend(others::all(threads));
        println!("\n### {}\n\n{}", threads.name(), measure(candidates, rounds(), &rows(threads)).table());
    }
    observe();
    for threads in [Threads::One, Threads::Two] {
        let results = measure(ours(threads), rounds(), &rows(threads));
        println!("\n### {}, with a recorder of metrics and a subscriber\n\n{}", threads.name(), results.table());
    }
}
