//! What a simulated actor shows of its core, and how it is made to fail.

use alys_chain::Chain;
use alys_node::actors::chain::Seen;
use alys_primitives::UnixMillis;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many messages of one instant mean that the actor keeps itself busy.
pub(crate) const TOO_BUSY: u32 = 20_000;

/// What an actor says that is made to fail.
pub(crate) const MADE_TO_FAIL: &str = "the simulator makes this actor fail";

/// What the chain's actor shows.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    /// The core after the last message, if there was one since the last look.
    pub(crate) fed: Option<Chain>,
    /// Cores as they were read from the disk.
    pub(crate) restored: Vec<Chain>,
    /// When it wants to be woken, true time.
    pub(crate) wake: Option<u64>,
    /// Messages since the last look.
    pub(crate) fed_times: u32,
    /// Panic at the next message.
    pub(crate) panic: bool,
    /// It panicked.
    pub(crate) failed: bool,
}

/// The mirror, which no panic leaves half changed.
pub(crate) fn lock(mirror: &Mutex<Mirror>) -> MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what the actor shows, in its task.
pub(crate) fn look(mirror: &Mutex<Mirror>, seen: Seen<'_>, now: u64, wall: UnixMillis) {
    let mut mirror = lock(mirror);
    match seen {
        Seen::Restored(chain) => mirror.restored.push(chain.clone()),
        Seen::Fed(chain) => {
            mirror.fed_times += 1;
            if mirror.fed_times == TOO_BUSY {
                drop(mirror);
                panic!("the chain's actor handles {TOO_BUSY} messages in no time");
            }
            mirror.fed = Some(chain.clone());
            mirror.wake = chain.poll_timeout().map(|(local, _)| now + local.since(wall));
        }
    }
    if std::mem::take(&mut mirror.panic) {
        (mirror.failed, mirror.wake) = (true, None);
        drop(mirror);
        panic!("{MADE_TO_FAIL}");
    }
}
