//! One process, all candidates in turn within each round, one table per runtime.

use alys_actor_bench::Threads;
use alys_actor_bench::counting::Counting;
use alys_actor_bench::measure::{measure, ours};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(9)
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    for threads in [Threads::One, Threads::Two] {
        let results = measure(ours(threads), rounds(), threads == Threads::One);
        println!("\n### {}\n\n{}", threads.name(), results.table());
    }
}
