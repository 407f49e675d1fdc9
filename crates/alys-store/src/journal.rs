//! Journals of durable actors: their inputs and checkpoints, in two columns of the database.
//!
//! Keys are the actor's name, a zero byte, and a big-endian number: of the input, or of the inputs before the checkpoint. A
//! damaged record is handed on as one that is not intact, and never left out: `alys-actor` then passes over the checkpoint,
//! or refuses to replay. Each call that writes is one commit, numbered and marked like those of the chain.

use std::ops::ControlFlow;
use std::sync::Arc;

use alys_actor::durable::{Journal, JournalError, Once, Record, Saved};
use alys_primitives::Root;

use crate::codec::{self, Kind};
use crate::database::{Changes, Shared, root_of};
use crate::{Column, Damage, Database, Reader, StoreError};

/// The longest name of an actor, in bytes.
pub const MAX_ACTOR_NAME_BYTES: usize = 255;

const INPUT: Kind = Kind(*b"AINP");
const CHECKPOINT: Kind = Kind(*b"ACKP");
const FORMAT: u16 = 1;

/// Ends the name in a key.
const END_OF_NAME: u8 = 0;

/// Whose journal: an actor's path, for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorName(Arc<str>);

/// A name that no journal can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of an actor is empty, longer than {MAX_ACTOR_NAME_BYTES} bytes, or holds a zero byte")]
pub struct BadActorName;

