//! Work that waits for the disk, side by side.

use std::panic::resume_unwind;

/// The results of both, of which the second runs on a thread of its own. A panic of either is one of the caller.
pub(crate) fn beside<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        (first, second.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_run_at_once_and_a_panic_is_passed_on() {
        let barrier = std::sync::Barrier::new(2);
        let wait = |value: u8| {
            barrier.wait();
            value
        };
        assert_eq!(beside(|| wait(1), || wait(2)), (1, 2));
        let panicked = std::panic::catch_unwind(|| beside(|| 1, || -> u8 { panic!("planted") }));
        assert!(panicked.is_err());
    }
}
