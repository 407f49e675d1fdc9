//! The bytes of manifests and parts.
//!
//! Manifest: `ALYSSNAP`, version (2), genesis root (32), length (4) and SSZ of the anchor's header, number of parts (4), then
//! length (4) and keccak-256 (32) of each. Numbers are little endian.
//!
//! A part begins with its kind: 1 the checkpoint (once, the first), 2 blocks (oldest first), 3 state (in order). Items follow
//! each other, each field with its length (4) before it.

use alloy_primitives::keccak256;
use alys_chain::{ChainState, Checkpoint, TrunkBlock};
use alys_evm::snapshot::{RecordKind, StateRecord};
use alys_p2p::MAX_PART_BYTES;
use alys_primitives::ssz::{Decode, Encode};
use alys_primitives::{B256, BlockHeader, Height, Members, Notarization, Root, SignedBlock, Slot, Wei};

const MAGIC: &[u8; 8] = b"ALYSSNAP";
const VERSION: u16 = 1;

/// The most parts of a snapshot.
pub const MAX_PARTS: usize = 1 << 17;

/// Bytes at which a part of blocks or state takes nothing more.
pub(super) const PART_TARGET: usize = 1 << 20;

const CHECKPOINT: u8 = 1;
const BLOCKS: u8 = 2;
const STATE: u8 = 3;

/// Why bytes are no manifest, or no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not a manifest.
    #[error("not the manifest of a snapshot")]
    Magic,
    /// Made by a newer version of the software.
    #[error("snapshot format {found}, this version knows {VERSION}")]
    Newer {
        /// The format found.
        found: u16,
    },
    /// The bytes end early, go on too long, or claim more than is allowed.
    #[error("{what}: wrong length")]
    Length {
        /// Of what.
        what: &'static str,
    },
    /// Something is not the SSZ of its kind.
    #[error("{what}: not the SSZ of its kind")]
    Ssz {
        /// What.
        what: &'static str,
    },
    /// A part of a kind that does not exist, or not there.
    #[error("a part of kind {0} does not belong there")]
    Kind(u8),
    /// A part that does not fit what a part may hold.
    #[error("{bytes} bytes do not fit into a part")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
}

/// What a manifest says of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its bytes, at most [`MAX_PART_BYTES`].
    pub bytes: u32,
    /// Keccak-256 of them.
    pub hash: B256,
}

impl Part {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, FormatError> {
        let too_large = FormatError::TooLarge { bytes: bytes.len() };
        match u32::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= MAX_PART_BYTES => Ok(Self { bytes: length, hash: keccak256(bytes) }),
            Ok(_) | Err(_) => Err(too_large),
        }
    }

    /// Whether `bytes` are this part.
    pub fn is(&self, bytes: &[u8]) -> bool {
        u32::try_from(bytes.len()) == Ok(self.bytes) && keccak256(bytes) == self.hash
    }
}

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The chain.
    pub genesis_root: Root,
    /// Header of the block on top of the snapshot's.
    pub anchor: BlockHeader,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// Height of the snapshot's block.
    pub fn height(&self) -> Height {
        self.anchor.height.saturating_sub(1)
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| u64::from(part.bytes)).sum()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(self.genesis_root.as_slice());
        put(&mut out, &self.anchor.as_ssz_bytes());
        out.extend_from_slice(&u32::try_from(self.parts.len()).unwrap_or(u32::MAX).to_le_bytes());
        for part in &self.parts {
            out.extend_from_slice(&part.bytes.to_le_bytes());
            out.extend_from_slice(part.hash.as_slice());
        }
        out
    }

    /// Reads a manifest; at most [`MAX_PARTS`] parts of at most [`MAX_PART_BYTES`].
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut rest = Cursor { rest: bytes, what: "manifest" };
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(FormatError::Magic);
        }
        let version = rest.take(2)?.iter().rev().fold(0u16, |sum, byte| (sum << 8) | u16::from(*byte));
        if version != VERSION {
            return Err(FormatError::Newer { found: version });
        }
        let genesis_root = Root::from_slice(rest.take(32)?);
        let anchor = rest.ssz(1024)?;
        let count = rest.length(MAX_PARTS)?;
        let mut parts = Vec::with_capacity(count.min(rest.rest.len() / 36));
        for _ in 0..count {
            let bytes = u32::try_from(rest.length(MAX_PART_BYTES)?).unwrap_or(u32::MAX);
            parts.push(Part { bytes, hash: B256::from_slice(rest.take(32)?) });
        }
        rest.end()?;
        Ok(Self { genesis_root, anchor, parts })
    }
}

