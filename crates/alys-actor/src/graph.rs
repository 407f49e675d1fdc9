//! Who waits for whom: finds cyclic asks.
//!
//! Each actor publishes whom its asks wait for before it looks at those of others. In the one order of these
//! accesses (they are sequentially consistent) the last ask that closes a cycle sees all the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use crate::cell::Node;

/// Waits are followed through no more actors than that.
const MAX_STEPS: usize = 4096;

/// Finds nodes by the id of their core.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Mutex<HashMap<usize, Weak<dyn Node>>>,
}

impl Graph {
    pub(crate) fn insert(&self, node: &Arc<dyn Node>) {
        self.lock().insert(node.core().id(), Arc::downgrade(node));
    }

    pub(crate) fn remove(&self, id: usize) {
        self.lock().remove(&id);
    }

    pub(crate) fn get(&self, id: usize) -> Option<Arc<dyn Node>> {
        self.lock().get(&id).and_then(Weak::upgrade)
    }

    /// The paths along which `to` waits for `from`, both included, if it does.
    pub(crate) fn path(&self, to: usize, from: usize) -> Option<Vec<Arc<str>>> {
        let mut came: HashMap<usize, usize> = HashMap::new();
        let mut open = vec![to];
        while let Some(id) = open.pop() {
            if id == from {
                return Some(self.names(&came, to, from));
            }
            if came.len() > MAX_STEPS {
                return None;
            }
            let Some(node) = self.get(id) else { continue };
            for next in node.core().waits() {
                if next != to && !came.contains_key(&next) {
                    came.insert(next, id);
                    open.push(next);
                }
            }
        }
        None
    }

    fn names(&self, came: &HashMap<usize, usize>, to: usize, from: usize) -> Vec<Arc<str>> {
        let mut ids = vec![from];
        let mut at = from;
        while at != to {
            let Some(before) = came.get(&at) else { break };
            at = *before;
            ids.push(at);
        }
        ids.iter().rev().map(|id| self.get(*id).map_or_else(|| Arc::from("?"), |n| n.core().path())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Weak<dyn Node>>> {
        self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
