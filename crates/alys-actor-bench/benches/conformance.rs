//! Which framework keeps which promise of a supervisor.

use alys_actor_bench::Framework;
use alys_actor_bench::alys::Alys;
use alys_actor_bench::conformance::{Outcome, judge, table};
use alys_actor_bench::others::{Actix, Kameo, Ractor, Xtra};
use alys_actor_bench::raw::Raw;

fn column<F: Framework>() -> (&'static str, Vec<(&'static str, Outcome)>) {
    eprintln!("{}", F::NAME);
    (F::NAME, judge::<F>(false))
}

fn main() {
    // The checks panic on purpose, hundreds of times.
    std::panic::set_hook(Box::new(|_| {}));
    let columns =
        [column::<Alys>(), column::<Ractor>(), column::<Kameo>(), column::<Actix>(), column::<Xtra>(), column::<Raw>()];
    println!("{}", table(&columns));
}
