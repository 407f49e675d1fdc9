//! Targets and Bitcoin's compact form of them.

use alloy_primitives::{B256, U256};
use std::fmt;
use thiserror::Error;

/// The number that a hash must not exceed, at least 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(U256);

/// Why compact bits name no usable target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CompactError {
    /// No hash can meet a target of zero.
    #[error("bits {bits:08x} encode a target of zero")]
    Zero {
        /// The compact form.
        bits: u32,
    },
    /// The sign bit is set on a mantissa that is not zero.
    #[error("bits {bits:08x} encode a negative target")]
    Negative {
        /// The compact form.
        bits: u32,
    },
    /// The value needs more than 256 bits.
    #[error("bits {bits:08x} encode a target of more than 256 bits")]
    Overflow {
        /// The compact form.
        bits: u32,
    },
}

/// The sign bit of the mantissa.
const SIGN: u32 = 0x0080_0000;

impl Target {
    /// The hardest target.
    pub const MIN: Self = Self(U256::ONE);

    /// The easiest target, which every hash meets.
    pub const MAX: Self = Self(U256::MAX);

    /// A target; zero, which no hash meets, becomes 1.
    pub fn new(value: U256) -> Self {
        Self(value.max(U256::ONE))
    }

    /// The number.
    pub const fn value(self) -> U256 {
        self.0
    }

    /// Decodes compact bits (`arith_uint256::SetCompact` of Bitcoin Core), which must name a positive number of at most
    /// 256 bits.
    ///
    /// # Errors
    /// [`CompactError`] for the forms that Bitcoin Core flags.
    pub fn from_compact(bits: u32) -> Result<Self, CompactError> {
        let size = bits >> 24;
        let mut word = bits & 0x007f_ffff;
        if size <= 3 {
            word >>= 8u32.saturating_mul(3u32.saturating_sub(size));
        }
        if word == 0 {
            return Err(CompactError::Zero { bits });
        }
        if bits & SIGN != 0 {
            return Err(CompactError::Negative { bits });
        }
        if size > 34 || (word > 0xff && size > 33) || (word > 0xffff && size > 32) {
            return Err(CompactError::Overflow { bits });
        }
        Ok(Self(U256::from(word).wrapping_shl(byte_shift(size.saturating_sub(3)))))
    }

    /// The compact form (`arith_uint256::GetCompact`): the upper three bytes, rounded down, never with the sign bit.
    pub fn to_compact(self) -> u32 {
        let mut size = u32::try_from(self.0.bit_len().div_ceil(8)).unwrap_or(u32::MAX);
        let word = if size <= 3 {
            self.0.wrapping_shl(byte_shift(3u32.saturating_sub(size)))
        } else {
            self.0.wrapping_shr(byte_shift(size.saturating_sub(3)))
        };
        // At most three bytes by construction.
        let mut word = u32::try_from(word).unwrap_or(u32::MAX);
        if word & SIGN != 0 {
            word >>= 8;
            size = size.saturating_add(1);
        }
        word | size.wrapping_shl(24)
    }

    /// The easiest target whose [`work`](Self::work) is at least `work`: the upper bound that `min_auxpow_work` sets.
    pub fn of_work(work: U256) -> Self {
        // floor(2^256 / work) - 1, with 2^256 - work standing for 2^256.
        Self::new(work.wrapping_neg().checked_div(work).unwrap_or(U256::MAX))
    }

    /// The expected number of hashes to meet this target, rounded down: 2^256 / (target + 1).
    pub fn work(self) -> U256 {
        let above = self.0.wrapping_add(U256::ONE);
        // (2^256 - above) / above + 1, as `GetBlockProof` of Bitcoin Core; `above` is zero for 2^256, whose work is 1.
        above.wrapping_neg().checked_div(above).map_or(U256::ONE, |rest| rest.wrapping_add(U256::ONE))
    }

    /// Whether a hash in internal byte order, read as a little-endian number, does not exceed the target.
    pub fn is_met_by(self, hash: B256) -> bool {
        U256::from_le_bytes(hash.0) <= self.0
    }

    /// Big-endian bytes, as getblocktemplate's `target` shows them.
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// Little-endian bytes, as createauxblock's `_target` shows them.
    pub const fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }
}

fn byte_shift(bytes: u32) -> usize {
    usize::try_from(bytes.saturating_mul(8)).unwrap_or(usize::MAX)
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}
