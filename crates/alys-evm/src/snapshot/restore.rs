//! A database made from records and recent blocks instead of from execution.

use super::tries::{account_trie, accounts, storage_tries};
use super::{RecordKind, StateRecord};
use crate::db::{Cf, Db, DbConfig, DbError, Head, Outcome, Table};
use crate::execute::{BlockError, fees};
use crate::executor::{decode_payload, genesis_block};
use crate::trie::TrieError;
use crate::{BlockRef, ExecutorError, Forks, Tx};
use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::{Block, Header, ReceiptEnvelope};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::TrieAccount;
use alys_engine::NewPayload;
use alys_primitives::Burns;
use rocksdb::WriteBatch;
use std::path::Path;

/// Bytes that are gathered before they are written.
const BATCH_BYTES: usize = 4 << 20;

/// Memory for writing: a restore writes everything once, in order.
const RESTORE_DB: DbConfig =
    DbConfig { block_cache: 64 << 20, write_buffer: 64 << 20, total_write_buffers: 192 << 20, max_open_files: 256 };

/// Why records and blocks make no state.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database failed. That says nothing about the records.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The genesis file can't be used.
    #[error(transparent)]
    Genesis(#[from] ExecutorError),
    /// A record has a key or value of the wrong form.
    #[error("a malformed {0:?} record")]
    Record(RecordKind),
    /// A block's payload is not what its hash says.
    #[error("block {number}: {reason}")]
    Block {
        /// Its number.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// The records are not the state of the block.
    #[error("{what} of {of} is {found}, expected {expected}")]
    Mismatch {
        /// What was computed.
        what: &'static str,
        /// Of whom.
        of: String,
        /// The result.
        found: B256,
        /// What it should be.
        expected: B256,
    },
    /// An account names code or storage that no record brings, or the reverse.
    #[error("{what}: {found} found, {expected} expected")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many are named.
        expected: u64,
    },
}

impl From<TrieError> for RestoreError {
    fn from(error: TrieError) -> Self {
        match error {
            TrieError::Db(error) => Self::Db(error),
            TrieError::Missing { .. } | TrieError::Damaged { .. } => {
                Self::Db(DbError::Corrupt { what: "a trie that was just written" })
            }
        }
    }
}

/// What a restored block's receipts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredBlock {
    /// The fees that its transactions paid, in wei.
    pub fees: U256,
    /// What they burned for bitcoin.
    pub burns: Burns,
}

/// A database in the making. Nothing of it counts before [`StateRestore::finish`] has returned.
pub struct StateRestore {
    db: Db,
    forks: Forks,
    genesis_hash: B256,
    batch: WriteBatch,
    newest: Option<Header>,
}

impl StateRestore {
    /// Begins in `folder`, which must not exist or be empty.
    ///
    /// # Errors
    /// [`RestoreError::Db`], [`RestoreError::Genesis`].
    pub fn create(folder: &Path, genesis: &Genesis) -> Result<Self, RestoreError> {
        let forks = Forks::new(&genesis.config).map_err(ExecutorError::from)?;
        let db = Db::open(folder, RESTORE_DB)?;
        let (hash, block) = genesis_block(genesis)?;
        let mut batch = WriteBatch::default();
        let at = BlockRef { hash, number: block.header.number, timestamp: block.header.timestamp };
        db.put_block(&mut batch, hash, &block, &[], &Outcome::default())?;
        db.put_canonical(&mut batch, at, std::iter::empty())?;
        Ok(Self { db, forks, genesis_hash: hash, batch, newest: None })
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`RestoreError::Record`], [`RestoreError::Mismatch`] for code that is not its key's, [`RestoreError::Db`].
    pub fn put(&mut self, record: StateRecord<'_>) -> Result<(), RestoreError> {
        let StateRecord { kind, key, value } = record;
        let trimmed = kind != RecordKind::Slot || value.first() != Some(&0);
        if key.len() != kind.key_bytes() || value.is_empty() || value.len() > kind.max_value_bytes() || !trimmed {
            return Err(RestoreError::Record(kind));
        }
        let cf = match kind {
            RecordKind::Account => Cf::State(Table::Accounts),
            RecordKind::Slot => Cf::State(Table::Storage),
            RecordKind::Code => {
                let (found, expected) = (keccak256(value), B256::from_slice(key));
                if found != expected {
                    return Err(RestoreError::Mismatch { what: "hash", of: "code".to_owned(), found, expected });
                }
                Cf::Code
            }
        };
        self.batch.put_cf(self.db.cf(cf)?, key, value);
        self.write(BATCH_BYTES)
    }

    /// Takes a block that was executed elsewhere, parents first, with the RLP of its receipts. Its payload must make the hash
    /// that it names, and its receipts the root in it; whether the hash is the right one is the caller's to know.
    ///
    /// # Errors
    /// [`RestoreError::Block`], [`RestoreError::Db`].
    pub fn put_block(&mut self, payload: &NewPayload, receipts: &[u8]) -> Result<RestoredBlock, RestoreError> {
        let checked = checked(&self.forks, payload, receipts)?;
        let header = &checked.block.header;
        if let Some(parent) = &self.newest
            && (parent.number.checked_add(1) != Some(header.number) || parent.hash_slow() != header.parent_hash)
        {
            let reason = "it is not on the block before it".to_owned();
            return Err(RestoreError::Block { number: header.number, reason });
        }
        checked.put(&self.db, &mut self.batch)?;
        self.write(BATCH_BYTES)?;
        self.newest = Some(checked.block.header);
        Ok(checked.result)
    }

