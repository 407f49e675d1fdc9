//! Durable restarts: state = newest good checkpoint + the inputs after it.
//!
//! A [`Durable`] owns the state of an actor. An input is first written to the [`Journal`], then applied; only then the
//! actor acknowledges it. So what was acknowledged is found again after a crash, exactly once: the journal holds it
//! once, and a retry by its sender is told from a new input by its [`Once`] key.
//!
//! An actor opens it in [`Actor::started`](crate::Actor::started), so every incarnation begins from disk and memory
//! that a panic may have poisoned is thrown away.

mod codec;
mod journal;
mod memory;

pub use codec::DecodeError;
pub use journal::{Journal, JournalError, Record, Saved};
pub use memory::{Fault, MemoryDisk, MemoryJournal};

use std::collections::BTreeMap;

use crate::actor::StartCause;

/// Inputs read from the journal at once.
const REPLAY_CHUNK: usize = 256;

/// State that is rebuilt from its inputs.
///
/// `apply` is pure: the same inputs in the same order give the same state and the same [`Checkpoint::root`].
pub trait Checkpoint: Sized + Send + 'static {
    /// What changes it.
    type Input: Send;
    /// What a change answers.
    type Output: Send;
    /// Version of both encodings; older ones may be decoded, newer ones are refused.
    const VERSION: u32;

    /// Changes the state.
    fn apply(&mut self, input: Self::Input) -> Self::Output;
    /// A digest of the whole state.
    fn root(&self) -> [u8; 32];
    /// The state in bytes.
    fn encode(&self) -> Vec<u8>;
    /// The state from bytes of that version.
    ///
    /// # Errors
    ///
    /// If the bytes are no such state.
    fn decode(version: u32, bytes: &[u8]) -> Result<Self, DecodeError>;
    /// An input in bytes.
    fn encode_input(input: &Self::Input) -> Vec<u8>;
    /// An input from bytes of that version.
    ///
    /// # Errors
    ///
    /// If the bytes are no such input.
    fn decode_input(version: u32, bytes: &[u8]) -> Result<Self::Input, DecodeError>;
}

/// Names an input so that its sender may repeat it. Numbers of one sender only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Once {
    /// Who sends. At most [`Options::senders`] are remembered.
    pub sender: u64,
    /// The how-manieth.
    pub number: u64,
}

/// What became of an input with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed<T> {
    /// It is durable and applied.
    Applied(T),
    /// It, or a later one of the same sender, took effect before.
    Duplicate,
}

/// How often to write what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A checkpoint after that many inputs; 0 for only when asked. Default 1000.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, with the inputs after the oldest of them. At least 1; default 3.
    pub keep: usize,
    /// Every how many inputs the root is written beside the input, to be compared in a replay; 0 for never. Default 1.
    pub root_every: u64,
    /// Senders whose last number is remembered. The one unheard of longest is forgotten first. Default 1024.
    pub senders: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { checkpoint_every: 1000, keep: 3, root_every: 1, senders: 1024 }
    }
}

/// Why durable state could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The journal failed. What was to be written may or may not be there; a new incarnation finds out.
    #[error("the journal failed")]
    Journal(#[from] JournalError),
    /// A change failed before; the state in memory is not to be used.
    #[error("the state is not to be used after a failed write")]
    Broken,
    /// No checkpoint led to a state that agrees with the journal.
    #[error("no good checkpoint: {0}")]
    Unrecoverable(#[source] Bad),
}

/// Why one checkpoint was passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Its bytes are damaged.
    #[error("checkpoint at {0} is damaged")]
    Checkpoint(u64),
    /// Its state has another root than was written with it.
    #[error("checkpoint at {0} has another root")]
    Root(u64),
    /// An input after it is damaged.
    #[error("input {0} is damaged")]
    Input(u64),
    /// An input after it is missing.
    #[error("input {0} is missing")]
    Gap(u64),
    /// Replaying an input led to another root than the first time.
    #[error("replay diverged at input {0}")]
    Diverged(u64),
}

/// How the state was rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Inputs in the checkpoint that was used; 0 for the genesis.
    pub checkpoint: u64,
    /// Inputs replayed after it.
    pub replayed: u64,
    /// Newer checkpoints that were passed over, and why.
    pub passed_over: Vec<Bad>,
}

/// State, its journal, and what is known of senders.
pub struct Durable<S: Checkpoint, J: Journal> {
    state: S,
    journal: J,
    options: Options,
    /// Inputs applied.
    seq: u64,
    since_checkpoint: u64,
    senders: Senders,
    broken: bool,
    recovered: Recovered,
}

