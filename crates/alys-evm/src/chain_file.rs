//! Files of RLP-encoded blocks, one after the other, as geth exports them.

use crate::FullBlock;
use alloy_rlp::Decodable as _;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The longest block that is read.
const MAX_BLOCK_BYTES: u64 = 64 << 20;

/// First byte of a short RLP list, of a long one, and the longest payload of a short one.
const SHORT_LIST: u8 = 0xc0;
const LONG_LIST: u8 = 0xf7;

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum ChainFileError {
    /// The file can't be read, or ends within a block.
    #[error("the file can't be read at byte {at}")]
    Io {
        /// Where.
        at: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// What comes next is no block.
    #[error("byte {at} begins no block: {reason}")]
    Malformed {
        /// Where.
        at: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Reads blocks one at a time, so that a file may be larger than memory.
#[derive(Debug)]
pub struct ChainFile<R = BufReader<File>> {
    input: R,
    at: u64,
    length: u64,
}

impl ChainFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ChainFileError::Io`].
    pub fn open(path: &Path) -> Result<Self, ChainFileError> {
        let file = File::open(path).map_err(|source| ChainFileError::Io { at: 0, source })?;
        Self::new(BufReader::new(file))
    }
}

impl<R: Read + Seek> ChainFile<R> {
    /// Reads from `input`, beginning where it stands at the start.
    ///
    /// # Errors
    /// [`ChainFileError::Io`].
    pub fn new(mut input: R) -> Result<Self, ChainFileError> {
        let io = |source| ChainFileError::Io { at: 0, source };
        let length = input.seek(SeekFrom::End(0)).map_err(io)?;
        input.seek(SeekFrom::Start(0)).map_err(io)?;
        Ok(Self { input, at: 0, length })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// [`ChainFileError`].
    pub fn next_block(&mut self) -> Result<Option<FullBlock>, ChainFileError> {
        let at = self.at;
        if at >= self.length {
            return Ok(None);
        }
        let malformed = |reason: String| ChainFileError::Malformed { at, reason };
        let io = |source| ChainFileError::Io { at, source };
        let mut bytes = vec![0; 1];
        self.input.read_exact(&mut bytes).map_err(io)?;
        let first = bytes.first().copied().unwrap_or_default();
        let size = match first {
            SHORT_LIST..=LONG_LIST => u64::from(first - SHORT_LIST),
            0xf8.. => {
                let digits = usize::from(first - LONG_LIST);
                bytes.resize(digits.saturating_add(1), 0);
                let digits = bytes.get_mut(1..).unwrap_or_default();
                self.input.read_exact(digits).map_err(io)?;
                digits.iter().fold(0_u64, |size, digit| (size << 8) | u64::from(*digit))
            }
            _ => return Err(malformed(format!("{first:#04x} begins no list"))),
        };
        if size > MAX_BLOCK_BYTES {
            return Err(malformed(format!("a block of {size} bytes, at most {MAX_BLOCK_BYTES} are read")));
        }
        let head = bytes.len();
        let read = (&mut self.input).take(size).read_to_end(&mut bytes).map_err(io)?;
        if u64::try_from(read) != Ok(size) {
            return Err(io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let mut rest = bytes.as_slice();
        let block = FullBlock::decode(&mut rest).map_err(|error| malformed(error.to_string()))?;
        let total = head.saturating_add(read);
        self.at = at.saturating_add(u64::try_from(total).unwrap_or(u64::MAX));
        Ok(Some(block))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(bytes: Vec<u8>) -> ChainFile<Cursor<Vec<u8>>> {
        ChainFile::new(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn blocks_come_one_by_one_and_damage_is_told_with_its_place() {
        let mut block = FullBlock::default();
        block.header.number = 7;
        let encoded = alloy_rlp::encode(&block);
        let mut two = file([encoded.clone(), encoded.clone()].concat());
        assert_eq!(two.next_block().unwrap(), Some(block.clone()));
        assert_eq!(two.next_block().unwrap(), Some(block));
        assert_eq!((two.next_block().unwrap(), two.position()), (None, two.length()));
        for cut in 1..encoded.len() {
            assert!(matches!(file(encoded[..cut].to_vec()).next_block(), Err(ChainFileError::Io { at: 0, .. })));
        }
        for bytes in [vec![0x80], vec![0xc0], vec![0x01, 0x02], vec![0xff; 9]] {
            assert!(matches!(file(bytes).next_block(), Err(ChainFileError::Malformed { at: 0, .. })));
        }
        let mut damaged = file([encoded, vec![0xc1, 0x80]].concat());
        damaged.next_block().unwrap();
        assert!(matches!(damaged.next_block(), Err(ChainFileError::Malformed { at, .. }) if at > 0));
    }
}
