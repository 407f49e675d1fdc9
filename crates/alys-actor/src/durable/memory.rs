//! A journal in memory that can crash as a disk does.

use std::sync::{Arc, Mutex};

use super::journal::{Journal, JournalError, Record, Saved};
use crate::backoff::Jitter;

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and fails.
    Fail,
    /// It is done, but fails all the same: the acknowledgement is lost.
    FailAfter,
    /// It returns, but is not synced: a crash may lose it. A journal must not do that; tests use it to see that they
    /// would notice.
    SkipSync,
}

#[derive(Clone, Debug)]
enum Write {
    Records(Vec<Record>),
    Checkpoint(Box<Saved>),
    Prune(usize),
}

#[derive(Default)]
struct Disk {
    records: Vec<Record>,
    checkpoints: Vec<Saved>,
    /// Done in memory, lost by a crash in any suffix.
    unsynced: Vec<Write>,
    /// Writes until the fault.
    fault: Option<(u64, Fault)>,
    writes: u64,
}

/// What survives the actor: hand a [`MemoryJournal`] of it to each incarnation.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A journal on it.
    #[must_use]
    pub fn journal(&self) -> MemoryJournal {
        MemoryJournal(self.clone())
    }

    /// Power goes: of the writes that were not synced, a prefix chosen by `seed` survives.
    pub fn crash(&self, seed: u64) {
        self.with(|disk| {
            let lost = std::mem::take(&mut disk.unsynced);
            let n = u64::try_from(lost.len()).unwrap_or(u64::MAX).saturating_add(1);
            let kept = Jitter::new(seed, "disk").next().checked_rem(n).unwrap_or(0);
            for write in lost.into_iter().take(usize::try_from(kept).unwrap_or(0)) {
                disk.apply(write);
            }
        });
    }

    /// Lets the write after `writes` others go wrong.
    pub fn fault_after(&self, writes: u64, fault: Fault) {
        self.with(|disk| disk.fault = Some((writes, fault)));
    }

    /// Flips a bit of the checkpoint of that age, 0 being the newest; false if there is none.
    pub fn corrupt_checkpoint(&self, age: usize) -> bool {
        self.with(|disk| match disk.checkpoints.iter_mut().rev().nth(age).and_then(|s| s.bytes.last_mut()) {
            Some(byte) => {
                *byte ^= 1;
                true
            }
            None => false,
        })
    }

    /// Flips a bit of an input; false if there is none of that number.
    pub fn corrupt_input(&self, seq: u64) -> bool {
        self.with(|disk| match disk.records.iter_mut().find(|r| r.seq == seq).and_then(|r| r.bytes.last_mut()) {
            Some(byte) => {
                *byte ^= 1;
                true
            }
            None => false,
        })
    }

    /// Inputs and checkpoints that are there.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        self.with(|disk| (disk.records.len(), disk.checkpoints.len()))
    }

    /// True if nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Writes done or failed so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.with(|disk| disk.writes)
    }

    fn with<R>(&self, f: impl FnOnce(&mut Disk) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write(&self, write: Write) -> Result<(), JournalError> {
        self.with(|disk| {
            disk.writes = disk.writes.saturating_add(1);
            let fault = match &mut disk.fault {
                Some((0, _)) => disk.fault.take().map(|(_, fault)| fault),
                Some((left, _)) => {
                    *left = left.saturating_sub(1);
                    None
                }
                None => None,
            };
            let failed =
                || Err(JournalError { what: "write", source: Box::new(std::io::Error::other("injected fault")) });
            match fault {
                Some(Fault::Fail) => return failed(),
                Some(Fault::SkipSync) => {
                    disk.unsynced.push(write);
                    return Ok(());
                }
                Some(Fault::FailAfter) | None => {}
            }
            // A sync takes along what was written before.
            for earlier in std::mem::take(&mut disk.unsynced) {
                disk.apply(earlier);
            }
            disk.apply(write);
            if fault.is_some() { failed() } else { Ok(()) }
        })
    }

    /// What a reader sees: unsynced writes as well.
    fn view<R>(&self, f: impl FnOnce(&Disk) -> R) -> R {
        self.with(|disk| {
            let mut seen =
                Disk { records: disk.records.clone(), checkpoints: disk.checkpoints.clone(), ..Disk::default() };
            for write in &disk.unsynced {
                seen.apply(write.clone());
            }
            f(&seen)
        })
    }
}

impl Disk {
    fn apply(&mut self, write: Write) {
        match write {
            Write::Records(records) => self.records.extend(records),
            Write::Checkpoint(saved) => self.checkpoints.push(*saved),
            Write::Prune(keep) => {
                let extra = self.checkpoints.len().saturating_sub(keep);
                self.checkpoints.drain(..extra);
                if self.checkpoints.len() >= keep
                    && let Some(oldest) = self.checkpoints.first().map(|s| s.seq)
                {
                    self.records.retain(|r| r.seq > oldest);
                }
            }
        }
    }
}

/// A journal on a [`MemoryDisk`].
#[derive(Clone)]
pub struct MemoryJournal(MemoryDisk);

impl Journal for MemoryJournal {
    async fn append(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        self.0.write(Write::Records(records))
    }

    async fn read(&mut self, after: u64, max: usize) -> Result<Vec<Record>, JournalError> {
        Ok(self.0.view(|d| d.records.iter().filter(|r| r.seq > after).take(max).cloned().collect()))
    }

    async fn save(&mut self, checkpoint: Saved) -> Result<(), JournalError> {
        self.0.write(Write::Checkpoint(Box::new(checkpoint)))
    }

    async fn checkpoint(&mut self, age: usize) -> Result<Option<Saved>, JournalError> {
        Ok(self.0.view(|d| d.checkpoints.iter().rev().nth(age).cloned()))
    }

    async fn prune(&mut self, keep: usize) -> Result<(), JournalError> {
        self.0.write(Write::Prune(keep))
    }
}