    /// Computes the tries, compares everything, and makes the newest block head, safe and finalized, durably.
    /// `step` is told what is done.
    ///
    /// # Errors
    /// [`RestoreError::Mismatch`] and [`RestoreError::Missing`] if the records are not the state of the newest block,
    /// [`RestoreError::Db`].
    pub fn finish(mut self, mut step: impl FnMut(&str)) -> Result<BlockRef, RestoreError> {
        self.write(0)?;
        let Some(header) = self.newest.take() else {
            return Err(RestoreError::Missing { what: "blocks", found: 0, expected: 1 });
        };
        step("accounts and code");
        let mut codes = (0_u64, 0_u64);
        let found = accounts(&self.db, |_, account| {
            if account.code_hash != KECCAK_EMPTY {
                codes.0 = codes.0.saturating_add(1);
                codes.1 = codes.1.saturating_add(u64::from(self.db.contains(Cf::Code, account.code_hash)?));
            }
            Ok(())
        })?;
        if codes.0 != codes.1 {
            return Err(RestoreError::Missing { what: "codes", found: codes.1, expected: codes.0 });
        }
        step("storage tries");
        let with_storage = self.check_storage()?;
        if with_storage != found.with_storage {
            let (found, expected) = (with_storage, found.with_storage);
            return Err(RestoreError::Missing { what: "accounts with storage", found, expected });
        }
        step("account trie");
        let root = account_trie(&self.db, found.count)?;
        let hash = header.hash_slow();
        if root != header.state_root {
            let of = format!("block {hash}");
            return Err(RestoreError::Mismatch { what: "state root", of, found: root, expected: header.state_root });
        }
        let at = BlockRef { hash, number: header.number, timestamp: header.timestamp };
        let mut batch = WriteBatch::default();
        self.db.put_genesis(&mut batch, self.genesis_hash)?;
        self.db.put_history_from(&mut batch, at.number)?;
        for head in [Head::Latest, Head::Safe, Head::Finalized] {
            self.db.put_head(&mut batch, head, at)?;
        }
        step("writing");
        // Everything else first: the heads make it a chain.
        self.db.flush()?;
        self.db.write(batch)?;
        Ok(at)
    }

    /// Builds the storage tries and compares each with its account; gives how many there are.
    fn check_storage(&self) -> Result<u64, RestoreError> {
        let mut count = 0_u64;
        let mut wrong = None;
        storage_tries(&self.db, |address, root, _| {
            count = count.saturating_add(1);
            let expected = self.account(address)?.map_or(B256::ZERO, |account| account.storage_root);
            if root != expected && wrong.is_none() {
                wrong = Some(RestoreError::Mismatch {
                    what: "storage root",
                    of: address.to_string(),
                    found: root,
                    expected,
                });
            }
            Ok(())
        })?;
        wrong.map_or(Ok(count), Err)
    }

    fn account(&self, address: &Address) -> Result<Option<TrieAccount>, DbError> {
        crate::trie::read_account(&crate::db::HeadState(&self.db), address)
    }

    fn write(&mut self, above: usize) -> Result<(), RestoreError> {
        if self.batch.size_in_bytes() > above {
            self.db.write_unsynced(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for StateRestore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateRestore").field("newest", &self.newest.as_ref().map(|header| header.number)).finish()
    }
}

/// A block that was executed elsewhere, whose receipts are those that its header commits to.
pub(super) struct Checked {
    pub(super) block: Block<Tx>,
    hash: B256,
    receipts: Vec<ReceiptEnvelope>,
    outcome: Outcome,
    pub(super) result: RestoredBlock,
}

/// Checks that a payload makes the hash that it names, and receipts the root in it.
pub(super) fn checked(forks: &Forks, payload: &NewPayload, receipts: &[u8]) -> Result<Checked, RestoreError> {
    let (hash, number) = (payload.payload.block_hash, payload.payload.block_number);
    let wrong = |reason: String| RestoreError::Block { number, reason };
    let block = decode_payload(forks, payload).map_err(|error: BlockError| wrong(error.to_string()))?;
    let receipts: Vec<ReceiptEnvelope> =
        alloy_rlp::decode_exact(receipts).map_err(|_| wrong("its receipts are no RLP of receipts".to_owned()))?;
    let found = calculate_receipt_root(&receipts);
    if found != block.header.receipts_root || receipts.len() != block.body.transactions.len() {
        return Err(wrong(format!("its receipts have root {found}")));
    }
    let fees = fees(&block, block.header.base_fee_per_gas, &receipts);
    let burns = burns(&receipts).map_err(wrong)?;
    let requests = payload.execution_requests.iter().map(|request| request.to_vec().into()).collect();
    Ok(Checked { block, hash, receipts, outcome: Outcome { fees, requests }, result: RestoredBlock { fees, burns } })
}

impl Checked {
    /// Its canonical name.
    pub(super) fn at(&self) -> BlockRef {
        BlockRef { hash: self.hash, number: self.block.header.number, timestamp: self.block.header.timestamp }
    }

    /// Adds it to a batch as a canonical block.
    pub(super) fn put(&self, db: &Db, batch: &mut WriteBatch) -> Result<(), DbError> {
        db.put_block(batch, self.hash, &self.block, &self.receipts, &self.outcome)?;
        db.put_canonical(batch, self.at(), self.block.body.transactions.iter().map(|tx| *tx.tx_hash()))
    }
}

fn burns(receipts: &[ReceiptEnvelope]) -> Result<Burns, String> {
    let logs = (0u64..).zip(receipts.iter().flat_map(|receipt| receipt.logs()));
    let logs = logs.map(|(index, log)| alys_engine::Log {
        index,
        address: log.address,
        topics: log.data.topics(),
        data: &log.data.data,
    });
    alys_engine::burns(logs).map_err(|error| error.to_string())
}
