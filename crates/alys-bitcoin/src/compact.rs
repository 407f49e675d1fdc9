//! The compact form of a target, with the faults that Bitcoin Core tells apart.
//!
//! `bitcoin`'s own conversion maps every faulty form to some target; here a faulty form is an error.

use bitcoin::consensus::Params;
use bitcoin::{BlockHash, CompactTarget, Target};

/// Why compact bits name no usable target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// The sign bit is set on a mantissa that is not zero.
    #[error("bits {bits:08x} encode a negative target")]
    Negative {
        /// The compact form.
        bits: u32,
    },
    /// The value needs more than 256 bits.
    #[error("bits {bits:08x} encode a target above 2^256")]
    Overflow {
        /// The compact form.
        bits: u32,
    },
    /// No hash can meet a target of zero.
    #[error("bits {bits:08x} encode a target of zero")]
    Zero {
        /// The compact form.
        bits: u32,
    },
}

/// Why a hash is no proof of work for its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The bits name no target.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// The target is easier than the network allows.
    #[error("bits {bits:08x} are easier than the network's limit")]
    TooEasy {
        /// The compact form.
        bits: u32,
    },
    /// The hash, read as a number, is above the target.
    #[error("hash {hash} misses the target of bits {bits:08x}")]
    Missed {
        /// The hash that was offered.
        hash: BlockHash,
        /// The compact form.
        bits: u32,
    },
}

/// The target that compact bits name (`SetCompact` of Bitcoin Core).
///
/// # Errors
/// [`CompactError`] when the form is negative, too large or zero.
pub fn target_from_compact(compact: CompactTarget) -> Result<Target, CompactError> {
    let bits = compact.to_consensus();
    let size = bits >> 24;
    let mut word = bits & 0x007f_ffff;
    if size <= 3 {
        word >>= 8 * (3 - size);
    }
    if word == 0 {
        return Err(CompactError::Zero { bits });
    }
    if bits & 0x0080_0000 != 0 {
        return Err(CompactError::Negative { bits });
    }
    if size > 34 || (word > 0xff && size > 33) || (word > 0xffff && size > 32) {
        return Err(CompactError::Overflow { bits });
    }
    let shift = usize::try_from(size.saturating_sub(3)).unwrap_or(usize::MAX);
    let mut bytes = [0u8; 32];
    for (place, byte) in word.to_le_bytes().into_iter().enumerate() {
        // Bytes beyond the array are zero here: the overflow check above has seen to it.
        let index = place.checked_add(shift).and_then(|position| 31usize.checked_sub(position));
        if let Some(slot) = index.and_then(|index| bytes.get_mut(index)) {
            *slot = byte;
        }
    }
    Ok(Target::from_be_bytes(bytes))
}

/// Checks that `hash` meets the target of `bits` and that this target is within the network's limit.
///
/// # Errors
/// [`WorkError`] names what is wrong.
pub fn check_work(hash: BlockHash, bits: CompactTarget, params: &Params) -> Result<Target, WorkError> {
    let target = target_from_compact(bits)?;
    if target > params.max_attainable_target {
        return Err(WorkError::TooEasy { bits: bits.to_consensus() });
    }
    if !target.is_met_by(hash) {
        return Err(WorkError::Missed { hash, bits: bits.to_consensus() });
    }
    Ok(target)
}
