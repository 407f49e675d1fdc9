//! Framing and checksums of what a journal keeps.

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid encoding: {0}")]
pub struct DecodeError(
    /// What is wrong with it.
    pub &'static str,
);

/// FNV-1a over length-prefixed parts: tells damage, not forgery.
pub(super) fn checksum(parts: &[&[u8]]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for b in bytes {
            sum = (sum ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for part in parts {
        feed(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        feed(part);
    }
    sum
}

/// Two byte strings in one.
pub(super) fn frame(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut bytes = u64::try_from(first.len()).unwrap_or(u64::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(first);
    bytes.extend_from_slice(second);
    bytes
}

pub(super) fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}
