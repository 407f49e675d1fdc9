//! Looks at all actors now and then, without asking them: probes, the watchdog, and the gauges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cell::{Node, Watch};
use crate::health::{Health, Measures, Recovery};
use crate::inbox::Admission;
use crate::snapshot::Phase;
use crate::supervise::Event;

/// Nodes looked at before other tasks get their turn.
const CHUNK: usize = 256;

/// What was seen of one actor the time before.
#[derive(Default)]
struct Seen {
    handled: u64,
    errors: u64,
    /// The message in hand: how many were handled before it, and since when it is in hand.
    busy: Option<(u64, Instant)>,
    /// Looks in a row with that verdict.
    bad: u32,
    named: bool,
    asked_to_recover: Option<u64>,
}

pub(crate) struct Watcher {
    seen: HashMap<usize, Seen>,
    /// A handler that runs that long is named.
    watchdog: Duration,
}

impl Watcher {
    pub(crate) fn new(watchdog: Duration) -> Self {
        Self { seen: HashMap::new(), watchdog }
    }

    /// One look at the whole tree.
    pub(crate) async fn look(&mut self, root: &Arc<dyn Node>) {
        let mut open = vec![Arc::clone(root)];
        let mut seen = HashMap::new();
        let mut count = 0_usize;
        while let Some(node) = open.pop() {
            match node.children() {
                Some(children) => open.extend(children),
                None => self.look_at(&node, &mut seen),
            }
            count = count.wrapping_add(1);
            if count.is_multiple_of(CHUNK) {
                tokio::task::yield_now().await;
            }
        }
        // What is gone is forgotten.
        self.seen = seen;
    }

    fn look_at(&mut self, node: &Arc<dyn Node>, all: &mut HashMap<usize, Seen>) {
        let core = node.core();
        let inbox = node.inbox();
        if core.show_depth(inbox.depth) {
            let depth = f64::from(u32::try_from(inbox.depth).unwrap_or(u32::MAX));
            metrics::gauge!("alys_actor_inbox_depth", "actor" => core.path().to_string()).set(depth);
        }
        let now = Instant::now();
        let (handled, busy) = core.progress();
        let before = self.seen.remove(&core.id());
        // The idle ones that nobody probes leave no trace.
        if !busy && before.is_none() && core.watch().is_none() {
            return;
        }
        let mut seen = before.unwrap_or_default();
        seen.busy = match (busy, seen.busy) {
            (true, Some((n, since))) if n == handled => Some((n, since)),
            (true, _) => Some((handled, now)),
            (false, _) => None,
        };
        let in_hand = seen.busy.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since));
        let mut health = Health::Healthy;
        if in_hand >= self.watchdog {
            let kind = core.kind_in_hand().unwrap_or("message");
            health = Health::Degraded(format!("in the handler of {kind} for {} s", in_hand.as_secs()));
            if !std::mem::replace(&mut seen.named, true) {
                tracing::warn!(actor = %core.path(), message = kind, seconds = in_hand.as_secs(), "handler does not return");
            }
        } else {
            seen.named = false;
        }
        if let Some(watch) = core.watch() {
            let measures = Measures {
                depth: inbox.depth,
                age: inbox.oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
                handle: in_hand.max(Duration::from_nanos(core.handle_nanos())),
                errors_permille: core
                    .errors()
                    .saturating_sub(seen.errors)
                    .saturating_mul(1000)
                    .checked_div(handled.saturating_sub(seen.handled))
                    .unwrap_or(0),
                memory_bytes: core.memory(),
            };
            health = watch.probe.judge(&measures).worse(health);
            seen.bad = if health == Health::Healthy { 0 } else { seen.bad.saturating_add(1) };
            if seen.bad < watch.probe.patience {
                health = Health::Healthy;
            }
        }
        seen.handled = handled;
        seen.errors = core.errors();
        core.set_probed(health);
        if let Some(watch) = core.watch()
            && core.phase() == Phase::Running
        {
            recover(node, watch, &mut seen);
        }
        if busy || core.watch().is_some() {
            all.insert(core.id(), seen);
        }
    }
}

fn recover(node: &Arc<dyn Node>, watch: &Watch, seen: &mut Seen) {
    let core = node.core();
    let health = core.health();
    let failed = matches!(health, Health::Failed(_));
    match watch.recovery {
        Recovery::Report => {}
        Recovery::Degraded => node.set_admission(if failed { Admission::Essential } else { Admission::All }),
        Recovery::Restart | Recovery::Restore | Recovery::Gradual { .. } => {
            let incarnation = core.incarnation();
            // Once per incarnation: the restart may take a while.
            if failed && seen.asked_to_recover != Some(incarnation) {
                seen.asked_to_recover = Some(incarnation);
                tracing::warn!(actor = %core.path(), ?health, "probe failed, restarting");
                let _ = watch.supervisor.send(Event::Recover { uid: watch.uid });
            }
        }
    }
}
