//! One process, all candidates in turn within each round, one table per runtime.
//!
//! `cargo bench -p alys-actor-bench --features others --bench actors -- tell` measures the rows with that in their names.

use alys_actor_bench::Threads;
use alys_actor_bench::counting::Counting;
use alys_actor_bench::measure::{Row, measure, ours};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(9)
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let rows: Vec<Row> = Row::ALL
        .into_iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|part| row.name().contains(part.as_str())))
        .collect();
    for threads in [Threads::One, Threads::Two] {
        let results = measure(ours(threads), rounds(), &rows);
        println!("\n### {}\n\n{}", threads.name(), results.table());
    }
}
