//! The runtimes that candidates run on.

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The current thread.
    One,
    /// Two workers.
    Two,
}

impl Threads {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "current thread",
            Self::Two => "two threads",
        }
    }
}

/// A runtime, and how work is run on it.
pub enum Host {
    /// In a task.
    Plain(Runtime),
    /// In a task that is bound to the thread.
    Local(Runtime, LocalSet),
}

impl Host {
    /// An ordinary runtime.
    ///
    /// # Panics
    ///
    /// If the system gives no threads.
    #[must_use]
    pub fn plain(threads: Threads) -> Self {
        Self::Plain(runtime(threads))
    }

    /// A runtime for tasks that are bound to their thread.
    ///
    /// # Panics
    ///
    /// If the system gives no threads.
    #[must_use]
    pub fn local() -> Self {
        Self::Local(runtime(Threads::One), LocalSet::new())
    }

    /// Runs `work` as a task, since the thread that waits is none of the workers.
    ///
    /// # Panics
    ///
    /// If `work` does.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let done = match self {
            Self::Plain(runtime) => runtime.block_on(async { tokio::spawn(work).await }),
            Self::Local(runtime, local) => local.block_on(runtime, async { tokio::task::spawn_local(work).await }),
        };
        match done {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(error) => panic!("{error}"),
            },
        }
    }

    /// Ends the runtime without waiting for what still runs on it.
    pub fn abandon(self) {
        match self {
            Self::Plain(runtime) => runtime.shutdown_background(),
            Self::Local(runtime, local) => {
                drop(local);
                runtime.shutdown_background();
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "a measurement without threads is none")]
fn runtime(threads: Threads) -> Runtime {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Two => Builder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}