impl ActorName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadActorName`].
    pub fn new(name: &str) -> Result<Self, BadActorName> {
        let good = !name.is_empty() && name.len() <= MAX_ACTOR_NAME_BYTES && !name.as_bytes().contains(&END_OF_NAME);
        if good { Ok(Self(Arc::from(name))) } else { Err(BadActorName) }
    }

    fn prefix(&self) -> Vec<u8> {
        let mut key = self.0.as_bytes().to_vec();
        key.push(END_OF_NAME);
        key
    }

    fn key(&self, number: u64) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    /// The number in a key, if the key is one of this actor's.
    fn number(&self, column: Column, key: &[u8]) -> Option<Result<u64, StoreError>> {
        let rest = key.strip_prefix(self.prefix().as_slice())?;
        Some(match <[u8; 8]>::try_from(rest) {
            Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
            Err(_) => Err(StoreError::Corrupt { column, key: key.to_vec(), damage: Damage::Key }),
        })
    }
}

type InputFields = (u32, Option<(u64, u64)>, Option<[u8; 32]>, u64, Vec<u8>);
type CheckpointFields = (u32, [u8; 32], u64, Vec<u8>);

impl Database {
    /// Adds inputs to an actor's journal: all or none, synced.
    ///
    /// # Errors
    /// [`StoreError::Encode`] for one that is too long; the disk's, after which nothing is written any more.
    pub fn append_inputs(&mut self, actor: &ActorName, inputs: &[Record]) -> Result<(), StoreError> {
        let shared = Arc::clone(self.shared());
        let mut changes = Changes::new(&shared);
        for input in inputs {
            let key = input.key.map(|key| (key.sender, key.number));
            let fields: InputFields = (input.version, key, input.root, input.checksum, input.bytes.clone());
            changes.put(Column::ActorJournal, &actor.key(input.seq), &encoded(INPUT, &fields)?);
        }
        self.commit_beside(changes)
    }

    /// Adds a checkpoint of an actor, synced.
    ///
    /// # Errors
    /// As [`Database::append_inputs`].
    pub fn save_actor(&mut self, actor: &ActorName, saved: &Saved) -> Result<(), StoreError> {
        let shared = Arc::clone(self.shared());
        let mut changes = Changes::new(&shared);
        let fields: CheckpointFields = (saved.version, saved.root, saved.checksum, saved.bytes.clone());
        changes.put(Column::ActorCheckpoints, &actor.key(saved.seq), &encoded(CHECKPOINT, &fields)?);
        self.commit_beside(changes)
    }

    /// Keeps an actor's newest `keep` checkpoints and the inputs after the oldest of them. With fewer checkpoints than
    /// that, all inputs stay.
    ///
    /// # Errors
    /// The disk's.
    pub fn prune_actor(&mut self, actor: &ActorName, keep: usize) -> Result<(), StoreError> {
        let shared = Arc::clone(self.shared());
        let saved = numbers(&shared, Column::ActorCheckpoints, actor, 0, usize::MAX)?;
        let Some(extra) = saved.len().checked_sub(keep) else { return Ok(()) };
        let (old, kept) = saved.split_at(extra);
        let Some(oldest) = kept.first() else { return Ok(()) };
        let mut changes = Changes::new(&shared);
        for number in old {
            changes.delete(Column::ActorCheckpoints, &actor.key(*number));
        }
        for number in numbers(&shared, Column::ActorJournal, actor, 0, usize::MAX)? {
            if number <= *oldest {
                changes.delete(Column::ActorJournal, &actor.key(number));
            }
        }
        self.commit_beside(changes)
    }

    /// Commits what does not change the chain: its state root is the one of the commit before.
    pub(crate) fn commit_beside(&mut self, changes: Changes<'_>) -> Result<(), StoreError> {
        let key = self.commits().to_be_bytes();
        let root = match self.shared().get(Column::Log, &key)? {
            Some(bytes) => root_of(Column::Log, &key, &bytes)?,
            None => Root::ZERO,
        };
        self.commit(changes, root)
    }
}

impl Reader {
    /// Up to `max` inputs of an actor after number `after`, in order.
    ///
    /// # Errors
    /// The disk's. Damaged records are not errors: they come as records that are not intact.
    pub fn inputs(&self, actor: &ActorName, after: u64, max: usize) -> Result<Vec<Record>, StoreError> {
        let Some(from) = after.checked_add(1) else { return Ok(Vec::new()) };
        let shared = self.shared();
        numbers(shared, Column::ActorJournal, actor, from, max)?
            .into_iter()
            .map(|seq| {
                let fields = value::<InputFields>(shared, Column::ActorJournal, &actor.key(seq), INPUT)?;
                Ok(match fields {
                    Some((version, key, root, checksum, bytes)) => {
                        let key = key.map(|(sender, number)| Once { sender, number });
                        Record { seq, version, key, root, bytes, checksum }
                    }
                    None => broken(Record { seq, version: 0, key: None, root: None, bytes: Vec::new(), checksum: 0 }),
                })
            })
            .collect()
    }

    /// An actor's checkpoint by age, 0 being the newest.
    ///
    /// # Errors
    /// As [`Reader::inputs`].
    pub fn saved_actor(&self, actor: &ActorName, age: usize) -> Result<Option<Saved>, StoreError> {
        let shared = self.shared();
        let all = numbers(shared, Column::ActorCheckpoints, actor, 0, usize::MAX)?;
        let Some(seq) = all.into_iter().rev().nth(age) else { return Ok(None) };
        let fields = value::<CheckpointFields>(shared, Column::ActorCheckpoints, &actor.key(seq), CHECKPOINT)?;
        Ok(Some(match fields {
            Some((version, root, checksum, bytes)) => Saved { seq, version, root, bytes, checksum },
            None => {
                let mut saved = Saved { seq, version: 0, root: [0; 32], bytes: Vec::new(), checksum: 0 };
                if saved.is_intact() {
                    saved.checksum = 1;
                }
                saved
            }
        }))
    }
}

fn encoded<T: serde::Serialize>(kind: Kind, fields: &T) -> Result<Vec<u8>, StoreError> {
    codec::encode(kind, FORMAT, fields).map_err(StoreError::Encode)
}

fn broken(mut record: Record) -> Record {
    if record.is_intact() {
        record.checksum = 1;
    }
    record
}

/// Numbers of an actor's records, in order, whatever is in them.
fn numbers(shared: &Shared, column: Column, actor: &ActorName, from: u64, max: usize) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    shared.keys(column, &actor.key(from), |key| match actor.number(column, key) {
        Some(number) if numbers.len() < max => {
            numbers.push(number?);
            Ok(ControlFlow::Continue(()))
        }
        Some(_) | None => Ok(ControlFlow::Break(())),
    })?;
    Ok(numbers)
}

/// The fields of a record; none if it is damaged.
fn value<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    column: Column,
    key: &[u8],
    kind: Kind,
) -> Result<Option<T>, StoreError> {
    let bytes = match shared.get(column, key) {
        Ok(bytes) => bytes,
        Err(StoreError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(bytes.and_then(|bytes| {
        let (_, payload) = codec::open(kind, FORMAT, &bytes).ok()?;
        codec::decode_payload(payload).ok()
    }))
}

/// The journal of an actor that owns its database. It blocks: such an actor runs on a thread of its own
/// ([`Child::blocking`](alys_actor::Child::blocking)). Where several share one database, its owner serves them with the
/// methods of [`Database`] and [`Reader`].
#[derive(Debug)]
pub struct ActorJournal {
    database: Database,
    reader: Reader,
    actor: ActorName,
}

impl ActorJournal {
    /// The journal of `actor` in `database`.
    #[must_use]
    pub fn new(database: Database, actor: ActorName) -> Self {
        Self { reader: database.reader(), database, actor }
    }
}

fn failed(what: &'static str) -> impl FnOnce(StoreError) -> JournalError {
    move |error| JournalError { what, source: Box::new(error) }
}

impl Journal for ActorJournal {
    async fn append(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        self.database.append_inputs(&self.actor, &records).map_err(failed("append inputs"))
    }

    async fn read(&mut self, after: u64, max: usize) -> Result<Vec<Record>, JournalError> {
        self.reader.inputs(&self.actor, after, max).map_err(failed("read inputs"))
    }

    async fn save(&mut self, checkpoint: Saved) -> Result<(), JournalError> {
        self.database.save_actor(&self.actor, &checkpoint).map_err(failed("save a checkpoint"))
    }

    async fn checkpoint(&mut self, age: usize) -> Result<Option<Saved>, JournalError> {
        self.reader.saved_actor(&self.actor, age).map_err(failed("read a checkpoint"))
    }

    async fn prune(&mut self, keep: usize) -> Result<(), JournalError> {
        self.database.prune_actor(&self.actor, keep).map_err(failed("let go of old inputs"))
    }
}