/// A block with the RLP of its receipts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SnapshotBlock {
    pub(super) block: SignedBlock,
    pub(super) receipts: Vec<u8>,
}

/// What a part holds.
pub(super) enum Content<'a> {
    Checkpoint(Box<Checkpoint>),
    Blocks(Vec<SnapshotBlock>),
    State(Records<'a>),
}

impl<'a> Content<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let Some((kind, rest)) = bytes.split_first() else { return Err(FormatError::Length { what: "part" }) };
        match *kind {
            CHECKPOINT => decode_checkpoint(rest).map(Box::new).map(Self::Checkpoint),
            BLOCKS => {
                let mut rest = Cursor { rest, what: "blocks" };
                let mut blocks = Vec::new();
                while !rest.rest.is_empty() {
                    let block = rest.ssz(MAX_PART_BYTES)?;
                    blocks.push(SnapshotBlock { block, receipts: rest.sized(MAX_PART_BYTES)?.to_vec() });
                }
                Ok(Self::Blocks(blocks))
            }
            STATE => Ok(Self::State(Records(Cursor { rest, what: "state" }))),
            kind => Err(FormatError::Kind(kind)),
        }
    }
}

/// The records of a part of state, read one after the other.
pub(super) struct Records<'a>(Cursor<'a>);

impl<'a> Records<'a> {
    pub(super) fn next(&mut self) -> Result<Option<StateRecord<'a>>, FormatError> {
        if self.0.rest.is_empty() {
            return Ok(None);
        }
        let kind = match self.0.take(1)? {
            [0] => RecordKind::Account,
            [1] => RecordKind::Slot,
            [2] => RecordKind::Code,
            _ => return Err(FormatError::Ssz { what: "state" }),
        };
        let key = self.0.take(kind.key_bytes())?;
        Ok(Some(StateRecord { kind, key, value: self.0.sized(kind.max_value_bytes())? }))
    }
}

pub(super) fn begin_blocks() -> Vec<u8> {
    vec![BLOCKS]
}

pub(super) fn put_block(out: &mut Vec<u8>, block: &SignedBlock, receipts: &[u8]) {
    put(out, &block.as_ssz_bytes());
    put(out, receipts);
}

pub(super) fn begin_state() -> Vec<u8> {
    vec![STATE]
}

pub(super) fn put_record(out: &mut Vec<u8>, record: StateRecord<'_>) {
    out.push(match record.kind {
        RecordKind::Account => 0,
        RecordKind::Slot => 1,
        RecordKind::Code => 2,
    });
    out.extend_from_slice(record.key);
    put(out, record.value);
}

pub(super) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = vec![CHECKPOINT];
    put(&mut out, &checkpoint.header.as_ssz_bytes());
    put(&mut out, &checkpoint.certificate.as_ref().map(Encode::as_ssz_bytes).unwrap_or_default());
    put(&mut out, &checkpoint.state.as_ssz_bytes());
    put(&mut out, &checkpoint.members.as_ssz_bytes());
    put(&mut out, &checkpoint.next_members.as_ref().map(Encode::as_ssz_bytes).unwrap_or_default());
    for TrunkBlock { root, height, slot, fees_total } in &checkpoint.trunk {
        out.extend_from_slice(root.as_slice());
        out.extend_from_slice(&height.0.to_le_bytes());
        out.extend_from_slice(&slot.0.to_le_bytes());
        out.extend_from_slice(&fees_total.to_le_bytes::<32>());
    }
    out
}

