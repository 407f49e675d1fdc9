//! What is asked of one peer.

use super::frame::{FrameError, read_frame, write_frame};
use alys_primitives::ssz::{self, Decode as _, Encode as _};
use alys_primitives::{
    Epoch, FixedBytes, Height, LightRecord, Notarization, Root, SignedBlock, Slot, UnixMillis, VariableList, Wei,
    typenum,
};
use futures::FutureExt as _;
use futures::io::Cursor;
use ssz_derive::{Decode, Encode};

/// The most bytes of one block.
pub const MAX_BLOCK_BYTES: usize = 10 * 1024 * 1024;

/// The most blocks of one answer.
pub const MAX_RANGE_BLOCKS: u64 = 128;

/// The bytes at which an answer takes no further block; the last one may go beyond by itself.
pub const MAX_RANGE_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes of one part of a snapshot: a block with its receipts at their largest.
pub const MAX_PART_BYTES: usize = 16 * 1024 * 1024;

/// The most roots of one request.
pub const MAX_ROOTS: usize = 64;

/// The most records of bundles of one answer.
pub const MAX_LIGHT_RECORDS: u64 = 256;

/// The bytes at which an answer takes no further record; the last one may go beyond by itself.
pub const MAX_LIGHT_BYTES: usize = 1024 * 1024;

/// Room for a full answer: records up to their budget, and one beyond it with as many changes as it can have.
const MAX_LIGHT_FRAME: usize = MAX_LIGHT_BYTES + 4 * 1024 * 1024;

/// Room for a full answer: a range up to its budget, one part beyond it.
const MAX_OLDER_BYTES: usize = MAX_RANGE_BYTES + MAX_PART_BYTES;

/// Room for a full answer: a range up to its budget, one block beyond it, certificates.
const MAX_BLOCKS_BYTES: usize = MAX_RANGE_BYTES + MAX_BLOCK_BYTES + 64 * 1024;

/// Who a peer is and how far it has come. Exchanged when a connection opens and again every few seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The chain, by the root of its constants.
    pub genesis_root: Root,
    /// Version of the rules at its head.
    pub fork_version: FixedBytes<4>,
    /// Epoch of its next block.
    pub epoch: Epoch,
    /// Tip of its notarized chain.
    pub head_root: Root,
    /// Height of the tip.
    pub head_height: Height,
    /// Slot of the tip.
    pub head_slot: Slot,
    /// Height of its newest safe block.
    pub safe_height: Height,
    /// Its newest finalized block.
    pub finalized_root: Root,
    /// Height of that.
    pub finalized_height: Height,
    /// Height of the oldest block that it can give; above 1 after a start from a snapshot.
    pub earliest_height: Height,
    /// Its clock.
    pub time: UnixMillis,
}

impl Status {
    /// What somebody says whose chain has no block beyond genesis.
    pub fn at_genesis(genesis_root: Root, fork_version: FixedBytes<4>, head_root: Root, time: UnixMillis) -> Self {
        Self {
            genesis_root,
            fork_version,
            epoch: Epoch(0),
            head_root,
            head_height: Height(0),
            head_slot: Slot(0),
            safe_height: Height(0),
            finalized_root: Root::ZERO,
            finalized_height: Height(0),
            earliest_height: Height(1),
            time,
        }
    }
}

/// Blocks of the responder's own notarized chain, by height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockRange {
    /// Height of the first.
    pub start: Height,
    /// How many, at most [`MAX_RANGE_BLOCKS`]; the answer may hold fewer.
    pub count: u64,
}

/// Roots of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct BlockRoots {
    /// At most [`MAX_ROOTS`].
    pub roots: VariableList<Root, typenum::U64>,
}

/// Blocks, and the certificates that do not stand in a child among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Blocks {
    /// The blocks; of a range in order of height and without gaps.
    pub blocks: VariableList<SignedBlock, typenum::U128>,
    /// The last block's certificate, if the responder has it.
    pub certificate: VariableList<Notarization, typenum::U1>,
}

/// Certificates of those blocks asked for that the responder has one of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Certificates {
    /// In the order of the request.
    pub certificates: VariableList<Notarization, typenum::U64>,
}

/// A snapshot of the state that a peer can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotOffer {
    /// Root of the block on top of the snapshot's, whose header commits to everything in it.
    pub anchor: Root,
    /// Height of the snapshot's block.
    pub height: Height,
    /// Hash of its manifest, which names every part by its hash.
    pub id: FixedBytes<32>,
    /// How many parts it has, the manifest not counted.
    pub parts: u64,
    /// Bytes of all parts.
    pub bytes: u64,
}

/// The snapshots that a peer can give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotOffers {
    /// Newest first.
    pub offers: VariableList<SnapshotOffer, typenum::U8>,
}

