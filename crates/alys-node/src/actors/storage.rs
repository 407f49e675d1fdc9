//! The storage actor: the only writer of the chain's database.

use super::Fatal;
use crate::trouble::Trouble;
use alys_actor::{Actor, Context, Message, Reply};
use alys_chain::{ChainBatch, Restored, RestoredBlock};
use alys_primitives::{Height, LightRecord, Root, SignedBlock};
use alys_store::{Database, FinalizedBundle, StoreError};
use std::error::Error as _;

/// Requests to the database's writer.
#[derive(Debug)]
pub enum StorageMessage {
    /// Writes batches in order, all with one sync; answered when they are on disk.
    Apply {
        /// The batches.
        batches: Vec<ChainBatch>,
        /// Their fate: all or none.
        reply: Reply<Result<(), StoreError>>,
    },
    /// A block of the head's chain.
    Block {
        /// Its height.
        height: Height,
        /// It, if there is one.
        reply: Reply<Result<Option<Box<SignedBlock>>, StoreError>>,
    },
    /// A block of any branch.
    BlockByRoot {
        /// Its root.
        root: Root,
        /// It, if there is one.
        reply: Reply<Result<Option<Box<SignedBlock>>, StoreError>>,
    },
    /// Keeps records of bundles that were learned before their blocks.
    KeepLightRecords {
        /// The records.
        records: Vec<LightRecord>,
        /// Their fate.
        reply: Reply<Result<(), StoreError>>,
    },
    /// Keeps final blocks from before the oldest one.
    KeepOlder {
        /// The blocks, with what their receipts say.
        blocks: Vec<RestoredBlock>,
        /// Their fate.
        reply: Reply<Result<(), StoreError>>,
    },
    /// Notes final bundles whose blocks came later.
    KeepBundles {
        /// The bundles.
        bundles: Vec<FinalizedBundle>,
        /// Their fate.
        reply: Reply<Result<(), StoreError>>,
    },
    /// Everything the chain needs to go on where it stopped.
    Load {
        /// It.
        reply: Reply<Result<Box<Restored>, StoreError>>,
    },
}

impl Message for StorageMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::KeepLightRecords { .. } => "keep_light_records",
            Self::KeepOlder { .. } => "keep_older",
            Self::KeepBundles { .. } => "keep_bundles",
            Self::Load { .. } => "load",
            Self::Block { .. } => "block",
            Self::BlockByRoot { .. } => "block_by_root",
        }
    }
}

/// Why the storage actor ends.
#[derive(Debug, thiserror::Error)]
pub enum StorageActorError {
    /// The writer went with an earlier incarnation.
    #[error("the database's writer is gone")]
    Spent,
}

/// Owns the right to write.
pub struct StorageActor {
    database: Option<Database>,
    fatal: Fatal,
}

impl StorageActor {
    /// An actor that writes to `database`, if it was given one, and stops the node through `fatal` when a write can't be
    /// trusted any more.
    pub fn new(database: Option<Database>, fatal: Fatal) -> Self {
        Self { database, fatal }
    }

    fn judge<T>(fatal: &Fatal, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            // What an unsuccessful sync left on disk is unknown; only a fresh start reads it for certain. And where one
            // record is damaged others may be: what the node would go on to sign rests on all of them.
            let trouble = if error.is_corruption() { Some(Trouble::Damage) } else { None };
            if let Some(trouble) = trouble.or(error.is_fatal().then_some(Trouble::Disk)) {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                fatal.raise(trouble, format!("chain database: {error}{cause}"));
            }
        }
        result
    }
}

impl Actor for StorageActor {
    type Message = StorageMessage;
    type Error = StorageActorError;

    async fn handle(
        &mut self,
        message: StorageMessage,
        _: &mut Context<StorageMessage>,
    ) -> Result<(), StorageActorError> {
        let database = self.database.as_mut().ok_or(StorageActorError::Spent)?;
        match message {
            StorageMessage::Apply { batches, reply } => {
                let started = tokio::time::Instant::now();
                let result = database.apply_many(&batches);
                metrics::histogram!("alys_storage_write_seconds").record(started.elapsed().as_secs_f64());
                let result = Self::judge(&self.fatal, result);
                reply.send(result);
            }
            StorageMessage::Block { height, reply } => {
                let read = database.reader().block_at(height).map(|found| found.map(|found| Box::new(found.block)));
                let result = Self::judge(&self.fatal, read);
                reply.send(result);
            }
            StorageMessage::BlockByRoot { root, reply } => {
                let read = database.reader().block(root).map(|found| found.map(|found| Box::new(found.block)));
                let result = Self::judge(&self.fatal, read);
                reply.send(result);
            }
            StorageMessage::KeepLightRecords { records, reply } => {
                let result = Self::judge(&self.fatal, database.keep_light_records(&records));
                reply.send(result);
            }
            StorageMessage::KeepOlder { blocks, reply } => {
                let result = Self::judge(&self.fatal, database.keep_older(blocks));
                reply.send(result);
            }
            StorageMessage::KeepBundles { bundles, reply } => {
                let result = Self::judge(&self.fatal, database.keep_bundles(&bundles));
                reply.send(result);
            }
            StorageMessage::Load { reply } => {
                let result = Self::judge(&self.fatal, database.load().map(Box::new));
                reply.send(result);
            }
        }
        Ok(())
    }
}
