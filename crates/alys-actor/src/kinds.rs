//! Numbers for the kinds of messages of a system, so that one word says which is in hand.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bounded by the enums of messages: kinds are names of variants.
#[derive(Default)]
pub(crate) struct Kinds(Mutex<Table>);

#[derive(Default)]
struct Table {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, usize>,
}

impl Kinds {
    pub(crate) fn number(&self, kind: &'static str) -> usize {
        let mut table = self.lock();
        if let Some(number) = table.numbers.get(kind) {
            return *number;
        }
        let number = table.names.len();
        table.names.push(kind);
        table.numbers.insert(kind, number);
        number
    }

    pub(crate) fn get(&self, number: usize) -> Option<&'static str> {
        self.lock().names.get(number).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
