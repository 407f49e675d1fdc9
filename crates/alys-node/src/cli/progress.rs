//! How long work is shown: a line that changes on a terminal, plain lines elsewhere; on stderr, so that results stay alone.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a plain line is printed.
const PLAIN: Duration = Duration::from_secs(5);

/// How often the line of a terminal changes.
const TERMINAL: Duration = Duration::from_millis(100);

/// Shows how far the work is.
pub(super) struct Progress {
    terminal: bool,
    began: Instant,
    shown: Option<Instant>,
    step: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), began: Instant::now(), shown: None, step: String::new() }
    }

    /// Another step began.
    pub(super) fn step(&mut self, what: &str) {
        self.show(what, what.to_owned());
    }

    /// How far a step is, in the words of whoever does it.
    pub(super) fn told(&mut self, what: &str, text: &str) {
        self.show(what, format!("{what}: {text}"));
    }

    /// So much of a step is done.
    pub(super) fn part(&mut self, what: &str, done: usize, total: usize) {
        let left = self.began.elapsed().checked_div(u32::try_from(done).unwrap_or(u32::MAX)).map_or_else(
            String::new,
            |each| {
                let left = each.saturating_mul(u32::try_from(total.saturating_sub(done)).unwrap_or(u32::MAX));
                format!(", {} s left", left.as_secs())
            },
        );
        self.show(what, format!("{what}: {done} of {total}{left}"));
    }

    /// So many of something are done, of nobody knows how many.
    pub(super) fn count(&mut self, what: &str, done: u64) {
        let seconds = self.began.elapsed().as_secs().max(1);
        self.show(what, format!("{what}: {done}, {} a second", done / seconds));
    }

    fn show(&mut self, step: &str, text: String) {
        let pause = if self.terminal { TERMINAL } else { PLAIN };
        let same = self.step == step;
        if same && self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        step.clone_into(&mut self.step);
        self.shown = Some(Instant::now());
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            // A terminal that is gone sees nothing.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    /// The work is done.
    pub(super) fn end(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}