impl<S: Checkpoint, J: Journal> Durable<S, J> {
    /// Rebuilds the state. With [`StartCause::Restore`] the newest checkpoint is passed over if there is another.
    ///
    /// # Errors
    ///
    /// If the journal can't be read, or nothing in it leads to a state that agrees with it.
    pub async fn open(
        mut journal: J,
        options: Options,
        cause: &StartCause,
        genesis: impl Fn() -> S + Send,
    ) -> Result<Self, DurableError> {
        let mut passed_over = Vec::new();
        let mut at = usize::from(matches!(cause, StartCause::Restore(_)));
        if at > 0 && journal.checkpoint(at).await?.is_none() {
            at = 0;
        }
        // The newest is what remains if no older one is good.
        let mut newest_is_left = at > 0;
        loop {
            let saved = journal.checkpoint(at).await?;
            let is_last = saved.is_none() || (at == 0 && !passed_over.is_empty());
            let base = match saved {
                None => Ok((genesis(), 0, Senders::new(options.senders))),
                Some(saved) => load::<S>(&saved, options.senders),
            };
            let result = match base {
                Ok((state, seq, senders)) => replay(&mut journal, state, seq, senders).await?,
                Err(bad) => Err(bad),
            };
            match result {
                Ok((state, seq, senders, checkpoint)) => {
                    let recovered = Recovered { checkpoint, replayed: seq.saturating_sub(checkpoint), passed_over };
                    let since_checkpoint = recovered.replayed;
                    tracing::debug!(?recovered, "durable state rebuilt");
                    return Ok(Self {
                        state,
                        journal,
                        options,
                        seq,
                        since_checkpoint,
                        senders,
                        broken: false,
                        recovered,
                    });
                }
                Err(bad) if is_last && std::mem::take(&mut newest_is_left) => {
                    passed_over.push(bad);
                    at = 0;
                }
                Err(bad) if is_last => {
                    return Err(DurableError::Unrecoverable(passed_over.into_iter().next().unwrap_or(bad)));
                }
                Err(bad) => {
                    tracing::warn!(%bad, "passed over a checkpoint");
                    passed_over.push(bad);
                    at = at.saturating_add(1);
                }
            }
        }
    }

    /// The state.
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// Inputs applied since the genesis.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// How the state was rebuilt.
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Makes an input durable, then applies it. Acknowledge it after this.
    ///
    /// # Errors
    ///
    /// If it could not be made durable. Nothing may be changed or acknowledged any more: fail the incarnation.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it writes, the state is broken: whether the input is there shows when it is opened again.
    pub async fn commit(&mut self, input: S::Input) -> Result<S::Output, DurableError> {
        let mut outputs = self.write(vec![(None, input)]).await?;
        outputs.pop().ok_or(DurableError::Broken)
    }

    /// As [`Durable::commit`], for several inputs in one write.
    ///
    /// # Errors
    ///
    /// As [`Durable::commit`].
    pub async fn commit_all(&mut self, inputs: Vec<S::Input>) -> Result<Vec<S::Output>, DurableError> {
        self.write(inputs.into_iter().map(|i| (None, i)).collect()).await
    }

    /// As [`Durable::commit`], unless the same input took effect before.
    ///
    /// # Errors
    ///
    /// As [`Durable::commit`].
    pub async fn commit_once(&mut self, key: Once, input: S::Input) -> Result<Committed<S::Output>, DurableError> {
        if self.broken {
            return Err(DurableError::Broken);
        }
        if self.senders.has(key) {
            return Ok(Committed::Duplicate);
        }
        let mut outputs = self.write(vec![(Some(key), input)]).await?;
        outputs.pop().map(Committed::Applied).ok_or(DurableError::Broken)
    }

    /// Writes a checkpoint now, and lets go of what no kept one needs.
    ///
    /// # Errors
    ///
    /// If it could not be written.
    pub async fn checkpoint(&mut self) -> Result<(), DurableError> {
        if self.broken {
            return Err(DurableError::Broken);
        }
        self.broken = true;
        let bytes = codec::frame(&self.senders.encode(), &self.state.encode());
        self.journal.save(Saved::new(self.seq, S::VERSION, self.state.root(), bytes)).await?;
        self.journal.prune(self.options.keep.max(1)).await?;
        self.broken = false;
        self.since_checkpoint = 0;
        Ok(())
    }

