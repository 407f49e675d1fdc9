//! The adapters of the frameworks that a user would pick instead.

mod actix_;
mod kameo_;
mod ractor_;
mod xtra_;

pub use actix_::Actix;
pub use kameo_::Kameo;
pub use ractor_::Ractor;
pub use xtra_::Xtra;

use crate::Threads;
use crate::measure::{Candidate, On};

/// All four.
#[must_use]
pub fn all(threads: Threads) -> Vec<Box<dyn Candidate>> {
    vec![
        Box::new(On::<Ractor>::new(threads)),
        Box::new(On::<Kameo>::new(threads)),
        Box::new(On::<Actix>::new(threads)),
        Box::new(On::<Xtra>::new(threads)),
    ]
}
