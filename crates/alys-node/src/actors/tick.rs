//! The message of an actor that only works by the clock.

use alys_actor::{Message, Overflow};

/// The only message of such an actor. Ticks that wait coalesce, so a slow one is followed by one and not by all it missed.
#[derive(Debug)]
pub enum Tick {
    /// It is time again.
    Due,
}

impl Message for Tick {
    fn overflow(&self) -> Overflow {
        Overflow::Coalesce
    }

    fn key(&self) -> Option<u64> {
        Some(0)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Due => "due",
        }
    }
}
