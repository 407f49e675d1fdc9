//! Values that exist once, such as an open file with its lock, on their way to the actor that owns them.

use std::sync::{Mutex, PoisonError};

/// Holds a value for the first incarnation of an actor. Later ones find nothing: what a panic may have left half done is
/// not used again.
#[derive(Debug)]
pub struct HandOver<T>(Mutex<Option<T>>);

impl<T> HandOver<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    /// Gives the value to the first who asks.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
