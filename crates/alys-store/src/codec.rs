//! The one place that knows how checkpoints are serialised, so that the serialiser can be replaced.
//!
//! Layout: magic `ALYC` (4), what it is (4), format version of that (2), length of the payload (8), CRC-32 of
//! everything before and of the payload (4), payload. The payload is bincode 2.0.1 in its standard configuration.
//! Consensus data is never encoded with this: that is SSZ.

use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 4] = *b"ALYC";
const HEADER_BYTES: usize = 22;
const CHECKED_HEADER_BYTES: usize = 18;

/// The longest payload that is decoded, and the most memory that decoding one claims for its lists.
pub const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// What a document is, as four letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub [u8; 4]);

/// Why bytes are not a document of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not begin as a document does, or are of another kind.
    #[error("not a document of this kind")]
    Magic,
    /// The document has a format this version does not know.
    #[error("format version {found}, this version knows up to {supported}")]
    Newer {
        /// The document's version.
        found: u16,
        /// The newest known version.
        supported: u16,
    },
    /// The bytes are fewer or more than the document says, or more than are decoded at all.
    #[error("wrong length")]
    Length,
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The payload does not encode the expected type.
    #[error("the payload can't be decoded")]
    Decode(#[from] bincode::error::DecodeError),
    /// The value can't be encoded.
    #[error("the value can't be encoded")]
    Encode(#[from] bincode::error::EncodeError),
}

/// Serialises `value` as version `version` of documents of `kind`.
///
/// # Errors
/// [`CodecError::Encode`] if the type is one that the serialiser does not support, [`CodecError::Length`] past
/// [`MAX_PAYLOAD_BYTES`].
pub fn encode<T: Serialize>(kind: Kind, version: u16, value: &T) -> Result<Vec<u8>, CodecError> {
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard())?;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(CodecError::Length);
    }
    let length = u64::try_from(payload.len()).map_err(|_| CodecError::Length)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&kind.0);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let checksum = checksum(&bytes, &payload);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

/// The version of a document of `kind`, checked to be whole and at most `supported`, and its payload for
/// [`decode_payload`].
///
/// # Errors
/// Every [`CodecError`] but the last two.
pub fn open(kind: Kind, supported: u16, bytes: &[u8]) -> Result<(u16, &[u8]), CodecError> {
    let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(CodecError::Length)?;
    let [m0, m1, m2, m3, k0, k1, k2, k3, v0, v1, l0, l1, l2, l3, l4, l5, l6, l7, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC || [k0, k1, k2, k3] != kind.0 {
        return Err(CodecError::Magic);
    }
    let found = u16::from_le_bytes([v0, v1]);
    if found > supported {
        return Err(CodecError::Newer { found, supported });
    }
    let length = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    if u64::try_from(payload.len()) != Ok(length) || payload.len() > MAX_PAYLOAD_BYTES {
        return Err(CodecError::Length);
    }
    if checksum(&header[..CHECKED_HEADER_BYTES], payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(CodecError::Checksum);
    }
    Ok((found, payload))
}

/// Reads the payload of a document.
///
/// # Errors
/// [`CodecError::Decode`], [`CodecError::Length`] if bytes are left over.
pub fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<MAX_PAYLOAD_BYTES>();
    let (value, read) = bincode::serde::decode_from_slice(payload, config)?;
    if read != payload.len() {
        return Err(CodecError::Length);
    }
    Ok(value)
}

/// Reads a document of `kind` that has only ever had one format, `version`.
///
/// # Errors
/// [`CodecError`].
pub fn decode<T: DeserializeOwned>(kind: Kind, version: u16, bytes: &[u8]) -> Result<T, CodecError> {
    decode_payload(open(kind, version, bytes)?.1)
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}
