//! Snappy with limits, and frames on a stream.
//!
//! A frame is `kind (1) | uncompressed length (4, little endian) | compressed length (4) | snappy block`. Both lengths are
//! compared with the kind's limit before a byte of the content is read, so that a bomb costs its sender nine bytes and this
//! node none.

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The content would be larger than its kind may be.
    #[error("{length} bytes where at most {limit} are taken")]
    TooLarge {
        /// The claimed length.
        length: u64,
        /// The limit.
        limit: usize,
    },
    /// More compressed bytes than snappy ever needs for the claimed length.
    #[error("{compressed} compressed bytes for {uncompressed} bytes")]
    Padded {
        /// Compressed length.
        compressed: u64,
        /// Claimed length.
        uncompressed: u64,
    },
    /// The length inside the compression differs from the frame's.
    #[error("{found} bytes inside a frame of {claimed}")]
    Length {
        /// What the compression says.
        found: usize,
        /// What the frame says.
        claimed: usize,
    },
    /// Not snappy.
    #[error("not snappy")]
    Snappy(#[from] snap::Error),
    /// A kind that does not exist here.
    #[error("unknown kind {kind:#04x}")]
    Kind {
        /// The byte.
        kind: u8,
    },
    /// Not the SSZ that the kind wants.
    #[error("not the SSZ of its kind")]
    Ssz,
    /// The stream failed.
    #[error("stream")]
    Stream(#[source] io::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Stream(source) => source,
            FrameError::TooLarge { .. }
            | FrameError::Padded { .. }
            | FrameError::Length { .. }
            | FrameError::Snappy(_)
            | FrameError::Kind { .. }
            | FrameError::Ssz => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Compresses `bytes`.
pub(crate) fn compress(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
    Ok(snap::raw::Encoder::new().compress_vec(bytes)?)
}

/// Decompresses at most `limit` bytes; nothing is allocated for more.
pub(crate) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
    let length = snap::raw::decompress_len(bytes)?;
    if length > limit {
        return Err(FrameError::TooLarge { length: length.try_into().unwrap_or(u64::MAX), limit });
    }
    let most = snap::raw::max_compress_len(length);
    if bytes.len() > most {
        return Err(FrameError::Padded {
            compressed: bytes.len().try_into().unwrap_or(u64::MAX),
            uncompressed: length.try_into().unwrap_or(u64::MAX),
        });
    }
    Ok(snap::raw::Decoder::new().decompress_vec(bytes)?)
}

/// Reads one frame: its kind and its decompressed content. `limit` gives the most bytes of a kind, `None` if the kind does
/// not exist.
pub(crate) async fn read_frame<R: AsyncRead + Unpin + Send>(
    io: &mut R,
    limit: impl Fn(u8) -> Option<usize> + Send,
) -> Result<(u8, Vec<u8>), FrameError> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.map_err(FrameError::Stream)?;
    let [kind, u0, u1, u2, u3, c0, c1, c2, c3] = head;
    let uncompressed = u32::from_le_bytes([u0, u1, u2, u3]);
    let compressed = u32::from_le_bytes([c0, c1, c2, c3]);
    let limit = limit(kind).ok_or(FrameError::Kind { kind })?;
    let too_large = || FrameError::TooLarge { length: uncompressed.into(), limit };
    let claimed = usize::try_from(uncompressed).map_err(|_| too_large())?;
    if claimed > limit {
        return Err(too_large());
    }
    let padded = || FrameError::Padded { compressed: compressed.into(), uncompressed: uncompressed.into() };
    let length = usize::try_from(compressed).map_err(|_| padded())?;
    if length > snap::raw::max_compress_len(claimed) {
        return Err(padded());
    }
    // Grows as bytes arrive: a claim alone allocates nothing.
    let mut bytes = Vec::new();
    let read = io.take(compressed.into()).read_to_end(&mut bytes).await.map_err(FrameError::Stream)?;
    if read < length {
        return Err(FrameError::Stream(io::ErrorKind::UnexpectedEof.into()));
    }
    let content = decompress(&bytes, limit)?;
    if content.len() != claimed {
        return Err(FrameError::Length { found: content.len(), claimed });
    }
    Ok((kind, content))
}

/// Writes one frame.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin + Send>(
    io: &mut W,
    kind: u8,
    content: &[u8],
) -> Result<(), FrameError> {
    let too_large = |length: usize| FrameError::TooLarge {
        length: length.try_into().unwrap_or(u64::MAX),
        limit: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    };
    let uncompressed = u32::try_from(content.len()).map_err(|_| too_large(content.len()))?;
    let bytes = compress(content)?;
    let compressed = u32::try_from(bytes.len()).map_err(|_| too_large(bytes.len()))?;
    let mut head = Vec::with_capacity(9);
    head.push(kind);
    head.extend_from_slice(&uncompressed.to_le_bytes());
    head.extend_from_slice(&compressed.to_le_bytes());
    io.write_all(&head).await.map_err(FrameError::Stream)?;
    io.write_all(&bytes).await.map_err(FrameError::Stream)?;
    io.flush().await.map_err(FrameError::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    async fn read(bytes: &[u8], limit: usize) -> Result<(u8, Vec<u8>), FrameError> {
        read_frame(&mut Cursor::new(bytes), |kind| (kind == 7).then_some(limit)).await
    }

    async fn written(content: &[u8]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        write_frame(&mut bytes, 7, content).await.unwrap();
        bytes.into_inner()
    }

    #[tokio::test]
    async fn a_frame_reads_back_as_written() {
        for content in [vec![], vec![1], vec![0; 100_000]] {
            assert_eq!(read(&written(&content).await, 100_000).await.unwrap(), (7, content));
        }
    }

    #[tokio::test]
    async fn hostile_frames_are_refused_by_their_nine_bytes() {
        let frame = written(&vec![0; 1_000_000]).await;
        assert!(frame.len() < 60_000, "a bomb: {} bytes", frame.len());
        assert!(matches!(read(&frame[..9], 999_999).await, Err(FrameError::TooLarge { length: 1_000_000, .. })));
        let mut padded = written(b"x").await;
        padded[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read(&padded[..9], 10).await, Err(FrameError::Padded { .. })));
        let mut kind = written(b"x").await;
        kind[0] = 8;
        assert!(matches!(read(&kind, 10).await, Err(FrameError::Kind { kind: 8 })));
        let mut shorter = written(&[9; 40]).await;
        shorter[1..5].copy_from_slice(&41u32.to_le_bytes());
        assert!(matches!(read(&shorter, 100).await, Err(FrameError::Length { found: 40, claimed: 41 })));
        let cut = written(&[9; 40]).await;
        assert!(matches!(read(&cut[..cut.len() - 1], 100).await, Err(FrameError::Stream(_))));
        let mut garbage = written(&[9; 40]).await;
        garbage[10..].fill(0xff);
        assert!(matches!(read(&garbage, 100).await, Err(FrameError::Snappy(_))));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decompressed() {
        let bomb = compress(&vec![0; 1 << 24]).unwrap();
        assert!(matches!(decompress(&bomb, 1 << 20), Err(FrameError::TooLarge { .. })));
        assert_eq!(decompress(&bomb, 1 << 24).unwrap().len(), 1 << 24);
    }
}
