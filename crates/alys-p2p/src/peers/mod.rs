//! What is remembered about peers, as plain values with time as an argument.

mod backoff;
mod quota;
mod standing;

pub(crate) use backoff::Backoff;
pub(crate) use quota::{Allowance, Quota};
pub use standing::Offence;
pub(crate) use standing::{Judgement, Standings};
