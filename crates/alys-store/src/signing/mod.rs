//! The signing record: what a member's key has signed, so that it never signs two different things for one slot
//! (protocol section 2; invariant S2).
//!
//! It is a file of its own, outside RocksDB, so that no rewind, restore or resync of the chain touches it. Before each
//! signature one entry is appended and synced; the entry is the intent and the watermark at once. BLS signatures are
//! deterministic, so the same bytes may be signed again.
//!
//! Invariants:
//! - a [`Permit`] exists only for an entry that is on disk;
//! - a key without history can't sign: [`SigningRecord::open`] never creates a file, and whoever calls
//!   [`SigningRecord::create`] says that the key is new or brings its history;
//! - one process at a time holds the file;
//! - after any I/O error the record is poisoned until the process restarts, since what is on disk is unknown;
//! - bytes that no interrupted append explains are never cut off or skipped.
//!
//! Deliberately absent: keys, signatures and clocks. A copy of the file on another host is not detected here.

mod entry;
mod file;
mod interchange;
mod watermark;

use alys_primitives::{B256, Height, Slot};
use entry::{ENTRY_BYTES, Entry, FORMAT_VERSION, HEADER_BYTES, Kind, Seal};
use std::io;
use std::path::{Path, PathBuf};

pub use entry::{RecordDamage, RecordIdentity};
pub use file::{LockedFile, RecordFile};
pub use interchange::{INTERCHANGE_FORMAT, INTERCHANGE_VERSION, Interchange, InterchangeError, MAX_INTERCHANGE_BYTES};
pub use watermark::{SignedApproval, SignedSlot, Watermarks};

/// Entries read at once when a record is opened.
const ENTRIES_PER_READ: usize = 1024;

/// The history of one key on one chain.
#[derive(Debug)]
pub struct SigningRecord<F = LockedFile> {
    file: F,
    identity: RecordIdentity,
    seal: Seal,
    /// Number of the next entry.
    next: u64,
    watermarks: Watermarks,
    poisoned: bool,
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// To propose a block.
    Proposal,
    /// To approve one.
    Approval,
}

impl std::fmt::Display for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proposal => "proposal",
            Self::Approval => "approval",
        })
    }
}

/// Proof that the intent to sign is durable. Only a [`SigningRecord`] makes one.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not used leaves its slot unsigned for good"]
pub struct Permit {
    duty: Duty,
    slot: Slot,
    signing_root: B256,
}

impl Permit {
    /// What may be signed.
    pub fn signing_root(&self) -> B256 {
        self.signing_root
    }

    /// What for.
    pub fn duty(&self) -> Duty {
        self.duty
    }

    /// The slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

/// Why a signature is not permitted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Something newer was signed already.
    #[error("{duty} for slot {slot} refused: the key has signed one for slot {last}")]
    Old {
        /// What was asked for.
        duty: Duty,
        /// Its slot.
        slot: Slot,
        /// The newest signed slot.
        last: Slot,
    },
    /// Something else was signed for the same slot.
    #[error("{duty} for slot {slot} refused: the key has signed a different one for this slot")]
    Conflict {
        /// What was asked for.
        duty: Duty,
        /// Its slot.
        slot: Slot,
    },
    /// The block's parent is lower than one approved before.
    #[error(
        "approval for slot {slot} refused: its parent is at height {parent_height}, and the key has approved on height {greatest}"
    )]
    Lower {
        /// The slot.
        slot: Slot,
        /// Height of the parent.
        parent_height: Height,
        /// The greatest parent height that was approved.
        greatest: Height,
    },
    /// The intent could not be made durable.
    #[error("not signed, since it can't be recorded")]
    Unrecorded(#[from] SigningError),
}

/// What can go wrong with the file of a signing record.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// There is no history. Creating one is an explicit act, done when a key is made or its history is imported.
    #[error("no signing record at {}: refusing to sign without history", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is a history already.
    #[error("a signing record exists at {}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the record.
    #[error("the signing record {} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The record belongs to another chain or key.
    #[error("the signing record {} is that of key {} on chain {}", path.display(), found.public_key, found.genesis_root)]
    OtherIdentity {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Box<RecordIdentity>,
    },
    /// The record was written by a newer version of the software.
    #[error("the signing record {} has format {found}; this version knows formats up to {supported}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// The file holds bytes that no crash explains.
    #[error("the signing record {} is damaged at byte {offset}: {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        damage: RecordDamage,
    },
    /// The database holds something signed by the key that the record does not know of: the record lost its end.
    #[error("the signing record {} ends at slot {}, but the database holds a {duty} for slot {slot}",
        path.display(), last.map_or_else(|| "none".to_owned(), |slot| slot.to_string()))]
    Behind {
        /// The file.
        path: PathBuf,
        /// What the database holds.
        duty: Duty,
        /// Its slot.
        slot: Slot,
        /// The newest slot of that duty in the record.
        last: Option<Slot>,
    },
    /// The device failed. The process must stop.
    #[error("I/O on the signing record {} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The device failed earlier; what is on disk is unknown until the process restarts.
    #[error("the signing record {} failed earlier and takes nothing more", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