    async fn write(&mut self, inputs: Vec<(Option<Once>, S::Input)>) -> Result<Vec<S::Output>, DurableError> {
        if self.broken {
            return Err(DurableError::Broken);
        }
        // Until the end of this function: a panic in `apply` or a drop at an await leaves it broken.
        self.broken = true;
        let mut outputs = Vec::with_capacity(inputs.len());
        let mut records = Vec::with_capacity(inputs.len());
        let with_roots = self.options.root_every > 0;
        if with_roots {
            // The root goes into the record, so the input is applied first; nobody sees the state before the write.
            for (key, input) in inputs {
                let bytes = S::encode_input(&input);
                outputs.push(self.state.apply(input));
                self.seq = self.seq.saturating_add(1);
                let due = self.seq.is_multiple_of(self.options.root_every);
                records.push(Record::new(self.seq, S::VERSION, key, due.then(|| self.state.root()), bytes));
                self.senders.note(key);
            }
            self.journal.append(records).await?;
        } else {
            let mut kept = Vec::with_capacity(inputs.len());
            for (key, input) in inputs {
                self.seq = self.seq.saturating_add(1);
                records.push(Record::new(self.seq, S::VERSION, key, None, S::encode_input(&input)));
                kept.push((key, input));
            }
            self.journal.append(records).await?;
            for (key, input) in kept {
                outputs.push(self.state.apply(input));
                self.senders.note(key);
            }
        }
        self.broken = false;
        let n = u64::try_from(outputs.len()).unwrap_or(u64::MAX);
        self.since_checkpoint = self.since_checkpoint.saturating_add(n);
        if self.options.checkpoint_every > 0 && self.since_checkpoint >= self.options.checkpoint_every {
            self.checkpoint().await?;
        }
        Ok(outputs)
    }
}

fn load<S: Checkpoint>(saved: &Saved, senders: usize) -> Result<(S, u64, Senders), Bad> {
    let damaged = Bad::Checkpoint(saved.seq);
    if !saved.is_intact() || saved.version > S::VERSION {
        return Err(damaged);
    }
    let Some((table, bytes)) = codec::unframe(&saved.bytes) else { return Err(damaged) };
    let senders = Senders::decode(senders, table).ok_or_else(|| damaged.clone())?;
    let state = S::decode(saved.version, bytes).map_err(|_| damaged)?;
    if state.root() != saved.root {
        return Err(Bad::Root(saved.seq));
    }
    Ok((state, saved.seq, senders))
}

type Replayed<S> = Result<(S, u64, Senders, u64), Bad>;

async fn replay<S: Checkpoint, J: Journal>(
    journal: &mut J,
    mut state: S,
    base: u64,
    mut senders: Senders,
) -> Result<Replayed<S>, DurableError> {
    let mut seq = base;
    loop {
        let records = journal.read(seq, REPLAY_CHUNK).await?;
        if records.is_empty() {
            return Ok(Ok((state, seq, senders, base)));
        }
        for record in records {
            let expected = seq.saturating_add(1);
            if record.seq != expected {
                return Ok(Err(Bad::Gap(expected)));
            }
            if !record.is_intact() || record.version > S::VERSION {
                return Ok(Err(Bad::Input(expected)));
            }
            let Ok(input) = S::decode_input(record.version, &record.bytes) else {
                return Ok(Err(Bad::Input(expected)));
            };
            state.apply(input);
            senders.note(record.key);
            seq = expected;
            if record.root.is_some_and(|root| root != state.root()) {
                return Ok(Err(Bad::Diverged(expected)));
            }
        }
    }
}

/// The last number of each sender, bounded.
struct Senders {
    limit: usize,
    last: BTreeMap<u64, (u64, u64)>,
    /// Senders by when they were heard.
    heard: BTreeMap<u64, u64>,
    clock: u64,
}

impl Senders {
    const fn new(limit: usize) -> Self {
        Self { limit, last: BTreeMap::new(), heard: BTreeMap::new(), clock: 0 }
    }

    fn has(&self, key: Once) -> bool {
        self.last.get(&key.sender).is_some_and(|(number, _)| *number >= key.number)
    }

    fn note(&mut self, key: Option<Once>) {
        let Some(key) = key else { return };
        self.clock = self.clock.wrapping_add(1);
        if let Some((_, old)) = self.last.insert(key.sender, (key.number, self.clock)) {
            self.heard.remove(&old);
        }
        self.heard.insert(self.clock, key.sender);
        while self.last.len() > self.limit
            && let Some((_, sender)) = self.heard.pop_first()
        {
            self.last.remove(&sender);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.heard.len().saturating_mul(16));
        for sender in self.heard.values() {
            let number = self.last.get(sender).map_or(0, |(n, _)| *n);
            bytes.extend_from_slice(&sender.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(limit: usize, bytes: &[u8]) -> Option<Self> {
        let mut senders = Self::new(limit);
        let (pairs, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return None;
        }
        for pair in pairs {
            let (sender, number) = pair.split_first_chunk::<8>()?;
            let number = number.first_chunk::<8>()?;
            senders.note(Some(Once { sender: u64::from_le_bytes(*sender), number: u64::from_le_bytes(*number) }));
        }
        Some(senders)
    }
}
