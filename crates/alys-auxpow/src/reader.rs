//! Reading Bitcoin's encoding from bytes that a stranger sent.

use alloy_primitives::B256;
use alys_primitives::MAX_AUXPOW_BYTES;
use thiserror::Error;

/// Why bytes are not an AuxPoW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// More than [`MAX_AUXPOW_BYTES`].
    #[error("an AuxPoW has at most {MAX_AUXPOW_BYTES} bytes, not {found}")]
    TooLong {
        /// Bytes given.
        found: usize,
    },
    /// The bytes end inside a field, or a count promises more than there are.
    #[error("the bytes end within the {field}, which starts at byte {offset}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// Bytes are left behind the parent header.
    #[error("{count} bytes follow the last field")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A length that is not written in the fewest possible bytes, which Bitcoin refuses too.
    #[error("the count at byte {offset} is not in its shortest form")]
    LongCount {
        /// Where it starts.
        offset: usize,
    },
    /// The coinbase is marked as carrying a witness but every witness is empty.
    #[error("the coinbase announces a witness and carries none")]
    EmptyWitness,
    /// The coinbase has optional data of an unknown kind.
    #[error("the coinbase carries unknown optional data (flag {flag:#04x})")]
    UnknownFlag {
        /// The flag behind the marker.
        flag: u8,
    },
    /// A well-formed proof whose ignored fields are not zero or whose coinbase carries a witness.
    #[error("the AuxPoW is not in its normalised form")]
    NotNormalised,
}

impl DecodeError {
    /// A stable name for logs, metric labels and the command line.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::Truncated { .. } => "truncated",
            Self::TrailingBytes { .. } => "trailing-bytes",
            Self::LongCount { .. } => "long-count",
            Self::EmptyWitness => "empty-witness",
            Self::UnknownFlag { .. } => "unknown-flag",
            Self::NotNormalised => "not-normalised",
        }
    }
}

/// What is left of the input.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; refuses more bytes than any AuxPoW has.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_AUXPOW_BYTES {
            return Err(DecodeError::TooLong { found: bytes.len() });
        }
        Ok(Self { rest: bytes, length: bytes.len() })
    }

    fn offset(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn truncated(&self, field: &'static str) -> DecodeError {
        DecodeError::Truncated { field, offset: self.offset() }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn hash(&mut self, field: &'static str) -> Result<B256, DecodeError> {
        self.array::<32>(field).map(B256::from)
    }

    /// A count of things of at least `item_bytes` each. More than the rest of the input can hold is an error here, so
    /// that nothing is ever allocated for what is not there.
    pub(crate) fn count(&mut self, item_bytes: usize, field: &'static str) -> Result<usize, DecodeError> {
        let offset = self.offset();
        let [first] = self.array::<1>(field)?;
        let (value, least) = match first {
            0xfd => (u64::from(u16::from_le_bytes(self.array(field)?)), 0xfd),
            0xfe => (u64::from(self.u32(field)?), 0x1_0000),
            0xff => (self.u64(field)?, 0x1_0000_0000),
            small => (u64::from(small), 0),
        };
        if value < least {
            return Err(DecodeError::LongCount { offset });
        }
        let room = self.rest.len().checked_div(item_bytes).unwrap_or(0);
        usize::try_from(value).ok().filter(|count| *count <= room).ok_or(DecodeError::Truncated { field, offset })
    }

    /// A count and as many bytes.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let count = self.count(1, field)?;
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.truncated(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Ends the reading.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes { count: self.rest.len() }) }
    }
}

/// Appends a count in Bitcoin's shortest form.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    let bytes = u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes();
    let [a, b, c, d, ..] = bytes;
    match count {
        0..=0xfc => out.push(a),
        0xfd..=0xffff => out.extend([0xfd, a, b]),
        0x1_0000..=0xffff_ffff => out.extend([0xfe, a, b, c, d]),
        _ => {
            out.push(0xff);
            out.extend(bytes);
        }
    }
}

/// Appends a count and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}