impl SigningError {
    /// True if the process must stop: what is durable is unknown, and a sync is never tried again.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } => true,
            Self::Missing { .. }
            | Self::Exists { .. }
            | Self::Locked { .. }
            | Self::OtherIdentity { .. }
            | Self::Newer { .. }
            | Self::Damaged { .. }
            | Self::Behind { .. } => false,
        }
    }
}

impl SigningRecord<LockedFile> {
    /// Creates the record of a key that has `signed` so far: [`Watermarks::default`] for a new key, the imported ones
    /// for a key that was used elsewhere. File and folder are synced before it returns.
    ///
    /// # Errors
    /// [`SigningError::Exists`] if there is one, [`SigningError::Io`].
    pub fn create(path: &Path, identity: &RecordIdentity, signed: &Watermarks) -> Result<Self, SigningError> {
        let header = entry::encode_header(identity);
        let mut contents = header.to_vec();
        for (number, floor) in (0..).zip(floors(signed)) {
            contents.extend_from_slice(&Seal::of(&header).encode(&Entry { number, ..floor }));
        }
        let file = LockedFile::create(path, &contents)?;
        Self::resume(file, identity)
    }

    /// Opens the record of a key.
    ///
    /// # Errors
    /// [`SigningError::Missing`] without a record; [`SigningError::Locked`] if another process has it; and whatever
    /// [`SigningRecord::resume`] finds in it.
    pub fn open(path: &Path, identity: &RecordIdentity) -> Result<Self, SigningError> {
        Self::resume(LockedFile::open(path)?, identity)
    }
}

impl<F: RecordFile> SigningRecord<F> {
    /// Begins a record on an empty file: for files that are not on disk.
    ///
    /// # Errors
    /// [`SigningError::Exists`] if the file is not empty, [`SigningError::Io`].
    pub fn begin(mut file: F, identity: &RecordIdentity) -> Result<Self, SigningError> {
        let path = file.path().to_path_buf();
        let failed = |source| SigningError::Io { path: path.clone(), source };
        if file.length().map_err(failed)? != 0 {
            return Err(SigningError::Exists { path });
        }
        file.append(&entry::encode_header(identity)).map_err(failed)?;
        file.sync().map_err(failed)?;
        Self::resume(file, identity)
    }

    /// Reads a record and goes on with it. An entry whose append was interrupted was never signed for and is cut off.
    ///
    /// # Errors
    /// [`SigningError::OtherIdentity`], [`SigningError::Newer`], [`SigningError::Damaged`], [`SigningError::Io`].
    pub fn resume(mut file: F, identity: &RecordIdentity) -> Result<Self, SigningError> {
        let path = file.path().to_path_buf();
        let failed = |source| SigningError::Io { path: path.clone(), source };
        let damaged = |offset, damage| SigningError::Damaged { path: path.clone(), offset, damage };

        let length = file.length().map_err(failed)?;
        let header_bytes = as_u64(HEADER_BYTES);
        let Some(body) = length.checked_sub(header_bytes) else {
            return Err(damaged(length, RecordDamage::ShortHeader));
        };
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header).map_err(failed)?;
        let (version, found) = entry::decode_header(&header).map_err(|damage| damaged(0, damage))?;
        if version > FORMAT_VERSION {
            return Err(SigningError::Newer { path, found: version, supported: FORMAT_VERSION });
        }
        if found != *identity {
            return Err(SigningError::OtherIdentity { path, found: Box::new(found) });
        }

        let seal = Seal::of(&header);
        let entries = body / as_u64(ENTRY_BYTES);
        let mut watermarks = Watermarks::default();
        let mut next = 0;
        let mut buffer = vec![0; ENTRIES_PER_READ * ENTRY_BYTES];
        while next < entries {
            let count = usize::try_from(entries - next).unwrap_or(usize::MAX).min(ENTRIES_PER_READ);
            let chunk = &mut buffer[..count * ENTRY_BYTES];
            file.read_at(header_bytes + next * as_u64(ENTRY_BYTES), chunk).map_err(failed)?;
            for bytes in chunk.as_chunks::<ENTRY_BYTES>().0 {
                let at = header_bytes + next * as_u64(ENTRY_BYTES);
                let entry = seal.decode(bytes, next).map_err(|damage| damaged(at, damage))?;
                if !watermarks.advance(&entry) {
                    return Err(damaged(at, RecordDamage::Order));
                }
                next += 1;
            }
        }

