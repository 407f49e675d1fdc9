//! Taking blocks in: execute, compare, and write down before anybody is told.

use super::payload::decode_payload;
use super::side::SideError;
use super::{Executor, InvalidBlock, MAX_BAD_BLOCKS, unavailable};
use crate::FullBlock;
use crate::db::{Cf, Db, DbError, HeadState};
use crate::execute::{BlockError, BlockTimings, CheckError, Executed, check_block, check_commitments};
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, Sealed};
use alys_engine::{EngineError, NewPayload, PayloadStatus};
use rocksdb::WriteBatch;
use std::sync::Arc;
use std::time::Instant;

/// Adds code to a batch.
pub(super) fn put_codes(
    db: &Db,
    batch: &mut WriteBatch,
    codes: impl IntoIterator<Item = (B256, Bytes)>,
) -> Result<(), DbError> {
    for (hash, code) in codes {
        batch.put_cf(db.cf(Cf::Code)?, hash, code);
    }
    Ok(())
}

impl Executor {
    /// Executes a payload and keeps it durably if it is valid (`engine_newPayload`).
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if the database fails; that says nothing about the payload.
    pub fn new_payload(&mut self, payload: &NewPayload) -> Result<PayloadStatus, EngineError> {
        let began = Instant::now();
        let block = match decode_payload(&self.chain.forks, payload) {
            Ok(block) => block,
            Err(error) => {
                // What the hash stands for is unknown, so nothing is remembered under it.
                return Ok(PayloadStatus::Invalid { latest_valid_hash: None, reason: error.to_string() });
            }
        };
        let status = self.take_in(payload.payload.block_hash, &block);
        self.timings.total = began.elapsed();
        status
    }

    /// Executes a block and keeps it durably if it is valid: [`Self::new_payload`] for blocks that come whole.
    ///
    /// # Errors
    /// As [`Self::new_payload`].
    pub fn import_block(&mut self, block: &FullBlock) -> Result<PayloadStatus, EngineError> {
        if let Err(error) = check_commitments(block) {
            // The header may have another body, so nothing is remembered under its hash.
            return Ok(PayloadStatus::Invalid { latest_valid_hash: None, reason: error.to_string() });
        }
        self.take_in(block.header.hash_slow(), block)
    }

    fn take_in(&mut self, hash: B256, block: &FullBlock) -> Result<PayloadStatus, EngineError> {
        if self.db.is_executed(hash).map_err(|error| self.db.failed(error))? {
            return Ok(PayloadStatus::Valid);
        }
        let parent_hash = block.header.parent_hash;
        if let Some(known) = self.known_invalid(hash).or_else(|| self.known_invalid(parent_hash)) {
            let latest_valid = known.latest_valid;
            let reason = if known.hash == hash {
                known.reason.clone()
            } else {
                format!("its ancestor is invalid: {}", known.reason)
            };
            if known.hash != hash {
                self.remember_invalid(InvalidBlock { hash, latest_valid, reason: reason.clone() });
            }
            return Ok(PayloadStatus::Invalid { latest_valid_hash: latest_valid, reason });
        }
        let Some(parent) = self.db.header(parent_hash).map_err(|error| self.db.failed(error))? else {
            return Ok(PayloadStatus::Syncing);
        };
        let executed = match self.built_before(hash) {
            Some(executed) => Ok(executed),
            None => self.execute(&parent, block),
        };
        match executed {
            Ok(executed) => {
                let (timings, began) = (executed.timings, Instant::now());
                self.persist(hash, block, executed).map_err(|error| self.db.failed(error))?;
                self.timings = BlockTimings { write: began.elapsed(), ..timings };
                Ok(PayloadStatus::Valid)
            }
            Err(ExecuteError::Check(CheckError::Invalid(error))) => {
                self.show_bad_block(hash, block);
                Ok(self.reject(hash, parent_hash, &error))
            }
            Err(ExecuteError::Side(SideError::TooFar)) => Ok(PayloadStatus::Syncing),
            Err(ExecuteError::Check(error @ (CheckError::Trie(_) | CheckError::Internal(_)))) => {
                Err(unavailable(error))
            }
            Err(ExecuteError::Side(SideError::Db(error))) => Err(self.db.failed(error)),
        }
    }

    fn reject(&mut self, hash: B256, parent_hash: B256, error: &BlockError) -> PayloadStatus {
        let reason = error.to_string();
        tracing::warn!(%hash, reason, "invalid block");
        self.remember_invalid(InvalidBlock { hash, latest_valid: Some(parent_hash), reason: reason.clone() });
        PayloadStatus::Invalid { latest_valid_hash: Some(parent_hash), reason }
    }

    /// Keeps the newest invalid blocks for readers.
    fn show_bad_block(&self, hash: B256, block: &FullBlock) {
        let block = Arc::new(Sealed::new_unchecked(block.clone(), hash));
        self.bad_blocks.send_modify(|blocks| {
            blocks.truncate(MAX_BAD_BLOCKS - 1);
            blocks.insert(0, block);
        });
    }

    fn execute(&mut self, parent: &Header, block: &FullBlock) -> Result<Executed, ExecuteError> {
        let side = self.side_state(block.header.parent_hash)?;
        let tables = side.overlay(HeadState(&self.db));
        let executed = check_block(&self.db, &self.chain.forks, tables, parent, block);
        self.keep_side_state(side);
        Ok(executed?)
    }

    fn persist(&mut self, hash: B256, block: &FullBlock, executed: Executed) -> Result<(), DbError> {
        let Executed { diff, codes, receipts, outcome, .. } = executed;
        let mut batch = WriteBatch::default();
        self.db.put_block(&mut batch, hash, block, &receipts, &outcome)?;
        self.db.put_diff(&mut batch, hash, &diff)?;
        put_codes(&self.db, &mut batch, codes)?;
        self.db.write_with(batch, self.is_synced(block.header.timestamp))?;
        self.remember_diff(hash, diff);
        Ok(())
    }
}

enum ExecuteError {
    Side(SideError),
    Check(CheckError),
}

impl From<SideError> for ExecuteError {
    fn from(error: SideError) -> Self {
        Self::Side(error)
    }
}

impl From<CheckError> for ExecuteError {
    fn from(error: CheckError) -> Self {
        Self::Check(error)
    }
}