/// One part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotPart {
    /// Hash of the manifest.
    pub snapshot: FixedBytes<32>,
    /// 0 for the manifest, then the parts in its order.
    pub index: u64,
}

/// Records of final bundles, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LightRecords {
    /// Expected hashes of all records of the responder's chain that were committed when it made its newest checkpoint; its
    /// records have at least so much work.
    pub work: Wei,
    /// The records, without gaps; none if no further bundle is final.
    pub records: VariableList<LightRecord, typenum::U256>,
}

/// A block of the responder's chain with its way to the root of its bundle's list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BundleProof {
    /// The block.
    pub root: Root,
    /// The siblings from the block up.
    pub branch: VariableList<Root, typenum::U16>,
}

/// A block as it was final, with what its execution gave.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct OlderBlock {
    /// The block.
    pub block: SignedBlock,
    /// RLP of the receipts of its transactions.
    pub receipts: VariableList<u8, typenum::U16777216>,
}

/// Final blocks with their receipts, in order of height and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct OlderBlocks {
    /// The blocks; fewer than asked for where there are no more or the answer is full, from the newest one down.
    pub blocks: VariableList<OlderBlock, typenum::U128>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who are you; this is me.
    Status(Status),
    /// Blocks by height.
    BlocksByRange(BlockRange),
    /// Blocks by root, of any branch.
    BlocksByRoot(BlockRoots),
    /// Certificates by block root.
    CertificatesByRoot(BlockRoots),
    /// Snapshots that the peer has.
    Snapshots,
    /// A part of one.
    SnapshotPart(SnapshotPart),
    /// Final bundles from the one that begins at a height on, at most [`MAX_LIGHT_RECORDS`].
    LightRecords(BlockRange),
    /// The way from the block at a height to its bundle.
    BundleProof(Height),
    /// Final blocks with receipts, by height: those at the end of the range if not all fit.
    OlderBlocks(BlockRange),
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Request::Status`].
    Status(Status),
    /// To both requests for blocks.
    Blocks(Box<Blocks>),
    /// To [`Request::CertificatesByRoot`].
    Certificates(Certificates),
    /// To [`Request::Snapshots`].
    Snapshots(SnapshotOffers),
    /// To [`Request::SnapshotPart`]: at most [`MAX_PART_BYTES`], to be compared with their hash.
    SnapshotPart(Vec<u8>),
    /// To [`Request::LightRecords`].
    LightRecords(Box<LightRecords>),
    /// To [`Request::BundleProof`].
    BundleProof(BundleProof),
    /// To [`Request::OlderBlocks`].
    OlderBlocks(Box<OlderBlocks>),
    /// No answer to be had.
    Refused(Refusal),
}

/// Why a peer gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much to do; ask later.
    Busy,
    /// The asker asks too often.
    TooMany,
    /// The request is out of its bounds.
    OutOfBounds,
    /// Something failed here.
    Failed,
    /// It is not here, or not any more.
    NotHere,
}

const STATUS: u8 = 1;
const RANGE: u8 = 2;
const ROOTS: u8 = 3;
const CERTIFICATES: u8 = 4;
const BLOCKS: u8 = 5;
const SNAPSHOTS: u8 = 6;
const PART: u8 = 7;
const LIGHT: u8 = 8;
const PROOF: u8 = 9;
const OLDER: u8 = 10;
const REFUSED: u8 = 0xff;

impl Request {
    /// Reads a whole frame, as it comes from a peer.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn from_frame(bytes: &[u8]) -> Result<Self, FrameError> {
        let (kind, content) = at_once(read_frame(&mut Cursor::new(bytes), Self::limit).now_or_never())?;
        Self::decode(kind, &content)
    }

    /// The frame that a peer gets.
    ///
    /// # Errors
    /// [`FrameError`] if it is longer than a frame can say.
    pub fn to_frame(&self) -> Result<Vec<u8>, FrameError> {
        let ((kind, content), mut out) = (self.encode(), Cursor::new(Vec::new()));
        at_once(write_frame(&mut out, kind, &content).now_or_never())?;
        Ok(out.into_inner())
    }

    /// Its name, as in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::BlocksByRange(_) => "blocks_by_range",
            Self::BlocksByRoot(_) => "blocks_by_root",
            Self::CertificatesByRoot(_) => "certificates",
            Self::Snapshots => "snapshots",
            Self::SnapshotPart(_) => "snapshot_part",
            Self::LightRecords(_) => "light_records",
            Self::BundleProof(_) => "bundle_proof",
            Self::OlderBlocks(_) => "older_blocks",
        }
    }

    /// The most bytes of a request of a kind.
    pub(crate) fn limit(kind: u8) -> Option<usize> {
        match kind {
            STATUS => Some(256),
            RANGE | LIGHT | OLDER => Some(16),
            PROOF => Some(8),
            ROOTS | CERTIFICATES => Some(4 + 32 * MAX_ROOTS),
            SNAPSHOTS => Some(0),
            PART => Some(40),
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Status(status) => (STATUS, status.as_ssz_bytes()),
            Self::BlocksByRange(range) => (RANGE, range.as_ssz_bytes()),
            Self::BlocksByRoot(roots) => (ROOTS, roots.as_ssz_bytes()),
            Self::CertificatesByRoot(roots) => (CERTIFICATES, roots.as_ssz_bytes()),
            Self::Snapshots => (SNAPSHOTS, Vec::new()),
            Self::SnapshotPart(part) => (PART, part.as_ssz_bytes()),
            Self::LightRecords(range) => (LIGHT, range.as_ssz_bytes()),
            Self::BundleProof(height) => (PROOF, height.as_ssz_bytes()),
            Self::OlderBlocks(range) => (OLDER, range.as_ssz_bytes()),
        }
    }

    pub(crate) fn decode(kind: u8, bytes: &[u8]) -> Result<Self, FrameError> {
        match kind {
            STATUS => Status::from_ssz_bytes(bytes).map(Self::Status).map_err(ssz_error),
            RANGE => BlockRange::from_ssz_bytes(bytes).map(Self::BlocksByRange).map_err(ssz_error),
            ROOTS => BlockRoots::from_ssz_bytes(bytes).map(Self::BlocksByRoot).map_err(ssz_error),
            CERTIFICATES => BlockRoots::from_ssz_bytes(bytes).map(Self::CertificatesByRoot).map_err(ssz_error),
            SNAPSHOTS if bytes.is_empty() => Ok(Self::Snapshots),
            SNAPSHOTS => Err(FrameError::Ssz),
            PART => SnapshotPart::from_ssz_bytes(bytes).map(Self::SnapshotPart).map_err(ssz_error),
            LIGHT => BlockRange::from_ssz_bytes(bytes).map(Self::LightRecords).map_err(ssz_error),
            PROOF => Height::from_ssz_bytes(bytes).map(Self::BundleProof).map_err(ssz_error),
            OLDER => BlockRange::from_ssz_bytes(bytes).map(Self::OlderBlocks).map_err(ssz_error),
            _ => Err(FrameError::Kind { kind }),
        }
    }
}

/// Bytes in memory never make a reader or writer wait.
fn at_once<T>(done: Option<Result<T, FrameError>>) -> Result<T, FrameError> {
    done.unwrap_or(Err(FrameError::Stream(std::io::ErrorKind::WouldBlock.into())))
}

impl Response {
    /// Reads a whole frame, as it comes from a peer.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn from_frame(bytes: &[u8]) -> Result<Self, FrameError> {
        let (kind, content) = at_once(read_frame(&mut Cursor::new(bytes), Self::limit).now_or_never())?;
        Self::decode(kind, &content)
    }

    /// The frame that a peer gets.
    ///
    /// # Errors
    /// [`FrameError`] if it is longer than a frame can say.
    pub fn to_frame(&self) -> Result<Vec<u8>, FrameError> {
        let ((kind, content), mut out) = (self.encode(), Cursor::new(Vec::new()));
        at_once(write_frame(&mut out, kind, &content).now_or_never())?;
        Ok(out.into_inner())
    }

    /// The most bytes of an answer of a kind.
    pub(crate) fn limit(kind: u8) -> Option<usize> {
        match kind {
            STATUS => Some(256),
            BLOCKS => Some(MAX_BLOCKS_BYTES),
            CERTIFICATES => Some(64 * 1024),
            SNAPSHOTS => Some(4 + 112 * 8),
            PART => Some(MAX_PART_BYTES),
            LIGHT => Some(MAX_LIGHT_FRAME),
            PROOF => Some(32 + 4 + 32 * 16),
            OLDER => Some(MAX_OLDER_BYTES),
            REFUSED => Some(1),
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Status(status) => (STATUS, status.as_ssz_bytes()),
            Self::Blocks(blocks) => (BLOCKS, blocks.as_ssz_bytes()),
            Self::Certificates(certificates) => (CERTIFICATES, certificates.as_ssz_bytes()),
            Self::Snapshots(offers) => (SNAPSHOTS, offers.as_ssz_bytes()),
            Self::SnapshotPart(bytes) => (PART, bytes.clone()),
            Self::LightRecords(records) => (LIGHT, records.as_ssz_bytes()),
            Self::BundleProof(proof) => (PROOF, proof.as_ssz_bytes()),
            Self::OlderBlocks(blocks) => (OLDER, blocks.as_ssz_bytes()),
            Self::Refused(refusal) => (REFUSED, vec![refusal.code()]),
        }
    }

    pub(crate) fn decode(kind: u8, bytes: &[u8]) -> Result<Self, FrameError> {
        match kind {
            STATUS => Status::from_ssz_bytes(bytes).map(Self::Status).map_err(ssz_error),
            BLOCKS => Blocks::from_ssz_bytes(bytes).map(Box::new).map(Self::Blocks).map_err(ssz_error),
            CERTIFICATES => Certificates::from_ssz_bytes(bytes).map(Self::Certificates).map_err(ssz_error),
            SNAPSHOTS => SnapshotOffers::from_ssz_bytes(bytes).map(Self::Snapshots).map_err(ssz_error),
            PART => Ok(Self::SnapshotPart(bytes.to_vec())),
            LIGHT => LightRecords::from_ssz_bytes(bytes).map(Box::new).map(Self::LightRecords).map_err(ssz_error),
            PROOF => BundleProof::from_ssz_bytes(bytes).map(Self::BundleProof).map_err(ssz_error),
            OLDER => OlderBlocks::from_ssz_bytes(bytes).map(Box::new).map(Self::OlderBlocks).map_err(ssz_error),
            REFUSED => bytes.first().and_then(|code| Refusal::of(*code)).map(Self::Refused).ok_or(FrameError::Ssz),
            _ => Err(FrameError::Kind { kind }),
        }
    }
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Self::Busy => 1,
            Self::TooMany => 2,
            Self::OutOfBounds => 3,
            Self::Failed => 4,
            Self::NotHere => 5,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Busy, Self::TooMany, Self::OutOfBounds, Self::Failed, Self::NotHere]
            .into_iter()
            .find(|refusal| refusal.code() == code)
    }
}

fn ssz_error(_: ssz::DecodeError) -> FrameError {
    FrameError::Ssz
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            genesis_root: Root::repeat_byte(1),
            fork_version: FixedBytes::ZERO,
            epoch: Epoch(2),
            head_root: Root::repeat_byte(3),
            head_height: Height(4),
            head_slot: Slot(5),
            safe_height: Height(3),
            finalized_root: Root::ZERO,
            finalized_height: Height(0),
            earliest_height: Height(1),
            time: UnixMillis(6),
        }
    }

    #[test]
    fn requests_and_answers_read_back_as_written_within_their_limits() {
        let roots = BlockRoots { roots: VariableList::new(vec![Root::repeat_byte(9); MAX_ROOTS]).unwrap() };
        for request in [
            Request::Status(status()),
            Request::BlocksByRange(BlockRange { start: Height(7), count: 64 }),
            Request::BlocksByRoot(roots.clone()),
            Request::CertificatesByRoot(roots),
            Request::Snapshots,
            Request::SnapshotPart(SnapshotPart { snapshot: FixedBytes::repeat_byte(4), index: 5 }),
            Request::LightRecords(BlockRange { start: Height(1), count: 256 }),
            Request::BundleProof(Height(6)),
            Request::OlderBlocks(BlockRange { start: Height(8), count: 128 }),
        ] {
            let (kind, bytes) = request.encode();
            assert!(bytes.len() <= Request::limit(kind).unwrap(), "{}", request.name());
            assert_eq!(Request::decode(kind, &bytes).unwrap(), request);
        }
        for response in [
            Response::Status(status()),
            Response::Blocks(Box::default()),
            Response::Certificates(Certificates::default()),
            Response::Snapshots(SnapshotOffers {
                offers: VariableList::new(vec![
                    SnapshotOffer {
                        anchor: Root::ZERO,
                        height: Height(1),
                        id: FixedBytes::ZERO,
                        parts: 2,
                        bytes: 3
                    };
                    8
                ])
                .unwrap(),
            }),
            Response::SnapshotPart(vec![1; 100]),
            Response::LightRecords(Box::new(LightRecords { work: Wei::from(7), records: VariableList::empty() })),
            Response::BundleProof(BundleProof {
                root: Root::repeat_byte(1),
                branch: VariableList::new(vec![Root::repeat_byte(2); 16]).unwrap(),
            }),
            Response::OlderBlocks(Box::default()),
            Response::Refused(Refusal::TooMany),
        ] {
            let (kind, bytes) = response.encode();
            assert!(bytes.len() <= Response::limit(kind).unwrap());
            assert_eq!(Response::decode(kind, &bytes).unwrap(), response);
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        assert!(matches!(Request::decode(RANGE, &[0; 15]), Err(FrameError::Ssz)));
        assert!(matches!(Request::decode(ROOTS, &[4, 0, 0, 0, 1]), Err(FrameError::Ssz)));
        assert!(matches!(Request::decode(0, &[]), Err(FrameError::Kind { kind: 0 })));
        assert!(matches!(Response::decode(REFUSED, &[9]), Err(FrameError::Ssz)));
        assert_eq!(Request::limit(0), None);
    }
}
