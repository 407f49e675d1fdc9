//! Moving the heads: state, trie, history and indexes in one batch.

use super::Executor;
use super::side::{Branch, SideError};
use crate::db::{Cf, DbError, Head, StateDiff, history_key, history_value};
use crate::{BlockRef, ChainEvent, Heads};
use alloy_primitives::B256;
use alys_engine::{Attributes, EngineError, ForkchoiceOutcome, ForkchoiceState, PayloadStatus};
use rocksdb::WriteBatch;

/// How many blocks' history one move of the head forgets at most, so that no single move takes long.
const PRUNE_STEP: u64 = 32;

/// The most blocks that become canonical by one move.
const MAX_BRANCH: usize = 1 << 20;

impl Executor {
    /// Moves head, safe and finalized, and begins a payload if attributes are given (`engine_forkchoiceUpdated`).
    ///
    /// # Errors
    /// [`EngineError::Refused`] for heads that are not on one chain and a head that leaves the finalized block;
    /// [`EngineError::InvalidAttributes`] for attributes that can't follow the head, which has moved then;
    /// [`EngineError::Unavailable`] if the database fails.
    pub fn forkchoice_updated(
        &mut self,
        state: ForkchoiceState,
        attributes: Option<&Attributes>,
    ) -> Result<ForkchoiceOutcome, EngineError> {
        let without_payload = |status| ForkchoiceOutcome { status, payload_id: None };
        if let Some(known) = self.known_invalid(state.head) {
            let (latest_valid_hash, reason) = (known.latest_valid, known.reason.clone());
            return Ok(without_payload(PayloadStatus::Invalid { latest_valid_hash, reason }));
        }
        let branch = match self.branch(state.head, MAX_BRANCH) {
            Ok(Some(branch)) => branch,
            Ok(None) => return Ok(without_payload(PayloadStatus::Syncing)),
            Err(SideError::Db(error)) => return Err(self.db.failed(error)),
            Err(error @ SideError::TooFar) => return Err(refused(&error.to_string())),
        };
        let heads = self.next_heads(&state, &branch)?;
        let before = *self.heads.borrow();
        if heads != before {
            self.move_to(before, heads, &branch).map_err(|error| self.db.failed(error))?;
        }
        // Attributes that can't follow the head do not undo its move (Engine API, `engine_forkchoiceUpdatedV1`, 8).
        if let Some(attributes) = attributes
            && attributes.timestamp <= heads.latest.timestamp
        {
            return Err(EngineError::InvalidAttributes {
                reason: format!(
                    "timestamp {} is not later than the head's {}",
                    attributes.timestamp, heads.latest.timestamp
                ),
            });
        }
        let payload_id = attributes.map(|attributes| self.begin_payload(state.head, attributes));
        Ok(ForkchoiceOutcome { status: PayloadStatus::Valid, payload_id })
    }

    /// Checks that the three heads are on one chain and that nothing finalized is left.
    fn next_heads(&self, state: &ForkchoiceState, branch: &Branch) -> Result<Heads, EngineError> {
        let before = *self.heads.borrow();
        if branch.fork < before.finalized.number {
            return Err(refused("the head leaves the finalized block"));
        }
        let latest = self.db.block_ref(state.head).map_err(|error| self.db.failed(error))?;
        let latest = latest.ok_or(EngineError::UnknownBlock { hash: state.head })?;
        let on_chain = |hash: B256, what: &str| {
            let block = self.db.block_ref(hash).map_err(|error| self.db.failed(error))?;
            let block = block.ok_or_else(|| refused(&format!("the {what} block is unknown")))?;
            let canonical = block.number <= branch.fork
                && self.db.canonical(block.number).map_err(|error| self.db.failed(error))? == Some(hash);
            if canonical || branch.blocks.contains(&hash) {
                Ok(block)
            } else {
                Err(refused(&format!("the {what} block is not an ancestor of the head")))
            }
        };
        let mut finalized = before.finalized;
        let mut named_finalized = 0;
        if !state.finalized.is_zero() {
            let named = on_chain(state.finalized, "finalized")?;
            named_finalized = named.number;
            if named.number > finalized.number {
                finalized = named;
            }
        }
        let mut safe = if state.safe.is_zero() { before.safe } else { on_chain(state.safe, "safe")? };
        if !state.safe.is_zero() && !state.finalized.is_zero() && safe.number < named_finalized {
            return Err(refused("the safe block is below the finalized one"));
        }
        // A safe block that was left, or that finality overtook, gives way to the finalized one.
        if safe.number < finalized.number || (state.safe.is_zero() && safe.number > branch.fork) {
            safe = finalized;
        }
        Ok(Heads { latest, safe, finalized })
    }

