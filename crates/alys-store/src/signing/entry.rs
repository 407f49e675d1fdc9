//! The bytes of the signing record: one header, then entries of one size.

use alys_primitives::{B256, Height, PublicKeyBytes, Root, Slot};

/// Bytes of the header; a multiple of an entry, so that no entry straddles a disk sector.
pub(super) const HEADER_BYTES: usize = 128;

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 64;

/// The layout below.
pub(super) const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"ALYSSIGN";

/// Bytes of an entry that its checksum covers.
const COVERED: usize = ENTRY_BYTES - 4;

/// Whose history a signing record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordIdentity {
    /// The chain: signatures of one chain mean nothing on another.
    pub genesis_root: Root,
    /// The member's key.
    pub public_key: PublicKeyBytes,
}

/// What is wrong with bytes of a signing record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordDamage {
    /// The file is shorter than its header.
    #[error("the header is cut short")]
    ShortHeader,
    /// The file does not begin as a signing record does.
    #[error("not a signing record")]
    Magic,
    /// A checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The entry is not the one that belongs here.
    #[error("entry number {found} where {expected} belongs")]
    Number {
        /// Number of the entry that belongs here.
        expected: u64,
        /// Number found.
        found: u64,
    },
    /// The entry is of no known kind.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// The entry contradicts the ones before it.
    #[error("the entry permits what an earlier one rules out")]
    Order,
    /// The file ends in bytes that no interrupted append leaves.
    #[error("the last bytes are not the beginning of an entry")]
    Tail,
}

/// Writes the header of a record.
pub(super) fn encode_header(identity: &RecordIdentity) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..48].copy_from_slice(identity.genesis_root.as_slice());
    bytes[48..96].copy_from_slice(identity.public_key.as_slice());
    let checksum = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a header: its format version and identity.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Result<(u32, RecordIdentity), RecordDamage> {
    if !bytes.starts_with(MAGIC) {
        return Err(RecordDamage::Magic);
    }
    if crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
        return Err(RecordDamage::Checksum);
    }
    let identity = RecordIdentity {
        genesis_root: Root::from_slice(&bytes[16..48]),
        public_key: PublicKeyBytes::from_slice(&bytes[48..96]),
    };
    Ok((u32_at(bytes, 8), identity))
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The intent to sign a proposal.
    Proposal,
    /// The intent to sign an approval.
    Approval,
    /// Proposals up to this slot were signed elsewhere.
    ProposalFloor,
    /// Approvals up to this slot and parent height were signed elsewhere.
    ApprovalFloor,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Proposal => 1,
            Self::Approval => 2,
            Self::ProposalFloor => 3,
            Self::ApprovalFloor => 4,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Proposal,
            2 => Self::Approval,
            3 => Self::ProposalFloor,
            4 => Self::ApprovalFloor,
            _ => return None,
        })
    }
}

/// One entry.
///
/// Layout, little-endian: kind (1), number (7), slot (8), parent height (8), signing root (32), zero (4), CRC-32 (4)
/// over the header's CRC-32 and the sixty bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Position in the file, from 0.
    pub(super) number: u64,
    pub(super) slot: Slot,
    /// Zero in entries about proposals.
    pub(super) parent_height: Height,
    /// What is signed; zero in a floor that does not know.
    pub(super) signing_root: B256,
}

/// Ties entries to the header of their file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    /// The seal of the file that begins with `header`.
    pub(super) fn of(header: &[u8; HEADER_BYTES]) -> Self {
        Self(u32_at(header, HEADER_BYTES - 4))
    }

    fn checksum(self, covered: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(covered);
        hasher.finalize()
    }

    /// Writes an entry.
    pub(super) fn encode(self, entry: &Entry) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = entry.kind.byte();
        bytes[1..8].copy_from_slice(&entry.number.to_le_bytes()[..7]);
        bytes[8..16].copy_from_slice(&entry.slot.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&entry.parent_height.0.to_le_bytes());
        bytes[24..56].copy_from_slice(entry.signing_root.as_slice());
        let checksum = self.checksum(&bytes[..COVERED]);
        bytes[COVERED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the entry that should be number `expected`.
    pub(super) fn decode(self, bytes: &[u8; ENTRY_BYTES], expected: u64) -> Result<Entry, RecordDamage> {
        if self.checksum(&bytes[..COVERED]) != u32_at(bytes, COVERED) {
            return Err(RecordDamage::Checksum);
        }
        let kind = Kind::of(bytes[0]).ok_or(RecordDamage::Kind(bytes[0]))?;
        let number = u64_at(bytes, 0) >> 8;
        if number != expected {
            return Err(RecordDamage::Number { expected, found: number });
        }
        Ok(Entry {
            kind,
            number,
            slot: Slot(u64_at(bytes, 8)),
            parent_height: Height(u64_at(bytes, 16)),
            signing_root: B256::from_slice(&bytes[24..56]),
        })
    }

    /// True if `tail`, shorter than an entry, can be what an interrupted append of entry `expected` left behind.
    pub(super) fn is_interrupted(self, tail: &[u8], expected: u64) -> bool {
        let number = expected.to_le_bytes();
        let kind = tail.first().is_some_and(|byte| Kind::of(*byte).is_some());
        let counted = tail.iter().skip(1).zip(&number[..7]).all(|(found, wanted)| found == wanted);
        let unused = tail.get(56..).unwrap_or_default().iter().take(4).all(|byte| *byte == 0);
        let checked = tail.get(..COVERED).is_none_or(|covered| {
            let checksum = self.checksum(covered).to_le_bytes();
            tail.iter().skip(COVERED).zip(checksum).all(|(found, wanted)| *found == wanted)
        });
        kind && counted && unused && checked
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