fn decode_checkpoint(bytes: &[u8]) -> Result<Checkpoint, FormatError> {
    let mut rest = Cursor { rest: bytes, what: "checkpoint" };
    let header: BlockHeader = rest.ssz(1024)?;
    let certificate: Option<Notarization> = rest.optional()?;
    let state: ChainState = rest.ssz(MAX_PART_BYTES)?;
    let members: Members = rest.ssz(MAX_PART_BYTES)?;
    let next_members = rest.optional()?;
    let mut trunk = Vec::new();
    while !rest.rest.is_empty() {
        let root = Root::from_slice(rest.take(32)?);
        let (height, slot) = (Height(rest.number()?), Slot(rest.number()?));
        trunk.push(TrunkBlock { root, height, slot, fees_total: Wei::from_le_slice(rest.take(32)?) });
    }
    Ok(Checkpoint { header, certificate, state, members, next_members, trunk })
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // What is longer does not fit into a part, which is noticed there.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes that are taken from the front, never more than there are.
struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FormatError::Length { what: self.what })?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        Ok(self.take(8)?.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    fn length(&mut self, most: usize) -> Result<usize, FormatError> {
        let length = self.take(4)?.iter().rev().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        let length = usize::try_from(length).ok().filter(|length| *length <= most);
        length.ok_or(FormatError::Length { what: self.what })
    }

    fn sized(&mut self, most: usize) -> Result<&'a [u8], FormatError> {
        let length = self.length(most)?;
        self.take(length)
    }

    fn ssz<T: Decode>(&mut self, most: usize) -> Result<T, FormatError> {
        T::from_ssz_bytes(self.sized(most)?).map_err(|_| FormatError::Ssz { what: self.what })
    }

    fn optional<T: Decode>(&mut self) -> Result<Option<T>, FormatError> {
        match self.sized(MAX_PART_BYTES)? {
            [] => Ok(None),
            bytes => T::from_ssz_bytes(bytes).map(Some).map_err(|_| FormatError::Ssz { what: self.what }),
        }
    }

    fn end(&self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError::Length { what: self.what }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_read_back_as_written_and_nothing_else_does() {
        let parts = vec![Part::of(b"one").unwrap(), Part::of(b"two").unwrap()];
        let anchor = BlockHeader { height: Height(8), ..BlockHeader::default() };
        let manifest = Manifest { genesis_root: Root::repeat_byte(1), anchor, parts };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
        assert_eq!((manifest.height(), manifest.bytes()), (Height(7), 6));
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Manifest::decode(&longer), Err(FormatError::Length { what: "manifest" }));
        let mut many = bytes.clone();
        let at = bytes.len() - 2 * 36 - 4;
        many[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Manifest::decode(&many), Err(FormatError::Length { what: "manifest" }), "a claim allocates nothing");
        let mut newer = bytes;
        newer[8] = 9;
        assert_eq!(Manifest::decode(&newer), Err(FormatError::Newer { found: 9 }));
    }

    #[test]
    fn a_part_is_its_bytes_and_no_others() {
        let part = Part::of(b"bytes").unwrap();
        assert!(part.is(b"bytes"));
        assert!(!part.is(b"bytez") && !part.is(b"byte") && !part.is(b"bytes "));
        assert!(Part::of(&vec![0; MAX_PART_BYTES + 1]).is_err());
    }

    #[test]
    fn records_read_back_and_malformed_ones_are_refused() {
        let mut bytes = begin_state();
        let account = StateRecord { kind: RecordKind::Account, key: &[1; 20], value: &[2; 70] };
        let slot = StateRecord { kind: RecordKind::Slot, key: &[3; 52], value: &[4; 32] };
        put_record(&mut bytes, account);
        put_record(&mut bytes, slot);
        let Content::State(mut records) = Content::decode(&bytes).unwrap() else { panic!("state") };
        assert_eq!(records.next(), Ok(Some(account)));
        assert_eq!(records.next(), Ok(Some(slot)));
        assert_eq!(records.next(), Ok(None));
        let Content::State(mut cut) = Content::decode(&bytes[..bytes.len() - 1]).unwrap() else { panic!("state") };
        assert_eq!(cut.next(), Ok(Some(account)));
        assert!(cut.next().is_err());
        assert!(matches!(Content::decode(&[9]), Err(FormatError::Kind(9))));
        assert!(Content::decode(&[]).is_err());
        assert!(Content::decode(&[1, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
