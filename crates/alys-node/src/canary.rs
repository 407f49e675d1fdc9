//! Mistakes made on purpose, in builds that prove that a chaos run notices them (`cargo xtask chaos --canary`). Not a part
//! of any other build: the feature `canary` is off by default. Two more are in `alys-store`.

use alloy_primitives::B256;
use alys_evm::pool::{JournalEntry, JournalError, RocksJournal, TransactionJournal};

/// Names the mistake.
const VARIABLE: &str = "ALYS_PLANTED";

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Signatures are made without a record of them.
    UnrecordedSignatures,
    /// Transactions are acknowledged and not kept.
    ForgetfulPool,
}

impl Mistake {
    fn name(self) -> &'static str {
        match self {
            Self::UnrecordedSignatures => "unrecorded-signatures",
            Self::ForgetfulPool => "forgetful-pool",
        }
    }

    /// Whether this process makes it.
    pub(crate) fn is_made(self) -> bool {
        std::env::var(VARIABLE).is_ok_and(|name| name == self.name())
    }
}

/// The pool's journal, which may not keep anything.
pub(crate) struct Journal(pub(crate) RocksJournal);

impl TransactionJournal for Journal {
    fn append(&mut self, entries: &[JournalEntry]) -> Result<(), JournalError> {
        if Mistake::ForgetfulPool.is_made() { Ok(()) } else { self.0.append(entries) }
    }

    fn remove(&mut self, hashes: &[B256]) -> Result<(), JournalError> {
        self.0.remove(hashes)
    }

    fn load(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        self.0.load()
    }
}