    fn move_to(&mut self, before: Heads, heads: Heads, branch: &Branch) -> Result<(), DbError> {
        let mut batch = WriteBatch::default();
        let mut dropped = Vec::new();
        for number in (branch.fork.saturating_add(1)..=before.latest.number).rev() {
            let hash = self.db.canonical(number)?.ok_or(DbError::Corrupt { what: "a canonical block" })?;
            let block = self.db.block_ref(hash)?.ok_or(DbError::Corrupt { what: "a canonical header" })?;
            let diff = self.diff(hash)?;
            self.unwind(&mut batch, number, &diff)?;
            let body = self.db.body(hash)?.ok_or(DbError::Corrupt { what: "a block without body" })?;
            self.db.delete_canonical(&mut batch, number, body.transactions.iter().map(|tx| *tx.tx_hash()))?;
            dropped.push(block);
        }
        let mut added = Vec::with_capacity(branch.blocks.len());
        for hash in &branch.blocks {
            let block = self.db.block_ref(*hash)?.ok_or(DbError::Corrupt { what: "a block's header" })?;
            let diff = self.diff(*hash)?;
            self.apply(&mut batch, block.number, &diff)?;
            let body = self.db.body(*hash)?.ok_or(DbError::Corrupt { what: "a block without body" })?;
            self.db.put_canonical(&mut batch, block, body.transactions.iter().map(|tx| *tx.tx_hash()))?;
            added.push(block);
        }
        self.db.put_head(&mut batch, Head::Latest, heads.latest)?;
        self.db.put_head(&mut batch, Head::Safe, heads.safe)?;
        self.db.put_head(&mut batch, Head::Finalized, heads.finalized)?;
        self.prune(&mut batch, before)?;
        self.db.write_with(batch, self.is_synced(heads.latest.timestamp))?;
        self.side = None;
        self.heads.send_replace(heads);
        self.announce(dropped, added);
        Ok(())
    }

    fn announce(&self, dropped: Vec<BlockRef>, added: Vec<BlockRef>) {
        let event = match (dropped.is_empty(), added.is_empty()) {
            (true, true) => return,
            (true, false) => ChainEvent::Extended { added: added.into() },
            (false, _) => ChainEvent::Reorg { dropped: dropped.into(), added: added.into() },
        };
        // Without subscribers there is nobody to tell.
        let _ = self.events.send(event);
    }

    fn unwind(&self, batch: &mut WriteBatch, number: u64, diff: &StateDiff) -> Result<(), DbError> {
        let history = self.db.cf(Cf::History)?;
        for (table, key, change) in diff.iter() {
            let cf = self.db.cf(Cf::State(table))?;
            match &change.old {
                Some(value) => batch.put_cf(cf, key, value),
                None => batch.delete_cf(cf, key),
            }
            batch.delete_cf(history, history_key(table, key, number));
        }
        Ok(())
    }

    fn apply(&self, batch: &mut WriteBatch, number: u64, diff: &StateDiff) -> Result<(), DbError> {
        let history = self.db.cf(Cf::History)?;
        for (table, key, change) in diff.iter() {
            let cf = self.db.cf(Cf::State(table))?;
            match &change.new {
                Some(value) => batch.put_cf(cf, key, value),
                None => batch.delete_cf(cf, key),
            }
            batch.put_cf(history, history_key(table, key, number), history_value(change.old.as_deref()));
        }
        Ok(())
    }

    /// Forgets history below the window, and side blocks that finality overtook. It goes by the heads before this move,
    /// whose blocks are already written.
    fn prune(&self, batch: &mut WriteBatch, before: Heads) -> Result<(), DbError> {
        let Some(window) = self.config.history_blocks else { return Ok(()) };
        let from = self.db.history_from()?;
        let to = before.finalized.number.min(before.latest.number.saturating_sub(window));
        let to = to.min(from.saturating_add(PRUNE_STEP));
        if to <= from {
            return Ok(());
        }
        let history = self.db.cf(Cf::History)?;
        for number in from.saturating_add(1)..=to {
            let canonical = self.db.canonical(number)?.ok_or(DbError::Corrupt { what: "a canonical block" })?;
            for (table, key, _) in self.diff(canonical)?.iter() {
                batch.delete_cf(history, history_key(table, key, number));
            }
            self.db.delete_diff(batch, canonical)?;
            for hash in self.db.executed_at(number)? {
                if hash != canonical {
                    self.db.delete_block(batch, number, hash)?;
                }
            }
        }
        self.db.put_history_from(batch, to)
    }
}

pub(super) fn refused(reason: &str) -> EngineError {
    EngineError::Refused { reason: reason.to_owned() }
}
