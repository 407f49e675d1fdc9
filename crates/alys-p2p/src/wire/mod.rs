//! What travels: SSZ inside snappy, measured before it is decompressed and again before it is decoded.

mod frame;
mod gossip;
mod request;

pub use frame::FrameError;
pub(crate) use frame::{compress, decompress, read_frame, write_frame};
pub use gossip::{GossipError, GossipMessage, MAX_PSBT_BYTES, PegSignatures, Topic};
pub use request::{
    BlockRange, BlockRoots, Blocks, BundleProof, Certificates, LightRecords, MAX_BLOCK_BYTES, MAX_LIGHT_BYTES,
    MAX_LIGHT_RECORDS, MAX_PART_BYTES, MAX_RANGE_BLOCKS, MAX_RANGE_BYTES, MAX_ROOTS, OlderBlock, OlderBlocks, Refusal,
    Request, Response, SnapshotOffer, SnapshotOffers, SnapshotPart, Status,
};
