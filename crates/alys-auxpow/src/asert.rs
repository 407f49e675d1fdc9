//! The difficulty rule: aserti3-2d in integers.

use crate::{CompactError, Target};
use alloy_primitives::{U256, U512};
use alys_primitives::AuxPowSpec;
use thiserror::Error;

/// Fixed-point one.
const RADIX: i128 = 65_536;

/// A shift by more than this many bits leaves the range of targets whatever it starts from.
const MAX_SHIFT: i128 = 512;

/// The difficulty rule of one chain: absolutely scheduled, exponentially rising targets (aserti3-2d).
///
/// The target doubles with every half-life by which the chain is behind its schedule and halves with every one by which
/// it is ahead. It depends on the number of committed records and on the time at which it is asked for, nothing else; a
/// target evaluated late is therefore easier, which is how the chain gets over a time without miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asert {
    anchor: Target,
    spacing: u64,
    half_life: u64,
    limit: Target,
}

/// Why a chain spec gives no difficulty rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AsertError {
    /// The first bundle's bits name no target.
    #[error("initial_bits: {0}")]
    InitialBits(#[from] CompactError),
    /// A half-life of zero.
    #[error("half_life must be at least one second")]
    NoHalfLife,
}

impl Asert {
    /// The rule that aims at one record every `spacing` seconds, starting from `anchor`, never easier than `limit`.
    ///
    /// # Errors
    /// [`AsertError::NoHalfLife`].
    pub fn new(anchor: Target, spacing: u64, half_life: u64, limit: Target) -> Result<Self, AsertError> {
        if half_life == 0 {
            return Err(AsertError::NoHalfLife);
        }
        Ok(Self { anchor, spacing, half_life, limit })
    }

    /// The rule of a chain spec; its limit is the easiest target that `min_auxpow_work` allows.
    ///
    /// # Errors
    /// [`AsertError`] if the spec's numbers are not usable.
    pub fn of_spec(spec: &AuxPowSpec) -> Result<Self, AsertError> {
        let anchor = Target::from_compact(spec.initial_bits)?;
        Self::new(anchor, spec.spacing, spec.half_life, Target::of_work(spec.min_auxpow_work))
    }

    /// The easiest target.
    pub const fn limit(&self) -> Target {
        self.limit
    }

    /// The target `elapsed` seconds after genesis with `committed` records before this one: genesis stands for the
    /// anchor block of aserti3-2d, a record for a block, so that the first record asked for at once gets the anchor.
    pub fn target(&self, elapsed: u64, committed: u64) -> Target {
        let due = i128::from(self.spacing).saturating_mul(i128::from(committed));
        let behind = i128::from(elapsed).saturating_sub(due);
        let half_life = i128::from(self.half_life);
        // Rounded towards zero, as C's division does. `half_life` is not zero by construction.
        let exponent = behind.saturating_mul(RADIX).checked_div(half_life).unwrap_or(0);
        // An arithmetic shift: the fraction is never negative.
        let whole = exponent >> 16;
        let fraction = exponent & 0xffff;
        if whole > MAX_SHIFT {
            return self.limit;
        }
        if whole < MAX_SHIFT.wrapping_neg() {
            return Target::MIN.min(self.limit);
        }
        // 65536 times the anchor times two to the fraction, in 273 bits.
        let scaled = widen(self.anchor.value()).wrapping_mul(U512::from(factor(fraction)));
        let shift = whole.saturating_sub(16);
        let distance = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
        let shifted = if shift < 0 { Some(scaled.wrapping_shr(distance)) } else { shift_left(scaled, distance) };
        match shifted.and_then(narrow) {
            Some(value) => Target::new(value).min(self.limit),
            None => self.limit,
        }
    }

    /// [`Asert::target`] in compact form, which rounds it down: the `bits` that a bundle must carry.
    pub fn bits(&self, elapsed: u64, committed: u64) -> u32 {
        self.target(elapsed, committed).to_compact()
    }
}

/// 65536 times 2^(fraction / 65536) by aserti3-2d's cubic; `fraction` is 0 to 65535.
fn factor(fraction: i128) -> u128 {
    let x = fraction.unsigned_abs();
    let x2 = x.wrapping_mul(x);
    let x3 = x2.wrapping_mul(x);
    // Below 2^64 for every fraction.
    let cubic = 195_766_423_245_049u128
        .wrapping_mul(x)
        .wrapping_add(971_821_376u128.wrapping_mul(x2))
        .wrapping_add(5_127u128.wrapping_mul(x3))
        .wrapping_add(1 << 47);
    (cubic >> 48).wrapping_add(65_536)
}

/// `None` if bits are lost.
fn shift_left(value: U512, distance: usize) -> Option<U512> {
    (value.leading_zeros() >= distance).then(|| value.wrapping_shl(distance))
}

fn widen(value: U256) -> U512 {
    let [a, b, c, d] = value.into_limbs();
    U512::from_limbs([a, b, c, d, 0, 0, 0, 0])
}

/// `None` if the value needs more than 256 bits.
fn narrow(value: U512) -> Option<U256> {
    let [a, b, c, d, rest @ ..] = value.into_limbs();
    (rest == [0; 4]).then(|| U256::from_limbs([a, b, c, d]))
}
