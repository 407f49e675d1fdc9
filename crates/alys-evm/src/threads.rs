//! Work that is dealt out to threads for as long as a caller waits.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

/// Does `work` for each share, the first one on this thread and each other on a thread of its own, or here too if the system
/// has no thread to give: a machine short of memory is slower, not wrong. Results come in the order of the shares.
///
/// # Panics
/// If `work` does.
pub fn on_threads<T: Send, R: Send>(shares: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let shares: Vec<Mutex<Option<T>>> = shares.into_iter().map(|share| Mutex::new(Some(share))).collect();
    let do_share = |share: &Mutex<Option<T>>| {
        let share = share.lock().unwrap_or_else(PoisonError::into_inner).take();
        share.map(&work)
    };
    let do_share = &do_share;
    thread::scope(|scope| {
        let mut shares = shares.iter();
        let first = shares.next();
        let others: Vec<_> =
            shares.map(|share| (share, Builder::new().spawn_scoped(scope, move || do_share(share)).ok())).collect();
        let mut results: Vec<R> = first.and_then(do_share).into_iter().collect();
        for (share, thread) in others {
            results.extend(match thread {
                Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => do_share(share),
            });
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_shares() {
        assert_eq!(on_threads((0..9).collect(), |share: u64| share * share), [0, 1, 4, 9, 16, 25, 36, 49, 64]);
        assert_eq!(on_threads(Vec::new(), |share: u64| share), Vec::<u64>::new());
    }

    #[test]
    #[should_panic(expected = "no such share")]
    fn a_panic_is_the_callers() {
        on_threads(vec![1, 2, 3], |share| assert!(share != 3, "no such share"));
    }
}