        let end = header_bytes + entries * as_u64(ENTRY_BYTES);
        if end < length {
            let tail = &mut buffer[..usize::try_from(length - end).unwrap_or(0)];
            file.read_at(end, tail).map_err(failed)?;
            if !seal.is_interrupted(tail, next) {
                return Err(damaged(end, RecordDamage::Tail));
            }
            file.truncate(end).map_err(failed)?;
        }
        Ok(Self { file, identity: *identity, seal, next, watermarks, poisoned: false })
    }

    /// Whose record it is.
    pub fn identity(&self) -> &RecordIdentity {
        &self.identity
    }

    /// How far the key has signed.
    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// Permits to sign a proposal, once that is on disk. At most one proposal per slot, ever; the newest one again.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Unrecorded`] nothing more is permitted until the process restarts.
    pub fn permit_proposal(&mut self, slot: Slot, signing_root: B256) -> Result<Permit, Refusal> {
        let duty = Duty::Proposal;
        self.check_alive()?;
        let permit = Permit { duty, slot, signing_root };
        if let Some(last) = self.watermarks.proposal {
            if slot < last.slot {
                return Err(Refusal::Old { duty, slot, last: last.slot });
            }
            if slot == last.slot {
                return if last.signing_root == Some(signing_root) {
                    Ok(permit)
                } else {
                    Err(Refusal::Conflict { duty, slot })
                };
            }
        }
        let parent_height = Height(0);
        self.append(Entry { kind: Kind::Proposal, number: self.next, slot, parent_height, signing_root })?;
        Ok(permit)
    }

    /// Permits to sign the approval of a block on a parent at `parent_height`, once that is on disk. The slot must be
    /// greater than the last approved one and the parent not lower than any before; the newest approval again.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Unrecorded`] nothing more is permitted until the process restarts.
    pub fn permit_approval(
        &mut self,
        slot: Slot,
        parent_height: Height,
        signing_root: B256,
    ) -> Result<Permit, Refusal> {
        let duty = Duty::Approval;
        self.check_alive()?;
        let permit = Permit { duty, slot, signing_root };
        if let Some(last) = self.watermarks.approval {
            if slot < last.signed.slot {
                return Err(Refusal::Old { duty, slot, last: last.signed.slot });
            }
            if slot == last.signed.slot {
                return if last.signed.signing_root == Some(signing_root) {
                    Ok(permit)
                } else {
                    Err(Refusal::Conflict { duty, slot })
                };
            }
            if parent_height < last.parent_height {
                return Err(Refusal::Lower { slot, parent_height, greatest: last.parent_height });
            }
        }
        self.append(Entry { kind: Kind::Approval, number: self.next, slot, parent_height, signing_root })?;
        Ok(permit)
    }

    /// Rules out everything that `signed` rules out, durably: for a history that is imported. Never lowers anything.
    ///
    /// # Errors
    /// [`SigningError::Io`], [`SigningError::Poisoned`].
    pub fn raise(&mut self, signed: &Watermarks) -> Result<(), SigningError> {
        self.check_alive()?;
        let target = self.watermarks.joined(signed);
        let raised = Watermarks {
            proposal: target.proposal.filter(|_| target.proposal != self.watermarks.proposal),
            approval: target.approval.filter(|_| target.approval != self.watermarks.approval),
        };
        for floor in floors(&raised) {
            self.append(Entry { number: self.next, ..floor })?;
        }
        Ok(())
    }

    /// Compares the record with the newest of the key's own signatures that the database holds. A block is stored
    /// only after it was signed, so a record that ends before it has lost its end, and must not be signed with.
    ///
    /// # Errors
    /// [`SigningError::Behind`].
    pub fn check_covers(&self, duty: Duty, stored: Slot) -> Result<(), SigningError> {
        let last = match duty {
            Duty::Proposal => self.watermarks.proposal.map(|last| last.slot),
            Duty::Approval => self.watermarks.approval.map(|last| last.signed.slot),
        };
        if last.is_some_and(|last| last >= stored) {
            return Ok(());
        }
        Err(SigningError::Behind { path: self.file.path().to_path_buf(), duty, slot: stored, last })
    }

    fn check_alive(&self) -> Result<(), SigningError> {
        if self.poisoned {
            return Err(SigningError::Poisoned { path: self.file.path().to_path_buf() });
        }
        Ok(())
    }

    /// One synced append. Callers have checked that the watermarks let the entry in.
    fn append(&mut self, entry: Entry) -> Result<(), SigningError> {
        let bytes = self.seal.encode(&entry);
        if let Err(source) = self.file.append(&bytes).and_then(|()| self.file.sync()) {
            self.poisoned = true;
            return Err(SigningError::Io { path: self.file.path().to_path_buf(), source });
        }
        let fits = self.watermarks.advance(&entry);
        assert!(fits, "an entry was appended that the record rules out");
        self.next += 1;
        Ok(())
    }
}

/// The entries that say `signed`, numbered 0.
fn floors(signed: &Watermarks) -> impl Iterator<Item = Entry> {
    let proposal = signed.proposal.map(|last| Entry {
        kind: Kind::ProposalFloor,
        number: 0,
        slot: last.slot,
        parent_height: Height(0),
        signing_root: last.signing_root.unwrap_or_default(),
    });
    let approval = signed.approval.map(|last| Entry {
        kind: Kind::ApprovalFloor,
        number: 0,
        slot: last.signed.slot,
        parent_height: last.parent_height,
        signing_root: last.signed.signing_root.unwrap_or_default(),
    });
    proposal.into_iter().chain(approval)
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
