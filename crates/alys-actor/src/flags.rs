//! Requests on the control lane. They are levels, not edges, so nothing is lost however often they are raised.

use crate::sync::{AtomicU32, Ordering};

/// Handle what the inbox holds, then end.
pub(crate) const DRAIN: u32 = 1;
/// End after the message in hand.
pub(crate) const HALT: u32 = 1 << 1;
/// Handle nothing until resumed.
pub(crate) const SUSPEND: u32 = 1 << 2;
/// The side lane holds something.
pub(crate) const SIDE: u32 = 1 << 3;
/// A linked actor failed.
pub(crate) const LINK: u32 = 1 << 4;

/// Who raises one wakes the receiver of the inbox after it; who is about to wait looks again after it has parked.
#[derive(Debug)]
pub(crate) struct Flags(AtomicU32);

impl Flags {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn raise(&self, flag: u32) {
        self.0.fetch_or(flag, Ordering::AcqRel);
    }

    pub(crate) fn lower(&self, flag: u32) {
        self.0.fetch_and(!flag, Ordering::AcqRel);
    }
}
