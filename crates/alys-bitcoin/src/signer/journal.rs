//! What a signer has signed: in memory, and in a file for a process of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use alys_primitives::B256;
use bitcoin::hashes::{Hash as _, sha256};
use serde::{Deserialize, Serialize};

use super::{JobCoin, PaymentJob};

/// The longest record that is read: some hundred thousand payments.
const MAX_BYTES: u64 = 256 << 20;

/// Log index under which a sweep is remembered: no block has so many logs.
const SWEEP_LOG_INDEX: u64 = u64::MAX - 1;

/// Why the record can't be used. Nothing is signed then.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process uses it.
    #[error("{path} is in use")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line is damaged which is not the last one.
    #[error("{path}: line {line} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// Longer than any record that is written here.
    #[error("{path} is longer than {MAX_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Unix seconds.
    time: u64,
    coins: Vec<JobCoin>,
    /// Block root, log index, satoshis; of requests that were not signed for before.
    requests: Vec<(B256, u64, u64)>,
    /// The transaction, internal byte order; records of before had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    txid: Option<B256>,
}

/// A coin, told by what its transaction spends if that was signed here, by its transaction if not. Of two attempts at a payment
/// one at most confirms, so what each brings back is one coin: if Bitcoin puts one in the place of the other, what spent the
/// change of that one may spend the change of this one instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CoinKey {
    source: B256,
    vout: u32,
}

/// The payments that a signer has signed.
#[derive(Debug, Default)]
pub struct SignedPayments {
    coins: BTreeMap<(B256, u64), BTreeSet<CoinKey>>,
    spent: BTreeSet<CoinKey>,
    /// What each transaction that was signed here spends, by a hash: the same for all attempts at a payment.
    inputs: BTreeMap<B256, B256>,
    /// When how much was signed for the first time.
    amounts: Vec<(u64, u64)>,
    file: Option<(PathBuf, File)>,
}

impl SignedPayments {
    /// None yet, and remembered only as long as the process lives.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those of a file, which is made if it is not there. A torn last line, which no signature has followed, is cut.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::File { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut bytes = Vec::new();
        (&mut file).take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_BYTES) {
            return Err(JournalError::TooLarge { path: path.to_owned() });
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        let mut payments = Self::default();
        for (number, line) in (1..).zip(bytes.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n')) {
            let entry: Entry = serde_json::from_slice(line)
                .map_err(|_| JournalError::Damaged { path: path.to_owned(), line: number })?;
            payments.take(&entry);
        }
        if whole < bytes.len() {
            file.set_len(u64::try_from(whole).unwrap_or(0)).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        payments.file = Some((path.to_owned(), file));
        Ok(payments)
    }

    /// Remembers a payment that is about to be signed: on disk before this returns, if there is a file.
    ///
    /// # Errors
    /// [`JournalError::File`]: then it must not be signed.
    pub fn record(&mut self, job: &PaymentJob, now: u64) -> Result<(), JournalError> {
        let mut requests = self.remembered(job);
        requests.retain(|(block_root, log_index, _)| !self.coins.contains_key(&(*block_root, *log_index)));
        // Signing the same transaction again says nothing new.
        if requests.is_empty() && self.inputs.contains_key(&job.txid) {
            return Ok(());
        }
        let entry = Entry { time: now, coins: job.coins.clone(), requests, txid: Some(job.txid) };
        if let Some((path, file)) = &mut self.file {
            let write = |file: &mut File| {
                let mut line = serde_json::to_vec(&entry)?;
                line.push(b'\n');
                file.write_all(&line)?;
                file.sync_data()
            };
            write(file).map_err(|source| JournalError::File { path: path.clone(), source })?;
        }
        self.take(&entry);
        Ok(())
    }

    fn take(&mut self, entry: &Entry) {
        let coins = self.keys_of(&entry.coins);
        self.spent.extend(&coins);
        if let Some(txid) = entry.txid {
            self.inputs.insert(txid, name(b"alys/inputs", &coins));
        }
        let mut sum = 0u64;
        for (block_root, log_index, amount) in &entry.requests {
            self.coins.insert((*block_root, *log_index), coins.clone());
            sum = sum.saturating_add(*amount);
        }
        self.amounts.push((entry.time, sum));
    }

    fn key_of(&self, coin: &JobCoin) -> CoinKey {
        CoinKey { source: self.inputs.get(&coin.txid).copied().unwrap_or(coin.txid), vout: coin.vout }
    }

    /// What tells these coins apart.
    pub(super) fn keys_of(&self, coins: &[JobCoin]) -> BTreeSet<CoinKey> {
        coins.iter().map(|coin| self.key_of(coin)).collect()
    }

    /// What is to be remembered of a job: its requests with their amounts. A sweep is a request of its own, named by its coins,
    /// so that no coin is ever both swept and paid out.
    pub(super) fn remembered(&self, job: &PaymentJob) -> Vec<(B256, u64, u64)> {
        if job.requests.is_empty() {
            return vec![(name(b"alys/sweep", &self.keys_of(&job.coins)), SWEEP_LOG_INDEX, 0)];
        }
        let requests = job.requests.iter();
        requests.map(|request| (request.block_root, request.log_index, request.amount)).collect()
    }

    /// The coins from which a request was signed for.
    pub(super) fn coins_of(&self, request: &(B256, u64)) -> Option<&BTreeSet<CoinKey>> {
        self.coins.get(request)
    }

    /// Whether a coin was signed away.
    pub(super) fn has_spent(&self, coin: &JobCoin) -> bool {
        let unknown = CoinKey { source: coin.txid, vout: coin.vout };
        self.spent.contains(&self.key_of(coin)) || self.spent.contains(&unknown)
    }

    /// Satoshis signed for since a time.
    pub(super) fn since(&self, time: u64) -> u64 {
        let recent = self.amounts.iter().filter(|(when, _)| *when >= time);
        recent.fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

fn name(what: &[u8], coins: &BTreeSet<CoinKey>) -> B256 {
    let mut named = what.to_vec();
    for CoinKey { source, vout } in coins {
        named.extend_from_slice(source.as_slice());
        named.extend_from_slice(&vout.to_le_bytes());
    }
    B256::from(sha256::Hash::hash(&named).to_byte_array())
}
