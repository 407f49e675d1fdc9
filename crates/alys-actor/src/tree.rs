//! The part of a supervisor that others see: its children, and the way to reach it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::UnboundedSender;

use crate::cell::{Core, How, InboxView, Node};
use crate::error::{AddError, Exit};
use crate::inbox::Admission;
use crate::supervise::Event;
use crate::system::Shared;

#[derive(Default)]
struct Children {
    by_uid: BTreeMap<u64, Arc<dyn Node>>,
    uids: HashMap<Arc<str>, u64>,
    next: u64,
    closed: bool,
}

/// A supervisor as a node of the tree.
pub(crate) struct Branch {
    core: Core,
    children: Mutex<Children>,
    /// Bounded by nature: two events per incarnation, and what handles are told to do.
    pub(crate) events: UnboundedSender<Event>,
}

impl Branch {
    pub(crate) fn new(name: Arc<str>, events: UnboundedSender<Event>) -> Self {
        let core = Core::new();
        core.set_name(name);
        Self { core, children: Mutex::new(Children::default()), events }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Enters a child; its number orders it among its siblings.
    pub(crate) fn enter(&self, node: Arc<dyn Node>) -> Result<u64, AddError> {
        let name = node.core().name();
        let mut children = self.lock();
        if children.closed {
            return Err(AddError::NotRunning);
        }
        if children.uids.contains_key(&name) {
            return Err(AddError::Duplicate(name));
        }
        let uid = children.next;
        children.next = uid.saturating_add(1);
        children.uids.insert(name, uid);
        children.by_uid.insert(uid, node);
        Ok(uid)
    }

    pub(crate) fn remove(&self, uid: u64) {
        let mut children = self.lock();
        let gone = children.by_uid.remove(&uid);
        if let Some(node) = &gone {
            children.uids.remove(&node.core().name());
        }
        drop(children);
        drop(gone);
    }

    pub(crate) fn uid(&self, name: &str) -> Option<u64> {
        self.lock().uids.get(name).copied()
    }

    pub(crate) fn child(&self, name: &str) -> Option<Arc<dyn Node>> {
        let children = self.lock();
        children.uids.get(name).and_then(|uid| children.by_uid.get(uid)).cloned()
    }

    /// Takes no more children.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    fn list(&self) -> Vec<Arc<dyn Node>> {
        self.lock().by_uid.values().cloned().collect()
    }
}

impl Node for Branch {
    fn core(&self) -> &Core {
        &self.core
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn attach(self: Arc<Self>, shared: &Arc<Shared>, path: Arc<str>) {
        self.core.attach(shared, Arc::clone(&path));
        for child in self.list() {
            let path = Arc::from(format!("{path}/{}", child.core().name()));
            child.attach(shared, path);
        }
    }

    fn end(&self, how: How) {
        let _ = self.events.send(Event::End { how, incarnation: self.core.incarnation() });
    }

    fn suspend(&self, suspended: bool) {
        for child in self.list() {
            child.suspend(suspended);
        }
    }

    fn finish(&self) {
        self.close();
        for child in self.list() {
            child.finish();
            let exit = child.core().last_exit().unwrap_or(Exit::Halted);
            child.core().tell_monitors(&exit, true);
        }
        self.core.stopped_for_good();
    }

    fn inbox(&self) -> InboxView {
        InboxView { depth: 0, capacity: 0, oldest: None }
    }

    fn set_admission(&self, admission: Admission) {
        for child in self.list() {
            child.set_admission(admission);
        }
    }

    fn has_messages(&self) -> bool {
        self.list().iter().any(|child| child.has_messages())
    }

    fn children(&self) -> Option<Vec<Arc<dyn Node>>> {
        Some(self.list())
    }
}
